"""The rows of the report's table, and which of the images behind them are worth showing.

Knows nothing of arrays, pictures or HTML.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cellulus.ops.scores import ImageScores, Scores

_SCORES = ("f1", "precision", "recall", "ap")


def image_rows(scores: Scores) -> list[dict[str, Any]]:
    """Return one row per image, scored at the lowest threshold, in the order of the scores."""
    return [image_row(image) for image in scores.images]


def image_row(image: ImageScores) -> dict[str, Any]:
    """Return ``name``, ``n_true``, ``n_pred``, ``f1``, ... at the lowest threshold, and ``seg``."""
    lowest = min(image.matches, key=lambda m: m.iou)
    row = {"name": image.name, "n_true": image.n_true, "n_pred": image.n_pred}
    return row | {name: getattr(lowest, name) for name in _SCORES} | {"seg": image.seg}


def pooled_scores(scores: Scores) -> dict[str, Any]:
    """Return the scores of all images as one, as `render` takes them."""
    pooled = scores.pooled
    return {
        "thresholds": {
            str(m.iou): {name: getattr(m, name) for name in _SCORES} for m in pooled.matches
        },
        "seg": pooled.seg,
        "n_true": pooled.n_true,
        "n_pred": pooled.n_pred,
    }


def choose(rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, str]]:
    """Return which images to show, and why: worst, median and best, or by number of objects.

    Parameters
    ----------
    rows
        One per image, with ``f1`` where there is truth and ``n_pred``, the objects found.

    Returns
    -------
    chosen
        Up to three ``(index into rows, reason)``; fewer where there are fewer images. Images
        are ordered by F1 if any has one, else by the number of objects; ties by position.
    """
    scored = [i for i, row in enumerate(rows) if _number(row.get("f1")) is not None]
    if scored:
        key, words, among = "f1", ("Lowest F1", "Median F1", "Highest F1"), scored
    else:
        key, words = "n_pred", ("Fewest objects", "Median number of objects", "Most objects")
        among = list(range(len(rows)))
    order = sorted(among, key=lambda i: (_number(rows[i].get(key)) or 0.0, i))
    if len(order) < 2:
        return [(i, "The only image" if not scored else "The only image with truth") for i in order]
    places = dict(zip((0, (len(order) - 1) // 2, len(order) - 1), words, strict=True))
    if len(order) == 2:
        places = {0: words[0], 1: words[2]}
    return [(order[at], f"{word} of {len(order)} images") for at, word in places.items()]


def _number(value: object) -> float | None:
    """Return a finite number, or None for anything else."""
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return None
