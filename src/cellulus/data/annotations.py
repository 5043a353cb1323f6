"""The annotated objects of an image on the canonical grid, drawn or marked by a point each.

Labels are never interpolated: a canonical voxel has the label of the image voxel that its middle
lies in. The centre of an object is found once, in the whole image, so that an object that a crop
cuts keeps it. Knows nothing of how crops are chosen or what is learnt from them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from cellulus.data.batches import Crop, number
from cellulus.data.masks import IGNORED, Masks, box_of
from cellulus.data.portions import PORTION
from cellulus.ops.centres import medoid
from cellulus.ops.resample import reflect

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellulus.ops.measures import Measures
    from cellulus.space import Region, Scale

Kind = Literal["medoid", "centroid"]


@dataclass(frozen=True, eq=False)
class Annotation:
    """The objects of one image on the canonical grid; they are called by their rows.

    Attributes
    ----------
    masks
        What was drawn.
    objects
        All that is in them.
    scale
        Of the image.
    centre
        What stands for an object: the voxel with the least sum of distances to the others, or
        the mean. Distances are canonical, and so physical; both are taken over image voxels.
    """

    masks: Masks
    objects: Measures
    scale: Scale
    centre: Kind = "medoid"
    _found: dict[int, NDArray[np.float64]] = field(default_factory=dict, init=False, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of the canonical grid [voxel]."""
        return self.scale.canonical_shape(self.masks.labels.shape)

    @property
    def middles(self) -> NDArray[np.float64]:
        """Middle of every object's box, ``(n, ndim)`` [canonical voxel]."""
        ends = self.objects.starts + self.objects.stops
        return np.asarray(ends / 2 * self.scale.zoom)

    @property
    def extents(self) -> NDArray[np.float64]:
        """Extent of every object's box, ``(n, ndim)`` [canonical voxel]."""
        extents = self.objects.stops - self.objects.starts
        return np.asarray(extents * np.array(self.scale.zoom))

    def read(self, region: Region) -> NDArray[np.int32]:
        """Return labels of a part of the grid, ``(*S)``: `IGNORED`, 0, or an object's row + 1.

        Slices may reach outside. The image is mirrored there, and what is seen of an object in a
        mirror has another centre than the object: voxels outside are ignored.

        Raises
        ------
        InputError, StorageError
            As `Masks.read`.
        """
        ids = _read(self.masks, self.scale, region)
        rows = np.searchsorted(self.objects.ids.astype(np.int64), ids) + 1
        labels = np.where(ids > 0, rows, ids).astype(np.int32)
        return ignore_outside(labels, region, self.shape)

    def crop(self, image: NDArray[np.float32], labels: NDArray[np.int32], region: Region) -> Crop:
        """Return a crop of the objects that its labels show, numbered from 1 on."""
        numbered, rows = number(labels)
        centres = self.centres(rows) - [along.start for along in region]
        return Crop(image, numbered, centres.astype(np.float32))

    def centres(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the centres of some objects, ``(n, ndim)`` [canonical voxel].

        Voxel ``i`` has its middle at ``i + 0.5``. Medoids are found when first asked for.

        Raises
        ------
        InputError, StorageError
            As `Masks.read`.
        """
        zoom = np.array(self.scale.zoom)
        if self.centre == "centroid":
            return np.asarray((self.objects.centroids[rows] + 0.5) * zoom)
        new = [int(row) for row in rows if int(row) not in self._found]
        for group in self._groups(new):
            # Two threads may both find a centre: it is the same.
            self._found.update(self._medoids(group, zoom))
        return np.array([self._found[int(row)] for row in rows]).reshape(len(rows), len(zoom))

    def _groups(self, rows: list[int]) -> list[list[int]]:
        """Return objects that are read together: neighbours share chunks on disk."""
        if not rows:
            return []
        first, last = self.objects.starts[rows].min(axis=0), self.objects.stops[rows].max(axis=0)
        is_small = math.prod(int(n) for n in last - first) <= PORTION
        return [rows] if is_small else [[row] for row in rows]

    def _medoids(
        self, rows: list[int], zoom: NDArray[np.float64]
    ) -> dict[int, NDArray[np.float64]]:
        first, last = self.objects.starts[rows].min(axis=0), self.objects.stops[rows].max(axis=0)
        ends = zip(first, last, strict=True)
        ids = self.masks.read(tuple(slice(int(start), int(stop)) for start, stop in ends))
        found = {}
        for row in rows:
            box = tuple(
                slice(part.start - int(start), part.stop - int(start))
                for part, start in zip(box_of(self.objects, row), first, strict=True)
            )
            voxels = np.argwhere(ids[box] == int(self.objects.ids[row]))
            places = (voxels + self.objects.starts[row] + 0.5) * zoom
            # Seen from the object itself, so that where it lies rounds nothing.
            found[row] = places[medoid((voxels + 0.5) * zoom)]
        return found


@dataclass(frozen=True, eq=False)
class Markers:
    """The points of one image on the canonical grid, and where there may be cells at all.

    Attributes
    ----------
    middles
        Where the points are, ``(n, ndim)``; voxel ``i`` has its middle at ``i + 0.5`` [canonical
        voxel].
    foreground
        Not 0 where there may be a cell.
    scale
        Of the grid of the foreground.
    reach
        How far from a crop a point still matters along each axis [canonical voxel].
    width
        Of a cell [canonical voxel].
    """

    middles: NDArray[np.float64]
    foreground: Masks
    scale: Scale
    reach: float
    width: float

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of the canonical grid [voxel]."""
        return self.scale.canonical_shape(_extent(self.foreground, self.scale))

    @property
    def extents(self) -> NDArray[np.float64]:
        """How wide cells are, ``(n, ndim)`` [canonical voxel]."""
        return np.full(self.middles.shape, self.width)

    def read(self, region: Region) -> NDArray[np.int32]:
        """Return labels of a part of the grid, ``(*S)``: `IGNORED`, 0, or 1; see `Annotation.read`.

        Raises
        ------
        InputError, StorageError
            As `Masks.read`.
        """
        labels = np.sign(_read(self.foreground, self.scale, region)).astype(np.int32)
        return ignore_outside(labels, region, self.shape)

    def crop(self, image: NDArray[np.float32], labels: NDArray[np.int32], region: Region) -> Crop:
        """Return a crop with the points in and around it."""
        first, stop = np.array([(along.start, along.stop) for along in region]).T
        is_near = (self.middles >= first - self.reach) & (self.middles <= stop + self.reach)
        near = self.middles[is_near.all(axis=1)] - first
        return Crop(image, labels, near.astype(np.float32))


def ignore_outside(
    labels: NDArray[np.int32], region: Region, shape: tuple[int, ...]
) -> NDArray[np.int32]:
    """Return the labels of a region, ignored where it reaches out of a grid."""
    if all(part.start >= 0 and part.stop <= n for part, n in zip(region, shape, strict=True)):
        return labels
    ends = zip(region, shape, strict=True)
    inside = tuple(slice(max(0, -part.start), min(part.stop, n) - part.start) for part, n in ends)
    result = np.full_like(labels, IGNORED)
    result[inside] = labels[inside]
    return result


def _sources(index: NDArray[np.int64], n: int, size: int, zoom: float) -> NDArray[np.int64]:
    """Return the image voxel that the middle of each canonical voxel lies in, along one axis."""
    # The last canonical voxel may have its middle beyond the image, whose edge extends there.
    middles = (reflect(index, n) + 0.5) / zoom
    return np.asarray(np.minimum(np.floor(middles).astype(np.int64), size - 1))


def _read(masks: Masks, scale: Scale, region: Region) -> NDArray[np.int64]:
    """Return the ids of a part of the canonical grid, mirrored where it reaches outside."""
    size = _extent(masks, scale)
    index = [
        _sources(np.arange(part.start, part.stop), n, extent, zoom)
        for part, n, extent, zoom in zip(
            region, scale.canonical_shape(size), size, scale.zoom, strict=True
        )
    ]
    needed = tuple(slice(int(i.min()), int(i.max()) + 1) for i in index)
    inside = (i - part.start for i, part in zip(index, needed, strict=True))
    ids = masks.read(needed[len(size) - masks.labels.ndim :])
    return np.asarray(ids.reshape([p.stop - p.start for p in needed])[np.ix_(*inside)])


def _extent(masks: Masks, scale: Scale) -> tuple[int, ...]:
    """Return how many voxels there are along each axis of a scale; a single plane has no z."""
    shape = masks.labels.shape
    return (1,) * (len(scale.zoom) - len(shape)) + shape
