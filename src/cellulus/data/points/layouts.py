"""What the columns of a table of points mean: told by their names, which differ with the program.

Ours, and any other
    ``(z,) y, x`` [voxel], or with a unit as in ``x_um``; ``label`` or ``id``; ``t`` where there
    are several times. The table of objects is one of them, by ``centroid_x_um``.
napari
    A points layer: ``index, axis-0, axis-1, ...`` in voxels, along all axes of the image, but
    channels, which napari splits, and axes of one element, which it may not see. It must have had
    the scale of its image.
TrackMate
    A spot table: ``POSITION_X``, ``POSITION_Y``, ``POSITION_Z``, ``FRAME``, ``ID``. Recent
    versions repeat the header in other words, and give units on its fourth line. Older ones give
    none: positions are in um there if the voxel size of the image is, as TrackMate saw it too.

Every one has the middle of the image's first voxel at 0. Knows nothing of entries.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cellulus.errors import InputError

if TYPE_CHECKING:
    from cellulus.data.points.table import Table
    from cellulus.data.volume import Volume

_VOXELS = ("voxel", "voxels", "px", "pixel", "pixels")
_MICROMETRES = {
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1e-3),
    **dict.fromkeys(("um", "\N{GREEK SMALL LETTER MU}m", "micron", "microns"), 1.0),
    **dict.fromkeys(("micrometer", "micrometers", "micrometre", "micrometres"), 1.0),
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1e3),
}
UNITS: dict[str, float | None] = {**dict.fromkeys(_VOXELS), **_MICROMETRES}
"""Units by name, as `str.casefold` has it: in um, or None for voxels."""
_PLAIN = re.compile(r"(centroid_)?([zyx])(?:_(\w+))?")
_NAPARI = re.compile(r"axis-(\d+)")
_TRACKMATE = {f"POSITION_{axis.upper()}": axis for axis in "zyx"}
_BRACKETS = re.compile(r"\((.*)\)")


@dataclass(frozen=True)
class Layout:
    """Which column is what.

    Attributes
    ----------
    axes
        Columns of the coordinates by axis, in the order ``zyx``.
    units
        Their units, as the file names them; empty for voxels.
    id, time
        Columns of numbers and time points, where there are any.
    factors
        Voxels per unit, by axis.
    first
        The row that the points begin with.
    """

    axes: dict[str, int]
    units: dict[str, str]
    id: int | None
    time: int | None
    factors: dict[str, float]
    first: int = 0

    @property
    def unit(self) -> str:
        """That of x."""
        return self.units["x"]


def recognise(table: Table, volume: Volume) -> tuple[Table, Layout]:
    """Tell the columns of a table by its header.

    Returns
    -------
    table, layout
        The rows with points alone, and what their columns are.

    Raises
    ------
    InputError
        If the columns are unknown or several kinds of them are there, if they do not fit the axes
        of the image, or if their unit is unknown or cannot be turned into voxels.
    """
    plain = _plain(table)
    known = [one for one in plain if not one.unit or one.unit.casefold() in UNITS]
    found = [*known, *_napari(table, volume), *_trackmate(table, volume)] or plain[:1]
    if len(found) != 1:
        raise _stranger(table, found)
    layout = found[0]
    rows = replace(table, rows=table.rows[layout.first :], lines=table.lines[layout.first :])
    if not set(volume.space) <= set(layout.axes):
        raise InputError(
            table.where,
            expected=f"columns for {', '.join(volume.space)}, the axes of "
            f"{volume.path or volume.name}",
            found=f"the columns {_listed(table)}",
        )
    return rows, replace(layout, factors=_factors(table, layout, volume))


def _plain(table: Table) -> list[Layout]:
    """Return one layout for each unit that both y and x are given in, be it known or not."""
    kinds: dict[tuple[str, str], dict[str, int]] = {}
    for column, name in enumerate(table.header):
        match = _PLAIN.fullmatch(name)
        if match:
            prefix, axis, unit = match.groups(default="")
            kinds.setdefault((prefix, unit), {}).setdefault(axis, column)
    number = next((name for name in ("label", "id") if name in table.header), "")
    return [
        _layout(table, axes, dict.fromkeys(axes, unit), number, "t")
        for (prefix, unit), axes in kinds.items()
        if {"y", "x"} <= set(axes) and (unit or not prefix)
    ]


def _napari(table: Table, volume: Volume) -> list[Layout]:
    matches = (_NAPARI.fullmatch(name) for name in table.header)
    columns = {int(match.group(1)): i for i, match in enumerate(matches) if match}
    if not columns or "shape-type" in table.header:
        return []
    extents = dict(zip(volume.axes, volume.array.shape, strict=True))
    wide = [a for a in volume.axes if extents[a] > 1 or a in volume.space]
    seen = [*volume.axes], [a for a in volume.axes if a != "c"], wide, [a for a in wide if a != "c"]
    # A place that no point can differ in says nothing, whatever it is called.
    fitting = {
        tuple(
            axis if axis in volume.space or (axis == "t" and extents["t"] > 1) else "" for axis in s
        )
        for s in seen
        if len(s) == len(columns)
    }
    if len(fitting) != 1 or sorted(columns) != [*range(len(columns))]:
        kinds = dict.fromkeys(", ".join(s) for s in seen)
        doubt = ", and no doubt which" if fitting else ""
        raise InputError(
            table.where,
            expected=f"coordinates along {' or '.join(kinds)}, the axes of "
            f"{volume.path or volume.name}{doubt}",
            found=f"the columns {_listed(table)}",
            remedy="name the columns y, x; z and t too where the image has them",
        )
    letters = next(iter(fitting))
    axes = {axis: columns[letters.index(axis)] for axis in volume.space}
    layout = _layout(table, axes, dict.fromkeys(axes, ""), "index", "")
    time = columns[letters.index("t")] if "t" in letters else None
    return [replace(layout, time=time)]


def _trackmate(table: Table, volume: Volume) -> list[Layout]:
    axes = {axis: table.header.index(n) for n, axis in _TRACKMATE.items() if n in table.header}
    if not {"y", "x"} <= set(axes):
        return []
    units = dict.fromkeys(axes, "um" if volume.voxel_size.unit == "um" else "")
    first = 0
    for row in table.rows[:3]:
        cells = {axis: row[column].strip() for axis, column in axes.items()}
        has_units = any(_BRACKETS.fullmatch(entry.strip()) for entry in row)
        if has_units and _BRACKETS.fullmatch(cells["x"] or "()"):
            units = {axis: _BRACKETS.sub(r"\1", cell) for axis, cell in cells.items()}
        elif cells["x"] != "X":
            break
        first += 1
    return [replace(_layout(table, axes, units, "ID", "FRAME"), first=first)]


def _layout(
    table: Table, axes: dict[str, int], units: dict[str, str], number: str, time: str
) -> Layout:
    columns = {name: i for i, name in enumerate(table.header)}
    ordered = {axis: axes[axis] for axis in "zyx" if axis in axes}
    return Layout(ordered, units, columns.get(number), columns.get(time), {})


def _factors(table: Table, layout: Layout, volume: Volume) -> dict[str, float]:
    """Return how many voxels each unit is."""
    factors = {}
    for axis, extent in zip(volume.space, volume.voxel_size.values, strict=True):
        unit, name = layout.units[axis], table.header[layout.axes[axis]]
        if unit and unit.casefold() not in UNITS:
            raise InputError(
                table.where,
                expected="coordinates in voxel, pixel, um, micron, nm or mm",
                found=f"the unit {unit!r} of column {name}",
            )
        length = UNITS[unit.casefold()] if unit else None
        if length is not None and volume.voxel_size.unit != "um":
            raise InputError(
                table.where,
                expected="points in voxels, because the voxel size of "
                f"{volume.path or volume.name} is not known",
                found=f"the unit {unit!r} of column {name}",
                remedy="give data.voxel_size = [...] in um",
            )
        factors[axis] = 1.0 if length is None else length / extent
    return factors


def _stranger(table: Table, found: list[Layout]) -> InputError:
    """Return the fault of a table that is of no kind, or of several."""
    if found:
        kinds = (", ".join(table.header[c] for c in layout.axes.values()) for layout in found)
        return InputError(
            table.where,
            expected="coordinates once",
            found=f"{' and '.join(kinds)}",
            remedy="leave one of them",
        )
    is_drawn = "shape-type" in table.header
    return InputError(
        table.where,
        expected="columns (z,) y, x [voxel], (z_um,) y_um, x_um, axis-0, axis-1, ... of napari, "
        "or POSITION_X, POSITION_Y, ... of TrackMate",
        found="a shapes layer of napari" if is_drawn else f"the columns {_listed(table)}",
        remedy="mark the cells in a points layer" if is_drawn else "name the columns so",
    )


def _listed(table: Table, most: int = 12) -> str:
    more = len(table.header) - most
    names = ", ".join(_shown(name[:30]) for name in table.header[:most])
    return f"{names} and {more} more" if more > 0 else names


def _shown(name: str) -> str:
    """Return a name as it is, unless it is empty or bytes of something else."""
    return name if name and name.isprintable() else repr(name)
