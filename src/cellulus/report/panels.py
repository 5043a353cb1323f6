"""One case as HTML: its pictures in a grid, with legends, a scale bar and its scores.

Knows nothing of the rest of the page.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from cellulus.report import colour
from cellulus.report.figures import Panel, Sheet, sheet
from cellulus.report.markup import Markup, join, number, png, tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellulus.report.case import Case
    from cellulus.report.cuts import Cut
    from cellulus.space import VoxelSize

_CORNER = 0.36  # share of a panel's edge that the corner needs to hold a legend
_TIMES = " \N{MULTIPLICATION SIGN} "
_SCORES = {"f1": "F1", "precision": "Precision", "recall": "Recall", "ap": "AP", "seg": "SEG"}


def case_section(case: Case) -> Markup:
    """Return everything about one case as an article."""
    drawn = sheet(case)
    figures = [_figure(case, drawn, panel, first=k == 0) for k, panel in enumerate(drawn.panels)]
    columns = 2 if len(figures) in {2, 4} else 3
    return tag(
        "article",
        tag(
            "header",
            tag("p", case.why, class_="why") if case.why else Markup(""),
            tag("h3", case.name),
            tag("p", _facts(case), class_="facts"),
            _scores(case),
        ),
        tag("div", *figures, class_=f"panels of-{columns}"),
        class_="case",
    )


def _facts(case: Case) -> str:
    """Return size and sampling in words."""
    shape = _TIMES.join(f"{n:,}" for n in case.labels.shape)
    facts = [f"{shape} voxels" if case.ndim == 3 else f"{shape} pixels"]
    values = _TIMES.join(f"{v:.4g}" for v in case.voxel_size.values)
    if case.voxel_size.unit == "um":
        facts.append(f"{values} µm each")
    elif len(set(case.voxel_size.values)) > 1:
        facts.append(f"sampled {values}")
    if case.part:
        facts.append(case.part)
    if not case.labels.any():
        facts.append("no object was found here")
    return ", ".join(facts)


def _scores(case: Case) -> Markup:
    known = case.scores or {}
    items = [
        join(tag("dt", _SCORES.get(name, name)), tag("dd", number(value)))
        for name, value in known.items()
        if not isinstance(value, dict)
    ]
    return tag("dl", *(tag("div", item) for item in items), class_="chips") if items else Markup("")


def _figure(case: Case, drawn: Sheet, panel: Panel, *, first: bool) -> Markup:
    """Return one panel: its cuts at one physical scale, and what they mean."""
    images: list[Markup] = []
    for cut, picture in zip(drawn.cuts, panel.pictures, strict=True):
        alt = ", ".join(s for s in (f"{panel.title} of {case.name}", cut.name()) if s)
        rows, columns = picture.shape[:2]
        image = tag("img", src=png(picture), alt=alt, width=columns, height=rows)
        marks = _marks(drawn.cuts, cut) if first else Markup("")
        if first and not images:
            marks = join(marks, _scale_bar(case.voxel_size, cut.key[cut.across], cut.across))
        images.append(tag("div", image, marks, class_="cut"))
    caption = tag("div", tag("b", panel.title), " ", tag("span", panel.note))
    if len(drawn.cuts) == 1:
        pictures = tag("div", *images, class_="cuts")
        return tag("figure", pictures, tag("figcaption", caption, _legend(panel)))
    (rows, columns), (_, depth) = (cut.size for cut in drawn.cuts[:2])
    key = _legend(panel)
    if first:
        places = tag(
            "div", *(tag("span", cut.name()) for cut in drawn.cuts), class_="legend places"
        )
        key = join(places, key)
    fits = depth > _CORNER * (max(rows, columns) + depth)
    corner = tag("div", key if fits else "", class_="corner")
    style = f"grid-template-columns:{columns}fr {depth}fr"
    pictures = tag("div", *images, corner, class_="cuts", style=style)
    return tag("figure", pictures, tag("figcaption", caption, "" if fits else key))


def _marks(cuts: Sequence[Cut], cut: Cut) -> Markup:
    """Return thin lines where the other cuts cross this one."""
    lines = []
    for other in cuts:
        if other is cut:
            continue
        (normal,) = other.normal
        shown = cut.key[normal]
        share = (other.key[normal].start + 0.5 - shown.start) / (shown.stop - shown.start)
        side, kind = ("top", "level") if normal == cut.down else ("left", "upright")
        lines.append(tag("i", class_=kind, style=f"{side}:{100 * share:.3f}%"))
    return join(*lines)


def _legend(panel: Panel) -> Markup:
    low, high = panel.span
    low = 0.0 if abs(low) < 1e-3 * (high - low) else low  # 6e-08 says no more than 0
    if panel.legend == "wheel":
        wheel = tag("img", src=png(colour.wheel_legend()), alt=_WHEEL, width=48, height=48)
        text = f"Hue: direction. Rim: {_short(high)} canonical voxels or more."
        return tag("div", wheel, tag("span", text), class_="legend wheel")
    if panel.legend == "ramp":
        strip = colour.ramp(np.linspace(0, 1, 128)[None, :])
        alt = f"Colour bar from {_short(low)} (dark) to {_short(high)} (bright)"
        bar = tag("img", src=png(strip), alt=alt, width=128, height=8)
        ends = (tag("span", _short(low)), bar, tag("span", _short(high)))
        return tag("div", *ends, tag("span", panel.unit), class_="legend ramp")
    if panel.legend == "agreement":
        keys = (("matched", "matched"), ("missed", "missed (truth)"), ("false", "false"))
        marks = [tag("span", tag("i", class_=c), words) for c, words in keys]
        return tag("div", *marks, class_="legend keys")
    if panel.legend == "marks":
        ring = tag("span", tag("i", class_="ring"), "a point for each cell, given or found")
        return tag("div", ring, class_="legend keys")
    return Markup("")


_WHEEL = "Colour wheel: an offset has the colour found in its direction from the centre"


def _scale_bar(voxel_size: VoxelSize, shown: slice, axis: int) -> Markup:
    """Return a bar of a round length, about a quarter of the picture's width."""
    if voxel_size.unit != "um":
        return Markup("")
    width = (shown.stop - shown.start) * voxel_size.values[axis]
    length = round_length(width / 4)
    share = f"width:{100 * length / width:.3f}%"
    return tag("span", tag("span", f"{length:g} µm"), class_="bar", style=share)


def round_length(about: float) -> float:
    """Return the largest 1, 2 or 5 times a power of ten that is not above `about`."""
    power = 10.0 ** math.floor(math.log10(about))
    step = max(s for s in (1, 2, 5) if s * power <= about * (1 + 1e-9))
    return float(f"{step * power:.6g}")


def _short(value: float) -> str:
    return f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"
