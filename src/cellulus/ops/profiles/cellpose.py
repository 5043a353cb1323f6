"""As ``cellpose.metrics.average_precision``: one id of each side is taken for background, unseen.

So an image without background has an object too few, and a perfect result an AP of inf.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellulus.ops.matching import exact_threshold
from cellulus.ops.profiles.row import Row, matched, total

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellulus.ops.overlap import OverlapTable

JUDGE = "cellpose 4.2.1.1"


def image(table: OverlapTable, threshold: float) -> Row:
    """As ``average_precision(truth, labels, threshold=[threshold])``."""
    exact_threshold(threshold)  # refuses what is out of range
    n_true, n_pred = (np.unique(ids).size - 1 for ids in (table.truth, table.labels))
    tp = matched(table, table.pairs.iou >= threshold).iou.size if n_pred > 0 else 0
    values: dict[str, float | None] = {"tp": tp, "fp": n_pred - tp, "fn": n_true - tp}
    whole = n_true + n_pred - tp
    if whole:
        return Row(values | {"ap": tp / whole})
    answer = "inf: cellpose takes an object for background" if tp else "nan: no object"
    return Row(values | {"ap": None}, {"ap": answer})


def pooled(rows: Sequence[Row]) -> Row:
    """Return no values: cellpose scores images one by one."""
    return Row({})


def means(rows: Sequence[Row]) -> Row:
    """Return the sums of the counts, and the mean AP, as ``ap.mean(axis=0)`` would be."""
    if not rows:
        return Row({})
    sums: dict[str, float | None] = {name: total(rows, name) for name in ("tp", "fp", "fn")}
    undefined = [row for row in rows if row.reasons]
    if undefined:
        return Row(sums | {"ap": None}, {"ap": undefined[0].reasons["ap"]})
    return Row(sums | {"ap": total(rows, "ap") / len(rows)})
