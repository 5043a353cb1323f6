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
    count: int,
    *,
    asked: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Return a quantile of the values of each group.

    Parameters
    ----------
    values, groups
        Alike in shape; group 0 does not count.
    share
        Which quantile, 0 to 1; the order statistic at or below it, never between two.
    count
        One more than the largest group.
    asked
        Which groups count, ``(count,)``; by default all.

    Returns
    -------
    quantiles
        ``(count,)``; NaN for groups without values.
    """
    members = sizes_of(groups, count)
    members[0] = 0
    if asked is not None:
        members[~asked] = 0
    starts = np.concatenate([[0], np.cumsum(members)])
    result = np.full(count, np.nan, np.float32)
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
    for i in range(values.size):
        group = groups[i]
        if starts[group] < starts[group + 1]:
            ordered[places[group]] = values[i]
            places[group] += 1
    for group in range(1, result.size):
        part = ordered[starts[group] : starts[group + 1]]
        if part.size > 0:
            result[group] = _select(part, int(share * (part.size - 1)))


@numba.njit(cache=True, nogil=True)
def _select(values: Any, k: int) -> Any:
    """Return the value that has `k` smaller ones before it when sorted; they change places.

    Source: Hoare 1961, algorithm 65 (Find), Commun. ACM 4 (7).
    """
    first, last = 0, values.size - 1
    while first < last:
        pivot = values[k]
        i, j = first, last
        while i <= j:
            while values[i] < pivot:
                i += 1
            while pivot < values[j]:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if j < k:
            first = i
        if k < i:
            last = j
    return values[k]
