"""Measuring the objects of stored labels, block by block, for a table of any size of image.

What is measured, and how the table looks, is `objects`; here is who reads what, and when.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus.blocks.jobs import Job
from cellulus.data.arrays import open_array
from cellulus.data.readers import open_volumes
from cellulus.files import storage
from cellulus.ops.measures import merge
from cellulus.pipeline.objects import ObjectTable, load, save
from cellulus.pipeline.prediction import Prediction

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cellulus.blocks.journal import Stage
    from cellulus.ops.measures import Measures
    from cellulus.pipeline.results import Result
    from cellulus.space import Blocks, Region, VoxelSize


@dataclass(frozen=True)
class StoredLabels:
    """Labels in a file of any format.

    Attributes
    ----------
    path
        Of the file.
    time
        Time point.
    """

    path: str
    time: int

    def open(self) -> Callable[[Region], NDArray[Any]]:
        """Return what reads a region, ``(*S)``."""
        volume = open_volumes(self.path)[self.time]
        return lambda region: volume.read(region)[0]


@dataclass(frozen=True)
class GrowingLabels:
    """The finest level of labels that are being written.

    Attributes
    ----------
    path
        Of the array.
    """

    path: Path

    def open(self) -> Callable[[Region], NDArray[Any]]:
        """Return what reads a region, ``(*S)``."""
        array = open_array(self.path, "r")
        return lambda region: np.asarray(array[region])


@dataclass(frozen=True)
class Measuring:
    """The objects of one image, measured block by block.

    Attributes
    ----------
    labels
        Where they are read.
    grid
        The blocks.
    voxel_size
        Of the labels.
    prediction
        What they were made from, with its image; without it only places and sizes are measured.
    """

    labels: StoredLabels | GrowingLabels
    grid: Blocks
    voxel_size: VoxelSize
    prediction: Path | None = None

    def table(self) -> ObjectTable:
        """Return the table to be."""
        if self.prediction is None:
            return ObjectTable(self.voxel_size)
        return ObjectTable.of(Prediction.open(self.prediction))

    def job(self, result: Result, stage: str) -> Job:
        """Return the work, as a stage of a result."""
        kept = result.journal.stage(stage)
        return Job(MeasureWork(self, kept), kept, len(self.grid))

    def found(self, result: Result, stage: str) -> Measures:
        """Return what was measured in all blocks that could be, of which there are some."""
        return merge([load(path) for path in result.journal.stage(stage).parts()])

    def write(self, result: Result) -> None:
        """Write the table of labels that have no name yet; see `settle`.

        Raises
        ------
        StorageError
            If the disk is full or refuses.
        """
        self.table().write(_growing(result.path), self.found(result, "measure"))


def settle(result: Result) -> None:
    """Give a table its name if its labels have theirs.

    The name of the labels is what tells that both are whole. A run that is killed after they got
    it, and before the table did, leaves a table that whoever goes on has only to rename.

    Raises
    ------
    StorageError
        If the disk refuses.
    """
    growing = _growing(result.path)
    if result.complete and growing.exists():
        with storage(growing):
            growing.replace(result.path.with_suffix(".csv"))


def _growing(labels: Path) -> Path:
    return labels.with_suffix(".csv.partial")


@dataclass(frozen=True)
class MeasureWork:
    """Measures blocks, and keeps what it found.

    Attributes
    ----------
    measuring
        What is measured.
    stage
        Keeps what blocks found.
    """

    measuring: Measuring
    stage: Stage

    def open(self) -> Callable[[int], dict[str, Any]]:
        """See `cellulus.blocks.crew.Work`."""
        measuring, table = self.measuring, self.measuring.table()
        read = measuring.labels.open()

        def do(index: int) -> dict[str, Any]:
            region = measuring.grid[index].core
            found = table.measure(read(region), region)
            save(self.stage.part(index), found)
            return {"objects": len(found.ids)}

        return do
