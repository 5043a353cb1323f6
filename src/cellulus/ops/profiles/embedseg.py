"""As EmbedSeg's ``utils.metrics``, an older ``stardist.matching`` without the rounding of IoU.

So a threshold of 0.6000000000000001 misses an IoU of 0.6 here; and where background is nowhere on
either side it divides 0 by 0 and stops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellulus.ops.matching import exact_threshold
from cellulus.ops.profiles import stardist
from cellulus.ops.profiles.row import Row, matched

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellulus.ops.overlap import OverlapTable

JUDGE = "EmbedSeg 0.2.5"

NAMES = (*stardist.SUMS, "precision", "recall", "accuracy", "f1", "mean_true_score")
STOPS = "EmbedSeg stops where neither side has background"


def image(table: OverlapTable, threshold: float) -> Row:
    """As ``matching(truth, labels, thresh=threshold)``."""
    exact_threshold(threshold)  # refuses what is out of range
    if not (table.labels == 0).any() and not (table.truth == 0).any():
        return Row.without(NAMES, STOPS)
    matches = matched(table, table.pairs.iou >= threshold)
    sizes = table.truth_sizes.size, table.label_sizes.size
    values = stardist.scores(matches.iou.size, *sizes, float(matches.iou.sum()))
    return Row({name: values[name] for name in NAMES})


def pooled(rows: Sequence[Row]) -> Row:
    """As ``matching_dataset(..., by_image=False)``."""
    if any(row.reasons for row in rows):
        return Row.without(NAMES, STOPS)
    values = stardist.pooled(rows).values
    return Row({name: values[name] for name in NAMES})


def means(rows: Sequence[Row]) -> Row:
    """As ``matching_dataset(..., by_image=True)``: counts are sums all the same."""
    if any(row.reasons for row in rows):
        return Row.without(NAMES, STOPS)
    return stardist.means(rows)
