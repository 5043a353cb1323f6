"""As panoptica with unmatched instances and ``NaiveThresholdMatching``: the greatest IoU first.

At thresholds from 0.5 that finds as many pairs as the best matching; below it may find fewer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellulus.ops.matching import exact_threshold
from cellulus.ops.profiles.row import Row, mean
from cellulus.ops.tallies import ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellulus.ops.overlap import OverlapTable, Pairs

JUDGE = "panoptica 2.1.7"

REASONS = {
    "prec": "division by zero: no predicted instance",
    "rec": "division by zero: no reference instance",
    "rq": "nan: no instance on either side",
    "sq": "nan: no instance on either side",
    "pq": "nan: no instance on either side",
}


def image(table: OverlapTable, threshold: float) -> Row:
    """As ``Panoptica_Evaluator(...).evaluate(labels, truth)``."""
    exact_threshold(threshold)  # refuses what is out of range
    pairs = table.pairs
    iou = _greedy(pairs.where(pairs.iou >= threshold))
    n_true, n_pred, tp = table.truth_sizes.size, table.label_sizes.size, iou.size
    nothing = not n_true + n_pred
    rq = ratio(2 * tp, n_true + n_pred)
    sq = None if nothing else float(iou.mean()) if tp else 0.0
    values: dict[str, float | None] = {
        "tp": tp,
        "fp": n_pred - tp,
        "fn": n_true - tp,
        "prec": ratio(tp, n_pred),
        "rec": ratio(tp, n_true),
        "rq": rq,
        "sq": sq,
        "pq": None if rq is None or sq is None else rq * sq,
    }
    return _explained(values)


def pooled(rows: Sequence[Row]) -> Row:
    """Return no values: panoptica scores subjects one by one."""
    return Row({})


def means(rows: Sequence[Row]) -> Row:
    """As its summary over subjects, counts too: what is undefined for a subject is left out."""
    return _explained({name: mean(rows, name) for name in (rows[0].values if rows else ())})


def _explained(values: dict[str, float | None]) -> Row:
    return Row(values, {name: REASONS[name] for name, value in values.items() if value is None})


def _greedy(pairs: Pairs) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the IoU of the pairs that are taken, one after the other."""
    found: set[int] = set()
    true: set[int] = set()
    taken = []
    for index in np.argsort(-pairs.iou, kind="stable").tolist():
        label, truth = int(pairs.label[index]), int(pairs.truth[index])
        if label not in found and truth not in true:
            found.add(label)
            true.add(truth)
            taken.append(index)
    return pairs.iou[taken]
