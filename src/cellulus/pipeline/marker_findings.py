"""What is odd about points and foregrounds, in words, and what is too odd to learn from.

Arithmetic and wording; reads nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellulus.ops.marker_fit import merge
from cellulus.pipeline.pairing import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cellulus.ops.marker_fit import Fit

FEWEST = 2
"""Points in all images together; one cell competes with none."""
FULL = 0.95
"""A foreground that covers more of its image tells nothing."""
OFF = 0.25
"""Points farther from middles are said to be off-centre [object diameter]."""
SHIFT = 0.1
"""Points that are all off the same way by more are said to be shifted [object diameter]."""
ENOUGH = 8
"""Points that a median is worth something of."""


@dataclass(frozen=True, eq=False)
class Looked:
    """What was seen of the points of one image.

    Attributes
    ----------
    name
        Of the image.
    origin
        Where the points are from: ``"a table"``, ``"labels"``, or ``"found"`` in the image.
    fit
        How they go together with the foreground.
    order
        What the order of the axes seems to be, such as ``"xy"``, if it seems to be another.
    is_part
        Whether only a part of the image was looked at.
    """

    name: str
    origin: str
    fit: Fit
    order: str | None = None
    is_part: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return everything, fit for JSON."""
        fit = self.fit
        counts = ("markers", "in_background", "doubled", "pieces", "unmarked")
        return {
            "name": self.name,
            "points": self.origin,
            "part": self.is_part,
            **{name: getattr(fit, name) for name in counts},
            "missed": _share(fit.missed, fit.foreground),
            "covered": fit.covered,
            "off_centre": fit.off_centre,
            "shift": list(fit.shift),
            "order": self.order,
        }


@dataclass(frozen=True)
class Finding:
    """One thing that is odd.

    Attributes
    ----------
    kind
        ``"few"``, ``"order"``, ``"background"``, ``"unmarked"``, ``"doubled"``, ``"off-centre"``,
        ``"empty"``, ``"full"``.
    expected, found, remedy
        As in errors.
    is_hopeless
        Whether nothing can be learnt.
    """

    kind: str
    expected: str
    found: str
    remedy: str
    is_hopeless: bool = False

    def __str__(self) -> str:
        return f"{self.found[:1].upper()}{self.found[1:]}; {self.remedy}."

    def to_dict(self) -> dict[str, Any]:
        """Return everything, fit for JSON."""
        return {"kind": self.kind, "text": str(self), "hopeless": self.is_hopeless}


def summary(looked: Sequence[Looked], images: int) -> str:
    """Return in a sentence what there is.

    Parameters
    ----------
    looked
        At least one.
    images
        How many there are to learn from.
    """
    total, count = merge([one.fit for one in looked]), len(looked)
    among = f"{count} of {images} images" if count < images else _several(images, "image")
    parts = sum(one.is_part for one in looked)
    where = f" (of {parts} only a part)" if parts else ""
    found = sum(one.origin == "found" for one in looked)
    source = "given" if not found else "found automatically" if found == count else "given or found"
    return (
        f"{_several(total.markers, 'marker')} in {among}{where}, {source}; the foreground "
        f"covers {total.covered:.0%}, and markers lie {total.off_centre:.2f} diameters from the "
        "middle of the foreground around them (median)."
    )


def findings(looked: Sequence[Looked], markers: int | None) -> list[Finding]:
    """Return what is odd, the hopeless first.

    Parameters
    ----------
    looked
        Some of the images, at least one.
    markers
        Number of points in all images together; None if nobody knows.
    """
    kinds = (_few(markers), _order(looked), _background(looked), *_covering(looked),
             _unmarked(looked), _doubled(looked), _off_centre(looked))  # fmt: skip
    return sorted((one for one in kinds if one), key=lambda one: not one.is_hopeless)


def _few(markers: int | None) -> Finding | None:
    if markers is None or markers >= FEWEST:
        return None
    return Finding(
        "few",
        expected=f"at least {FEWEST} markers in all images together, for cells to compete",
        found="no marker" if markers == 0 else "one marker alone",
        remedy="see that data.object_diameter fits and data.marker is the channel with a blob per "
        "cell, or give points",
        is_hopeless=True,
    )


