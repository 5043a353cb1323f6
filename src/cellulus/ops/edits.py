"""What a person would have to do to the labels: cut, join, add and delete objects.

An object belongs to another where more than half of it lies inside that; so it belongs to one at
most, and cuts and joins follow from the overlap table without a matching. From the same counts
come DET and the error of the number of objects. Knows nothing of thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cellulus.ops.scores import seg_sum
from cellulus.ops.tallies import Tally, ratio

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellulus.ops.overlap import OverlapTable, Pairs

CUT, ADD, DELETE = 5, 10, 1
"""What each edit costs in DET: a prediction is cut, a true object added, a prediction deleted."""


@dataclass(frozen=True)
class Edits(Tally):
    """Edits of one image.

    Attributes
    ----------
    n_true, n_pred
        Number of objects.
    splits
        Joins that are needed: predictions that belong to one true object, less one, over all.
    merges
        Cuts that are needed: true objects that belong to one prediction, less one, over all.
    missed
        True objects that belong to no prediction.
    spurious
        Predictions to which no true object belongs.
    miscounted
        By how much the number of objects is off, whatever the direction.
    """

    SCORES: ClassVar[Mapping[str, str]] = {
        "count_error": "no true object",
        "split_rate": "no true object",
        "merge_rate": "no true object",
    }

    n_true: int
    n_pred: int
    splits: int
    merges: int
    missed: int
    spurious: int
    miscounted: int

    @property
    def count_error(self) -> float | None:
        """Error of the number of objects, as a share of the true ones; never cancels out."""
        return ratio(self.miscounted, self.n_true)

    @property
    def split_rate(self) -> float | None:
        """Splits per true object."""
        return ratio(self.splits, self.n_true)

    @property
    def merge_rate(self) -> float | None:
        """Merges per true object."""
        return ratio(self.merges, self.n_true)


@dataclass(frozen=True)
class Challenge(Tally):
    """The counts behind the scores of the Cell Tracking Challenge for single frames.

    Sources: DET, Matula et al. 2015, doi:10.1371/journal.pone.0144959; SEG, Maska et al. 2014,
    doi:10.1093/bioinformatics/btu080.

    Attributes
    ----------
    n_true
        True objects.
    cost
        Of all edits, by `CUT`, `ADD` and `DELETE`.
    seg_sum
        See `cellulus.ops.scores.seg_sum`.
    """

    SCORES: ClassVar[Mapping[str, str]] = {"det": "no true object", "seg": "no true object"}

    n_true: int
    cost: int
    seg_sum: float

    @property
    def det(self) -> float | None:
        """``1 - min(cost, worst) / worst``; the worst is to add all true objects."""
        spent = ratio(self.cost, ADD * self.n_true)
        return None if spent is None else 1 - min(spent, 1.0)

    @property
    def seg(self) -> float | None:
        """Mean Jaccard index of the true objects."""
        return ratio(self.seg_sum, self.n_true)


def edits(table: OverlapTable) -> Edits:
    """Count the edits of an image."""
    n_true, n_pred = table.truth_sizes.size, table.label_sizes.size
    held, holding = covered(table), contained(table)
    used = np.unique(held.label).size
    return Edits(
        n_true=n_true,
        n_pred=n_pred,
        splits=holding.truth.size - np.unique(holding.truth).size,
        merges=held.label.size - used,
        missed=n_true - held.truth.size,
        spurious=n_pred - used,
        miscounted=abs(n_pred - n_true),
    )


def challenge(table: OverlapTable) -> Challenge:
    """Count what the Cell Tracking Challenge counts in a frame."""
    found = edits(table)
    cost = CUT * found.merges + ADD * found.missed + DELETE * found.spurious
    return Challenge(found.n_true, cost, seg_sum(table))


def covered(table: OverlapTable) -> Pairs:
    """Return each true object that belongs to a prediction, with it."""
    pairs = table.pairs
    return pairs.where(2 * pairs.overlap > table.truth_sizes[pairs.truth])


def contained(table: OverlapTable) -> Pairs:
    """Return each prediction that belongs to a true object, with it."""
    pairs = table.pairs
    return pairs.where(2 * pairs.overlap > table.label_sizes[pairs.label])
