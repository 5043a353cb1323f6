"""Which objects found are also true: the pairs behind the picture of misses and false finds.

Knows nothing of scores, which are computed elsewhere over whole images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Agreement:
    """Ids of the objects that were matched, missed and falsely found.

    Attributes
    ----------
    matched
        Ids among the objects found.
    missed
        Ids among the true objects.
    false
        Ids among the objects found.
    """

    matched: NDArray[np.int64]
    missed: NDArray[np.int64]
    false: NDArray[np.int64]


def compare(
    labels: NDArray[np.unsignedinteger[Any]],
    truth: NDArray[np.unsignedinteger[Any]],
    iou: float = 0.5,
) -> Agreement:
    """Match objects one to one, best overlap first.

    Parameters
    ----------
    labels, truth
        ``(*S)``; 0 is background.
    iou
        Least intersection over union of a match, inclusive; at 0.5 or more only exact ties
        leave a choice.
    """
    found, found_size = _sizes(labels)
    true, true_size = _sizes(truth)
    both = (labels != 0) & (truth != 0)
    pairs = labels[both].astype(np.uint64) << np.uint64(32) | truth[both].astype(np.uint64)
    pair, shared = np.unique(pairs, return_counts=True)
    i = np.searchsorted(found, (pair >> np.uint64(32)).astype(np.int64))
    j = np.searchsorted(true, (pair & np.uint64(0xFFFFFFFF)).astype(np.int64))
    overlap = shared / (found_size[i] + true_size[j] - shared)
    is_found, is_true = np.zeros(len(found), bool), np.zeros(len(true), bool)
    for k in np.lexsort((j, i, -overlap)):
        if overlap[k] < iou:
            break
        if not is_found[i[k]] and not is_true[j[k]]:
            is_found[i[k]] = is_true[j[k]] = True
    return Agreement(found[is_found], true[~is_true], found[~is_found])


def _sizes(labels: NDArray[np.unsignedinteger[Any]]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    ids, sizes = np.unique(labels, return_counts=True)
    return ids[ids != 0].astype(np.int64), sizes[ids != 0]
