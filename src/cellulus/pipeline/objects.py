"""The table of objects: one line each, with place, extent, size, brightness and confidence.

Blocks are measured by themselves, in any process, and merged: only the table is ever held whole.

The table is a CSV file in UTF-8, ascending by ``id``. What is a length or a size ends on its unit,
``um`` where the voxel size of the image is known, else ``voxel``; an axis is ``z``, ``y`` or ``x``:

``centroid_<axis>_<unit>``
    Mean of the object's voxel centres. The origin is the centre of the image's first voxel, as in
    OME-Zarr; in voxels it is an index into the labels.
``start_<axis>_<unit>``, ``stop_<axis>_<unit>``
    The bounding box. In voxels a half-open range of indices, fit for slicing; in um the outer
    faces of its voxels, from the same origin as the centroid.
``volume_<unit>``, ``area_<unit>``
    Size in 3D (``um3``) and in 2D (``um2``); a number of voxels where the unit is ``voxel``.
``mean_intensity_c<channel>``
    Of the raw image, one per channel that was used, by its index in the file.
``mean_uncertainty_<unit>``
    How far repeated predictions of the object's centre stray, a label-free measure of doubt:
    large values mean little confidence. In voxels of the finest axis where the unit is ``voxel``.
``mean_seediness``
    How sure the network was that there is an object, 0 to 1; of methods that have no uncertainty.

A mean of nothing, where no prediction could be made, is left empty. Knows nothing of blocks.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus.data.readers import open_image
from cellulus.files import read_arrays, replacing, write_arrays
from cellulus.ops.measures import Measures, measure_objects

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from cellulus.data.volume import Volume
    from cellulus.pipeline.prediction import Prediction
    from cellulus.space import Region, VoxelSize

CONFIDENCE = {"uncertainty": True, "seediness": False, "presence": False}
"""Channels of predictions that tell how sure they are, and whether they are lengths."""
_ROWS = 65_536
"""Lines that are put into words at a time."""


@dataclass(frozen=True)
class ObjectTable:
    """What is measured of the objects of one image, and how it is told.

    Attributes
    ----------
    voxel_size
        Of the labels.
    image
        Whose intensities are measured, on the grid of the labels.
    confidence
        A prediction of one channel, on the same grid, and the channel's name.
    """

    voxel_size: VoxelSize
    image: Volume | None = None
    confidence: tuple[str, Prediction] | None = None

    @classmethod
    def of(cls, prediction: Prediction) -> ObjectTable:
        """Return the table for labels made from a prediction, with all that it knows."""
        names = open_image(prediction.volume.path).channel_names
        image, confidence = prediction.image, None
        for name in CONFIDENCE:
            if name in names:
                # The other channels would be read and resampled for nothing.
                alone = replace(prediction.volume, channels=(names.index(name),))
                confidence = name, replace(prediction, volume=alone)
        return cls(image.voxel_size, image, confidence)

    @property
    def none(self) -> Measures:
        """The measures of no object: what an empty block holds, and where merging may start."""
        kinds = len(self.image.channels) if self.image else 0
        return Measures.none(self.voxel_size.ndim, kinds + (self.confidence is not None))

    def measure(self, labels: NDArray[Any], region: Region) -> Measures:
        """Measure a part of the labels; see `merge` for what to do with it.

        Parameters
        ----------
        labels
            Final ids of that part, ``(*S)``; 0 is background.
        region
            Where it lies in the image, slices with a start and a stop [voxel].

        Returns
        -------
        measures
            First the channels of the image, then the confidence. Nothing is read where there
            are no labels.

        Raises
        ------
        InputError
            If the labels are no ids.
        StorageError
            If the image or the prediction is damaged there.
        """
        if not labels.any():
            return self.none
        values = list(self.image.read(region)) if self.image else []
        if self.confidence:
            values.append(self.confidence[1].read(region)[0])
        return measure_objects(labels, values, origin=tuple(part.start for part in region))

    def write(self, path: Path, measures: Measures) -> None:
        """Write the table; the same measures give the same bytes.

        Parameters
        ----------
        path
            A CSV file; what is there is replaced when the new one is whole.
        measures
            Of all blocks, merged.

        Raises
        ------
        StorageError
            If the disk is full or refuses.
        """
        with replacing(path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="")
            lines = csv.writer(text, lineterminator="\n")
            lines.writerow(name for name, _ in self._columns(self.none))
            for first in range(0, measures.ids.size, _ROWS):
                rows = slice(first, first + _ROWS)
                some = Measures(*(getattr(measures, f.name)[rows] for f in fields(measures)))
                parts = (_words(column) for _, column in self._columns(some))
                lines.writerows(zip(*parts, strict=True))
            text.detach()

    def _columns(self, measures: Measures) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield the columns by name."""
        ndim, unit = self.voxel_size.ndim, self.voxel_size.unit
        is_metric = unit == "um"
        extents = np.array(self.voxel_size.values if is_metric else (1,) * ndim)
        margin = 0.5 if is_metric else 0
        size = ("volume" if ndim > 2 else "area", f"um{ndim}" if is_metric else unit)
        places = {
            "centroid": measures.centroids * extents,
            "start": (measures.starts - margin) * extents,
            "stop": (measures.stops - margin) * extents,
        }
        yield "id", measures.ids
        for name, coordinates in places.items():
            for axis, column in zip("zyx"[-ndim:], coordinates.T, strict=True):
                yield f"{name}_{axis}_{unit}", column
        yield "_".join(size), measures.sizes * extents.prod()
        means = measures.means
        for index, channel in enumerate(self.image.channels if self.image else ()):
            yield f"mean_intensity_c{channel}", means[:, index]
        if self.confidence:
            name, prediction = self.confidence
            # Canonical voxels are cubes, so that any axis gives their edge.
            edge = self.voxel_size.values[-1] / prediction.facts.zoom[-1]
            finest = 1.0 if is_metric else min(self.voxel_size.values)
            if CONFIDENCE[name]:
                yield f"mean_{name}_{unit}", means[:, -1] * (edge / finest)
            else:
                yield f"mean_{name}", means[:, -1]


def save(path: Path, measures: Measures) -> None:
    """Keep the measures of a block.

    Raises
    ------
    StorageError
        If the disk is full or refuses.
    """
    write_arrays(path, **{f.name: getattr(measures, f.name) for f in fields(Measures)})


def load(path: Path) -> Measures:
    """Return the measures that `save` kept."""
    return Measures(**read_arrays(path))


def _words(column: NDArray[Any]) -> list[str]:
    """Write numbers so that they read back to ten digits; NaN becomes nothing."""
    if column.dtype.kind != "f":
        return [str(number) for number in column.tolist()]
    return ["" if math.isnan(number) else f"{number:.10g}" for number in column.tolist()]
