"""The normalisation of a whole image, however large: its percentiles, counted block by block.

Every voxel counts, so any cutting gives the same numbers. An image is read once for them if its
voxels have two bytes or fewer, else twice; they are kept beside what is made with them, so that who
goes on with that need not read it again. Knows nothing of what is made.
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus import __version__
from cellulus.blocks.crew import Alone, Crew
from cellulus.blocks.jobs import Job, finish
from cellulus.blocks.journal import Journal
from cellulus.data import normalise
from cellulus.data.normalise import Normalisation, estimate
from cellulus.data.portions import portion_of
from cellulus.errors import ChunkError, InputError, StorageError
from cellulus.files import read_arrays, write_arrays, write_json
from cellulus.ops.quantiles import BASE, Digits
from cellulus.pipeline.samples import fingerprint
from cellulus.progress import Progress, Silent
from cellulus.space import Blocks

Leading = tuple[tuple[int, ...], ...]

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cellulus.blocks.journal import Stage
    from cellulus.data.volume import Volume
    from cellulus.ops.quantiles import Counts

MOST_BLOCKS = 512
"""Counts take room, so they are kept for this many blocks at most, which are read in parts."""

AROUND = 64
"""Edge of the blocks in which an image that is not large is counted if it is damaged [voxel]."""
DAMAGED = "damaged in the middle"
"""Stands for the fingerprint of an image; once it is mended, its numbers still hold."""

_log = logging.getLogger(__name__)


def normalisation_of(
    volume: Volume,
    percentiles: tuple[float, float],
    path: Path,
    *,
    crew: Crew | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Normalisation:
    """Return the normalisation by the percentiles of all voxels of an image.

    Blocks that cannot be read are left out, with a warning: what is wrong with them will show when
    the image is worked on, and a damaged chunk is to cost no more than its surroundings.

    Parameters
    ----------
    volume
        The image.
    percentiles
        That become 0 and 1.
    path
        A JSON file, which keeps the numbers of an image that takes several blocks; and the name
        for a folder of what is needed on the way.
    crew
        Who works; this process by default.
    resume
        Whether to go on with what is there, or to use it.
    progress
        One unit per block.

    Raises
    ------
    InputError
        If there are NaN or infinite values, or if a channel is constant.
    StorageError
        If the image cannot be read, or the disk is full or refuses.
    """
    facts = {
        "image": volume.path,
        "time": volume.time,
        "channels": list(volume.channels),
        "fingerprint": _fingerprint(volume),
        "percentiles": list(percentiles),
        "version": __version__,
    }
    if resume and path.exists():
        known = json.loads(path.read_text())
        if known["facts"] in (facts, facts | {"fingerprint": DAMAGED}):
            return Normalisation.of([(low, high) for low, high in known["spans"]])
    path.unlink(missing_ok=True)
    core = portion_of(volume)
    if math.prod(volume.shape) <= normalise.SAMPLE_VOXELS:
        try:
            return estimate([volume], percentiles)
        except ChunkError:  # what lies around the damage counts
            core = tuple(min(n, AROUND) for n in volume.shape)
    grid = Blocks(volume.shape, core, (0,) * volume.ndim)
    journal = Journal.open(
        path.with_suffix(".work"), facts | {"cut": list(grid.core)}, resume=resume
    )
    counting = _Counting(volume, percentiles, grid, journal, crew or Alone(), progress or Silent())
    try:
        spans = counting.spans()
    except InputError:  # the next attempt is one at another image
        journal.close()
        raise
    write_json(path, {"facts": facts, "spans": spans})
    journal.close()
    return Normalisation.of(spans)


def _fingerprint(volume: Volume) -> str:
    try:
        return fingerprint(volume)
    except StorageError:
        return DAMAGED


@dataclass(frozen=True)
class _Counting:
    """How the percentiles of one image are found."""

    volume: Volume
    percentiles: tuple[float, float]
    grid: Blocks
    journal: Journal
    crew: Crew
    progress: Progress

    def spans(self) -> list[tuple[float, float]]:
        """Return the low and the high value of each channel."""
        volume, digits = self.volume, Digits.of(self.volume.dtype)
        stages = [self.journal.stage(f"count-{number}") for number in range(2)]
        before = stages[0].done()
        self._count(stages[0])
        done = stages[0].done()
        if done != before:
            stages[1].forget()  # its counts are not of these blocks
        self._warn(stages[0])
        counts = self._sum(stages[0], done, 1)[:, 0]
        normalise.refuse_strangers(volume, sum(digits.count_strangers(one) for one in counts))
        following: Counts | None = None
        if digits.passes > 1:
            leading = tuple(digits.leading(one, self.percentiles) for one in counts)
            self._count(stages[1], leading)
            if lost := done - stages[1].done():
                index = min(lost)
                raise StorageError(
                    volume.path,
                    expected="voxels that can be read a second time",
                    found=f"block {index}: {stages[1].failed()[index]}",
                    remedy="--resume goes on",
                )
            following = self._sum(stages[1], done, max(map(len, leading)))
        spans = []
        for channel, firsts in enumerate(counts):
            seconds = None if following is None else following[channel]
            low, high, least, most = digits.percentiles(firsts, self.percentiles, seconds).tolist()
            spans.append(normalise.span(volume, channel, (low, high), (least, most)))
        return spans

    def _count(self, stage: Stage, leading: Leading | None = None) -> None:
        together = math.ceil(len(self.grid) / MOST_BLOCKS)
        work = CountWork(self.volume, self.grid, together, stage, leading)
        job = Job(work, stage, math.ceil(len(self.grid) / together))
        finish([job], self.crew, self.progress, f"percentiles of {self.volume.name}")

    def _sum(self, stage: Stage, done: set[int], rows: int) -> Counts:
        """Add up the counts of blocks, ``(channels, rows, 65536)``."""
        total = np.zeros((len(self.volume.channels), rows, BASE), np.int64)
        for index in sorted(done):
            found = read_arrays(stage.part(index))
            total[tuple(found["places"])] += found["counts"]
        return total

    def _warn(self, stage: Stage) -> None:
        lost = stage.failed()
        for index, reason in lost.items():
            text = "%s: the percentiles leave out block %d: %s"
            _log.warning(text, self.volume.name, index, reason)


@dataclass(frozen=True)
class CountWork:
    """Counts the digits of voxels, and keeps how often which occur.

    Attributes
    ----------
    volume
        The image.
    grid
        The parts in which it is read.
    together
        How many of them, one after the other, are a block.
    stage
        Keeps the counts.
    leading
        Per channel, what to count the second digits of; by default first digits are counted.
    """

    volume: Volume
    grid: Blocks
    together: int
    stage: Stage
    leading: Leading | None = None

    def open(self) -> Callable[[int], dict[str, Any]]:
        """See `cellulus.blocks.crew.Work`."""
        digits, channels = Digits.of(self.volume.dtype), range(len(self.volume.channels))
        rows = max(map(len, self.leading)) if self.leading else 1

        def do(index: int) -> dict[str, Any]:
            counts = np.zeros((len(channels), rows, BASE), np.int64)
            for part in self.grid[index * self.together : (index + 1) * self.together]:
                for channel, values in enumerate(self.volume.read(part.core)):
                    leading = self.leading[channel] if self.leading else None
                    found = np.atleast_2d(digits.count(values, leading))
                    counts[channel, : len(found)] += found
            places = np.nonzero(counts)
            found = counts[places]
            narrow = {
                "places": np.stack(places).astype(np.uint16),
                "counts": found.astype(np.min_scalar_type(found.max(initial=0))),
            }
            write_arrays(self.stage.part(index), **narrow)
            return {}

        return do
