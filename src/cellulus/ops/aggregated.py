"""The aggregated Jaccard index of Kumar et al.: one IoU over all objects of an image together.

Not the index of that name in cellpose, which matches one to one. Follows from the overlap table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cellulus.ops.tallies import Tally, ratio

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellulus.ops.overlap import OverlapTable


@dataclass(frozen=True)
class Aggregated(Tally):
    """Voxels of all objects together.

    Source: Kumar et al. 2017, doi:10.1109/TMI.2017.2677499, algorithm 1.

    Attributes
    ----------
    overlap, union
        Of all true objects with their partners [voxel]; objects without one join the union.
    """

    SCORES: ClassVar[Mapping[str, str]] = {"aji": "no object on either side"}

    overlap: int
    union: int

    @property
    def aji(self) -> float | None:
        """Aggregated Jaccard index."""
        return ratio(self.overlap, self.union)


def aggregated(table: OverlapTable) -> Aggregated:
    """Add up overlaps and unions.

    The partner of a true object is the prediction of the greatest IoU, of equals the one of the
    smaller id; one prediction may be the partner of several, and is then counted for each.
    """
    pairs = table.pairs
    order = np.lexsort((pairs.label, -pairs.iou, pairs.truth))
    best = pairs.where(order[np.diff(pairs.truth[order], prepend=-1) > 0])
    alone = np.delete(table.truth_sizes, best.truth).sum()
    unused = np.delete(table.label_sizes, np.unique(best.label)).sum()
    return Aggregated(int(best.overlap.sum()), int(best.union.sum() + alone + unused))
