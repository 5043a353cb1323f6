"""Random changes to a crop that leave its objects plausible: turns, mild warps, intensities.

What is annotated moves with the image. Works on any crop size and any number of dimensions.
Knows nothing of files or methods.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from cellulus.data.batches import Crop
from cellulus.data.masks import IGNORED

if TYPE_CHECKING:
    from numpy.typing import NDArray

WARP_SPACING = 16
"""Distance between the control points of the elastic deformation [voxel]."""
SMOOTHING = 0.7
"""Standard deviation of the Gaussian that smooths the control points [control point]."""
CLOSE, TRIALS = 1e-3, 50
"""How exactly a place is followed through a warp [voxel], and how often that is tried at most."""


@dataclass(frozen=True)
class Augmentation:
    """What is varied, and how much.

    Attributes
    ----------
    elastic
        Standard deviation of the displacement of a voxel along each axis [voxel].
    intensity
        Spread of gain, offset and gamma.
    turns
        Pairs of spatial axes that may be exchanged: those that the microscope samples alike.
    """

    elastic: float
    intensity: float
    turns: tuple[tuple[int, int], ...]

    def __call__(self, crop: Crop, rng: np.random.Generator) -> Crop:
        """Return a changed copy of a crop, cubic along the axes that may be exchanged."""
        if self.elastic > 0:
            field = displacement(crop.image.shape[1:], self.elastic, rng)
            crop = warp(crop, field)
        image, labels, centres = turn(crop, self.turns, rng)
        if self.intensity > 0:
            image = relight(image, self.intensity, rng)
        if labels is not None:
            labels = np.ascontiguousarray(labels)
        return Crop(np.ascontiguousarray(image), labels, centres)


def turn(crop: Crop, turns: tuple[tuple[int, int], ...], rng: np.random.Generator) -> Crop:
    """Return a crop flipped along random axes, with random pairs of axes exchanged."""
    shape = crop.image.shape[1:]
    order = list(range(len(shape)))
    for a, b in turns:
        if rng.random() < 0.5 and shape[order[a]] == shape[order[b]]:
            order[a], order[b] = order[b], order[a]
    flipped = tuple(axis for axis in range(len(shape)) if rng.random() < 0.5)
    image = crop.image.transpose(0, *(axis + 1 for axis in order))
    image = np.flip(image, tuple(axis + 1 for axis in flipped))
    if crop.labels is None or crop.centres is None:
        return Crop(image)
    centres = crop.centres[:, order]
    for axis in flipped:
        centres[:, axis] = image.shape[axis + 1] - centres[:, axis]
    return Crop(image, np.flip(crop.labels.transpose(order), flipped), centres)


def displacement(
    shape: tuple[int, ...], deviation: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return a smooth random deformation, ``(ndim, *S)``: how far off each voxel looks [voxel].

    Parameters
    ----------
    shape
        Extent of a crop [voxel].
    deviation
        Standard deviation of the displacement along each axis [voxel].
    rng
        Source of chance.
    """
    ndim = len(shape)
    coarse = [int(np.ceil(n / WARP_SPACING)) + 3 for n in shape]
    knots = rng.normal(0.0, deviation / _gain(ndim), (ndim, *coarse)).astype(np.float32)
    # Linear interpolation of knots smoothed once is as good as a spline, and cheap.
    field = ndimage.gaussian_filter(knots, (0, *[SMOOTHING] * ndim))
    for axis, n in enumerate(shape, start=1):
        position = np.arange(n, dtype=np.float32) / WARP_SPACING + 1
        low = position.astype(np.int64)
        share = (position - low).reshape([-1 if a == axis else 1 for a in range(ndim + 1)])
        field = field.take(low, axis) * (1 - share) + field.take(low + 1, axis) * share
    return np.asarray(field)


def warp(crop: Crop, field: NDArray[np.float64]) -> Crop:
    """Return a crop as it looks when every voxel looks elsewhere.

    Parameters
    ----------
    crop
        The image is interpolated, and mirrored where a voxel looks outside. Labels are those of
        the nearest voxel, ignored outside.
    field
        How far off, ``(ndim, *S)`` [voxel].
    """
    shape = crop.image.shape[1:]
    grid = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float32) for n in shape], indexing="ij"))
    where = grid + field
    image = np.stack(
        [ndimage.map_coordinates(c, where, order=1, mode="mirror") for c in crop.image]
    )
    if crop.labels is None or crop.centres is None:
        return Crop(image)
    nearest = np.rint(where).astype(np.int64)
    last = np.reshape(shape, (-1, *[1] * len(shape))) - 1
    is_inside = ((nearest >= 0) & (nearest <= last)).all(axis=0)
    labels = crop.labels[tuple(np.clip(nearest, 0, last))]
    return Crop(image, np.where(is_inside, labels, np.int32(IGNORED)), follow(crop.centres, field))


def follow(places: NDArray[np.float32], field: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return where what is at some places comes to lie when a crop is warped.

    A voxel at ``x`` shows what was at ``x + u(x)``, so what was at ``p`` is shown at the fixed
    point of ``x = p - u(x)``. Outside of the crop, `u` goes on as it is at the edge.

    Parameters
    ----------
    places
        ``(n, ndim)``, voxel ``i`` having its middle at ``i + 0.5`` [voxel].
    field
        `u`, ``(ndim, *S)``, without folds: between neighbours it differs by less than 1 [voxel].
    """
    wanted = places.astype(np.float64) - 0.5
    found = wanted
    for _ in range(TRIALS):
        off = [ndimage.map_coordinates(u, found.T, order=1, mode="nearest") for u in field]
        before, found = found, wanted - np.stack(off, axis=1)
        if np.abs(found - before).max(initial=0.0) < CLOSE:
            break
    return (found + 0.5).astype(np.float32)


def _gain(ndim: int) -> float:
    """Return how much deviation smoothing and interpolation leave of independent knots."""
    weights = ndimage.gaussian_filter1d(np.eye(1, 15, 7)[0], SMOOTHING)
    share = np.arange(WARP_SPACING)[:, None] / WARP_SPACING
    between = weights * (1 - share) + np.roll(weights, 1) * share
    variance = float((between**2).sum(axis=1).mean())
    return float(variance ** (ndim / 2))


def relight(
    image: NDArray[np.float32], spread: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the image with random gamma, gain and offset per channel."""
    column = (-1, *[1] * (image.ndim - 1))
    count = len(image)
    factors: NDArray[np.float64] = rng.lognormal(0.0, spread, (2, count))
    gamma, gain = factors.astype(np.float32)
    offset = rng.normal(0.0, spread / 2, size=(count,)).astype(np.float32)
    bent = np.sign(image) * np.abs(image) ** gamma.reshape(column)
    relit: NDArray[np.float32] = bent * gain.reshape(column) + offset.reshape(column)
    return relit
