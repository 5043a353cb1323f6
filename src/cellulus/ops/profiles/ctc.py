"""As py-ctcmetrics: SEG and DET of the Cell Tracking Challenge, of frames without their tracks.

The smallest id of each side is taken for background, unseen: without background an object is lost.
The official programs agree wherever there is background.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cellulus.ops.edits import Challenge, edits
from cellulus.ops.overlap import total as together
from cellulus.ops.profiles.row import Row, total
from cellulus.ops.scores import seg_sum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellulus.ops.overlap import Ids, OverlapTable

JUDGE = "py-ctcmetrics 1.3.3"

SUMS = ("NS", "FN", "FP", "num_vertices", "iou_sum")
"""What is added over frames."""


def image(table: OverlapTable, threshold: float) -> Row:
    """As ``match`` of a frame, and ``seg`` and ``det`` of the outcome.

    Parameters
    ----------
    threshold
        Not used: a reference object is found where more than half of it is covered.
    """
    table = together([replace(table, labels=_grounded(table.labels), truth=_grounded(table.truth))])
    found = edits(table)
    counts = (found.merges, found.missed, found.spurious, found.n_true, seg_sum(table))
    return _row(dict(zip(SUMS, counts, strict=True)))


def pooled(rows: Sequence[Row]) -> Row:
    """As for a sequence."""
    return _row({name: total(rows, name) for name in SUMS})


def means(rows: Sequence[Row]) -> Row:
    """Return no values: the challenge scores whole sequences."""
    return Row({})


def _row(sums: dict[str, float]) -> Row:
    cost = 5 * sums["NS"] + 10 * sums["FN"] + sums["FP"]
    det = Challenge(int(sums["num_vertices"]), int(cost), 0.0).det
    seg = sums["iou_sum"] / max(sums["num_vertices"], 1)
    reasons = {} if det is not None else {"DET": "division by zero: no reference object"}
    return Row({**sums, "SEG": seg, "DET": det}, reasons)


def _grounded(ids: Ids) -> Ids:
    """Return the ids with 0 in the place of the smallest."""
    return np.where(ids == ids.min(), np.uint64(0), ids) if ids.size else ids
