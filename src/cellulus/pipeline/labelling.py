"""Labels of a whole image from labels of its blocks, where objects carry names.

First every block is labelled under numbers of its own, and the names of its objects are noted;
an object has the same name in every block that holds a part of it. Then names become numbers,
dense and in their order, and every block is written under these. No overlap is compared and no
block waits for a neighbour, so any cutting gives what the whole gives. Knows nothing of where
the labels come from.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import zarr

from cellulus.blocks.jobs import Job
from cellulus.data.arrays import failures
from cellulus.files import write_arrays

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cellulus.pipeline.results import Result
    from cellulus.space import Block, Blocks, Region


class Source(Protocol):
    """Where the labels of a block come from; small, so that it can be sent to a worker."""

    def open(self) -> Callable[[Block], tuple[NDArray[np.uint32], NDArray[np.int64]]]:
        """Return what labels a block.

        Its labels are those of the core, 0 or the row, from 1, of the name: ``(n, k)`` integers.
        """


@dataclass(frozen=True)
class Total:
    """What came of joining the blocks.

    Attributes
    ----------
    objects
        How many there are.
    wide
        How many of them reach farther than a block can see, and may therefore differ from what
        the whole would give.
    """

    objects: int
    wide: int


@dataclass(frozen=True)
class Labelling:
    """The labels of one image between its blocks' own numbers and the final ones.

    Attributes
    ----------
    folder
        Holds all that is needed on the way.
    grid
        The blocks.
    """

    folder: Path
    grid: Blocks

    @classmethod
    def of(cls, result: Result, grid: Blocks) -> Labelling:
        """Return the labelling that fills a result; made if it is not there."""
        made = cls(result.journal.folder, grid)
        array = result.pending.array
        with failures(made._staging):
            if not made._staging.exists():
                zarr.create_array(
                    made._staging, shape=grid.shape, chunks=array.chunks, shards=array.shards,
                    dtype=np.uint32,
                )  # fmt: skip
        return made

    def label(self, source: Source, result: Result) -> Job:
        """Return the first job: every block under its own numbers."""
        return Job(LabelWork(source, self), result.journal.stage("label"), len(self.grid))

    def number(self, result: Result) -> Job:
        """Return the second job, when the blocks are joined: every block under final numbers."""
        work = NumberWork(self, result.pending.temporary / "0")
        return Job(work, result.journal.stage("number"), len(self.grid))

    def join(self, smallest: float, halo: tuple[int, ...]) -> Total:
        """Turn the names of all blocks into numbers.

        Parameters
        ----------
        smallest
            Objects with fewer voxels are dropped [voxel].
        halo
            How far around its core a block sees, per axis [voxel].
        """
        parts = [self._part(index) for index in range(len(self.grid))]
        counts = np.array([len(part["sizes"]) for part in parts])
        names = np.concatenate([part["names"] for part in parts])
        final = np.zeros(len(names), np.uint32)
        kept, wide = np.zeros(0, bool), 0
        if len(names):
            _, which = np.unique(names, axis=0, return_inverse=True)
            which = which.ravel()
            sizes = np.bincount(which, weights=np.concatenate([part["sizes"] for part in parts]))
            kept = sizes >= smallest
            final = np.where(kept, np.cumsum(kept), 0).astype(np.uint32)[which]
            boxes = np.concatenate([part["boxes"] for part in parts])
            wide = int((kept & _reach_beyond(boxes, which, len(kept), halo, self.grid)).sum())
        self._write("numbers.npz", numbers=final, ends=np.cumsum(counts))
        return Total(int(kept.sum()), wide)

    def read(self, region: Region) -> NDArray[np.uint32]:
        """Return a part under final numbers, when the blocks are joined."""
        labels = np.zeros(tuple(part.stop - part.start for part in region), np.uint32)
        spans = [
            range(part.start // core, -(-part.stop // core))
            for part, core in zip(region, self.grid.core, strict=True)
        ]
        for place in itertools.product(*spans):
            index = int(np.ravel_multi_index(place, self.grid.counts))
            both = [
                slice(max(a.start, b.start), min(a.stop, b.stop))
                for a, b in zip(region, self.grid[index].core, strict=True)
            ]
            inside = tuple(
                slice(b.start - a.start, b.stop - a.start)
                for a, b in zip(region, both, strict=True)
            )
            labels[inside] = self._table(index)[np.asarray(self._staged[tuple(both)])]
        return labels

    def save(self, index: int, labels: NDArray[np.uint32], names: NDArray[np.int64]) -> int:
        """Keep the labels of a block, and return how many objects it holds a part of."""
        core = self.grid[index].core
        with failures(self._staging):
            self._staged[core] = labels
        sizes = np.bincount(labels.ravel(), minlength=len(names) + 1)[1:]
        boxes = _boxes(labels, len(names)) + [part.start for part in core]
        self._write(f"{index}.npz", names=names, sizes=sizes, boxes=boxes)
        return len(names)

    @property
    def _staging(self) -> Path:
        return self.folder / "staging"

    @cached_property
    def _staged(self) -> zarr.Array[Any]:
        return zarr.open_array(self._staging, mode="r+")

    @cached_property
    def _numbers(self) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        with np.load(self.folder / "parts" / "numbers.npz") as found:
            return found["numbers"], found["ends"]

    def _table(self, index: int) -> NDArray[np.uint32]:
        """Return the final number of each of a block's own."""
        numbers, ends = self._numbers
        own = numbers[ends[index - 1] if index else 0 : ends[index]]
        return np.concatenate([np.zeros(1, np.uint32), own])

    def _write(self, name: str, **arrays: NDArray[Any]) -> None:
        write_arrays(self.folder / "parts" / name, **arrays)

    def _part(self, index: int) -> dict[str, NDArray[Any]]:
        path = self.folder / "parts" / f"{index}.npz"
        if not path.exists():  # left out
            ndim = len(self.grid.shape)
            none = np.zeros((0, ndim), np.int64)
            return {"names": none, "sizes": none[:, 0], "boxes": np.zeros((0, 2, ndim), np.int64)}
        with np.load(path) as found:
            return dict(found)


