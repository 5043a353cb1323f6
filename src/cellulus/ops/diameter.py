"""How wide the objects of an image are, told from the image alone.

A rough foreground (Otsu), opened so that specks do not count; the distance to its edge has a
maximum in the middle of each object; the typical width follows from the median over the maxima,
each weighted by its depth, because a dim or textured object falls into many shallow crumbs.
Rough on purpose: it sets a scale, within which the network is robust. Knows nothing of files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTH_PER_DEPTH = 2.5
"""Object width over the depth of its middle: 2 for a ball, more for what is not round."""


def estimate_diameter(image: NDArray[Any], spacing: tuple[float, ...]) -> float:
    """Return the diameter of a typical object.

    Parameters
    ----------
    image
        Intensities of one channel, ``(*S)``; objects are brighter than their surroundings.
    spacing
        Extent of a voxel per axis, in any unit.

    Returns
    -------
    diameter
        In the unit of `spacing`; 0 if nothing stands out.
    """
    finest = min(spacing)
    sigma = [finest / s for s in spacing]
    smooth = ndimage.gaussian_filter(image.astype(np.float32), sigma)
    if smooth.max() <= smooth.min():
        return 0.0
    cross = ndimage.generate_binary_structure(image.ndim, 1)
    limit = threshold_otsu(smooth)  # type: ignore[no-untyped-call]
    foreground = ndimage.binary_opening(smooth > limit, cross)
    depth = ndimage.distance_transform_edt(foreground, spacing)
    depth = ndimage.gaussian_filter(depth, sigma)
    window = [2 * round(2 * finest / s) + 1 for s in spacing]
    peaks = (depth == ndimage.maximum_filter(depth, size=window)) & (depth > 0.5 * finest)
    if not peaks.any():
        return 0.0
    return WIDTH_PER_DEPTH * _middle(np.sort(depth[peaks]))


def _middle(depths: NDArray[Any]) -> float:
    """Return the median of ascending values, each weighted by itself."""
    reached = np.cumsum(depths, dtype=np.float64)
    return float(depths[np.searchsorted(reached, reached[-1] / 2)])
