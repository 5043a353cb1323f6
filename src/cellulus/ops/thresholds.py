"""Otsu's threshold, exactly: over all splits between the values there are, without bins.

A threshold is the largest value of the lower class, so ``values > threshold`` is the upper class.
Where all values are equal there is nothing to split, and it is ``-inf``: all are above. Knows
nothing of images and objects. Source: Otsu 1979, doi:10.1109/TSMC.1979.4310076.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def otsu(values: NDArray[Any]) -> float:
    """Return the threshold that best separates values, of any shape, into two classes.

    Raises
    ------
    InputError
        If there are values that are not finite.
    """
    distinct, counts = np.unique(_finite(values), return_counts=True)
    return _split(distinct, counts)


def otsu_of_histogram(counts: NDArray[Any], values: NDArray[Any]) -> float:
    """Return the threshold of a histogram.

    Parameters
    ----------
    counts
        How often each value occurs, ``(k,)``.
    values
        Ascending, ``(k,)``: the values themselves, or the centres of bins.

    Raises
    ------
    InputError
        If there are values that are not finite.
    """
    there = np.asarray(counts) > 0
    return _split(_finite(values)[there], np.asarray(counts)[there])


def otsu_by_group(values: NDArray[Any], groups: NDArray[Any], n_groups: int) -> NDArray[np.float64]:
    """Return one threshold per group.

    Parameters
    ----------
    values, groups
        What to separate, and the group ``0 .. n_groups - 1`` that each belongs to, ``(P,)``.

    Returns
    -------
    thresholds
        ``(n_groups,)``; ``-inf`` for groups that are empty or of one value.

    Raises
    ------
    InputError
        If there are values that are not finite.
    """
    values = _finite(values)
    order = np.lexsort((values, groups))
    values = values[order]
    ends = np.cumsum(np.bincount(groups, minlength=n_groups))
    parts = np.split(values, ends[:-1]) if n_groups else []
    return np.array([_split(part, np.ones(part.size, np.int64)) for part in parts])


def _split(values: NDArray[Any], counts: NDArray[Any]) -> float:
    """Split ascending values where the variance between the classes is greatest."""
    if values.size == 0 or values[0] == values[-1]:
        return float("-inf")
    numbers = values.astype(np.float64)
    centred = counts * (numbers - np.average(numbers, weights=counts))
    below = np.cumsum(counts, dtype=np.float64)
    lower, total = below[:-1], below[-1]
    between = np.cumsum(centred)[:-1] ** 2 / (lower * (total - lower))
    between[numbers[1:] == numbers[:-1]] = -1
    return float(numbers[between.argmax()])


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    values = np.asarray(values)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(
            "image",
            expected="finite intensities",
            found="NaN or infinite ones",
            remedy="replace them before a threshold is sought",
        )
    return values
