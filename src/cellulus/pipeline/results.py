"""A result that is made block by block: the array that grows, and the journal of what is done.

Both lie beside the name that the result gets when it is whole. If blocks had to be left out, the
result appears all the same, says so in its notes, and keeps its journal: resuming tries those
blocks again. Knows nothing of what a block holds.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from cellulus import __version__
from cellulus.blocks.jobs import Job, finish
from cellulus.blocks.journal import Journal
from cellulus.data import pyramid, renames, writer
from cellulus.pipeline.levels import LevelWork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from cellulus.blocks.crew import Crew
    from cellulus.progress import Progress

T = TypeVar("T")

ORDER = ("survey", "predict", "label", "number", "measure", "level")
"""The stages of a result; each is made from those before it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """One array of one image, being made.

    Attributes
    ----------
    name
        Of the image.
    pending
        The array.
    journal
        What is done of it, and the folder for what is needed on the way.
    notes
        What the finished result tells of itself; JSON.
    """

    name: str
    pending: writer.Pending
    journal: Journal
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be done."""
        return self.pending.complete

    @property
    def path(self) -> Path:
        """Where it will be."""
        return self.pending.path

    def note(self, **facts: Any) -> None:
        """Add to what the finished result tells of itself; JSON."""
        self.notes.update(facts)

    def quarantined(self) -> dict[str, dict[int, str]]:
        """Return the blocks that had to be left out, by stage, and why."""
        stages = [
            path
            for path in self.journal.folder.iterdir()
            if path.name.split("-")[0] in ORDER and not path.name.endswith("-parts")
        ]
        found = {path.name: self.journal.stage(path.name).failed() for path in sorted(stages)}
        return {stage: blocks for stage, blocks in found.items() if blocks}


def begin(name: str, target: Path, spec: writer.Spec, *, resume: bool, overwrite: bool) -> Result:
    """Begin to make a result, or go on with it.

    Parameters
    ----------
    name
        Of the image.
    target
        Where the result will be.
    spec
        What it will be; its attributes are what it depends on.
    resume, overwrite
        Go on with, or replace, what is there.

    Raises
    ------
    ExistsError
        If something is there and neither was asked for.
    InputError
        If what is there was begun with something else; names what changed.
    StorageError
        If the disk is full or refuses.
    """
    folder = target.with_name(f"{target.name}.work")
    begun = Journal(folder).is_begun
    if resume and target.exists() and begun and not renames.is_begun(target):
        renames.reopen(target)
        _forget_what_follows(Journal(folder))
    facts = {**spec.attributes, "version": __version__}
    resume_blocks = resume and renames.is_begun(target)
    if resume_blocks:
        Journal.open(folder, facts, resume=True)  # names what changed, before anything else does
    else:
        # A journal without the array that it tells of would tell of blocks that are not there.
        shutil.rmtree(folder, ignore_errors=True)
    pending = writer.create(target, spec, resume=resume, overwrite=overwrite)
    if pending.complete:
        return Result(name, pending, Journal(folder))
    return Result(name, pending, Journal.open(folder, facts, resume=resume_blocks))


def groups(works: Iterable[T], crew: Crew, count: Callable[[T], int]) -> Iterator[list[T]]:
    """Put images together until a crew has enough to do; a large one stays alone.

    Parameters
    ----------
    works
        Images, begun one after the other.
    crew
        Who works.
    count
        Number of blocks of an image.
    """
    group: list[T] = []
    blocks = 0
    for work in works:
        group.append(work)
        blocks += count(work)
        if blocks >= (4 * crew.width if crew.width > 1 else 1):
            yield group
            group, blocks = [], 0
    if group:
        yield group


def names_of(results: Sequence[Result]) -> str:
    """Return what progress calls images that are worked on together."""
    return results[0].name if len(results) == 1 else f"{len(results)} images"


def publish(results: Sequence[Result], crew: Crew, progress: Progress) -> None:
    """Make the coarser levels of results, and give each its name.

    Parameters
    ----------
    results
        Their finest level is filled.
    crew
        Who works; is told what had to be left out.
    progress
        One unit per shard.

    Raises
    ------
    StorageError
        If the disk is full or refuses; what was there before is still there.
    """
    for result in results:
        _make_levels(result, crew, progress)
        missing = result.quarantined()
        if missing:
            result.note(quarantined={stage: sorted(blocks) for stage, blocks in missing.items()})
        for half in result.pending.temporary.rglob("*.partial"):
            half.unlink()  # what zarr was writing when an earlier process was killed
        result.pending.publish(notes=result.notes)
        if not missing:
            result.journal.close()
        for stage, blocks in missing.items():
            for index, why in blocks.items():
                line = f"{result.name}: {stage} of block {index}: {why}"
                _log.warning("left out %s", line)
                crew.left_out.append(line)


def _make_levels(result: Result, crew: Crew, progress: Progress) -> None:
    pending = result.pending
    for index in range(1, len(pending.spec.grids)):
        level = pending.start_level(index)
        job = Job(
            LevelWork(pending.temporary, pending.spec, index),
            result.journal.stage(f"level-{index}"),
            pyramid.count(level.shape, level.shards or level.chunks),
        )
        finish([job], crew, progress, f"level {index} of {result.name}")


def _forget_what_follows(journal: Journal) -> None:
    """Let whatever was made without the blocks that were left out be made anew."""
    stages = [path.name for path in journal.folder.iterdir() if path.is_dir()]
    is_after = False
    for name in sorted((n for n in stages if n.split("-")[0] in ORDER), key=_order):
        stage = journal.stage(name)
        if is_after:
            stage.forget()
        is_after = is_after or bool(stage.failed())


def _order(stage: str) -> tuple[int, int]:
    name, _, number = stage.partition("-")
    return ORDER.index(name), int(number or 0)
