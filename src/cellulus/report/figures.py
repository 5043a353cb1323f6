"""The pictures of one case: what was given, what was predicted, what was found, what was missed.

A panel holds one picture per cut. Knows nothing of HTML.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cellulus.report import colour, rings
from cellulus.report.agreement import Agreement, compare
from cellulus.report.cuts import Cut, draw_field, magnify, plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellulus.report.case import Case

Legend = Literal["", "wheel", "ramp", "agreement", "marks"]
LINE = 2
"""Width of outlines on the canvas [pixel]; a page shows it at half the size or more."""
CONFIDENCE = {
    "uncertainty": (
        "How much the offsets vary when the input is disturbed.",
        "canonical voxels",
    ),
    "seediness": ("How sure it is that there is an object; highest in the middle of one.", ""),
    "presence": ("How sure it is that there is a cell at all.", ""),
}
"""What to know about the channels that tell how sure a prediction is, and their units."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One way of looking at a case.

    Attributes
    ----------
    title
        What is seen.
    note
        What to know about it, a sentence.
    pictures
        One per cut, ``(rows, columns, 3)`` uint8.
    legend
        Which legend explains the colours.
    span
        The values at the two ends of the legend.
    unit
        Of these values; empty where they have none.
    """

    title: str
    note: str
    pictures: tuple[NDArray[np.uint8], ...]
    legend: Legend = ""
    span: tuple[float, float] = (0.0, 1.0)
    unit: str = ""


@dataclass(frozen=True, eq=False)
class Sheet:
    """All panels of a case, and the cuts they share."""

    cuts: tuple[Cut, ...]
    panels: tuple[Panel, ...]


def sheet(case: Case) -> Sheet:
    """Draw everything that a case has; what it lacks is left out."""
    guide = case.labels if case.labels.any() or case.truth is None else case.truth
    cuts = plan(guide, case.voxel_size)
    base = tuple(_contrast(case, cut) for cut in cuts)
    panels = [
        _input(case, cuts, base),
        _outlined("Objects found", case.labels, cuts, base),
    ]
    if case.truth is not None:
        agreement = compare(case.labels, case.truth)
        panels.append(_judged(case.labels, case.truth, agreement, cuts, base))
        panels.append(_outlined("Truth", case.truth, cuts, base))
    if case.offsets is not None:
        panels.append(_offsets(case.offsets, case.labels, cuts))
    if case.confidence is not None:
        name, values = case.confidence.name, case.confidence.values
        panels.append(_ramp(name.capitalize(), *CONFIDENCE[name], values, cuts))
    return Sheet(cuts, tuple(panels))


def outline(drawn: NDArray[Any], width: int = LINE) -> NDArray[np.bool_]:
    """Return the pixels within `width` of another label or background, inside each object.

    Parameters
    ----------
    drawn
        Labels at the size of the canvas, ``(rows, columns)``.
    width
        Of the line [pixel]. Two objects that touch have a line each, side by side.

    Returns
    -------
    edge
        ``(rows, columns)``; nothing is drawn along the border of the picture itself.
    """
    edge = np.zeros(drawn.shape, bool)
    rows, columns = drawn.shape
    for dy in range(-width, width + 1):
        for dx in range(-width, width + 1):
            if abs(dy) + abs(dx) > width or abs(dy) >= rows or abs(dx) >= columns:
                continue
            here = np.s_[max(0, -dy) : rows - max(0, dy), max(0, -dx) : columns - max(0, dx)]
            there = np.s_[max(0, dy) : rows - max(0, -dy), max(0, dx) : columns - max(0, -dx)]
            edge[here] |= drawn[here] != drawn[there]
    edge &= drawn != 0
    return edge


def robust_range(values: NDArray[Any], low: float, high: float) -> tuple[float, float]:
    """Return two percentiles of the finite values, never equal, so that they can be a scale."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    first, last = (float(v) for v in np.percentile(finite, [low, high]))
    return (first, last) if last - first > 1e-9 * max(1.0, abs(last)) else (first, first + 1.0)


def _contrast(case: Case, cut: Cut) -> NDArray[np.float32]:
    """Return the channels of a cut at the size of the canvas, stretched to 0..1."""
    drawn = []
    for channel in case.image:
        low, high = robust_range(channel, 1.0, 99.7)
        drawn.append((draw_field(cut.take(channel), cut.size) - low) / (high - low))
    return np.stack(drawn)


def _input(case: Case, cuts: Sequence[Cut], base: Sequence[NDArray[np.float32]]) -> Panel:
    """Show the image, and a ring around each point where there are points."""
    pictures = tuple(colour.composite(channels) for channels in base)
    note = f"{len(case.image)} channels, each in its own colour and contrast."
    if len(case.image) == 1:
        note = "Contrast from the 1st to the 99.7th percentile."
    if case.marks is None:
        return Panel("Input", note, pictures)
    count = rings.draw(pictures, case.marks, cuts)
    total = len(case.marks.positions)
    among = f"{count:,} of " if count < total else ""
    what = "point" if total == 1 else "points"
    where = " near a cut" if len(cuts) > 1 else ""
    return Panel(
        "Input and points",
        f"{note[:-1]}; {among}{total:,} {what}{where}.",
        pictures,
        legend="marks",
    )


