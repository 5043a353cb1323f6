"""Where cells may be, told from the image alone: a rough foreground, not one cell from another.

Two classes of intensities, cells and background, share no threshold where dim and bright cells lie
side by side. So each voxel climbs to the summit near it, as far as an object is wide. A summit is
that of a cell if it stands out of its surroundings and of all background, or if a marker lies on
its slope. The outline of a bright cell lies between two thresholds: the limit of the image (Otsu),
and the middle between its summit and the background around it; that of a faint cell is the middle.
`graph_cut` draws it where neighbours differ (`cellulus.ops.minimum_cut`), `otsu` knows the limit
alone. Intensities count as their square roots: light is counted, and its noise is then the same for
dim and bright.

Cut into blocks: limits are those of the whole image, from counts that add up over blocks. With
`reach` around it a block knows everything that the whole knows, but a minimum cut is not local:
where it is undecided over a long way the border of what is seen can show.

Source: ours; the cut after Boykov & Jolly 2001, doi:10.1109/ICCV.2001.937505. Images are
normalised, and on a grid where voxels are cubes. Knows nothing of files.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage

from cellulus.errors import InputError
from cellulus.ops.minimum_cut import choose
from cellulus.ops.smoothing import CUT, smooth
from cellulus.ops.summits import climb
from cellulus.ops.thresholds import otsu_of_histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FINE, COARSE, WIDE = 0.05, 0.15, 0.2
"""Standard deviation of the Gaussians for outlines, summits, background [object diameter]."""
STRIDE, STRIDES = 0.25, 4
"""How far a voxel looks for a higher one [object diameter], and how many times it moves there."""
AROUND = 0.75
"""Half the window whose least intensity is background [object diameter]."""
DARK = 0.02
"""Added before the square root is taken, which is too steep at 0 [range of percentiles]."""
CONTRAST = 0.1
"""A summit without a marker stands out by more [square root of intensity]."""
BINS = 1024
"""Of the histogram of square roots between 0 and 1; beyond counts as 1."""
FAINT = 8.0
"""What is above the median of all background is a faint cell [standard deviation of background]."""
SHARED = 2 / 3
"""How far the outline is from what its cell alone would ask for, towards the image's limit."""
LEAST = 0.35
"""An outline is higher, or in bright tissue everything around a cell would be in it [contrast]."""
TENSION = 0.04
"""Weight of the outline's length: of what a ball of the object diameter costs, by its gain."""
EDGE = 0.1
"""Neighbours that differ by more are hardly tied [contrast of their summit]."""
UNIT = 2**12
"""Steps that a gain of 1 is divided into."""


def reach(object_voxels: float) -> int:
    """Return how far around it a block must be seen, markers included: 3.3 diameters [voxel].

    Parameters
    ----------
    object_voxels
        Object diameter [voxel].
    """
    fine, coarse, wide, between = (
        _reach(part * object_voxels) for part in (FINE, COARSE, WIDE, 2 * FINE)
    )
    climb = STRIDES * math.floor(STRIDE * object_voxels)
    background = between + round(AROUND * object_voxels) + wide
    # A marker counts for all that climb to its summit. Half an object is for the cut itself.
    return fine + max(coarse + 2 * climb, background) + math.ceil(object_voxels / 2)


def survey(
    image: NDArray[np.float32], object_voxels: float, core: tuple[slice, ...] | None = None
) -> NDArray[np.int64]:
    """Count intensities, from which the limits between cells and background follow.

    Parameters
    ----------
    image
        ``(*S)``, normalised.
    object_voxels
        Object diameter [voxel].
    core
        The part of `image` that counts; by default all. Of an image cut into blocks, each should
        see `reach` around its core; counts of disjoint cores add up.

    Returns
    -------
    counts
        ``(BINS,)``.

    Raises
    ------
    InputError
        If intensities are not finite, or the diameter is not above 0.
    """
    _check(image, object_voxels)
    value = _value(image, object_voxels)[core if core is not None else ...]
    place = np.minimum((value * BINS).astype(np.int64), BINS - 1)
    return np.bincount(place.ravel(), minlength=BINS)


class Limits(NamedTuple):
    """What is cell in an image as a whole [square root of intensity].

    Attributes
    ----------
    bright
        Above are cells: Otsu's threshold.
    faint
        Summits above it may be those of faint cells; at most `bright`.
    """

    bright: float
    faint: float


def limits_of(counts: NDArray[np.int64]) -> Limits:
    """Return the limits; both are infinite where all is equally bright.

    Parameters
    ----------
    counts
        Of the whole image, as `survey` counts them.
    """
    values = np.arange(1, BINS + 1) / BINS
    bright = otsu_of_histogram(counts, values)
    if not math.isfinite(bright):
        return Limits(math.inf, math.inf)
    lower = np.where(values <= bright, counts, 0)
    middle = _median(values, lower)
    # A Gaussian's standard deviation, told from the half of it that lies around its middle.
    deviation = 1.4826 * _median(np.abs(values - middle), lower)
    return Limits(bright, min(bright, middle + FAINT * deviation))


