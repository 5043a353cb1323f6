"""As ``stardist.matching``: zeros where nothing is defined, IoU rounded to 32 bits.

The rounding lets thresholds such as 0.6000000000000001 count as the decimals they stand for, and
makes an IoU within 6e-8 of a threshold reach it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellulus.ops.matching import exact_threshold
from cellulus.ops.profiles.row import Row, matched, total

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellulus.ops.overlap import OverlapTable

JUDGE = "stardist 0.9.2"

SUMS = ("tp", "fp", "fn", "n_true", "n_pred")
"""What is added over images."""


def image(table: OverlapTable, threshold: float) -> Row:
    """As ``matching(truth, labels, thresh=threshold)``."""
    exact_threshold(threshold)  # refuses what is out of range
    rounded = table.pairs.iou.astype(np.float32)
    matches = matched(table, rounded >= np.float32(threshold))
    sizes = table.truth_sizes.size, table.label_sizes.size
    return Row(scores(matches.iou.size, *sizes, float(matches.iou.sum())))


def pooled(rows: Sequence[Row]) -> Row:
    """As ``matching_dataset(..., by_image=False)``."""
    tp, n_true, n_pred = (int(total(rows, name)) for name in ("tp", "n_true", "n_pred"))
    iou = sum(row["mean_true_score"] * row["n_true"] for row in rows)
    return Row(scores(tp, n_true, n_pred, iou))


def means(rows: Sequence[Row]) -> Row:
    """As ``matching_dataset(..., by_image=True)``: counts are sums all the same."""
    return Row(
        {
            name: total(rows, name) / (1 if name in SUMS else len(rows))
            for name in (rows[0].values if rows else ())
        }
    )


def scores(tp: int, n_true: int, n_pred: int, iou_sum: float) -> dict[str, float | None]:
    """Return what follows from the counts; 0 where a score is undefined."""
    return {
        "tp": tp,
        "fp": n_pred - tp,
        "fn": n_true - tp,
        "n_true": n_true,
        "n_pred": n_pred,
        "precision": tp / max(n_pred, 1),
        "recall": tp / max(n_true, 1),
        "accuracy": tp / max(n_true + n_pred - tp, 1),
        "f1": 2 * tp / max(n_true + n_pred, 1),
        "mean_true_score": iou_sum / max(n_true, 1),
        "mean_matched_score": iou_sum / max(tp, 1),
        "panoptic_quality": 2 * iou_sum / max(n_true + n_pred, 1),
    }
