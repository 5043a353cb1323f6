"""Statistics of the voxels of each label, in time linear in the voxels. Knows nothing of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def sizes_of(groups: NDArray[np.uint32], count: int) -> NDArray[np.int64]:
    """Return how many voxels are in each group, ``(count,)``.

    Parameters
    ----------
    groups
        Of any shape.
    count
        One more than the largest group.
    """
    sizes = np.zeros(count, np.int64)
    _count(groups.ravel(), sizes)
    return sizes


def quantile_by_group(
    values: NDArray[np.float32],
    groups: NDArray[np.uint32],
    share: float,
    sizes: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return a quantile of the values of each group.

    Parameters
    ----------
    values, groups
        Alike in shape; group 0 does not count.
    share
        Which quantile, 0 to 1; the order statistic at or below it, never between two.
    sizes
        What `sizes_of` says of the groups, or 0 for a group that is not asked for, ``(count,)``.

    Returns
    -------
    quantiles
        ``(count,)``; NaN for groups without values, and those not asked for.
    """
    starts = np.concatenate([[0, 0], np.cumsum(sizes[1:])])
    result = np.full(len(sizes), np.nan, np.float32)
    _quantiles(values.ravel(), groups.ravel(), starts, share, result)
    return result


@numba.njit(cache=True, nogil=True)
def _count(groups: Any, sizes: Any) -> None:
    # Neighbours are mostly in one group: they are counted together.
    run, last = 0, np.uint32(0)
    for group in groups:
        if group != last:
            sizes[last] += run
            run, last = 0, group
        run += 1
    if groups.size:
        sizes[last] += run


@numba.njit(cache=True, nogil=True)
def _quantiles(values: Any, groups: Any, starts: Any, share: float, result: Any) -> None:
    ordered = np.empty(starts[-1], values.dtype)
    places = starts[:-1].copy()
    last, place, end = np.uint32(0), 0, 0  # neighbours are mostly in one group
    for i in range(values.size):
        group = groups[i]
        if group != last:
            places[last] = place
            last, place, end = group, places[group], starts[group + 1]
        if place < end:
            ordered[place] = values[i]
            place += 1
    for group in range(1, result.size):
        part = ordered[starts[group] : starts[group + 1]]
        if part.size > 0:
            result[group] = _select(part, int(share * (part.size - 1)))


@numba.njit(cache=True, nogil=True)
def _select(values: Any, k: int) -> Any:
    """Return the value that has `k` smaller ones before it when sorted; they change places.

    Source: Hoare 1961, algorithm 65 (Find), Commun. ACM 4 (7).
    """
    first, end = 0, values.size
    while end - first > 1:
        pivot = values[k]
        middle = _divide(values, first, end, pivot, False)
        if middle == first:  # nothing is smaller: those that are equal go first
            middle = _divide(values, first, end, pivot, True)
            if k < middle:
                return pivot
        first, end = (first, middle) if k < middle else (middle, end)
    return values[k]


@numba.njit(cache=True, nogil=True)
def _divide(values: Any, first: int, end: int, limit: Any, with_equal: bool) -> Any:
    """Move what is below a limit to the front of a part; return where the rest begins."""
    middle = first
    for i in range(first, end):  # without branches: no processor foretells them
        value = values[i]
        values[i], values[middle] = values[middle], value
        middle += (value < limit) | (with_equal & (value == limit))
    return middle
