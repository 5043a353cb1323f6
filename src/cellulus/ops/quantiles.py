"""Percentiles of more values than memory holds: exact, from counts that add up over blocks.

A value becomes a key, a whole number in the same order. Keys have one digit or two, of two bytes
each. How often each digit occurs is counted; where there are two, the first of them is counted,
which tells the few that matter, and then the second digits of the keys that begin with these. So
types of two bytes are gone through once, and others twice, as float32, which is what they are
normalised as. Knows nothing of images and blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

Counts = NDArray[np.int64]
Keys = NDArray[np.unsignedinteger[Any]]

BASE = 2**16
"""Digits that there are."""
AT_ONCE = 2**20
"""Values that keys are made of at once."""


@dataclass(frozen=True)
class Digits:
    """The digits of values of one type.

    Attributes
    ----------
    dtype
        uint16, int16, float16 or float32.
    """

    dtype: np.dtype[Any]

    @classmethod
    def of(cls, dtype: np.dtype[Any]) -> Digits:
        """Return the digits of values of any real type."""
        kind, width = np.dtype(dtype).kind, np.dtype(dtype).itemsize
        narrow = {"b": np.uint16, "u": np.uint16, "i": np.int16, "f": np.float16}
        return cls(np.dtype(narrow[kind] if width <= 2 else np.float32))

    @property
    def passes(self) -> int:
        """How many digits there are, and how often values are gone through."""
        return self.dtype.itemsize // 2

    def count(self, values: NDArray[Any], leading: Sequence[int] | None = None) -> Counts:
        """Count digits.

        Parameters
        ----------
        values
            Of any shape.
        leading
            Ascending; by default the first digits are counted.

        Returns
        -------
        counts
            How often each first digit occurs, ``(65536,)``; or, for each of `leading`, how often
            each second digit follows it, ``(k, 65536)``. Counts of disjoint parts add up.
        """
        flat = values.ravel()
        keys = (self._keys(flat[i : i + AT_ONCE]) for i in range(0, flat.size, AT_ONCE))
        if leading is None:
            counts = np.zeros(BASE, np.int64)
            for some in keys:
                _count(some, 16 * (self.passes - 1), counts)
            return counts
        rows = np.full(BASE, -1, np.int64)
        rows[np.asarray(leading, np.int64)] = np.arange(len(leading))
        following = np.zeros((len(leading), BASE), np.int64)
        for some in keys:
            _count_following(some, rows, following)
        return following

    def count_strangers(self, counts: Counts) -> int:
        """Return how many values are NaN or infinite, by their first digits ``(65536,)``."""
        if self.dtype.kind != "f":
            return 0
        # Infinity and NaN have an exponent of their own, which lies in the first digit.
        limits = np.finfo(self.dtype)
        low, high = self._keys(np.array([limits.min, limits.max])) >> 16 * (self.passes - 1)
        return int(counts.sum() - counts[int(low) : int(high) + 1].sum())

    def leading(self, counts: Counts, percentiles: Sequence[float]) -> tuple[int, ...]:
        """Return the first digits, ascending, of the values that matter to percentiles."""
        digits, _ = _find(counts, _ranks(int(counts.sum()), percentiles))
        return tuple(np.unique(digits).tolist())

    def percentiles(
        self, counts: Counts, percentiles: Sequence[float], following: Counts | None = None
    ) -> NDArray[np.float64]:
        """Return percentiles as `numpy.percentile` finds them in float32, bit for bit.

        Parameters
        ----------
        counts
            Of the first digits of all values, which must be finite, ``(65536,)``.
        percentiles
            0 to 100, ``p`` of them.
        following
            For each of `leading`, the counts of the second digits, ``(k, 65536)``, if there are
            any.

        Returns
        -------
        found
            The percentiles, then the least and the greatest value, ``(p + 2,)``.
        """
        size = int(counts.sum())
        keys, rests = _find(counts, _ranks(size, percentiles))
        if following is not None:
            rows = np.searchsorted(np.unique(keys), keys)
            second = [_find(following[a], b)[0] for a, b in zip(rows, rests, strict=True)]
            keys = (keys << 16) | np.array(second)
        values = self._values(keys)
        between = _interpolate(values[:-2], size, percentiles)
        return np.concatenate([between, values[-2:]])

    def _keys(self, values: NDArray[Any]) -> Keys:
        unsigned = np.dtype(f"u{self.dtype.itemsize}")
        typed = np.ascontiguousarray(values, self.dtype)
        if self.dtype.kind == "f":
            typed = typed + self.dtype.type(0)  # there is one zero only
        bits: Keys = typed.view(unsigned)
        if self.dtype.kind == "u":
            return bits
        top = unsigned.type(1 << 8 * unsigned.itemsize - 1)
        if self.dtype.kind == "f":
            # Floats are ordered by their bits, negative ones the other way round.
            return np.where(bits & top, ~bits, bits | top)
        keys: Keys = bits ^ top
        return keys

    def _values(self, keys: NDArray[Any]) -> NDArray[np.float32]:
        unsigned = np.dtype(f"u{self.dtype.itemsize}")
        bits, top = keys.astype(unsigned), unsigned.type(1 << 8 * unsigned.itemsize - 1)
        if self.dtype.kind == "i":
            bits = bits ^ top
        elif self.dtype.kind == "f":
            bits = np.where(bits & top, bits ^ top, ~bits)
        return bits.view(self.dtype).astype(np.float32)


def _ranks(size: int, percentiles: Sequence[float]) -> Counts:
    """Return which of the sorted values are needed: two per percentile, the first, the last."""
    below = np.floor(_places(size, percentiles)).astype(np.int64)
    both = np.stack([below, below + 1], axis=1).ravel()
    ranks: Counts = np.minimum(np.append(both, [0, size - 1]), size - 1)
    return ranks


def _places(size: int, percentiles: Sequence[float]) -> NDArray[np.float64]:
    return (size - 1) * (np.asarray(percentiles, np.float64) / 100)


def _interpolate(
    values: NDArray[np.float32], size: int, percentiles: Sequence[float]
) -> NDArray[np.float64]:
    """Return what lies between the neighbours of each percentile, rounded as numpy does it."""
    places = _places(size, percentiles)
    share = places - np.floor(places)
    a, b = values[0::2], values[1::2]
    step = b - a
    return np.where(share >= 0.5, b - step * (1 - share), a + step * share)


def _find(counts: Counts, ranks: Any) -> tuple[Counts, Counts]:
    """Return the digits of the values of some ranks, and their ranks among those of that digit."""
    ends = np.cumsum(counts)
    digits = np.searchsorted(ends, ranks, side="right")
    return digits, ranks - (ends - counts)[digits]


@njit(cache=True, nogil=True)
def _count(keys: Keys, shift: int, counts: Counts) -> None:
    for key in keys:
        counts[key >> shift] += 1


@njit(cache=True, nogil=True)
def _count_following(keys: Keys, rows: Counts, counts: Counts) -> None:
    for key in keys:
        row = rows[key >> 16]
        if row >= 0:
            counts[row, key & 0xFFFF] += 1
