"""The report as one self-contained HTML page: no scripts, nothing fetched, the same bytes again.

Knows nothing of files and of how a run is made: arrays and records come in, text goes out.
"""

from __future__ import annotations

import math
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from cellulus.report.curves import best_model, loss_plot, score_plot
from cellulus.report.markup import Markup, join, number, tag
from cellulus.report.panels import case_section
from cellulus.report.tables import flat_table, image_table, threshold_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cellulus.report.case import Case


def render(
    title: str,
    *,
    curves: Sequence[Mapping[str, Any]] = (),
    cases: Sequence[Case] = (),
    scores: Mapping[str, Any] | None = None,
    table: Sequence[Mapping[str, Any]] = (),
    settings: Mapping[str, Any] | None = None,
    versions: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """Return the report of a run.

    Parameters
    ----------
    title
        Name of the run.
    curves
        Records of the training log: ``step``, ``loss``, some with ``validation``. Empty if
        nothing was trained.
    cases
        Images to show, in this order; `cellulus.report.rows.choose` says which.
    scores
        Over all images, where there is truth: ``thresholds``, a mapping from IoU to ``f1``,
        ``precision``, ``recall`` and ``ap``; ``seg``; ``n_true``; ``n_pred``. None without truth.
    table
        One row per image: ``name``, ``n_pred``, and with truth ``n_true``, ``f1`` and whatever
        else should be a column.
    settings
        Every setting of the run, nested.
    versions
        Of the packages that made the results.
    notes
        What the reader must know first, a sentence each.

    Returns
    -------
    html
        UTF-8 text of the whole page.
    """
    sections = (
        _header(title, scores, table, cases),
        _notes(notes, table, cases),
        _measures(curves, scores),
        _pictures(cases),
        image_table(table),
        _details(settings or {}, versions or {}),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(_style())),
    )
    body = tag("body", tag("main", *sections))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _style() -> str:
    return files("cellulus.report").joinpath("style.css").read_text(encoding="utf-8")


def _header(
    title: str,
    scores: Mapping[str, Any] | None,
    table: Sequence[Mapping[str, Any]],
    cases: Sequence[Case],
) -> Markup:
    """Return the title and the numbers that matter most."""
    rows = len(table) or len(cases)
    found = _found(scores, table)
    numbers = [("image" if rows == 1 else "images", number(rows))]
    if found is not None:
        numbers.append(("object found" if found == 1 else "objects found", number(found)))
    if scores is not None:
        numbers += _key_scores(scores)
    tiles = [tag("div", tag("dt", name), tag("dd", value)) for name, value in numbers]
    return tag(
        "header",
        tag("p", "Report of a run", class_="kind"),
        tag("h1", title),
        tag("dl", *tiles, class_="numbers"),
        class_="top",
    )


def _found(scores: Mapping[str, Any] | None, table: Sequence[Mapping[str, Any]]) -> int | None:
    counts = [row["n_pred"] for row in table if row.get("n_pred") is not None]
    if counts:
        return int(sum(counts))
    return None if scores is None else scores.get("n_pred")


def _key_scores(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the pooled scores at the lowest threshold, and SEG."""
    numbers = []
    if scores.get("n_true") is not None:
        numbers.append(("true objects", number(scores["n_true"])))
    thresholds = scores.get("thresholds") or {}
    if thresholds:
        lowest = min(thresholds, key=float)
        numbers.append((f"F1 at IoU {float(lowest):g}", number(thresholds[lowest].get("f1"))))
    if "seg" in scores:
        numbers.append(("SEG", number(scores["seg"])))
    return numbers


def _notes(
    notes: Sequence[str], table: Sequence[Mapping[str, Any]], cases: Sequence[Case]
) -> Markup:
    """Return what the reader must know; an empty result is said here."""
    said = list(notes)
    counts = [row.get("n_pred") for row in table] or [int(c.labels.any()) for c in cases]
    if counts and not any(counts):
        said.insert(
            0,
            "No objects were found in any image. The pictures below show whether the images have "
            "the expected contrast, and whether the object diameter fits them.",
        )
    if not said:
        return Markup("")
    return tag("aside", *(tag("p", text) for text in said), class_="notes")


def _measures(curves: Sequence[Mapping[str, Any]], scores: Mapping[str, Any] | None) -> Markup:
    """Return training and scores side by side."""
    thresholds = (scores or {}).get("thresholds") or {}
    parts = [_training(curves)]
    if thresholds:
        plot = score_plot(thresholds)
        figure = tag("figure", plot, class_="plot") if plot else Markup("")
        parts.append(tag("section", tag("h2", "Scores"), figure, threshold_table(thresholds)))
    return tag("div", *parts, class_="measures" if len(parts) > 1 else "measures alone")


def _training(curves: Sequence[Mapping[str, Any]]) -> Markup:
    plot = loss_plot(curves)
    if plot is None:
        text = "Nothing was trained in this run: it applied a model that existed before."
        return tag("section", tag("h2", "Training"), tag("p", text, class_="none"))
    steps = [r["step"] for r in curves if isinstance(r.get("step"), int | float)]
    words = [f"{number(int(max(steps)))} steps."]
    best = best_model(curves)
    if best is not None:
        step, what, value = best
        words.append(f"{what} {value:.4g} at step {number(step)} (ringed).")
    rates = [r["rate"] for r in curves if _is_number(r.get("rate"))]
    if rates:
        middle = sorted(rates)[len(rates) // 2]
        words.append(f"{middle:.3g} steps per second.")
    caption = tag("figcaption", " ".join(words))
    return tag("section", tag("h2", "Training"), tag("figure", plot, caption, class_="plot"))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _pictures(cases: Sequence[Case]) -> Markup:
    if not cases:
        return Markup("")
    return tag("section", tag("h2", "Pictures"), *(case_section(case) for case in cases))


def _details(settings: Mapping[str, Any], versions: Mapping[str, str]) -> Markup:
    parts = [
        tag("details", tag("summary", name), flat_table(values))
        for name, values in (("Settings", settings), ("Versions", versions))
        if values
    ]
    if not parts:
        return Markup("")
    return tag("section", tag("h2", "How it was made"), join(*parts), class_="made")