def _order(looked: Sequence[Looked]) -> Finding | None:
    odd = [one for one in looked if one.order]
    if not odd:
        return None
    axes = "zyx"[-len(odd[0].order or "") :]
    told = [f"{one.name} ({', '.join(one.order or '')})" for one in odd]
    given = sum(one.fit.markers for one in looked if one.origin == "a table")
    return Finding(
        "order",
        expected=f"points whose columns {', '.join(axes)} are these axes",
        found=f"axes that seem to be exchanged, as the intensities at the points tell, in "
        f"{listed(told)}",
        remedy="name the columns in the order that is told for each image",
        is_hopeless=sum(one.fit.markers for one in odd) > given / 2,
    )


def _background(looked: Sequence[Looked]) -> Finding | None:
    total = merge([one.fit for one in looked])
    wrong = total.in_background
    if not wrong:
        return None
    count = _several(total.markers, "marker")
    found = f"{wrong:,} of {count} in the background: "
    found += _worst(looked, lambda fit: fit.in_background)
    if wrong == total.markers:
        found = f"a background that covers every marker ({count})"
    return Finding(
        "background",
        expected="markers in the foreground, most of them at least",
        found=found,
        remedy="see that markers and foreground belong to these images, and that data.marker and "
        "data.cell are the right channels; if cells are too faint to be found, give "
        "data.train.foreground, not 0 where they are"
        if wrong > total.markers / 2
        else "nothing is there that they could be the cells of",
        is_hopeless=wrong > total.markers / 2,
    )


def _covering(looked: Sequence[Looked]) -> Iterator[Finding]:
    """Yield what is odd about how much is foreground."""
    empty = [one.name for one in looked if one.fit.known and not one.fit.foreground]
    full = [f"{one.name} ({one.fit.covered:.0%})" for one in looked if one.fit.covered > FULL]
    expected = "some foreground, and some background"
    if empty:
        yield Finding(
            "empty",
            expected=expected,
            found=f"no foreground in {listed(empty)}",
            remedy="well if there are no cells; else see data.cell, or give data.train.foreground",
        )
    if full:
        yield Finding(
            "full",
            expected=expected,
            found=f"foreground nearly everywhere in {listed(full)}",
            remedy="nothing tells cells from what is around them there; see data.cell, or give "
            "data.train.foreground",
        )


def _unmarked(looked: Sequence[Looked]) -> Finding | None:
    total = merge([one.fit for one in looked])
    if not total.unmarked:
        return None
    what = f"{_several(total.unmarked, 'piece')} of foreground without a marker, "
    return Finding(
        "unmarked",
        expected="a marker in each piece of foreground that is large enough to be a cell",
        found=f"{what}{_share(total.missed, total.foreground):.1%} of it: "
        + _worst(looked, lambda fit: fit.unmarked),
        remedy="a cell without a marker is learnt to be none, or to be part of the next one",
    )


def _doubled(looked: Sequence[Looked]) -> Finding | None:
    total = merge([one.fit for one in looked])
    if not total.doubled:
        return None
    return Finding(
        "doubled",
        expected="one marker for each cell",
        found=f"{total.doubled:,} of {_several(total.markers, 'marker')} within half a diameter of "
        f"another: {_worst(looked, lambda fit: fit.doubled)}",
        remedy="a cell with two markers is learnt to be two; remove doubles, or see that "
        "data.object_diameter is not too large",
    )


def _off_centre(looked: Sequence[Looked]) -> Finding | None:
    total = merge([one.fit for one in looked])
    if len(total.away) < ENOUGH:
        return None
    axes = "zyx"[-len(total.shift) :]
    is_shifted = max(map(abs, total.shift)) > max(SHIFT, total.off_centre / 2)
    if not is_shifted and total.off_centre <= OFF:
        return None
    found = f"markers {total.off_centre:.2f} diameters off the middle of the foreground around them"
    if is_shifted:
        steps = [f"{axis} {value:+.2f}" for axis, value in zip(axes, total.shift, strict=True)]
        found += f" (median), most of them the same way: {', '.join(steps)}"
    return Finding(
        "off-centre",
        expected="markers near the middle of cells",
        found=found if is_shifted else f"{found} (median)",
        remedy="see that points and images have one origin and one voxel size"
        if is_shifted
        else "outlines get better with markers near the middle",
    )


def _worst(looked: Sequence[Looked], count: Callable[[Fit], int]) -> str:
    """Name the images with most of something."""
    some = sorted((one for one in looked if count(one.fit)), key=lambda one: -count(one.fit))
    return listed([f"{one.name} ({count(one.fit):,})" for one in some], most=3)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _several(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")
