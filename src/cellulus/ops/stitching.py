"""Which objects of arrays that were labelled alone are one, where the arrays saw the same voxels.

Two labels of the same voxels are the same object if each is the other's best partner and they
share enough of their voxels (the overlap rule; touching is not enough, because cells press against
each other). Sameness is handed on from array to array, so that an object may lie in many; an
object that would become wider than any can be is a chain of several, and the weakest links that
make it so are refused. Only objects with a link are ever looked at. Knows nothing of files or of
how an image was cut.

Source: the rule, its threshold and its measurement against others are in `benchmarks/stitching.py`;
union-find with path halving is Tarjan and van Leeuwen 1984, doi:10.1145/62.2160.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import njit

from cellulus.ops.matching import exact_threshold
from cellulus.ops.overlap import overlap_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellulus.ops.joining import Extents

SAME = 0.3
"""Two labels of the same voxels are one object from this IoU on."""


class Links(NamedTuple):
    """Pairs of objects that are the same.

    Attributes
    ----------
    first, second
        Their ids, ``(k,)``.
    iou
        Of the voxels that both arrays saw, ``(k,)``.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    iou: NDArray[np.float64]

    @classmethod
    def of(cls, parts: Sequence[Links]) -> Links:
        """Put links together."""
        none = cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
        return cls(*(np.concatenate(columns) for columns in zip(none, *parts, strict=True)))


@dataclass(frozen=True)
class United:
    """What became of objects and their links.

    Attributes
    ----------
    names
        The smallest id of all that each object is one with, ``(n,)``.
    refused
        Rows of the objects that were not united, though linked, because they would have become
        too wide, ``(m, 2)``.
    """

    names: NDArray[np.int64]
    refused: NDArray[np.int64]


def find_links(first: NDArray[Any], second: NDArray[Any], least: float = SAME) -> Links:
    """Return which objects of two labellings of the same voxels are the same.

    Parameters
    ----------
    first, second
        Integer ids of the same shape, any dimension; 0 is background.
    least
        Smallest IoU, inclusive; above 0.

    Returns
    -------
    links
        Ascending by the first id. No object has two: of equally good partners the one with the
        smaller id counts.

    Raises
    ------
    InputError
        If the shapes differ, an array holds no ids, or `least` is not above 0 and at most 1.
    """
    exact = exact_threshold(least)
    table = overlap_table(first, second)
    pairs = table.pairs
    is_best = _best(pairs.label, pairs.truth, pairs.iou)
    is_best &= _best(pairs.truth, pairs.label, pairs.iou)
    is_enough = pairs.overlap * exact.denominator >= exact.numerator * pairs.union
    found = pairs.where(is_best & is_enough)
    ids = [np.unique(side[side > 0]).astype(np.int64) for side in (table.labels, table.truth)]
    return Links(ids[0][found.label], ids[1][found.truth], found.iou)


def unite(links: Links, ids: NDArray[np.int64], extents: Extents, widest: Sequence[int]) -> United:
    """Find what objects are one, directly or by way of others.

    Links are followed from the strongest to the weakest; one that would make an object wider than
    any can be is refused. Objects that are narrow enough are therefore united whatever the order.

    Parameters
    ----------
    links
        Between ids; those of which an end is not among the objects do not count.
    ids
        Of all objects, ascending and unique, ``(n,)``.
    extents
        Where each of them lies.
    widest
        Largest extent of an object per axis [voxel].
    """
    ends = np.stack([links.first, links.second], axis=1)
    is_known = np.isin(ends, ids).all(axis=1)
    rows = np.sort(np.searchsorted(ids, ends[is_known]), axis=1)
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0], -links.iou[is_known]))]
    nodes, places = np.unique(rows, return_inverse=True)
    parent, refused = np.arange(len(nodes)), np.zeros(len(rows), bool)
    _unite(
        places.reshape(-1, 2), extents.starts[nodes], extents.stops[nodes],
        np.asarray(widest, np.int64), parent, refused,
    )  # fmt: skip
    names = ids.copy()
    names[nodes] = ids[nodes[parent]]
    return United(names, rows[refused])


def _best(
    of: NDArray[np.int64], partner: NDArray[np.int64], iou: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Mark, for each object, the pair with its best partner."""
    order = np.lexsort((partner, -iou, of))
    is_best = np.zeros(len(of), bool)
    _, firsts = np.unique(of[order], return_index=True)
    is_best[order[firsts]] = True
    return is_best


@njit(cache=True)
def _root(parent: Any, node: Any) -> Any:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@njit(cache=True)
def _unite(ends: Any, starts: Any, stops: Any, widest: Any, parent: Any, refused: Any) -> None:
    """Follow links in order; the smallest node of a group is its root, and holds its extent."""
    for link in range(len(ends)):
        a, b = _root(parent, ends[link, 0]), _root(parent, ends[link, 1])
        if a == b:
            continue
        low, high = min(a, b), max(a, b)
        start = np.minimum(starts[low], starts[high])
        stop = np.maximum(stops[low], stops[high])
        if np.any(stop - start > widest):
            refused[link] = True
            continue
        parent[high] = low
        starts[low], stops[low] = start, stop
    for node in range(len(parent)):
        parent[node] = _root(parent, node)
