"""Statistics of the voxels of each label, in time linear in the voxels. Knows nothing of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def quantile_by_group(
    values: NDArray[np.float32], groups: NDArray[np.uint32], share: float, count: int
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

    Returns
    -------
    quantiles
        ``(count,)``; NaN for groups without values.
    """
    members = np.bincount(groups.ravel(), minlength=count)
    members[0] = 0
    starts = np.concatenate([[0], np.cumsum(members)])
    result = np.full(count, np.nan, np.float32)
    _quantiles(values.ravel(), groups.ravel(), starts, share, result)
    return result


@numba.njit(cache=True, nogil=True)
def _quantiles(values: Any, groups: Any, starts: Any, share: float, result: Any) -> None:
    ordered = np.empty(starts[-1], values.dtype)
    places = starts[:-1].copy()
    for i in range(values.size):
        group = groups[i]
        if group > 0:
            ordered[places[group]] = values[i]
            places[group] += 1
    for group in range(1, result.size):
        part = ordered[starts[group] : starts[group + 1]]
        if part.size > 0:
            k = int(share * (part.size - 1))
            result[group] = np.partition(part, k)[k]
