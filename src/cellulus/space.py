"""Geometry without data: lengths, voxel sizes, the scale of the network's view, blocks.

Space is always ``(z,) y, x``; the number of axes is data, never part of a name. Knows nothing
of images, files or networks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, overload

from cellulus.errors import InputError

Unit = Literal["um", "voxel"]
Region = tuple[slice, ...]

_UM = {"um": 1.0, "µm": 1.0, "μm": 1.0, "micrometer": 1.0, "nm": 1e-3, "mm": 1e3}
_LENGTH = re.compile(r"^\s*([0-9.eE+-]+)\s*([a-zµμ]*)\s*$")


@dataclass(frozen=True)
class VoxelSize:
    """The extent of one voxel along ``(z,) y, x``.

    Attributes
    ----------
    values
        Extent per axis, in `unit`.
    unit
        ``"um"``, or ``"voxel"`` where only the proportions are known (1, 1 for a plain PNG).
    """

    values: tuple[float, ...]
    unit: Unit = "voxel"

    def __post_init__(self) -> None:
        if not all(math.isfinite(v) and v > 0 for v in self.values):
            raise InputError(
                "voxel size", expected="positive extents per axis", found=str(self.values)
            )

    @property
    def ndim(self) -> int:
        """Number of spatial axes, 2 or 3."""
        return len(self.values)


@dataclass(frozen=True)
class Length:
    """A length in micrometres, or in voxels of the finest axis.

    Examples
    --------
    >>> Length.parse("9.6 um").in_voxels(VoxelSize((2.0, 0.8, 0.8), "um"))
    (4.8, 12.0, 12.0)
    >>> Length.parse(20).in_voxels(VoxelSize((4.0, 1.0, 1.0)))
    (5.0, 20.0, 20.0)
    """

    value: float
    unit: Unit

    @classmethod
    def parse(cls, text: str | float) -> Length:
        """Read ``"9.6 um"``, ``"9600 nm"`` or a plain number of voxels.

        Raises
        ------
        InputError
            If it is not a positive length.
        """
        match = _LENGTH.match(str(text))
        unit = match.group(2) if match else "?"
        try:
            value = float(match.group(1)) if match else math.nan
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0) or unit not in {"", "voxel", "px", *_UM}:
            raise InputError(
                "length",
                expected='a positive number of voxels, or a length such as "9.6 um"',
                found=repr(text),
            )
        if unit in _UM:
            return cls(value * _UM[unit], "um")
        return cls(value, "voxel")

    def in_voxels(self, voxel_size: VoxelSize) -> tuple[float, ...]:
        """Return this length along each axis [voxel].

        Raises
        ------
        InputError
            If it is in micrometres and the voxel size is not.
        """
        if self.unit == "um" and voxel_size.unit != "um":
            raise InputError(
                "data.object_diameter",
                expected="an image whose voxel size is known, for a diameter in um",
                found="an image without a voxel size",
                remedy="give data.voxel_size = [...] in um, or the diameter as a number of voxels",
            )
        unit = min(voxel_size.values) if self.unit == "voxel" else 1.0
        return tuple(self.value * unit / v for v in voxel_size.values)

    def __str__(self) -> str:
        return f"{self.value:g} um" if self.unit == "um" else f"{self.value:g}"


@dataclass(frozen=True)
class Scale:
    """How an image grid maps to the canonical grid, on which every object is equally large.

    The canonical grid is isotropic in physical space. Both grids cover the same extent: an
    image coordinate ``p`` (voxel centres at integers) lies at ``(p + 0.5) * zoom - 0.5``.

    Attributes
    ----------
    zoom
        Canonical voxels per image voxel, per axis.
    """

    zoom: tuple[float, ...]

    @classmethod
    def of(cls, diameter: Length, voxel_size: VoxelSize, object_voxels: float) -> Scale:
        """Return the scale at which `diameter` becomes `object_voxels` canonical voxels."""
        return cls(tuple(object_voxels / d for d in diameter.in_voxels(voxel_size)))

    def canonical_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the canonical grid over an image of `shape` [voxel]."""
        return tuple(max(1, math.ceil(n * z - 1e-6)) for n, z in zip(shape, self.zoom, strict=True))


def ball_volume(diameter: float, ndim: int) -> float:
    """Return the volume of a ball in `ndim` dimensions, in the unit of `diameter`."""
    unit = math.pi ** (ndim / 2) / math.gamma(ndim / 2 + 1)
    return float(unit * (diameter / 2) ** ndim)


@dataclass(frozen=True)
class Block:
    """A part of a grid: the core that a task answers for, and the region it needs to see.

    Attributes
    ----------
    core
        Half-open index range per axis [voxel].
    outer
        Core plus halo; cut at the grid's edge or not, as the plan asked.
    """

    core: Region
    outer: Region

    @property
    def inner(self) -> Region:
        """Where the core lies inside an array that holds `outer`."""
        return tuple(
            slice(c.start - o.start, c.stop - o.start)
            for c, o in zip(self.core, self.outer, strict=True)
        )


@dataclass(frozen=True)
class Blocks(Sequence[Block]):
    """A grid cut into blocks, in C order.

    Attributes
    ----------
    shape, core, halo
        Of the grid, of a block's core, and of the margin on each side [voxel].
    clip
        Whether the outer region stops at the grid's edge. Otherwise it may reach outside, where
        the reader extends the data.
    """

    shape: tuple[int, ...]
    core: tuple[int, ...]
    halo: tuple[int, ...]
    clip: bool = True

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of blocks along each axis."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.core, strict=True))

    def __len__(self) -> int:
        return math.prod(self.counts)

    @overload
    def __getitem__(self, index: int) -> Block: ...
    @overload
    def __getitem__(self, index: slice) -> list[Block]: ...
    def __getitem__(self, index: int | slice) -> Block | list[Block]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        inside, outside = [], []
        rest = index % len(self)
        for n, c, h, count in zip(
            self.shape[::-1], self.core[::-1], self.halo[::-1], self.counts[::-1], strict=True
        ):
            rest, place = divmod(rest, count)
            start, stop = place * c, min((place + 1) * c, n)
            inside.append(slice(start, stop))
            low, high = start - h, stop + h
            outside.append(slice(max(low, 0), min(high, n)) if self.clip else slice(low, high))
        return Block(tuple(inside[::-1]), tuple(outside[::-1]))


def blocks(
    shape: tuple[int, ...], core: tuple[int, ...], halo: tuple[int, ...], *, clip: bool = True
) -> Blocks:
    """Cut a grid into blocks; see `Blocks`."""
    return Blocks(shape, core, halo, clip)
