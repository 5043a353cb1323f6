"""The overlap table of two label arrays: how many voxels each pair of objects shares.

It is all that scoring needs to know of the voxels. It is small, exact (integer counts), and the
tables of disjoint blocks add up to the table of the whole, so nothing built on it depends on how
large an image is. Knows nothing of matching and scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cellulus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Ids = NDArray[np.uint64]
Counts = NDArray[np.int64]

ROWS = 2**20
"""Rows of tables that are added up together at least."""


class Pairs(NamedTuple):
    """Pairs of objects that share voxels.

    Attributes
    ----------
    label, truth
        Index into the ids of either side, ``(k,)``.
    overlap, union
        Voxels in both and in either object, ``(k,)`` [voxel].
    """

    label: Counts
    truth: Counts
    overlap: Counts
    union: Counts

    def where(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> Pairs:
        """Return the pairs that `keep` selects."""
        return Pairs(*(column[keep] for column in self))

    @property
    def iou(self) -> NDArray[np.float64]:
        """Overlap over union."""
        return self.overlap / self.union


@dataclass(frozen=True, eq=False)
class OverlapTable:
    """How many voxels each pair of ids shares; background, id 0, is a partner like any other.

    Attributes
    ----------
    labels, truth
        Ids of each pair, ``(k,)``, pairs unique and ascending.
    counts
        Voxels that carry both ids, ``(k,)`` [voxel]; their sum is the number of voxels.
    """

    labels: Ids
    truth: Ids
    counts: Counts

    def __add__(self, other: OverlapTable) -> OverlapTable:
        """Return the table of two disjoint regions together."""
        return _together([self, other])

    @cached_property
    def label_sizes(self) -> Counts:
        """Size of each predicted object, ascending by id, ``(n_pred,)`` [voxel]."""
        return _sizes(self.labels, self.counts)

    @cached_property
    def truth_sizes(self) -> Counts:
        """Size of each true object, ascending by id, ``(n_true,)`` [voxel]."""
        return _sizes(self.truth, self.counts)

    @cached_property
    def pairs(self) -> Pairs:
        """The pairs of objects that overlap."""
        both = (self.labels > 0) & (self.truth > 0)
        label = _rank(self.labels)[both]
        truth = _rank(self.truth)[both]
        overlap = self.counts[both]
        union = self.label_sizes[label] + self.truth_sizes[truth] - overlap
        return Pairs(label, truth, overlap, union)


def overlap_table(labels: NDArray[Any], truth: NDArray[Any]) -> OverlapTable:
    """Count the voxels of each pair of ids in one pass.

    Parameters
    ----------
    labels, truth
        Integer ids of the same shape, any dimension; 0 is background. Ids need not be dense.

    Returns
    -------
    table
        Time is linear in the voxels, memory in the number of pairs.

    Raises
    ------
    InputError
        If the shapes differ, or an array holds no ids: floats, negative numbers.
    """
    if labels.shape != truth.shape:
        raise InputError(
            "truth",
            expected=f"the shape of the labels, {labels.shape}",
            found=f"shape {truth.shape}",
            remedy="score labels on the grid, pyramid level and axes order of the truth",
        )
    wide = max(_width(labels, "labels"), _width(truth, "truth"))
    dtype = np.uint32 if wide <= 4 else np.uint64
    # The cast wraps negative ids round to huge ones, which are found among the few ids below.
    flat = [np.ascontiguousarray(a).reshape(-1).astype(dtype, copy=False) for a in (labels, truth)]
    table = _summed(*_count_pairs(*flat))
    _refuse_negative(table.labels, labels.dtype, "labels")
    _refuse_negative(table.truth, truth.dtype, "truth")
    return table


def total(tables: Iterable[OverlapTable]) -> OverlapTable:
    """Return the table of disjoint regions together.

    Parameters
    ----------
    tables
        Of each; at any time a few are held, no longer together than what they add up to.
    """
    whole, waiting, rows = _together([]), list[OverlapTable](), 0
    for table in tables:
        waiting.append(table)
        rows += table.counts.size
        # Sorting all for each table would take time that grows with their number squared.
        if rows > max(ROWS, whole.counts.size):
            whole, waiting, rows = _together([whole, *waiting]), [], 0
    return _together([whole, *waiting])


def _together(tables: Sequence[OverlapTable]) -> OverlapTable:
    none = np.zeros(0, np.uint64)
    return _summed(
        np.concatenate([none, *(table.labels for table in tables)]),
        np.concatenate([none, *(table.truth for table in tables)]),
        np.concatenate([none.astype(np.int64), *(table.counts for table in tables)]),
    )


def _width(array: NDArray[Any], name: str) -> int:
    if array.dtype.kind not in "iub":
        raise InputError(
            name,
            expected="integer ids, 0 for background",
            found=f"an array of {array.dtype}",
            remedy="give labels, not an image or a probability",
        )
    return array.dtype.itemsize


def _refuse_negative(ids: Ids, dtype: np.dtype[Any], name: str) -> None:
    if dtype.kind == "i" and ids.size and int(ids.max()) > np.iinfo(dtype).max:
        raise InputError(
            name,
            expected="ids of at least 0",
            found="negative ids",
            remedy="set what must not count to 0, the background",
        )


def _sizes(ids: Ids, counts: Counts) -> Counts:
    sizes = np.zeros(int(_rank(ids).max(initial=-1)) + 1, np.int64)
    np.add.at(sizes, _rank(ids)[ids > 0], counts[ids > 0])
    return sizes


def _rank(ids: Ids) -> Counts:
    """Return the position of each id among the objects; -1 for background."""
    unique, rank = np.unique(ids, return_inverse=True)
    return rank.astype(np.int64) - int(unique.size > 0 and unique[0] == 0)


def _summed(labels: NDArray[Any], truth: NDArray[Any], counts: Counts) -> OverlapTable:
    """Sort pairs and add up those that occur more than once."""
    order = np.lexsort((truth, labels))
    labels, truth = labels[order].astype(np.uint64), truth[order].astype(np.uint64)
    new = np.ones(labels.size, bool)
    new[1:] = (np.diff(labels) != 0) | (np.diff(truth) != 0)
    starts = np.flatnonzero(new)
    sums = np.add.reduceat(counts[order], starts) if starts.size else counts
    return OverlapTable(labels[starts], truth[starts], sums)


@njit(cache=True, nogil=True)
def _count_pairs(
    labels: NDArray[Any], truth: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], Counts]:
    """Count equal pairs, run by run, in an open hash table that doubles when half full."""
    keys = np.zeros((1024, 2), labels.dtype)
    counts = np.zeros(1024, np.int64)
    used, start = 0, 0
    while start < labels.size:
        a, b = labels[start], truth[start]
        stop = start + 1
        while stop < labels.size and labels[stop] == a and truth[stop] == b:
            stop += 1
        slot = _slot(keys, counts, a, b)
        used += counts[slot] == 0
        keys[slot, 0], keys[slot, 1] = a, b
        counts[slot] += stop - start
        if 2 * used > counts.size:
            keys, counts = _doubled(keys, counts)
        start = stop
    filled = np.flatnonzero(counts)
    return keys[filled, 0], keys[filled, 1], counts[filled]


@njit(cache=True, nogil=True)
def _slot(keys: NDArray[Any], counts: Counts, a: Any, b: Any) -> np.int64:
    """Return where the pair lies, or the empty slot where it belongs."""
    mixed = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(b)
    mixed = mixed * np.uint64(0xD6E8FEB86659FD93)
    slot = np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(counts.size - 1))
    while counts[slot] and (keys[slot, 0] != a or keys[slot, 1] != b):
        slot = (slot + 1) & (counts.size - 1)
    return slot


@njit(cache=True, nogil=True)
def _doubled(keys: NDArray[Any], counts: Counts) -> tuple[NDArray[Any], Counts]:
    wider = np.zeros((2 * counts.size, 2), keys.dtype)
    more = np.zeros(2 * counts.size, np.int64)
    for old in np.flatnonzero(counts):
        slot = _slot(wider, more, keys[old, 0], keys[old, 1])
        wider[slot, 0], wider[slot, 1] = keys[old, 0], keys[old, 1]
        more[slot] = counts[old]
    return wider, more