def _outlined(
    title: str,
    labels: NDArray[Any],
    cuts: Sequence[Cut],
    base: Sequence[NDArray[np.float32]],
) -> Panel:
    """Outline every object; neighbours differ in colour."""
    planes = [cut.take(labels) for cut in cuts]
    colours = colour.assign(planes)
    pictures = []
    for cut, plane, image in zip(cuts, planes, base, strict=True):
        picture = _backdrop(image, 0.75)
        _stroke(picture, magnify(plane, cut.size), colours)
        pictures.append(picture)
    count = len(np.unique(labels[labels != 0]))
    what = "object" if count == 1 else "objects"
    note = f"{count:,} {what}." if count else "No objects."
    return Panel(title, note, tuple(pictures))


def _judged(
    labels: NDArray[Any],
    truth: NDArray[Any],
    agreement: Agreement,
    cuts: Sequence[Cut],
    base: Sequence[NDArray[np.float32]],
) -> Panel:
    """Show which objects were found, which were missed and which are not there."""
    pictures = []
    for cut, image in zip(cuts, base, strict=True):
        picture = _backdrop(image, 0.55)
        drawn, true = magnify(cut.take(labels), cut.size), magnify(cut.take(truth), cut.size)
        for plane, ids, shade in (
            (drawn, agreement.matched, colour.MATCHED),
            (true, agreement.missed, colour.MISSED),
            (drawn, agreement.false, colour.FALSE),
        ):
            only = np.where(np.isin(plane, ids), plane, 0)
            if shade != colour.MATCHED:
                picture[only != 0] = _tint(picture[only != 0], shade)
            _stroke(picture, only, {int(i): shade for i in ids})
        pictures.append(picture)
    counts = (len(agreement.matched), len(agreement.missed), len(agreement.false))
    note = "{:,} matched, {:,} missed, {:,} false, at an IoU of 0.5.".format(*counts)
    return Panel("Found against truth", note, tuple(pictures), legend="agreement")


def _offsets(offsets: NDArray[Any], labels: NDArray[Any], cuts: Sequence[Cut]) -> Panel:
    """Colour the components that lie in each cut, on one scale for all cuts."""
    parts = [(cut.take(offsets[cut.across]), cut.take(offsets[cut.down])) for cut in cuts]
    lengths = [np.hypot(*part) for part in parts]
    inside = [n[cut.take(labels) != 0] for n, cut in zip(lengths, cuts, strict=True)]
    values = np.concatenate([v.ravel() for v in inside])
    if values.size == 0:
        values = np.concatenate([v.ravel() for v in lengths])
    finite = values[np.isfinite(values)]
    longest = max(float(np.percentile(finite, 95)) if finite.size else 0.0, 1e-3)
    pictures = tuple(
        colour.wheel(draw_field(across, cut.size, 3), draw_field(down, cut.size, 3), longest)
        for (across, down), cut in zip(parts, cuts, strict=True)
    )
    note = "Where each voxel sees its object's centre."
    if len(cuts) > 1:
        note = "Where each voxel sees its object's centre, as far as it lies in the cut."
    return Panel("Offsets", note, pictures, legend="wheel", span=(0.0, longest))


def _ramp(title: str, note: str, unit: str, values: NDArray[Any], cuts: Sequence[Cut]) -> Panel:
    """Colour values between robust ends, on one scale for all cuts."""
    planes = [cut.take(values) for cut in cuts]
    low, high = robust_range(np.concatenate([p.ravel() for p in planes]), 1.0, 99.0)
    pictures = tuple(
        colour.ramp((draw_field(plane, cut.size) - low) / (high - low))
        for plane, cut in zip(planes, cuts, strict=True)
    )
    return Panel(title, note, pictures, legend="ramp", span=(low, high), unit=unit)


def _backdrop(image: NDArray[np.float32], strength: float) -> NDArray[np.uint8]:
    """Return the mean of the channels as grey, dimmed, for lines to be drawn on."""
    mean = image.mean(axis=0) if len(image) == 1 else image.clip(0, 1).max(axis=0)
    return colour.grey(np.clip(mean, 0, 1) * strength, colour.LEVELS)


def _stroke(
    picture: NDArray[np.uint8], drawn: NDArray[Any], colours: dict[int, colour.RGB]
) -> None:
    """Draw the outlines of labels into a picture."""
    edge = outline(drawn)
    ids, index = np.unique(drawn[edge], return_inverse=True)
    if len(ids):
        table = np.array([colours[int(i)] for i in ids], np.uint8)
        picture[edge] = table[index]


def _tint(pixels: NDArray[np.uint8], shade: colour.RGB) -> NDArray[np.uint8]:
    mixed = 0.72 * pixels + 0.28 * np.array(shade)
    return np.round(mixed).astype(np.uint8)
