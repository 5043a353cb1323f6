"""Which objects found are also true: the ids behind the picture of misses and false finds.

Knows nothing of scores over many images, and nothing of pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus.ops.matching import match
from cellulus.ops.overlap import overlap_table

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Agreement:
    """Ids of the objects that were matched, missed and falsely found.

    Attributes
    ----------
    matched, false
        Ids among the objects found, ascending.
    missed
        Ids among the true objects, ascending.
    """

    matched: NDArray[np.uint64]
    missed: NDArray[np.uint64]
    false: NDArray[np.uint64]


def compare(labels: NDArray[Any], truth: NDArray[Any], iou: float = 0.5) -> Agreement:
    """Match objects one to one, as the scores do.

    Parameters
    ----------
    labels, truth
        Integer ids, ``(*S)``; 0 is background.
    iou
        Least intersection over union of a match, inclusive.
    """
    table = overlap_table(labels, truth)
    pairs = match(table, iou)
    found, true = (np.unique(ids[ids != 0]) for ids in (table.labels, table.truth))
    return Agreement(
        matched=found[pairs.label],
        missed=np.delete(true, pairs.truth),
        false=np.delete(found, pairs.label),
    )
