"""Random changes to a crop that leave its objects plausible: turns, mild warps, intensities.

Works on any crop size and any number of dimensions. Knows nothing of files or methods.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

WARP_SPACING = 16
"""Distance between the control points of the elastic deformation [voxel]."""
SMOOTHING = 0.7
"""Standard deviation of the Gaussian that smooths the control points [control point]."""


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

    def __call__(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return a changed copy of ``(C, *S)``, cubic along the axes that may be exchanged."""
        if self.elastic > 0:
            image = warp(image, self.elastic, rng)
        image = turn(image, self.turns, rng)
        if self.intensity > 0:
            image = relight(image, self.intensity, rng)
        return np.ascontiguousarray(image)


def turn(
    image: NDArray[np.float32], turns: tuple[tuple[int, int], ...], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the image flipped along random axes, with random pairs of axes exchanged."""
    for a, b in turns:
        if rng.random() < 0.5 and image.shape[a + 1] == image.shape[b + 1]:
            image = image.swapaxes(a + 1, b + 1)
    flipped = tuple(axis for axis in range(1, image.ndim) if rng.random() < 0.5)
    return np.flip(image, flipped)


def warp(
    image: NDArray[np.float32], deviation: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the image under a smooth random deformation; mirrored where it looks outside.

    Parameters
    ----------
    image
        ``(C, *S)``.
    deviation
        Standard deviation of the displacement along each axis [voxel].
    rng
        Source of chance.
    """
    shape = image.shape[1:]
    ndim = len(shape)
    coarse = [int(np.ceil(n / WARP_SPACING)) + 3 for n in shape]
    knots = rng.normal(0.0, deviation / _gain(ndim), (ndim, *coarse)).astype(np.float32)
    # Linear interpolation of knots smoothed once is as good as a spline, and cheap.
    knots = ndimage.gaussian_filter(knots, (0, *[SMOOTHING] * ndim))
    where = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float32) for n in shape], indexing="ij"))
    field = knots
    for axis, n in enumerate(shape, start=1):
        position = np.arange(n, dtype=np.float32) / WARP_SPACING + 1
        low = position.astype(np.int64)
        share = (position - low).reshape([-1 if a == axis else 1 for a in range(ndim + 1)])
        field = field.take(low, axis) * (1 - share) + field.take(low + 1, axis) * share
    return np.stack(
        [ndimage.map_coordinates(c, where + field, order=1, mode="mirror") for c in image]
    )


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
