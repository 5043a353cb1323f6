"""Bright blobs about as wide as an object: one point for each, found without any learning.

The Laplacian of a Gaussian answers most where a blob is as wide as the Gaussian, so a few widths
around the expected one are tried. Blobs are found in two steps: candidates, from what lies within
a declared reach of them alone, and a choice among the candidates of all blocks, a short list. The
result of any cutting is thus that of the whole, bit for bit. Knows nothing of files and networks.
Source: Lindeberg 1998, doi:10.1023/A:1008045108935.

Which answers are blobs and which are noise is told by dark blobs: noise makes as many of those, of
the same strengths, and objects make few. No intensity and no noise level needs to be known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from scipy import ndimage
from scipy.spatial import KDTree

from cellulus.errors import InputError
from cellulus.ops.resample import reflect
from cellulus.ops.smoothing import CUT, smooth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellulus.space import Region

WIDTHS = (0.85, 1.0, 1.2)
"""Widths that are looked for; narrower ones split textured objects [object width]."""
APART = 0.5
"""Blobs that are closer are one [mean of their widths]."""
WEAKEST = 0.25
"""Strength that a blob must have [strength of a typical one]."""
NOISE = 2.5
"""Strongest of many blobs that noise makes [median of the dark ones]."""
GAPS = 0.4
"""Where noise would reach this, dark blobs are gaps between objects [strength of a typical one]."""
CONTRAST = 1.5
"""Cubed strengths of bright blobs over those of dark ones, where there are objects at all."""


@dataclass(frozen=True, eq=False)
class Blobs:
    """Places that stand out from what surrounds them.

    Attributes
    ----------
    positions
        ``(n, ndim)`` float64; the middle of the first voxel is 0 [voxel].
    strengths
        ``(n,)`` float64, in the unit of the intensities: about 0.7 times how much brighter a blob
        is than its surroundings, as a disk, and 0.9 times as a ball. Negative for dark ones.
    widths
        ``(n,)`` float64 [voxel].
    """

    positions: NDArray[np.float64]
    strengths: NDArray[np.float64]
    widths: NDArray[np.float64]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.strengths)

    def where(self, chosen: NDArray[Any]) -> Blobs:
        """Return some of them, by a mask or by their places."""
        return Blobs(self.positions[chosen], self.strengths[chosen], self.widths[chosen])


def find_blobs(
    image: NDArray[np.float32], object_voxels: float, least_strength: float | None = None
) -> Blobs:
    """Return the bright blobs of an image, mirrored at its edge.

    Parameters
    ----------
    image
        ``(*S)``, isotropic.
    object_voxels
        How wide objects are [voxel].
    least_strength
        What a blob must have; by default told from all candidates, see `choose`.

    Returns
    -------
    blobs
        In lexicographic order of their positions.

    Raises
    ------
    InputError
        If a value is not finite.
    """
    margin = reach(object_voxels, image.ndim)
    index = [reflect(np.arange(-margin, n + margin), n) for n in image.shape]
    core = tuple(slice(margin, margin + n) for n in image.shape)
    found = candidates(image[np.ix_(*index)], core, (0,) * image.ndim, object_voxels)
    return choose([found], least_strength)


def reach(object_voxels: float, ndim: int) -> int:
    """Return how far around a block `candidates` must see [voxel]."""
    return int(CUT * _sigma(max(WIDTHS) * object_voxels, ndim) + 0.5) + 2


def candidates(
    image: NDArray[np.float32], core: Region, origin: Sequence[int], object_voxels: float
) -> Blobs:
    """Return what may be a blob in a block: local maxima of the answer, bright and dark.

    Parameters
    ----------
    image
        The block and what lies within `reach` of it, ``(*S)``, isotropic.
    core
        Where the block lies in `image`.
    origin
        Where the block starts on the whole grid [voxel].
    object_voxels
        How wide objects are [voxel].

    Returns
    -------
    candidates
        On the whole grid.

    Raises
    ------
    InputError
        If a value is not finite.
    """
    if not np.isfinite(image).all():
        raise InputError("image", expected="finite intensities", found="NaN or infinite ones")
    shown = tuple(slice(part.start - 1, part.stop + 1) for part in core)
    most: list[NDArray[np.float32]] = []
    best: list[NDArray[np.uint8]] = []
    for place, width in enumerate(WIDTHS):
        answer = _answer(image, shown, _sigma(width * object_voxels, image.ndim))
        for k, signed in enumerate((answer, -answer)):
            if place == 0:
                most.append(signed)
                best.append(np.zeros(signed.shape, np.uint8))
            else:
                best[k][signed > most[k]] = place
                np.maximum(most[k], signed, out=most[k])
    bright = _maxima(most[0], best[0], origin, object_voxels)
    dark = _maxima(most[1], best[1], origin, object_voxels)
    return _joined([bright, Blobs(dark.positions, -dark.strengths, dark.widths)])


def choose(parts: Sequence[Blobs], least_strength: float | None = None) -> Blobs:
    """Return the blobs among the candidates of all blocks, whatever the order of these.

    Of candidates that are too close the strongest is one. By default it must be a fourth as strong
    as a typical one, and stronger than noise; where bright candidates are hardly stronger than
    dark ones, there is none.

    Parameters
    ----------
    parts
        The candidates of each block.
    least_strength
        What a blob must have.

    Returns
    -------
    blobs
        Bright ones, in lexicographic order of their positions.
    """
    every = _joined(parts)
    bright = _apart(every.where(every.strengths > 0))
    if least_strength is None:
        dark = _apart(every.where(every.strengths < 0))
        least_strength = _least(bright.strengths, -dark.strengths)
    chosen = bright.where(bright.strengths >= least_strength)
    return chosen.where(np.lexsort(chosen.positions.T[::-1]))


def _sigma(width: float, ndim: int) -> float:
    """Return the Gaussian whose Laplacian answers most to a ball of this width."""
    return width / (2 * math.sqrt(ndim))


def _answer(image: NDArray[np.float32], shown: Region, sigma: float) -> NDArray[np.float32]:
    """Return the Laplacian of the smoothed image, bright blobs positive, in a part of it."""
    smoothed = smooth(image, (sigma,) * image.ndim)
    total = np.zeros(tuple(part.stop - part.start for part in shown), np.float32)
    for axis, part in enumerate(shown):
        before, after = (
            (*shown[:axis], slice(part.start + step, part.stop + step), *shown[axis + 1 :])
            for step in (-1, 1)
        )
        # Equal values cancel: where the image is constant the answer is 0, not nearly 0.
        total += 2 * smoothed[shown] - (smoothed[before] + smoothed[after])
    total *= np.float32(sigma * sigma)
    return total


def _maxima(
    most: NDArray[np.float32],
    best: NDArray[np.uint8],
    origin: Sequence[int],
    object_voxels: float,
) -> Blobs:
    """Return the voxels that no neighbour exceeds, but for those at the edge of the array."""
    inner = (slice(1, -1),) * most.ndim
    is_peak = (most == ndimage.maximum_filter(most, 3))[inner] & (most[inner] > 0)
    peaks = np.argwhere(is_peak)
    place = tuple(peaks.T + 1)
    top = most[place].astype(np.float64)
    positions = (peaks + np.asarray(origin)).astype(np.float64)
    for axis in range(most.ndim):
        before, after = (
            most[(*place[:axis], place[axis] + step, *place[axis + 1 :])].astype(np.float64)
            for step in (-1, 1)
        )
        # The top of a parabola through three values, of which the middle one is the largest.
        bend = np.maximum(2 * top - before - after, np.finfo(np.float64).tiny)
        positions[:, axis] += 0.5 * (after - before) / bend
    return Blobs(positions, top, np.asarray(WIDTHS)[best[place]] * object_voxels)


def _joined(parts: Sequence[Blobs]) -> Blobs:
    return Blobs(
        np.concatenate([part.positions for part in parts]),
        np.concatenate([part.strengths for part in parts]),
        np.concatenate([part.widths for part in parts]),
    )


def _apart(blobs: Blobs) -> Blobs:
    """Return blobs, the strongest first, without those too close to a stronger one that stays."""
    order = np.lexsort((blobs.widths, *blobs.positions.T[::-1], -np.abs(blobs.strengths)))
    blobs = blobs.where(order)
    if len(blobs) < 2:
        return blobs
    pairs = KDTree(blobs.positions).query_pairs(APART * blobs.widths.max(), output_type="ndarray")
    first, second = pairs.min(axis=1), pairs.max(axis=1)
    distance = np.linalg.norm(blobs.positions[first] - blobs.positions[second], axis=1)
    close = distance < APART * (blobs.widths[first] + blobs.widths[second]) / 2
    first, second = first[close], second[close]
    inward = np.lexsort((second, first))
    return blobs.where(_kept(len(blobs), first[inward], second[inward]))


@njit(cache=True, nogil=True)
def _kept(count: int, first: Any, second: Any) -> Any:
    """Decide from the strongest to the weakest; pairs are in the order of the stronger."""
    kept = np.ones(count, np.bool_)
    for k in range(first.size):
        if kept[first[k]]:
            kept[second[k]] = False
    return kept


def _least(bright: NDArray[np.float64], dark: NDArray[np.float64]) -> float:
    """Return the least strength of a blob; infinite if bright candidates are no blobs."""
    # Cubes, so that the many weak answers of a large background do not drown a few objects.
    if not bright.size or np.sum(bright**3) < CONTRAST * np.sum(dark**3):
        return math.inf
    noise = NOISE * float(np.median(dark)) if dark.size else 0.0
    # From the strongest on, bright ones are counted up and dark ones down, those above noise as
    # one: by what is noise the count does not grow. The typical blob is in the middle of what it
    # becomes at most. (Counted, not summed: a few that are far brighter must not decide.)
    signed = np.concatenate([bright, -dark])
    signed = signed[np.argsort(-np.abs(signed), kind="stable")]
    count = np.cumsum(np.sign(signed) / (1 + (noise / signed) ** 2))
    typical = abs(float(signed[np.argmax(count >= count.max() / 2)]))
    return max(WEAKEST * typical, noise if noise < GAPS * typical else 0.0)
