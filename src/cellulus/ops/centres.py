"""The point that stands for an object: of its voxels the one that is nearest to all the others.

The sum of distances to fixed points is convex in the place, so its tangent at one voxel bounds it
at every other from below. Voxels whose bound is above the least sum found are never looked at:
some dozens of an object's voxels are, and the result is exact. Knows nothing of labels.

Source: cutting planes; Kelley 1960, J. Soc. Indust. Appl. Math. 8 (4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from cellulus.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOLERANCE = 1e-9
"""Sums that differ by less, as a share, are equal: rounding must not decide between them."""


def medoid(points: NDArray[Any]) -> int:
    """Return which point has the least sum of Euclidean distances to all points.

    Parameters
    ----------
    points
        ``(n, ndim)``, at least one, in any unit that is the same along every axis.

    Returns
    -------
    index
        Of equally good points, the first. Time grows with ``n`` for solid objects; hollow ones,
        along whose inner face the sums are alike, take longer.

    Raises
    ------
    InputError
        If there is no point.
    """
    if not len(points):
        raise InputError("points", expected="at least one", found="none")
    # Missing axes do not change a distance.
    placed = np.zeros((len(points), 3))
    placed[:, 3 - points.shape[1] :] = points
    return int(_medoid(placed))


@njit(cache=True, nogil=True)
def _medoid(points: Any) -> int:
    bounds, sums = np.zeros(len(points)), np.full(len(points), np.inf)
    place, least = _nearest_to_mean(points), np.inf
    while place >= 0:
        total, slope_z, slope_y, slope_x = _tangent(points, place)
        sums[place], bounds[place] = total, np.inf
        least = min(least, total)
        z, y, x = points[place]
        lowest, place = least * (1 + TOLERANCE), -1
        for i in range(len(points)):
            bound = total + slope_z * (points[i, 0] - z)
            bound += slope_y * (points[i, 1] - y) + slope_x * (points[i, 2] - x)
            bounds[i] = max(bounds[i], bound)
            if bounds[i] <= lowest:
                lowest, place = bounds[i], i
    first = 0
    while sums[first] > least * (1 + TOLERANCE):
        first += 1
    return first


@njit(cache=True, nogil=True)
def _nearest_to_mean(points: Any) -> int:
    mean_z, mean_y, mean_x = points[:, 0].mean(), points[:, 1].mean(), points[:, 2].mean()
    squares = (points[:, 0] - mean_z) ** 2
    squares += (points[:, 1] - mean_y) ** 2 + (points[:, 2] - mean_x) ** 2
    return int(squares.argmin())


@njit(cache=True, nogil=True)
def _tangent(points: Any, place: int) -> Any:
    """Return the sum of distances to a point, and how it changes along each axis."""
    total = slope_z = slope_y = slope_x = 0.0
    for i in range(len(points)):
        if i != place:
            z = points[place, 0] - points[i, 0]
            y = points[place, 1] - points[i, 1]
            x = points[place, 2] - points[i, 2]
            distance = np.sqrt(z * z + y * y + x * x)
            total += distance
            slope_z += z / distance
            slope_y += y / distance
            slope_x += x / distance
    return total, slope_z, slope_y, slope_x
