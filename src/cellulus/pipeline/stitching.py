"""Blocks that are decoded alone, and stitched: for decoders that cannot be local.

Each block is given what lies around it, and decoded as if it were the whole image. What it made
of the voxels that its neighbours saw too is kept beside its labels, never changed. Then each pair
of neighbours is compared there, those that share but an edge or a corner included: labels of the
same voxels are one object if they overlap enough (`cellulus.ops.stitching`). What is linked gets
one name, and is numbered as any labels are (`labelling`). Surveys are of the whole image as ever.
Knows nothing of how a block is decoded.
"""

from __future__ import annotations

import io
import itertools
import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus.blocks.jobs import Job
from cellulus.blocks.journal import Journal
from cellulus.files import read_arrays, write_arrays, write_bytes
from cellulus.ops.joining import compact, together
from cellulus.ops.stitching import Links, find_links, unite
from cellulus.space import Block

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cellulus.blocks.journal import Stage
    from cellulus.ops.joining import Extents
    from cellulus.pipeline.labelling import Labelling, Source
    from cellulus.pipeline.results import Result
    from cellulus.pipeline.totals import Total
    from cellulus.space import Blocks, Region

_log = logging.getLogger(__name__)

WIDEST = 3.0
"""No object is wider: what would become so by stitching is a chain of several [object diameter]."""
NAMED = 20
"""Objects that are named in notes and warnings, at most."""
_PER_BLOCK = 2**32

MERGED = "%s: %d objects are of parts that one block held for several; their numbers: %s"
REFUSED = "%s: %d links between blocks were refused, because objects would have become wider than "
REFUSED += "%s voxels; their numbers: %s"


@dataclass(frozen=True)
class Stitching:
    """The stitching of one image; labels blocks, under names that no other block uses.

    Attributes
    ----------
    source
        Decodes a block.
    grid
        The blocks, with what each is given around it.
    folder
        Of the journal.
    widest
        Largest extent of an object per axis [voxel].
    """

    source: Source
    grid: Blocks
    folder: Path
    widest: tuple[int, ...]

    @classmethod
    def of(cls, source: Source, grid: Blocks, folder: Path, diameter: Sequence[float]) -> Stitching:
        """Return the stitching of objects that are `diameter` wide per axis [voxel]."""
        return cls(source, grid, folder, tuple(math.ceil(WIDEST * d) + 1 for d in diameter))

    def open(self) -> Callable[[Block], tuple[NDArray[np.uint32], NDArray[np.int64]]]:
        """See `cellulus.pipeline.labelling.Source`."""
        label = self.source.open()

        def alone(block: Block) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
            labels, found = label(Block(block.outer, block.outer))
            places = (p.start // n for p, n in zip(block.core, self.grid.core, strict=True))
            index = int(np.ravel_multi_index(tuple(places), self.grid.counts))
            self._keep(index, labels)
            names = index * _PER_BLOCK + 1 + np.arange(len(found), dtype=np.int64)
            return compact(labels[block.inner], names[:, None])

        return alone

    def pair(self, result: Result) -> Job:
        """Return the job between labelling and joining: every block against those after it."""
        return Job(PairWork(self), result.journal.stage("pair"), len(self.grid))

    def join(
        self, labelling: Labelling, keep: Callable[[Extents], NDArray[np.bool_]], result: Result
    ) -> Total:
        """Turn the names of all blocks into numbers, when they are paired; note what came of it.

        Parameters
        ----------
        labelling
            Of this stitching.
        keep
            Which objects stay.
        result
            Gets the notes.
        """
        names, parts = labelling.found()
        extents = together(parts, np.arange(len(names)))
        united = unite(self._links(), names[:, 0], extents, self.widest)
        total = labelling.join(keep, united.names[:, None])
        numbers, ends = labelling.numbers
        self._report(result, numbers, ends, united.refused)
        return total

    def neighbours(self, index: int) -> dict[int, Region]:
        """Return the blocks around a block, and the voxels that it and each of them see."""
        counts = self.grid.counts
        place = [int(p) for p in np.unravel_index(index, counts)]
        near = [range(max(p - 1, 0), min(p + 2, n)) for p, n in zip(place, counts, strict=True)]
        others = {int(np.ravel_multi_index(other, counts)) for other in itertools.product(*near)}
        here = self.grid[index].outer
        return {other: _both(here, self.grid[other].outer) for other in sorted(others - {index})}

    def links(self, index: int) -> Links:
        """Return the links between a block and those after it, by their names."""
        found = []
        for other in self.neighbours(index):
            if other > index and self._path(index).exists() and self._path(other).exists():
                first, second, iou = find_links(self._view(index, other), self._view(other, index))
                found.append(Links(first + index * _PER_BLOCK, second + other * _PER_BLOCK, iou))
        return Links.of(found)

    def write_links(self, index: int) -> int:
        """Write the links of a block to those after it, and return how many they are."""
        links = self.links(index)
        write_arrays(self._stage.part(index), **links._asdict())
        return len(links.iou)

    @property
    def _stage(self) -> Stage:
        return Journal(self.folder).stage("pair")

    def _path(self, index: int) -> Path:
        return self.folder / "overlaps" / f"{index}.npz"

    def _keep(self, index: int, labels: NDArray[np.uint32]) -> None:
        """Write what a block made of the voxels that each of its neighbours sees."""
        outer = self.grid[index].outer
        data = io.BytesIO()
        views = {
            str(other): labels[Block(region, outer).inner]
            for other, region in self.neighbours(index).items()
        }
        np.savez_compressed(data, **views)  # type: ignore[arg-type]
        write_bytes(self._path(index), data.getvalue(), flush=False)

    def _view(self, index: int, other: int) -> NDArray[np.uint32]:
        with np.load(self._path(index)) as views:
            return np.asarray(views[str(other)])

    def _links(self) -> Links:
        return Links.of([Links(**read_arrays(path)) for path in self._stage.parts()])

    def _report(
        self,
        result: Result,
        numbers: NDArray[np.uint32],
        ends: NDArray[np.int64],
        refused: NDArray[np.int64],
    ) -> None:
        blocks = np.searchsorted(ends, np.arange(len(numbers)), side="right")
        kept = np.stack([blocks, numbers], axis=1)[numbers > 0]
        found, counts = np.unique(kept, axis=0, return_counts=True)
        merged = np.unique(found[counts > 1, 1])
        stitched = np.unique(found[:, 1], return_counts=True)[1] > 1
        apart = numbers[refused]
        result.note(
            stitched={
                "objects": int(stitched.sum()),
                "merged": len(merged),
                "merged_objects": merged[:NAMED].tolist(),
                "refused": len(refused),
                "refused_objects": apart[:NAMED].tolist(),
            }
        )
        if len(merged):
            _log.warning(MERGED, result.name, len(merged), merged[:NAMED].tolist())
        if len(refused):
            _log.warning(REFUSED, result.name, len(refused), self.widest, apart[:NAMED].tolist())


@dataclass(frozen=True)
class PairWork:
    """Compares blocks with those after them.

    Attributes
    ----------
    stitching
        With its blocks labelled.
    """

    stitching: Stitching

    def open(self) -> Callable[[int], dict[str, Any]]:
        """See `cellulus.blocks.crew.Work`."""
        return lambda index: {"links": self.stitching.write_links(index)}


def _both(first: Region, second: Region) -> Region:
    """Return what lies in two regions."""
    return tuple(
        slice(max(a.start, b.start), min(a.stop, b.stop))
        for a, b in zip(first, second, strict=True)
    )