def otsu(
    image: NDArray[np.float32], object_voxels: float, limits: Limits | None = None
) -> NDArray[np.bool_]:
    """Return where an image is above its limit.

    Parameters
    ----------
    image
        ``(*S)``, normalised.
    object_voxels
        Object diameter [voxel].
    limits
        Of the whole image; by default those of `image`.

    Returns
    -------
    foreground
        ``(*S)``.

    Raises
    ------
    InputError
        If intensities are not finite, or the diameter is not above 0.
    """
    _check(image, object_voxels)
    if limits is None:
        limits = limits_of(survey(image, object_voxels))
    found: NDArray[np.bool_] = _value(image, object_voxels) >= limits.bright
    return found


def graph_cut(
    image: NDArray[np.float32],
    object_voxels: float,
    limits: Limits | None = None,
    markers: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Return where cells may be: around bright summits, cut along edges.

    Parameters
    ----------
    image
        ``(*S)``, normalised; at most three axes.
    object_voxels
        Object diameter [voxel].
    limits
        Of the whole image; by default those of `image`.
    markers
        Voxels that are of cells for certain, ``(*S)``, if any are known. The summits they climb to
        are then those of cells, however dim; others may be so too.

    Returns
    -------
    foreground
        ``(*S)``.

    Raises
    ------
    InputError
        If intensities are not finite, the diameter is not above 0, or markers have another shape.
    """
    _check(image, object_voxels)
    if markers is not None and markers.shape != image.shape:
        raise InputError("markers", expected=f"shape {image.shape}", found=str(markers.shape))
    if limits is None:
        limits = limits_of(survey(image, object_voxels))
    value = _value(image, object_voxels)
    top, is_cell = _summits(value, object_voxels, markers)
    low = _background(value, object_voxels)
    height = np.maximum(top - low, np.float32(1 / BINS))
    is_bright = top >= limits.bright
    is_cell |= (top >= limits.faint) & (height > CONTRAST)
    outline = (low + top) / 2
    outline[is_bright] += SHARED * (limits.bright - outline[is_bright])
    np.maximum(outline, low + LEAST * height, out=outline)
    gain = np.where(is_cell, np.clip((value - outline) / height, -0.5, 0.5), -0.5)
    units = np.rint(UNIT * gain).astype(np.int32)
    if markers is not None:
        # More than all ties of a voxel together: nothing can outvote it.
        units[markers] = UNIT * math.ceil(object_voxels)
    return choose(units, _ties(value, height, object_voxels))


def _check(image: NDArray[np.float32], object_voxels: float) -> None:
    if not object_voxels > 0:
        raise InputError(
            "object_voxels", expected="a diameter above 0", found=repr(float(object_voxels))
        )
    if not np.isfinite(image).all():
        raise InputError(
            "image",
            expected="finite intensities",
            found="NaN or infinite ones",
            remedy="replace them (for example by 0) before conversion",
        )


def _median(values: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    order = np.argsort(values)
    reached = np.cumsum(counts[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])


def _reach(sigma: float) -> int:
    return int(CUT * sigma + 0.5)


def _value(image: NDArray[np.float32], object_voxels: float) -> NDArray[np.float32]:
    """Return the square roots of intensities, smoothed as much as outlines allow."""
    root = np.sqrt(np.maximum(image, 0, dtype=np.float32) + np.float32(DARK))
    return smooth(root, (FINE * object_voxels,) * image.ndim)


def _background(value: NDArray[np.float32], object_voxels: float) -> NDArray[np.float32]:
    """Return how bright it would be without cells: what is least around, smoothed."""
    even = smooth(value, (2 * FINE * object_voxels,) * value.ndim)
    least = ndimage.minimum_filter(even, size=2 * round(AROUND * object_voxels) + 1)
    return smooth(least, (WIDE * object_voxels,) * value.ndim)


def _summits(
    value: NDArray[np.float32], object_voxels: float, markers: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return how high each voxel's summit is, and whether a marker climbs to it too."""
    relief = smooth(value, (COARSE * object_voxels,) * value.ndim)
    summit = climb(relief, STRIDE * object_voxels, STRIDES)
    is_marked = np.zeros(value.size, np.bool_)
    if markers is not None:
        is_marked[summit[markers]] = True
    return relief.ravel()[summit], is_marked[summit]


def _ties(
    value: NDArray[np.float32], height: NDArray[np.float32], object_voxels: float
) -> Sequence[NDArray[np.int32]]:
    """Return what an outline costs between neighbours: least where they differ most."""
    # A ball of diameter d has 2 * ndim / d faces per voxel. A plane is no volume.
    ndim = max(1, sum(n > 1 for n in value.shape))
    weight = UNIT * TENSION * object_voxels / (2 * ndim)
    ties = []
    for axis in range(value.ndim):
        least = np.diff(value, axis=axis) / EDGE
        pair = np.moveaxis(height, axis, 0)
        least /= np.moveaxis((pair[1:] + pair[:-1]) / 2, 0, axis)
        ties.append(np.rint(weight * np.exp(-0.5 * least**2)).astype(np.int32))
    return ties
