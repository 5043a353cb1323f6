"""Which object is which: the best one-to-one matching of predicted and true objects.

Works on the overlap table alone. Knows nothing of voxels, scores or files.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cellulus.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellulus.ops.overlap import OverlapTable, Pairs

# Thresholds are decimals of at most six places; counts up to 2**63 / 10**6 stay exact.
_FINEST = 10**6


def match(table: OverlapTable, threshold: float) -> Pairs:
    """Match objects one to one: as many pairs as possible, then the greatest total IoU.

    Parameters
    ----------
    threshold
        Least IoU of a match, above 0 and at most 1, inclusive. Taken as the decimal it was meant
        to be, and compared in integers.

    Returns
    -------
    matches
        The matched pairs, ascending by predicted object.

    Raises
    ------
    InputError
        If the threshold is out of range.
    """
    exact = exact_threshold(threshold)
    pairs = table.pairs
    good = pairs.overlap * exact.denominator >= exact.numerator * pairs.union
    pairs = pairs.where(good)
    # Above 0.5 no object has two partners, and at 0.5 hardly any: what is left to decide is rare.
    alone = (np.bincount(pairs.label)[pairs.label] == 1) & (
        np.bincount(pairs.truth)[pairs.truth] == 1
    )
    chosen = [np.flatnonzero(alone), *_assign(pairs, np.flatnonzero(~alone))]
    return pairs.where(np.sort(np.concatenate(chosen)))


def _assign(pairs: Pairs, open_: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Solve each connected group of competing pairs; return the positions of the chosen ones."""
    if not open_.size:
        return []
    label, truth = (np.unique(side[open_], return_inverse=True)[1] for side in pairs[:2])
    n = int(label.max()) + 1
    nodes = n + int(truth.max()) + 1
    graph = coo_array((np.ones(open_.size), (label, n + truth)), shape=(nodes, nodes))
    group = connected_components(graph, directed=False)[1][label]
    order = np.argsort(group, kind="stable")
    cuts = np.flatnonzero(np.diff(group[order])) + 1
    return [_assign_group(pairs, part) for part in np.split(open_[order], cuts)]


def _assign_group(pairs: Pairs, part: NDArray[np.intp]) -> NDArray[np.intp]:
    group = pairs.where(part)
    row, column = (np.unique(side, return_inverse=True)[1] for side in group[:2])
    shape = (int(row.max()) + 1, int(column.max()) + 1)
    position = np.full(shape, -1, np.intp)
    position[row, column] = part
    gain = np.zeros(shape)
    # One more match outweighs any sum of IoU: that is at most min(shape), so here at most 1 / 2.
    gain[row, column] = 1 + group.iou / (2 * min(shape))
    chosen: NDArray[np.intp] = position[linear_sum_assignment(gain, maximize=True)]
    return chosen[chosen >= 0]


def exact_threshold(threshold: float) -> Fraction:
    """Return the decimal a threshold was meant to be: ``0.6000000000000001`` is 3 / 5.

    Raises
    ------
    InputError
        If it is not above 0 and at most 1.
    """
    if not 0 < threshold <= 1:
        raise InputError(
            "iou", expected="thresholds above 0 and at most 1", found=repr(float(threshold))
        )
    return Fraction(float(threshold)).limit_denominator(_FINEST)
