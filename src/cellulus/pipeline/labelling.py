"""Labels of a whole image from labels of its blocks, where objects carry names.

First every block is labelled under numbers of its own, and the names of its objects are noted;
an object has the same name in every block that holds a part of it. Then names become numbers,
dense and in their order, and every block is written under these. No overlap is compared and no
block waits for a neighbour, so any cutting gives what the whole gives. Knows nothing of where
the labels come from.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import zarr

from cellulus.blocks.jobs import Job
from cellulus.blocks.shards import fit_shards
from cellulus.data.addresses import is_array
from cellulus.data.arrays import EDGES, Spec, failures, open_array
from cellulus.files import read_arrays, write_arrays
from cellulus.ops.joining import Extents, extents_of, together
from cellulus.ops.labels import fill_holes
from cellulus.pipeline.totals import Total
from cellulus.space import Block

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cellulus.pipeline.results import Result
    from cellulus.space import Blocks, Region, VoxelSize


NONE = np.zeros((0, 1), np.int64)


def label_spec(
    grid: Blocks, voxel_size: VoxelSize, attributes: dict[str, Any], source: str | None = None
) -> Spec:
    """Return what labels made block by block are stored as: every shard lies in one block.

    Parameters
    ----------
    grid
        The blocks; their extent is noted with the attributes, as ``cut``.
    voxel_size
        Of the labels.
    attributes
        What the labels depend on.
    source
        Path from the labels to their image.
    """
    ndim = len(grid.shape)
    chunks, shards = fit_shards(grid.shape, grid.core, *EDGES[ndim])
    return Spec(
        kind="labels",
        axes="zyx"[-ndim:],
        shape=grid.shape,
        dtype=np.dtype(np.uint32),
        voxel_size=voxel_size,
        chunks=chunks,
        shards=shards,
        attributes=attributes | {"cut": list(grid.core)},
        source=source,
    )


class Source(Protocol):
    """Where the labels of a block come from; small, so that it can be sent to a worker."""

    def open(self) -> Callable[[Block], tuple[NDArray[np.uint32], NDArray[np.int64]]]:
        """Return what labels a block.

        Its labels are those of the core, 0 or the row, from 1, of the name: ``(n, k)`` integers.
        """


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
            if not is_array(made._staging):
                zarr.create_array(
                    made._staging, shape=grid.shape, chunks=array.chunks, shards=array.shards,
                    dtype=np.uint32, overwrite=True,
                )  # fmt: skip
        return made

    def label(self, source: Source, result: Result) -> Job:
        """Return the first job: every block under its own numbers."""
        return Job(LabelWork(source, self), result.journal.stage("label"), len(self.grid))

    def number(self, result: Result, *, fill: bool = False) -> Job:
        """Return the second job, when the blocks are joined: every block under final numbers.

        Parameters
        ----------
        result
            To be filled.
        fill
            Whether holes are filled that dropped objects left.
        """
        work = NumberWork(self, result.pending.temporary / "0", fill)
        return Job(work, result.journal.stage("number"), len(self.grid))

    def found(self) -> tuple[NDArray[np.int64], list[Extents]]:
        """Return the names of what blocks hold, ``(n, k)``, and the extents of it, by block."""
        parts = [self._part(index) for index in range(len(self.grid))]
        names = [names for names, _ in parts if len(names)]
        return np.concatenate(names or [NONE]), [extents for _, extents in parts]

    def join(
        self,
        keep: Callable[[Extents], NDArray[np.bool_]],
        names: NDArray[np.int64] | None = None,
    ) -> Total:
        """Turn the names of all blocks into numbers.

        Parameters
        ----------
        keep
            Which objects stay.
        names
            Others than those that were found, ``(n, k)``.
        """
        own, parts = self.found()
        _, which = np.unique(own if names is None else names, axis=0, return_inverse=True)
        extents = together(parts, which.ravel())
        kept = keep(extents)
        numbers = np.where(kept, np.cumsum(kept), 0).astype(np.uint32)
        ends = np.cumsum([len(part.sizes) for part in parts])
        self._write("numbers.npz", numbers=numbers[which.ravel()], ends=ends)
        core, halo = np.array(self.grid.core), np.array(self.grid.halo)
        is_cut = extents.starts // core < (extents.stops - 1) // core
        is_wide = (is_cut & (extents.stops - extents.starts > halo)).any(axis=1)
        return Total(int(kept.sum()), int((kept & is_wide).sum()), self.grid.halo)

    def read(self, region: Region) -> NDArray[np.uint32]:
        """Return a part under final numbers, when the blocks are joined."""
        labels = np.zeros(tuple(part.stop - part.start for part in region), np.uint32)
        spans = [
            range(part.start // core, -(-part.stop // core))
            for part, core in zip(region, self.grid.core, strict=True)
        ]
        for place in itertools.product(*spans):
            index = int(np.ravel_multi_index(place, self.grid.counts))
            both = tuple(
                slice(max(a.start, b.start), min(a.stop, b.stop))
                for a, b in zip(region, self.grid[index].core, strict=True)
            )
            labels[Block(both, region).inner] = self._table(index)[np.asarray(self._staged[both])]
        return labels

    def save(self, index: int, labels: NDArray[np.uint32], names: NDArray[np.int64]) -> int:
        """Keep the labels of a block, and return how many objects it holds a part of."""
        core = self.grid[index].core
        with failures(self._staging):
            self._staged[core] = labels
        found = extents_of(labels, len(names), [part.start for part in core])
        self._write(f"{index}.npz", names=names, **asdict(found))
        return len(names)

    @property
    def _staging(self) -> Path:
        return self.folder / "staging"

    @cached_property
    def _staged(self) -> zarr.Array[Any]:
        return zarr.open_array(self._staging, mode="r+")

    @cached_property
    def numbers(self) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Final numbers of what blocks hold, 0 for what is dropped, and where each block's end."""
        found = read_arrays(self.folder / "parts" / "numbers.npz")
        return found["numbers"], found["ends"]

    def _table(self, index: int) -> NDArray[np.uint32]:
        """Return the final number of each of a block's own."""
        numbers, ends = self.numbers
        own = numbers[ends[index - 1] if index else 0 : ends[index]]
        return np.concatenate([np.zeros(1, np.uint32), own])

    def _write(self, name: str, **arrays: NDArray[Any]) -> None:
        write_arrays(self.folder / "parts" / name, **arrays)

    def _part(self, index: int) -> tuple[NDArray[np.int64], Extents]:
        path = self.folder / "parts" / f"{index}.npz"
        if not path.exists():  # left out
            none = np.zeros((0, len(self.grid.shape)), np.int64)
            return NONE, Extents(none[:, 0], none, none)
        arrays = read_arrays(path)
        return arrays.pop("names"), Extents(**arrays)


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
    fill
        Whether holes are filled.
    """

    labelling: Labelling
    target: Path
    fill: bool

    def open(self) -> Callable[[int], dict[str, Any]]:
        """See `cellulus.blocks.crew.Work`."""
        labelling = Labelling(self.labelling.folder, self.labelling.grid)
        target = open_array(self.target, "r+")

        def do(index: int) -> dict[str, Any]:
            block = labelling.grid[index]
            if self.fill:
                labels = fill_holes(labelling.read(block.outer))[block.inner]
            else:
                labels = labelling.read(block.core)
            with failures(self.target):
                target[block.core] = labels
            return {}

        return do
