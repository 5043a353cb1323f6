"""What is said about labels, given the truth: counts at IoU thresholds, F1, AP, SEG.

Two rules throughout. A ratio without a denominator is `None` (JSON null), never 0 or nan; an
image without true objects is scored like any other, so its false positives count. Knows nothing
of files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from cellulus.errors import InputError
from cellulus.ops.matching import exact_threshold, match
from cellulus.ops.overlap import overlap_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellulus.ops.overlap import OverlapTable


@dataclass(frozen=True)
class Matches:
    """The outcome at one IoU threshold.

    Attributes
    ----------
    iou
        The threshold, inclusive.
    true_positives, false_positives, false_negatives
        Matched pairs, predictions left over, true objects left over.
    iou_sum
        Sum of the IoU of the matched pairs.
    """

    iou: float
    true_positives: int
    false_positives: int
    false_negatives: int
    iou_sum: float

    @property
    def precision(self) -> float | None:
        """``TP / (TP + FP)``; None without predictions."""
        return _ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float | None:
        """``TP / (TP + FN)``; None without true objects."""
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float | None:
        """``2 TP / (2 TP + FP + FN)``; None if there is nothing on either side."""
        wrong = self.false_positives + self.false_negatives
        return _ratio(2 * self.true_positives, 2 * self.true_positives + wrong)

    @property
    def ap(self) -> float | None:
        """``TP / (TP + FP + FN)``, the AP of the DSB 2018; None if there is nothing at all."""
        wrong = self.false_positives + self.false_negatives
        return _ratio(self.true_positives, self.true_positives + wrong)

    @property
    def mean_iou(self) -> float | None:
        """Mean IoU of the matched pairs; None without any."""
        return _ratio(self.iou_sum, self.true_positives)

    def __add__(self, other: Matches) -> Matches:
        """Return the outcome of both together."""
        return Matches(
            self.iou,
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
            self.iou_sum + other.iou_sum,
        )


@dataclass(frozen=True)
class ImageScores:
    """The scores of one image, or of several counted as one.

    Attributes
    ----------
    name
        Of the image.
    n_true, n_pred
        Number of objects.
    seg_sum
        Sum over true objects of the Jaccard index that SEG gives them.
    matches
        One per threshold, in the order asked for.
    """

    name: str
    n_true: int
    n_pred: int
    seg_sum: float
    matches: tuple[Matches, ...]

    @property
    def seg(self) -> float | None:
        """SEG of the Cell Tracking Challenge; None without true objects."""
        return _ratio(self.seg_sum, self.n_true)

    def at(self, iou: float) -> Matches:
        """Return the outcome at a threshold that was scored.

        Raises
        ------
        InputError
            If it was not.
        """
        for found in self.matches:
            if abs(found.iou - iou) < 1e-6:
                return found
        known = ", ".join(f"{m.iou:g}" for m in self.matches)
        raise InputError("iou", expected=f"one of the thresholds scored: {known}", found=f"{iou:g}")


@dataclass(frozen=True)
class Means:
    """Means over images at one threshold; images where a score is undefined are left out.

    Attributes
    ----------
    iou
        The threshold.
    precision, recall, f1, ap, mean_iou
        As in `Matches`; None where no image defines it.
    """

    iou: float
    precision: float | None
    recall: float | None
    f1: float | None
    ap: float | None
    mean_iou: float | None


@dataclass(frozen=True)
class Scores:
    """The scores of a set of images.

    Attributes
    ----------
    images
        One entry per image.
    """

    images: tuple[ImageScores, ...]

    @property
    def pooled(self) -> ImageScores:
        """All images counted as one: every object weighs the same."""
        return replace(reduce(_joined, self.images), name="pooled")

    @property
    def means(self) -> tuple[Means, ...]:
        """Means over images, per threshold: every image weighs the same."""
        names = [field.name for field in fields(Means)][1:]
        columns = zip(*(image.matches for image in self.images), strict=True)
        return tuple(
            Means(column[0].iou, *(_mean([getattr(m, name) for m in column]) for name in names))
            for column in columns
        )

    @property
    def mean_seg(self) -> float | None:
        """Mean SEG over the images that have true objects."""
        return _mean([image.seg for image in self.images])

    def to_json(self) -> str:
        """Return everything, derived scores included, as JSON; undefined scores are null."""
        content = {
            "pooled": _described(self.pooled),
            "mean": {"seg": self.mean_seg, "matches": [vars(m) for m in self.means]},
            "images": [_described(image) for image in self.images],
        }
        return json.dumps(content, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Scores:
        """Read what `to_json` wrote; scores that follow from the counts are derived anew.

        Raises
        ------
        InputError
            If it is something else.
        """
        try:
            scores = TypeAdapter(cls).validate_json(text)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(str(part) for part in fault["loc"])
            raise InputError(
                "scores", expected="scores as JSON", found=f"{fault['msg']} {where}".strip()
            ) from error
        return pool(scores.images)


def evaluate_labels(
    labels: NDArray[Any], truth: NDArray[Any], iou: Sequence[float], *, name: str = "image"
) -> ImageScores:
    """Score the labels of one image.

    Parameters
    ----------
    labels, truth
        Integer ids of the same shape, any dimension; 0 is background.
    iou
        Thresholds, above 0 and at most 1, inclusive.
    name
        Of the image, for the table.

    Raises
    ------
    InputError
        If the shapes differ, an array holds no ids, or a threshold is out of range.
    """
    return score_table(overlap_table(labels, truth), iou, name=name)


def score_table(table: OverlapTable, iou: Sequence[float], *, name: str = "image") -> ImageScores:
    """Score an image of which only the overlap table is at hand, as summed over its blocks."""
    n_pred, n_true = table.label_sizes.size, table.truth_sizes.size
    matches = []
    for threshold in iou:
        found = match(table, threshold).iou
        hits, asked = found.size, float(exact_threshold(threshold))
        matches.append(Matches(asked, hits, n_pred - hits, n_true - hits, float(found.sum())))
    return ImageScores(name, n_true, n_pred, seg_sum(table), tuple(matches))


def seg_sum(table: OverlapTable) -> float:
    """Return the sum of SEG's Jaccard index over the true objects.

    A true object is found by the object that covers more than half of it, strictly, and counts
    0 without one. One prediction may find several; predictions that find nothing cost nothing.
    Source: Maska et al. 2014, doi:10.1093/bioinformatics/btu080, section 2.5.
    """
    pairs = table.pairs
    found = pairs.where(2 * pairs.overlap > table.truth_sizes[pairs.truth])
    return float(found.iou.sum())


def pool(images: Sequence[ImageScores]) -> Scores:
    """Collect the scores of images.

    Raises
    ------
    InputError
        If there are none, or they were not scored at the same thresholds.
    """
    thresholds = {tuple(m.iou for m in image.matches) for image in images}
    if len(thresholds) != 1:
        raise InputError(
            "scores",
            expected="images scored at the same thresholds",
            found=" and ".join(map(str, sorted(thresholds))) or "no image",
        )
    return Scores(tuple(images))


def _joined(one: ImageScores, other: ImageScores) -> ImageScores:
    both = zip(one.matches, other.matches, strict=True)
    return ImageScores(
        one.name,
        one.n_true + other.n_true,
        one.n_pred + other.n_pred,
        one.seg_sum + other.seg_sum,
        tuple(a + b for a, b in both),
    )


def _described(scores: ImageScores) -> dict[str, Any]:
    derived = ("precision", "recall", "f1", "ap", "mean_iou")
    matches = [vars(m) | {name: getattr(m, name) for name in derived} for m in scores.matches]
    return vars(scores) | {"seg": scores.seg, "matches": matches}


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
