"""How labels and truth on disk overlap, counted block by block: memory grows with the objects only.

Of each block a table is kept of how many voxels its objects share; the tables add up, so any
cutting gives the same. Knows nothing of scores.
"""

from __future__ import annotations

import logging
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cellulus import __version__
from cellulus.blocks.crew import Alone, Crew
from cellulus.blocks.jobs import Job, finish
from cellulus.blocks.journal import Journal, Stage
from cellulus.data.portions import portion_of
from cellulus.errors import InputError, StorageError
from cellulus.files import read_arrays, write_arrays
from cellulus.ops.overlap import OverlapTable, overlap_table, total
from cellulus.pipeline.prediction import notes_of
from cellulus.pipeline.samples import fingerprint
from cellulus.progress import Progress, Silent
from cellulus.space import Blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from cellulus.data.volume import Volume
    from cellulus.space import Region

WORK = "scores.json.work"
"""Folder of what is counted on the way."""

_log = logging.getLogger(__name__)


class Pair(NamedTuple):
    """Labels of an image, and what they are scored against.

    Attributes
    ----------
    labels, truth
        Of the same shape.
    ignore
        Where it is not 0 nothing counts, on neither side: nobody annotated there.
    ignore_label
        A number in the truth that means the same.
    """

    labels: Volume
    truth: Volume
    ignore: Volume | None = None
    ignore_label: int | None = None


@contextmanager
def overlaps(
    pairs: Sequence[Pair],
    folder: Path | None,
    *,
    crew: Crew | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Iterator[Iterator[OverlapTable]]:
    """Count how labels and truths overlap.

    Parameters
    ----------
    pairs
        What is counted.
    folder
        Keeps in `WORK` what was counted, until the body is done with it; by default nothing does.
    crew
        Who counts; this process by default.
    resume
        Whether to go on with what was counted, if it was of these labels and truths.
    progress
        One unit per block.

    Yields
    ------
    tables
        Of each pair.

    Raises
    ------
    InputError
        If labels and truth do not fit, or are none.
    StorageError
        If a part of them cannot be read: nobody could tell what is missing in a score.
    """
    for pair in pairs:
        work = OverlapWork.of(pair, Stage(Path()))
        # Refuses other types.
        work.table(np.zeros(0, pair.labels.dtype), np.zeros(0, pair.truth.dtype))
    with _begun(pairs, folder, crew, resume=resume) as journal:
        works = [
            OverlapWork.of(pair, journal.stage(f"overlap-{number}"))
            for number, pair in enumerate(pairs)
        ]
        jobs = [Job(work, work.stage, len(work.grid)) for work in works]
        finish(jobs, crew or Alone(), progress or Silent(), "evaluate")
        for work in works:
            _refuse_gaps(work, work.stage.failed())
        yield (work.found() for work in works)


@dataclass(frozen=True)
class OverlapWork:
    """Counts how labels and truth overlap, block by block, and keeps the tables.

    Attributes
    ----------
    pair
        What is counted.
    grid
        The blocks.
    stage
        Keeps the tables.
    """

    pair: Pair
    grid: Blocks
    stage: Stage

    @classmethod
    def of(cls, pair: Pair, stage: Stage) -> OverlapWork:
        """Return the work in blocks that suit both files.

        Raises
        ------
        InputError
            If the shapes differ.
        """
        labels, truth = pair.labels, pair.truth
        if labels.shape != truth.shape:
            raise InputError(
                truth.path or truth.name,
                expected=f"the shape of {labels.path or labels.name}, {labels.shape}",
                found=f"shape {truth.shape}",
                remedy="score labels on the grid and the pyramid level of the truth",
            )
        grid = Blocks(labels.shape, portion_of(labels, truth), (0,) * labels.ndim)
        return cls(pair, grid, stage)

    def open(self) -> Callable[[int], dict[str, Any]]:
        """See `cellulus.blocks.crew.Work`."""

        def do(index: int) -> dict[str, Any]:
            region = self.grid[index].core
            table = self.table(*self._read(region))
            write_arrays(self.stage.part(index), **asdict(table))
            return {}

        return do

    def _read(self, region: Region) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return labels and truth of a block, background where nothing counts."""
        labels, truth, ignore, number = self.pair
        found, drawn = labels.read(region)[0], truth.read(region)[0]
        if ignore is None and number is None:
            return found, drawn
        counts = np.ones(drawn.shape, bool)
        if ignore is not None:
            counts &= ignore.read(region)[0] == 0
        if number is not None:
            counts &= drawn != number
        return np.where(counts, found, 0), np.where(counts, drawn, 0)

    def found(self) -> OverlapTable:
        """Return the table of the whole, when all blocks are done."""
        paths = (self.stage.part(index) for index in range(len(self.grid)))
        return total(OverlapTable(**read_arrays(path)) for path in paths)

    def table(self, labels: NDArray[Any], truth: NDArray[Any]) -> OverlapTable:
        """Count a block; an error names the file that holds no ids."""
        try:
            return overlap_table(labels, truth)
        except InputError as error:
            side = {"labels": self.pair.labels, "truth": self.pair.truth}.get(error.where)
            if side is None:
                raise
            raise InputError(
                side.path or side.name,
                expected=error.expected,
                found=error.found,
                remedy=error.remedy,
            ) from error


@contextmanager
def _begun(
    pairs: Sequence[Pair],
    folder: Path | None,
    crew: Crew | None,
    *,
    resume: bool,
) -> Iterator[Journal]:
    """Begin to count, or go on if labels and truths are the same; at the end the counts go."""
    if folder is None:
        # Workers elsewhere see the current folder, but hardly a temporary one of this machine.
        near = None if isinstance(crew or Alone(), Alone) else Path.cwd()
        with tempfile.TemporaryDirectory(prefix="cellulus-", dir=near) as somewhere:
            yield Journal.open(Path(somewhere) / WORK, {}, resume=False)
        return
    facts = _facts(pairs)
    try:
        journal = Journal.open(folder / WORK, facts, resume=resume)
    except InputError:
        _log.warning("labels or truths have changed since they were counted: all are counted anew")
        journal = Journal.open(folder / WORK, facts, resume=False)
    try:
        yield journal
    except InputError:  # the next attempt is one at other files
        journal.close()
        raise
    journal.close()


def _facts(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return what tells labels and truths from others."""
    facts: dict[str, Any] = {"version": __version__}
    for number, pair in enumerate(pairs):
        facts[f"cut {number}"] = portion_of(pair.labels, pair.truth)
        facts[f"ignore_label {number}"] = pair.ignore_label
        sides = {"labels": pair.labels, "truth": pair.truth, "ignore": pair.ignore}
        for name, side in sides.items():
            if side is not None:
                told = [side.path, side.time, fingerprint(side), notes_of(side.path)]
                facts[f"{name} {number}"] = told
    return facts


def _refuse_gaps(work: OverlapWork, failed: Mapping[int, str]) -> None:
    """Refuse to score what could be read in part only: nobody could tell what is missing."""
    if failed:
        index, reason = next(iter(failed.items()))
        raise StorageError(
            work.pair.labels.path or work.pair.labels.name,
            expected="labels and a truth that can be read whole",
            found=f"{len(failed)} of {len(work.grid)} blocks that cannot; block {index}: {reason}",
            remedy="repair them; --resume then counts these blocks alone",
        )
