"""Object by object: who is matched, how well, and what is cut or joined.

One row per object, on either side; pages and tables are made from it. Follows from the overlap
table; `distances` alone wants to know where the objects lie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cellulus.ops.edits import contained, covered
from cellulus.ops.matching import match

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellulus.ops.measures import Measures
    from cellulus.ops.overlap import Counts, Ids, OverlapTable


class Objects(NamedTuple):
    """The ``n`` objects of one side, ascending by id.

    Attributes
    ----------
    ids
        ``(n,)``.
    sizes
        ``(n,)`` [voxel].
    partners
        Id of the match on the other side; 0 without one, ``(n,)``.
    iou
        With the match; 0 without one, ``(n,)``.
    best
        The greatest IoU with anything on the other side, ``(n,)``.
    holds
        Objects of the other side that lie in this one by more than half, ``(n,)``: two or more
        say that a true object is split, or that a prediction joins several.
    """

    ids: Ids
    sizes: Counts
    partners: Ids
    iou: NDArray[np.float64]
    best: NDArray[np.float64]
    holds: Counts


def partners(table: OverlapTable, threshold: float) -> tuple[Objects, Objects]:
    """Return the objects of the labels and of the truth, with their matches.

    Parameters
    ----------
    threshold
        As for `cellulus.ops.matching.match`.

    Raises
    ------
    InputError
        If the threshold is out of range.
    """
    found, true = (np.unique(ids[ids > 0]) for ids in (table.labels, table.truth))
    pairs, matches = table.pairs, match(table, threshold)
    held, holding = covered(table).label, contained(table).truth
    sides = []
    for ids, sizes, others, (mine, theirs), holds in (
        (found, table.label_sizes, true, ("label", "truth"), held),
        (true, table.truth_sizes, found, ("truth", "label"), holding),
    ):
        partner, iou, best = np.zeros(ids.size, np.uint64), np.zeros(ids.size), np.zeros(ids.size)
        partner[getattr(matches, mine)] = others[getattr(matches, theirs)]
        iou[getattr(matches, mine)] = matches.iou
        np.maximum.at(best, getattr(pairs, mine), pairs.iou)
        count = np.bincount(holds, minlength=ids.size).astype(np.int64)
        sides.append(Objects(ids, sizes, partner, iou, best, count))
    return sides[0], sides[1]


def distances(
    objects: Objects, own: Measures, others: Measures, spacing: Sequence[float]
) -> list[float | None]:
    """Return how far the centroid of each object lies from that of its match.

    Parameters
    ----------
    objects
        One side.
    own, others
        What was measured of all objects of this and of the other side.
    spacing
        Size of a voxel along each axis; the distances are in its unit.

    Returns
    -------
    distances
        None for objects without a match.
    """
    is_matched = objects.partners > 0
    here = np.searchsorted(own.ids, objects.ids[is_matched])
    there = np.searchsorted(others.ids, objects.partners[is_matched])
    steps = own.centroids[here] - others.centroids[there]
    lengths = iter(np.linalg.norm(steps * np.asarray(spacing), axis=1).tolist())
    return [next(lengths) if matched else None for matched in is_matched]
