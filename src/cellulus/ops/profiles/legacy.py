"""As ``cellulus/evaluate.py`` of the first Cellulus: images without true objects are left out.

IoU must exceed the threshold; ids are cut to 16 bits, so objects whose ids differ by 65 536 are
one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellulus.ops.matching import exact_threshold
from cellulus.ops.overlap import OverlapTable
from cellulus.ops.overlap import total as together
from cellulus.ops.profiles.row import Row, mean, total
from cellulus.ops.scores import seg_sum
from cellulus.ops.tallies import ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

JUDGE = "funkelab/cellulus, evaluate.py"

SUMS = ("TP", "FP", "FN", "n_true", "iou_sum")
"""What is added over images."""

EMPTY = "left out: no true object"


def image(table: OverlapTable, threshold: float) -> Row:
    """As ``compute_pairwise_IoU`` and ``compute_F1``; there the threshold is 0.5."""
    exact_threshold(threshold)  # refuses what is out of range
    last = np.uint64(0xFFFF)
    table = together([OverlapTable(table.labels & last, table.truth & last, table.counts)])
    n_true, n_pred = table.truth_sizes.size, table.label_sizes.size
    if not n_true:
        return Row.without((*SUMS, "F1", "SEG"), EMPTY)
    pairs = table.pairs
    good = pairs.where(pairs.iou > threshold)
    tp = np.unique(good.truth).size
    fp = n_pred - np.unique(good.label).size
    return _row(dict(zip(SUMS, (tp, fp, n_true - tp, n_true, seg_sum(table)), strict=True)))


def pooled(rows: Sequence[Row]) -> Row:
    """As its F1 and SEG "for complete dataset"."""
    kept = [row for row in rows if not row.reasons]
    return _row({name: total(kept, name) for name in SUMS})


def means(rows: Sequence[Row]) -> Row:
    """As its averages per sample."""
    values = {name: mean(rows, name) for name in ("F1", "SEG")}
    return Row(values, {name: EMPTY for name, value in values.items() if value is None})


def _row(sums: dict[str, float]) -> Row:
    values = {
        "F1": ratio(2 * sums["TP"], 2 * sums["TP"] + sums["FP"] + sums["FN"]),
        "SEG": ratio(sums["iou_sum"], sums["n_true"]),
    }
    reasons = {name: EMPTY for name, value in values.items() if value is None}
    return Row({**sums, **values}, reasons)
