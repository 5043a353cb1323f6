"""Panoptic quality, and what else follows from the matches at one threshold.

Knows nothing of voxels; `matching` says who matches whom.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cellulus.errors import InputError
from cellulus.ops.matching import exact_threshold, match
from cellulus.ops.tallies import Tally, ratio

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellulus.ops.overlap import OverlapTable, Pairs


@dataclass(frozen=True)
class Panoptic(Tally):
    """Matches at one threshold.

    Source: Kirillov et al. 2019, doi:10.1109/CVPR.2019.00963, equations 1 and 2.

    Attributes
    ----------
    hits
        Matched pairs, TP.
    iou_sum
        Sum of their IoU.
    n_true, n_pred
        Number of objects.
    """

    SCORES: ClassVar[Mapping[str, str]] = {
        "pq": "no object on either side",
        "sq": "no matched pair",
        "rq": "no object on either side",
        "precision": "no predicted object",
        "recall": "no true object",
        "ap": "no object on either side",
        "mean_true_score": "no true object",
    }

    hits: int
    iou_sum: float
    n_true: int
    n_pred: int

    @property
    def pq(self) -> float | None:
        """Panoptic quality: sum of IoU over ``TP + FP / 2 + FN / 2``."""
        return ratio(2 * self.iou_sum, self.n_true + self.n_pred)

    @property
    def sq(self) -> float | None:
        """Segmentation quality: mean IoU of the matched pairs."""
        return ratio(self.iou_sum, self.hits)

    @property
    def rq(self) -> float | None:
        """Recognition quality, which is F1: ``2 TP / (2 TP + FP + FN)``."""
        return ratio(2 * self.hits, self.n_true + self.n_pred)

    @property
    def precision(self) -> float | None:
        """``TP / (TP + FP)``."""
        return ratio(self.hits, self.n_pred)

    @property
    def recall(self) -> float | None:
        """``TP / (TP + FN)``."""
        return ratio(self.hits, self.n_true)

    @property
    def ap(self) -> float | None:
        """``TP / (TP + FP + FN)``, the AP of the DSB 2018."""
        return ratio(self.hits, self.n_true + self.n_pred - self.hits)

    @property
    def mean_true_score(self) -> float | None:
        """Mean over true objects of the IoU with their match; 0 for those without."""
        return ratio(self.iou_sum, self.n_true)


def panoptic(table: OverlapTable, threshold: float = 0.5, *, strict: bool = False) -> Panoptic:
    """Match the objects of an image, and count.

    Parameters
    ----------
    threshold
        Least IoU of a match, above 0 and at most 1.
    strict
        Whether the IoU must exceed the threshold, as in the definition of PQ. By default it may
        equal it, as for all our scores.

    Raises
    ------
    InputError
        If the threshold is out of range.
    """
    matches = strict_match(table, threshold) if strict else match(table, threshold)
    n_true, n_pred = table.truth_sizes.size, table.label_sizes.size
    return Panoptic(matches.iou.size, float(matches.iou.sum()), n_true, n_pred)


def strict_match(table: OverlapTable, threshold: float) -> Pairs:
    """Match objects whose IoU exceeds the threshold.

    Parameters
    ----------
    threshold
        At least 0.5 and at most 1: from there on no object has two partners to choose from, so
        dropping what equals the threshold from the matches costs no other match.

    Raises
    ------
    InputError
        If the threshold is out of range.
    """
    if not threshold >= 0.5:
        raise InputError(
            "iou", expected="strict thresholds of at least 0.5", found=repr(float(threshold))
        )
    exact = exact_threshold(threshold)
    pairs = match(table, threshold)
    return pairs.where(pairs.overlap * exact.denominator > exact.numerator * pairs.union)
