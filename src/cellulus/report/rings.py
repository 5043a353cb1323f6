"""Points as rings on a picture, so that what they lie on is still seen.

Knows nothing of images or of HTML.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus.report import colour

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellulus.report.case import Marks
    from cellulus.report.cuts import Cut

RADIUS = 5.5
"""Of the middle of the line [pixel of the canvas]."""
LINE, HALO = 2.0, 4.5
"""Width of the line, and with the dark rim that sets it off from what is bright [pixel]."""


def shown(marks: Marks, cut: Cut) -> NDArray[np.bool_]:
    """Return which points are drawn on a cut, ``(n,)``: those in its window and near its plane."""
    first, stop = np.array([(part.start, part.stop) for part in cut.key]).T
    near = np.zeros(len(cut.key))
    near[list(cut.normal)] = [marks.near[axis] for axis in cut.normal]
    low, high = first - 0.5 - near, stop - 0.5 + near
    return np.asarray(((marks.positions >= low) & (marks.positions < high)).all(axis=1))


def draw(pictures: Sequence[NDArray[np.uint8]], marks: Marks, cuts: Sequence[Cut]) -> int:
    """Draw a ring around each point that is near a cut, into the pictures.

    Returns
    -------
    count
        How many points are on at least one picture.
    """
    seen = np.zeros(len(marks.positions), np.bool_)
    for picture, cut in zip(pictures, cuts, strict=True):
        is_shown = shown(marks, cut)
        seen |= is_shown
        _stamp(picture, _pixels(marks.positions[is_shown], cut))
    return int(seen.sum())


def _pixels(positions: NDArray[np.float64], cut: Cut) -> NDArray[np.float64]:
    """Return where points are on a picture, ``(n, 2)``; a pixel's middle is at a half."""
    places = [
        (positions[:, axis] + 0.5 - cut.key[axis].start)
        / (cut.key[axis].stop - cut.key[axis].start)
        * extent
        for axis, extent in zip((cut.down, cut.across), cut.size, strict=True)
    ]
    return np.stack(places, axis=1)


def _stamp(picture: NDArray[np.uint8], places: NDArray[Any]) -> None:
    """Draw all rims, then all lines: where rings meet, no rim hides a line."""
    half = int(np.ceil(RADIUS + HALO / 2))
    steps = np.arange(-half, half + 1)
    for width, shade in ((HALO, colour.RIM), (LINE, colour.POINT)):
        for place in places:
            middle = np.floor(place).astype(np.int64)
            rows, columns = middle[0] + steps, middle[1] + steps
            rows = rows[(rows >= 0) & (rows < picture.shape[0])]
            columns = columns[(columns >= 0) & (columns < picture.shape[1])]
            away = np.hypot(rows[:, None] + 0.5 - place[0], columns + 0.5 - place[1])
            y, x = np.nonzero(np.abs(away - RADIUS) <= width / 2)
            picture[rows[y], columns[x]] = shade
