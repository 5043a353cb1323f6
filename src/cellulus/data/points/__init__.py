"""One point per cell, in a CSV file: read whoever wrote it, and written in one way.

Points are in voxels of their image, ``(z,) y, x``; the middle of the first voxel is 0, as in the
table of objects and in napari. A file says by its header what it is (see `layouts`), and nothing
is guessed from the numbers. Knows nothing of where points come from and of what they are for.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellulus.data.points.layouts import Layout, recognise
from cellulus.data.points.order import misordered
from cellulus.data.points.table import Table, faults, read_table
from cellulus.errors import InputError
from cellulus.files import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

    from cellulus.data.volume import Volume

__all__ = ["Points", "misordered", "read_points", "tells_times", "write_points"]

LARGEST_ID = 2**53
"""Whole numbers are read as float64, which holds them up to here."""


@dataclass(frozen=True, eq=False)
class Points:
    """Points in one image, at one time.

    Attributes
    ----------
    positions
        ``(n, ndim)`` float64, along ``(z,) y, x``; voxel ``i`` has its middle at ``i`` [voxel].
    ids
        ``(n,)`` int64, each another.
    """

    positions: NDArray[np.float64]
    ids: NDArray[np.int64]

    @classmethod
    def of(cls, positions: NDArray[Any]) -> Points:
        """Give points the numbers from 1 on."""
        return cls(np.asarray(positions, np.float64), np.arange(1, len(positions) + 1))

    def __len__(self) -> int:
        return len(self.ids)


def read_points(path: str | Path, volume: Volume) -> Points:
    """Read the points in an image from a CSV file.

    Parameters
    ----------
    path
        What `write_points` wrote; a points layer of napari; a spot table of TrackMate; the table
        of objects; or any table with columns ``(z,) y, x`` [voxel] or ``(z_um,) y_um, x_um``
        [um]. Columns are separated by commas, semicolons or tabs; more of them do not matter.
    volume
        The image. Of a file that tells times, the points at its time are read. A file that
        tells none is of one time only.

    Returns
    -------
    points
        In the order of the file; with its numbers where it has any. None if it has a header only.

    Raises
    ------
    MissingError
        If there is no such file.
    StorageError
        If it cannot be read.
    InputError
        If it has no header or one of unknown columns, does not fit the axes or times of the
        image, is in um while the voxel size of the image is not known, has entries that are no
        numbers, gives several points one number, or has points outside the image.
    """
    table = read_table(str(path))
    table, layout = recognise(table, volume)
    raw = table.numbers([*layout.axes.values()])
    rows = _at_time(table, layout, volume)
    table, raw = table.only(rows), raw[rows]
    raw = _in_plane(table, layout, raw, volume)
    factors = np.array([layout.factors[axis] for axis in volume.space])
    positions = raw * factors
    _refuse_outside(table, layout, raw, volume)
    return Points(positions, _ids(table, layout))


def tells_times(path: str | Path, volume: Volume) -> bool:
    """Return whether a file says of each point at which time it is; raises as `read_points`."""
    return recognise(read_table(str(path)), volume)[1].time is not None


def write_points(
    path: Path, points: Points, columns: Mapping[str, NDArray[Any]] | None = None
) -> None:
    """Write points to a CSV file with the columns ``label, (z,) y, x`` [voxel].

    They read back as they are, to the last digit; the same points give the same bytes.

    Parameters
    ----------
    path
        What is there is replaced when the new file is whole.
    points
        In the order of the lines.
    columns
        What else to tell of each point, ``(n,)``, by name; NaN is left empty.

    Raises
    ------
    StorageError
        If the disk is full or refuses.
    """
    named = {"label": points.ids}
    named |= dict(zip("zyx"[-points.positions.shape[1] :], points.positions.T, strict=True))
    named |= columns or {}
    # As text of their own type: what is float32 is not told to sixteen digits.
    words = (np.where(c != c, "", c.astype(str)).tolist() for c in named.values())
    with replacing(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(named)
        lines.writerows(zip(*words, strict=True))
        text.detach()


def _at_time(table: Table, layout: Layout, volume: Volume) -> NDArray[np.int64]:
    """Return the rows that are of the time point of the image."""
    if layout.time is None:
        return np.arange(len(table.rows))
    times = np.rint(table.numbers([layout.time])[:, 0])
    count = volume.array.shape[volume.axes.index("t")] if "t" in volume.axes else 1
    if times.size and (times.min() < 0 or times.max() >= count):
        wanted = f"time points from 0 to {count - 1}" if count > 1 else "time point 0 alone"
        raise InputError(
            table.where,
            expected=f"{wanted}, as {volume.path or volume.name} has",
            found=f"{times.min():g} to {times.max():g} in column {table.header[layout.time]}",
            remedy="see that the points belong to this image, and that none are at other times",
        )
    return np.flatnonzero(times == volume.time)


def _in_plane(
    table: Table, layout: Layout, raw: NDArray[np.float64], volume: Volume
) -> NDArray[np.float64]:
    """Return the coordinates along the axes of the image; a column z may be there and be 0."""
    if "z" in layout.axes and "z" not in volume.space:
        wrong = np.flatnonzero(np.abs(raw[:, 0]) > 0.5)
        if wrong.size:
            raise InputError(
                table.where,
                expected=f"z = 0, as {volume.path or volume.name} is one plane",
                found=faults([(table.lines[row], f"{raw[row, 0]:g}") for row in wrong]),
                remedy="see that the points belong to this image",
            )
        return raw[:, 1:]
    return raw


def _ids(table: Table, layout: Layout) -> NDArray[np.int64]:
    if layout.id is None:
        return np.arange(1, len(table.rows) + 1)
    numbers = table.numbers([layout.id])[:, 0]
    _, which, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    is_whole = (numbers == np.rint(numbers)) & (np.abs(numbers) < LARGEST_ID)
    wrong = np.flatnonzero((counts[which] > 1) | ~is_whole)
    if wrong.size:
        name = table.header[layout.id]
        raise InputError(
            table.where,
            expected=f"a whole number of its own for every point, in column {name}",
            found=faults([(table.lines[row], f"{numbers[row]:g}") for row in wrong]),
            remedy=f"rename the column {name}, and the points are numbered as they come",
        )
    return numbers.astype(np.int64)


def _inside(positions: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which points lie in a voxel."""
    return np.asarray(((positions >= -0.5) & (positions < np.array(shape) - 0.5)).all(axis=1))


