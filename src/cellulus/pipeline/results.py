"""A result that is made block by block: the array that grows, and the journal of what is done.

Both lie beside the name that the result gets when it is whole. If blocks had to be left out, the
result appears all the same, says so in its notes, and keeps its journal: resuming tries those
blocks again. Knows nothing of what a block holds.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cellulus import __version__
from cellulus.blocks.jobs import Job, finish
from cellulus.blocks.journal import Journal
from cellulus.data import pyramid, writer
from cellulus.data.arrays import OUTCOME
from cellulus.data.places import place_of
from cellulus.pipeline.levels import LevelWork
from cellulus.pipeline.prediction import notes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from cellulus.blocks.crew import Crew
    from cellulus.progress import Progress

T = TypeVar("T")

WITHOUT = "without"
"""Among the attributes, the blocks that were left out of what a result is made from."""
ORDER = ("mark", "survey", "predict", "label", "pair", "number", "measure", "level")
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
        """Its name in the run folder."""
        return Path(self.pending.path)

    def note(self, **facts: Any) -> None:
        """Add to what the finished result tells of itself; JSON."""
        self.notes.update(facts)

    def quarantined(self) -> dict[str, dict[int, str]]:
        """Return the blocks that had to be left out, by stage, and why."""
        found = {name: self.journal.stage(name).failed() for name in _stages(self.journal)}
        return {stage: blocks for stage, blocks in found.items() if blocks}


def gaps_of(path: str) -> dict[str, list[int]]:
    """Return the blocks that are missing in a result, or in what it was made from, by stage."""
    notes = notes_of(path)
    return {**notes.get(WITHOUT, {}), **notes.get(OUTCOME, {}).get("quarantined", {})}


def begin(
    name: str, target: Path, spec: writer.Spec, *, resume: bool, overwrite: bool, store: str = ""
) -> Result:
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
        Go on with, or replace, what is there. What was made from something with gaps is made
        anew when these are others: whoever resumes does so to have them closed.
    store
        URL of the folder for results that are not to lie in the run folder (`url_in`). The
        journal, and all that is needed on the way, stay beside `target`.

    Raises
    ------
    ExistsError
        If something is there and neither was asked for.
    InputError
        If what is there was begun with something else; names what changed.
    StorageError
        If the disk is full or refuses.
    """
    journal = Journal(target.with_name(f"{target.name}.work"))
    facts = {**spec.attributes, "version": __version__}
    if resume and _was_made_without(target) not in (None, spec.attributes.get(WITHOUT, {})):
        resume, overwrite = False, True
    url = url_in(store, target)
    place = place_of(target, url)
    goes_on = resume and journal.is_begun and (place.is_begun() or target.exists())
    if goes_on:
        Journal.open(journal.folder, facts, resume=True)  # names what changed
        if not place.is_begun():  # it was finished without some blocks
            place.reopen()
            _forget_what_follows(journal)
    else:
        # A journal without the array that it tells of would tell of blocks that are not there.
        shutil.rmtree(journal.folder, ignore_errors=True)
    # What was begun without a journal may hold what an earlier result left there.
    keep = resume and (goes_on or bool(place.obstacles()))
    pending = writer.create(target, spec, resume=keep, overwrite=overwrite or goes_on, store=url)
    if not pending.complete:
        Journal.open(journal.folder, facts, resume=goes_on)
    return Result(name, pending, journal)


def url_in(store: str, target: Path) -> str:
    """Return where in a store a result goes: the folder and the file that it is in the run.

    Parameters
    ----------
    store
        URL; empty where there is none.
    target
        Such as ``runs/a/labels/img.zarr``, for ``STORE/labels/img.zarr``.
    """
    return f"{store.rstrip('/')}/{target.parent.name}/{target.name}" if store else ""


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
        result.pending.publish(notes=result.notes)
        if not missing:
            result.journal.close()
        for stage, blocks in missing.items():
            for index, why in blocks.items():
                line = f"{result.name}: {stage} of block {index}: {why}"
                _log.warning("left out %s", line)
                crew.left_out.append(line)


def _was_made_without(target: Path) -> dict[str, list[int]] | None:
    """Return the gaps in what an earlier run made a result from; None if there was no such run."""
    grown = target.with_name(f"{target.name}.partial")
    there = [path for path in (target, grown) if path.exists()]
    return dict(notes_of(str(there[0])).get(WITHOUT, {})) if there else None


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
    is_after = False
    for name in _stages(journal):
        stage = journal.stage(name)
        if is_after:
            stage.forget()
        is_after = is_after or bool(stage.failed())


def _stages(journal: Journal) -> list[str]:
    """Return the stages that were begun, in order; other folders hold what these made."""
    found = []
    for path in journal.folder.iterdir():
        kind, _, number = path.name.partition("-")
        if kind in ORDER and (not number or number.isdigit()):
            found.append((ORDER.index(kind), int(number or 0), path.name))
    return [name for _, _, name in sorted(found)]