@dataclass(frozen=True)
class LabelWork:
    """Labels blocks under numbers of their own.

    Attributes
    ----------
    source
        Where labels come from.
    labelling
        Where they are kept.
    """

    source: Source
    labelling: Labelling

    def open(self) -> Callable[[int], dict[str, Any]]:
        """See `cellulus.blocks.crew.Work`."""
        label, labelling = self.source.open(), self.labelling

        def do(index: int) -> dict[str, Any]:
            labels, names = label(labelling.grid[index])
            return {"objects": labelling.save(index, labels, names)}

        return do


@dataclass(frozen=True)
class NumberWork:
    """Writes blocks under final numbers.

    Attributes
    ----------
    labelling
        With its blocks joined.
    target
        The finest level of the result.
    """

    labelling: Labelling
    target: Path

    def open(self) -> Callable[[int], dict[str, Any]]:
        """See `cellulus.blocks.crew.Work`."""
        labelling = Labelling(self.labelling.folder, self.labelling.grid)
        target = zarr.open_array(self.target, mode="r+")

        def do(index: int) -> dict[str, Any]:
            core = labelling.grid[index].core
            with failures(self.target):
                target[core] = labelling.read(core)
            return {}

        return do


def _boxes(labels: NDArray[np.uint32], count: int) -> NDArray[np.int64]:
    """Return first and last + 1 voxel of each object per axis, ``(count, 2, ndim)``."""
    from scipy import ndimage

    found = ndimage.find_objects(labels, max_label=count) if count else []
    boxes = np.zeros((count, 2, labels.ndim), np.int64)
    for box, extent in zip(boxes, found, strict=True):
        box[0] = [part.start for part in extent]
        box[1] = [part.stop for part in extent]
    return boxes


def _reach_beyond(
    boxes: NDArray[np.int64],
    which: NDArray[np.intp],
    count: int,
    halo: tuple[int, ...],
    grid: Blocks,
) -> NDArray[np.bool_]:
    """Return which objects lie in several blocks and are wider than the halo on some cut axis."""
    ndim = boxes.shape[-1]
    first = np.full((count, ndim), np.iinfo(np.int64).max)
    last = np.zeros((count, ndim), np.int64)
    np.minimum.at(first, which, boxes[:, 0])
    np.maximum.at(last, which, boxes[:, 1])
    core = np.array(grid.core)
    is_cut = first // core < (last - 1) // core
    return np.asarray((is_cut & (last - first > np.array(halo))).any(axis=1))
