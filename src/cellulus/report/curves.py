"""The two plots of the report, as inline SVG that takes its colours from the page.

Drawn with matplotlib's objects alone, without its global figure state; the same records give
the same bytes. Knows nothing of images.
"""

from __future__ import annotations

import html
import io
import math
import re
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cellulus.report.markup import Markup

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

# Stand-ins that no plot would use by chance; the page's style sheet has the real colours.
_INK, _FAINT, _FIRST, _SECOND, _THIRD = "#010203", "#020304", "#030405", "#040506", "#050607"
_VARIABLES = {
    _INK: "var(--muted)",
    _FAINT: "var(--line)",
    _FIRST: "var(--first)",
    _SECOND: "var(--second)",
    _THIRD: "var(--third)",
}
_CLEANING = (
    (r"^.*?(?=<svg)", ""),  # prologue
    (r"<metadata>.*?</metadata>", ""),
    (r"<style.*?</style>", ""),  # would leak into the page
    (r"xlink:href", "href"),
    (r" font-family: [^;\"]*;", ""),
    (r"\s*\n\s*", "\n"),
)
_POINTS = 600
"""Most points of a curve; longer logs are averaged."""


def loss_plot(records: Sequence[Mapping[str, Any]]) -> Markup | None:
    """Draw training and validation loss over steps.

    Parameters
    ----------
    records
        Lines of the training log with ``step`` and ``loss``, some with ``validation`` and ``ap``.

    Returns
    -------
    svg
        None if there is nothing to draw.
    """
    train, validation = _series(records, "loss"), _series(records, "validation")
    if len(train) + len(validation) == 0:
        return None
    figure, axes = _axes("Step", "Loss")
    ends: list[tuple[NDArray[np.float64], str, str]] = []
    if len(train):
        raw = _thin(train)
        if len(raw) > 20:
            axes.plot(*raw.T, color=_FIRST, linewidth=0.8, alpha=0.35)
            raw = np.stack([raw[:, 0], _smooth(raw[:, 1])], 1)
        axes.plot(*raw.T, color=_FIRST, linewidth=1.8)
        ends.append((raw[-1], "training", _FIRST))
    if len(validation):
        shown = _thin(validation)
        axes.plot(*shown.T, color=_SECOND, linewidth=1.6, marker="o", markersize=3)
        ends.append((shown[-1], "validation", _SECOND))
        step, _, _ = best_model(records) or (validation[-1, 0], "", 0.0)
        best = validation[validation[:, 0] == step][:1].T
        axes.plot(*best, color=_SECOND, marker="o", markersize=8, fillstyle="none")
    _name_ends(axes, ends)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return _svg(figure, "loss", "Training and validation loss over the training steps")


def score_plot(thresholds: Mapping[str, Mapping[str, Any]]) -> Markup | None:
    """Draw F1, precision and recall over the IoU threshold; None for fewer than two thresholds."""
    table = sorted((float(t), row) for t, row in thresholds.items())
    if len(table) < 2:
        return None
    figure, axes = _axes("IoU threshold", "")
    styles = (("recall", _THIRD, 1.2), ("precision", _SECOND, 1.2), ("f1", _FIRST, 2.0))
    ends = []
    for name, shade, width in styles:
        points = np.array([(t, row[name]) for t, row in table if row.get(name) is not None])
        if len(points):
            axes.plot(*points.T, color=shade, linewidth=width, marker="o", markersize=3)
            ends.append((points[-1], "F1" if name == "f1" else name, shade))
    axes.set_ylim(0, 1.02)
    _name_ends(axes, ends)
    axes.set_xticks([t for t, _ in table])
    return _svg(figure, "scores", "F1, precision and recall over the IoU threshold")


def best_model(records: Sequence[Mapping[str, Any]]) -> tuple[int, str, float] | None:
    """Return at which step the best model was, by what, and the value, if it was ever validated.

    Where objects were found in images kept aside, their AP decides, otherwise the loss.
    """
    found, losses = _series(records, "ap"), _series(records, "validation")
    if len(found):
        step, value = found[np.argmax(found[:, 1])]
        return int(step), "Highest AP on images kept aside", float(value)
    if len(losses):
        step, value = losses[np.argmin(losses[:, 1])]
        return int(step), "Lowest validation loss", float(value)
    return None


def _series(records: Sequence[Mapping[str, Any]], key: str) -> NDArray[np.float64]:
    """Return ``(n, 2)`` of step and value; records that lack either are left out."""
    pairs = [
        (r["step"], r[key])
        for r in records
        if isinstance(r.get("step"), int | float)
        and isinstance(r.get(key), int | float)
        and math.isfinite(r[key])
    ]
    return np.array(pairs, np.float64).reshape(-1, 2)


def _thin(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average runs of points so that at most `_POINTS` remain."""
    run = -(-len(series) // _POINTS)
    starts = np.arange(0, len(series), run)
    sizes = np.diff([*starts, len(series)])
    means: NDArray[np.float64] = np.add.reduceat(series, starts) / sizes[:, None]
    return means


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the running mean over a twentieth of the curve, shorter at its ends."""
    half = max(1, len(values) // 40)
    total = np.concatenate([[0.0], np.cumsum(values)])
    low = np.maximum(np.arange(len(values)) - half, 0)
    high = np.minimum(np.arange(len(values)) + half + 1, len(values))
    means: NDArray[np.float64] = (total[high] - total[low]) / (high - low)
    return means


def _axes(across: str, down: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 2.9))
    FigureCanvasSVG(figure)
    axes = figure.add_axes((0.085, 0.165, 0.80, 0.79))
    axes.set_facecolor("none")
    figure.patch.set_visible(False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_FAINT)
    axes.tick_params(colors=_INK, labelsize=9, length=0, pad=5)
    axes.grid(axis="y", color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(across, color=_INK, fontsize=9)
    axes.set_ylabel(down, color=_INK, fontsize=9)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    return figure, axes


def _name_ends(axes: Axes, ends: Sequence[tuple[NDArray[np.float64], str, str]]) -> None:
    """Write the names of curves at their ends, moved apart where they would overlap.

    Parameters
    ----------
    ends
        Per curve its last point, its name and its colour.
    """
    low, high = axes.get_ylim()
    apart = 0.08 * (high - low)
    previous = -math.inf
    for (x, y), name, shade in sorted(ends, key=lambda end: float(end[0][1])):
        previous = max(float(y), previous + apart)
        axes.annotate(
            name,
            (float(x), previous),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            color=shade,
            fontsize=9,
        )


def _svg(figure: Figure, key: str, alt: str) -> Markup:
    """Return a figure as inline SVG: no dates, no references, ids of its own, page's colours."""
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": f"cellulus-{key}", "svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    for pattern, replacement in _CLEANING:
        text = re.sub(pattern, replacement, text, flags=re.DOTALL)
    text = re.sub(r'( id="|url\(#| href="#)', rf"\g<1>{key}-", text)
    for stand_in, variable in _VARIABLES.items():
        text = text.replace(stand_in, variable)
    view = re.search(r'viewBox="[^"]*"', text)
    body = text[text.index(">") + 1 :]
    label = html.escape(alt, quote=True)
    return Markup(f'<svg {view.group() if view else ""} role="img" aria-label="{label}">{body}')
