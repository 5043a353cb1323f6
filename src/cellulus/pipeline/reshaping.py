"""Labels to better labels, object by object; each step is a function of `cellulus.ops.labels`.

In this order: what `kind` asks for, the largest piece, holes, size limits, the border, and again
the holes that dropped objects leave; then ids become dense. The first three, which each object
needs for itself, are also a source of labels of blocks (`Reshaping`). Knows nothing of how objects
were found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus.errors import InputError
from cellulus.ops import labels as ops
from cellulus.ops.joining import compact
from cellulus.pipeline.extents import reshaping_margin, sees_objects_whole
from cellulus.space import ball_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from cellulus.experiment.sections import Postprocess
    from cellulus.pipeline.measuring import StoredLabels
    from cellulus.pipeline.prediction import Facts
    from cellulus.space import Block


def apply_postprocess(
    labels: NDArray[Any],
    settings: Postprocess,
    *,
    image: NDArray[Any] | None = None,
    spacing: Sequence[float],
    object_voxels: float,
) -> NDArray[np.uint32]:
    """Apply the settings to one label array.

    Parameters
    ----------
    labels
        ``(*S)``, integer ids; an object may lie in several pieces.
    settings
        Distances in object diameters, sizes in volumes of a ball of that diameter (a disc in an
        image).
    image
        Intensities, ``(*S)``; only ``kind = "intensity"`` needs them.
    spacing
        Canonical voxels per voxel, per axis.
    object_voxels
        The object diameter [canonical voxel].

    Returns
    -------
    labels
        ``(*S)``, dense ids in the order of the old ones.

    Raises
    ------
    InputError
        If an argument does not fit the labels, or an image is needed.
    """
    if labels.ndim > 2 and labels.shape[0] == 1:
        image, spacing = None if image is None else image[0], spacing[1:]
        plane = apply_postprocess(
            labels[0], settings, image=image, spacing=spacing, object_voxels=object_voxels
        )
        return plane[np.newaxis]
    result = reshape(ops.relabel(labels), settings, image, spacing, object_voxels)
    result = _selected(result, settings, spacing, object_voxels)
    if settings.fill_holes:
        result = ops.fill_holes(result)
    return ops.relabel(result)


def reshape(
    labels: NDArray[np.uint32],
    settings: Postprocess,
    image: NDArray[Any] | None,
    spacing: Sequence[float],
    object_voxels: float,
) -> NDArray[np.uint32]:
    """Do what is done to each object for itself: what `kind` asks for, largest piece, holes.

    Parameters, errors
        As for `apply_postprocess`; ids are kept.
    """
    labels = _changed(labels, settings, image, spacing, object_voxels)
    if settings.keep_largest:
        labels = ops.keep_largest(labels)
    return ops.fill_holes(labels) if settings.fill_holes else labels


@dataclass(frozen=True)
class Reshaping:
    """Labels that are reshaped block by block.

    Attributes
    ----------
    labels
        Those to start from.
    settings
        What is done to them.
    spacing
        Canonical voxels per voxel, per axis.
    object_voxels
        The object diameter [canonical voxel].
    image
        The image they were made from, if it is needed.
    """

    labels: StoredLabels
    settings: Postprocess
    spacing: tuple[float, ...]
    object_voxels: float
    image: Facts | None

    @property
    def sees_objects_whole(self) -> bool:
        """Whether a voxel may depend on all of its object."""
        return sees_objects_whole(self.settings)

    @property
    def margin(self) -> tuple[int, ...]:
        """How far beyond its object a voxel looks, per axis [voxel]."""
        return reshaping_margin(self.settings, self.spacing, self.object_voxels)

    def open(self) -> Callable[[Block], tuple[NDArray[np.uint32], NDArray[np.int64]]]:
        """See `cellulus.pipeline.labelling.Source`."""
        read = self.labels.open()
        volume = self.image.open_image() if self.image else None

        def do(block: Block) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
            before = read(block.outer)
            image = None
            if self.image and volume:
                image = self.image.normalisation(volume.read(block.outer)).mean(axis=0)
            ids = np.unique(before)
            after = reshape(
                ops.relabel(before), self.settings, image, self.spacing, self.object_voxels
            )
            names = ids[ids > 0].astype(np.int64)[:, None]
            return compact(after[block.inner], names)

        return do


def size_limits(
    settings: Postprocess, spacing: Sequence[float], object_voxels: float
) -> tuple[float, float]:
    """Return the smallest and the largest object kept [voxel]."""
    ball = ball_volume(object_voxels, len(spacing)) / math.prod(spacing)
    return settings.min_size * ball, settings.max_size * ball or math.inf


def _changed(
    labels: NDArray[np.uint32],
    settings: Postprocess,
    image: NDArray[Any] | None,
    spacing: Sequence[float],
    object_voxels: float,
) -> NDArray[np.uint32]:
    """Apply what `kind` asks for."""
    if settings.kind == "cell":
        labels = ops.grow(labels, settings.grow * object_voxels, spacing)
        shrink = ops.shrink if settings.separate else ops.shrink_foreground
        return shrink(labels, settings.shrink * object_voxels, spacing)
    if settings.kind == "intensity":
        if image is None:
            raise InputError(
                "postprocess.kind",
                expected='an image beside the labels, for kind = "intensity"',
                found="none",
            )
        return ops.fill_holes(ops.brighter_part(labels, image))
    return labels


def _selected(
    labels: NDArray[np.uint32],
    settings: Postprocess,
    spacing: Sequence[float],
    object_voxels: float,
) -> NDArray[np.uint32]:
    """Drop objects by their size and place."""
    if settings.min_size or settings.max_size:
        labels = ops.keep_sizes(labels, *size_limits(settings, spacing, object_voxels))
    return ops.clear_border(labels) if settings.clear_border else labels
