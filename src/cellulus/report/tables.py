"""The tables of the report: pooled scores, one row per image, settings.

Knows nothing of pictures.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cellulus.report.markup import NOTHING, Markup, number, tag

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MOST_ROWS, CUT_TO = 200, 100
"""Of more images than the first, only the second number is listed."""
_LONGEST = 300  # characters of a setting
_SHARES = frozenset({"f1", "precision", "recall", "ap", "seg", "mean_iou"})
_NAMES = {
    "name": "Image",
    "n_true": "True",
    "n_pred": "Found",
    "f1": "F1",
    "precision": "Precision",
    "recall": "Recall",
    "ap": "AP",
    "seg": "SEG",
    "mean_iou": "Mean IoU",
}


def threshold_table(thresholds: Mapping[str, Mapping[str, Any]]) -> Markup:
    """Return the pooled scores: a row per score, a column per IoU threshold, ascending."""
    table = sorted(((float(t), row) for t, row in thresholds.items()), key=lambda item: item[0])
    rows = [
        tag(
            "tr",
            tag("th", _NAMES[name], scope="row"),
            *(tag("td", number(row.get(name))) for _, row in table),
        )
        for name in ("f1", "precision", "recall", "ap")
        if any(row.get(name) is not None for _, row in table)
    ]
    head = tag("tr", _th("IoU at least"), *(_th(f"{t:g}") for t, _ in table))
    whole = tag("table", tag("thead", head), tag("tbody", *rows), class_="scores")
    return tag("div", whole, class_="wide")


def image_table(table: Sequence[Mapping[str, Any]]) -> Markup:
    """Return the scores of every image, worst first; of very many only the worst."""
    if not table:
        return Markup("")
    columns = list(dict.fromkeys(key for row in table for key in row if _plain(row[key])))
    rows = sorted(table, key=_badness)
    scored = _has(table, "f1")
    said = "Worst first." if scored else "Fewest objects first."
    if len(rows) > MOST_ROWS:
        rows = rows[:CUT_TO]
        which = "worst" if scored else "first"
        said += f" The {which} {CUT_TO} of {number(len(table))} images are listed."
    head = tag("tr", *(_th(_NAMES.get(c, c.replace("_", " ").capitalize())) for c in columns))
    body = [tag("tr", *(_cell(c, row.get(c)) for c in columns)) for row in rows]
    return tag(
        "section",
        tag("h2", "Every image" if len(rows) == len(table) else "Images"),
        tag("p", said, class_="said"),
        tag(
            "div",
            tag("table", tag("thead", head), tag("tbody", *body), class_="images"),
            class_="wide",
        ),
    )


def flat_table(values: Mapping[str, Any]) -> Markup:
    """Return nested values as rows of dotted keys; very long values are cut."""
    rows = []
    for key, value in _flatten(values):
        text = value if len(value) <= _LONGEST else f"{value[:_LONGEST]}… ({len(value):,} signs)"
        rows.append(tag("tr", tag("th", key, scope="row"), tag("td", text)))
    return tag("table", tag("tbody", *rows), class_="settings")


def _badness(row: Mapping[str, Any]) -> tuple[bool, float, str]:
    """Sort by F1 if known, then by the number of objects; images without a score come last."""
    f1 = row.get("f1")
    name = str(row.get("name", ""))
    if f1 is None or not math.isfinite(f1):
        return True, float(row.get("n_pred") or 0), name
    return False, float(f1), name


def _flatten(values: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted keys and values as text; lists of groups are numbered."""
    groups = isinstance(values, list | tuple) and any(isinstance(v, dict) for v in values)
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key))
    elif groups:
        for k, value in enumerate(values):
            yield from _flatten(value, f"{prefix}[{k}]")
    elif isinstance(values, list | tuple):
        yield prefix, ", ".join(str(v) for v in values) or NOTHING
    elif values is None or isinstance(values, bool):
        yield prefix, number(values)
    else:
        yield prefix, str(values) if values != {} else NOTHING


def _plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _has(rows: Any, key: str) -> bool:
    return any(row.get(key) is not None for row in rows)


def _th(text: str) -> Markup:
    return tag("th", text, scope="col")


def _cell(column: str, value: Any) -> Markup:
    """Return a cell; shares of one carry a faint bar, so that a column can be read at a glance."""
    if column == "name":
        return tag("th", str(value), scope="row")
    is_share = column in _SHARES and isinstance(value, int | float) and math.isfinite(value)
    style = f"--share:{min(max(value, 0), 1):.3f}" if is_share else None
    value = float(value) if is_share else value
    return tag("td", number(value), class_="share" if is_share else None, style=style)