def _refuse_outside(table: Table, layout: Layout, raw: NDArray[np.float64], volume: Volume) -> None:
    """Refuse points outside the image, and tell what they would fit."""
    factors = np.array([layout.factors[axis] for axis in volume.space])
    inside = _inside(raw * factors, volume.shape)
    if inside.all():
        return
    lost = np.flatnonzero(~inside)
    places = [(table.lines[row], _text(raw[row] * factors)) for row in lost]
    raise InputError(
        table.where,
        expected=f"points in {volume.path or volume.name}, whose extent along "
        f"{', '.join(volume.space)} is {_text(np.array(volume.shape))} voxels",
        found=f"{len(lost)} of {len(raw)} points outside: {faults(places)}",
        remedy=_remedy(raw, factors, inside, volume),
    )


def _remedy(
    raw: NDArray[np.float64],
    factors: NDArray[np.float64],
    inside: NDArray[np.bool_],
    volume: Volume,
) -> str:
    backwards = ", ".join(reversed(volume.space))
    guesses = [(raw[:, ::-1] * factors, f"their order were {backwards}: name the columns so")]
    if volume.voxel_size.unit == "um":
        um = ", ".join(f"{axis}_um" for axis in volume.space)
        plain = ", ".join(volume.space)
        guesses += [
            (raw / volume.voxel_size.values, f"they were in um: name the columns {um}"),
            (raw, f"they were in voxels: name the columns {plain}"),
        ]
    for positions, guess in guesses:
        fitting = int(_inside(positions, volume.shape).sum())
        if fitting > max(len(raw) / 2, inside.sum()):
            share = "all" if fitting == len(raw) else "most"
            return f"{share} of them would be inside if {guess}"
    return "remove them, or see that the points belong to this image"


def _text(numbers: NDArray[np.generic]) -> str:
    return "(" + ", ".join(f"{number:.6g}" for number in numbers.tolist()) + ")"
