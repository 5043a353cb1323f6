"""The seam audit of labels on disk: whether the blocks that they were made in can be seen.

Reads thin slabs around block planes and control planes, a part of a plane at a time, so memory
does not grow with the image. What the counts mean is said in `cellulus.ops.seams`. Knows nothing
of how labels were made, only how they were cut.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import zarr

from cellulus.data.addresses import follow
from cellulus.data.readers import ome_zarr, open_volumes
from cellulus.errors import InputError
from cellulus.ops.overlap import overlap_table
from cellulus.ops.seams import Crossing, find_cut, find_emptied, find_merged
from cellulus.progress import Silent
from cellulus.space import blocks

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cellulus.data.volume import Volume
    from cellulus.ops.overlap import OverlapTable
    from cellulus.ops.seams import Comparison
    from cellulus.progress import Progress

LIMIT = 1.2
"""How many times worse block planes may be than control planes."""
EMPTIED = 2.0
"""How many times fewer objects may reach block planes: density varies by nature."""
REACH = 2
"""Planes on each side of a block plane on which objects may be cut too [voxel]."""
CHANCE = 1e-2
"""Of failing labels without seams, all comparisons together, as far as objects are independent."""

# Edge of the parts of a plane read at once [voxel].
_PART = {2: 2**20, 3: 1024}


@dataclass(frozen=True)
class AxisSeams:
    """The comparisons along one axis.

    Attributes
    ----------
    axis
        Its letter.
    planes
        Block planes, over all time points.
    controls
        Control planes.
    comparisons
        By where they were made: ``"cut -2"`` is two voxels below the block planes.
    failures
        The keys of those that show a seam.
    """

    axis: str
    planes: int
    controls: int
    comparisons: dict[str, Comparison]
    failures: tuple[str, ...]


@dataclass(frozen=True)
class SeamAudit:
    """What an audit found.

    Attributes
    ----------
    extent
        Of a block's core, per axis [voxel].
    limit
        Largest ratio allowed.
    axes
        One entry per axis with block planes.
    note
        Why nothing could be compared; empty otherwise.
    """

    extent: tuple[int, ...]
    limit: float
    axes: tuple[AxisSeams, ...]
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether no comparison is above its limit and beyond chance."""
        return not any(axis.failures for axis in self.axes)

    @property
    def ratio(self) -> float | None:
        """Pairs that differ across block planes, over those expected from control planes.

        Of all axes; None if nothing could be compared.
        """
        found = [axis.comparisons["cut"] for axis in self.axes if "cut" in axis.comparisons]
        expected = sum(c.counted * c.control for c in found)
        return sum(c.counted * c.block for c in found) / expected if expected else None

    def to_dict(self) -> dict[str, Any]:
        """Return everything, derived numbers included, fit for JSON."""
        derived = {"passed": self.passed, "ratio": self.ratio, "reach": REACH, "chance": CHANCE}
        return asdict(self) | derived


def audit(
    labels: Path | str,
    extent: tuple[int, ...] | None = None,
    *,
    limit: float = LIMIT,
    progress: Progress | None = None,
) -> SeamAudit:
    """Compare label boundaries on block planes with those on control planes.

    Control planes lie a third of a block beside each block plane, on both sides.

    Parameters
    ----------
    labels
        An image of labels; several time points are audited together.
    extent
        Of a block's core per spatial axis [voxel]; by default what the labels' notes say.
    limit
        A comparison fails if block planes are more than this many times worse than control
        planes, and that is beyond chance.
    progress
        One unit per plane.

    Raises
    ------
    MissingError, StorageError
        If the labels are gone or damaged.
    InputError
        If they hold no labels, or nobody knows how they were cut.
    """
    volumes = open_volumes(labels)
    if volumes[0].dtype.kind not in "iu":
        raise InputError(labels, expected="labels", found=f"an image of {volumes[0].dtype}")
    shape = volumes[0].shape
    extent = extent or noted_extent(labels)
    if len(extent) != len(shape) or min(extent) < 1:
        raise InputError(
            labels,
            expected=f"the extent of a block along {', '.join(volumes[0].space)} [voxel]",
            found=str(extent),
        )
    plans = [_Plan.of(n, e) for n, e in zip(shape, extent, strict=True)]
    listener = progress or Silent()
    total = sum(len(plan.planes) + len(plan.controls) for plan in plans) * len(volumes)
    listener.start(f"seams of {volumes[0].name}", total)
    # All comparisons share the allowance: seven along each axis with block planes.
    tests = (2 * REACH + 3) * sum(bool(plan.planes) for plan in plans)
    axes = tuple(
        _audit_axis(volumes, axis, plan, (limit, CHANCE / tests), listener)
        for axis, plan in enumerate(plans)
        if plan.planes
    )
    listener.finish()
    return SeamAudit(extent, limit, axes, _note(axes))


def noted_extent(labels: Path | str) -> tuple[int, ...]:
    """Return the extent of a block's core that labels were made with, per axis [voxel].

    Raises
    ------
    InputError
        If their notes do not say it.
    """
    notes: Any = {}
    if ome_zarr.is_image(str(labels)):
        notes = zarr.open_group(follow(labels), mode="r").attrs.get("cellulus")
    cut = notes.get("cut") if isinstance(notes, dict) else None
    if not isinstance(cut, list) or not all(isinstance(n, int) for n in cut):
        raise InputError(
            labels,
            expected="labels whose notes say in which blocks they were made",
            found="none that do",
            remedy="give the extent of the blocks",
        )
    return tuple(cut)


@dataclass(frozen=True)
class _Plan:
    """Planes of one axis, by the voxel above them."""

    planes: list[int]
    controls: list[int]

    @classmethod
    def of(cls, size: int, extent: int) -> _Plan:
        planes = list(range(extent, size, extent))
        third = round(extent / 3)
        beside = {k + side for k in planes for side in (-third, third) if k + side < size}
        # Blocks too thin for a control plane that no block plane can have touched have none.
        return cls(planes, sorted(beside) if third > REACH + 1 else [])


def _audit_axis(
    volumes: list[Volume],
    axis: int,
    plan: _Plan,
    limits: tuple[float, float],
    progress: Progress,
) -> AxisSeams:
    near: dict[int, list[Crossing]] = {offset: [] for offset in range(-REACH, REACH + 1)}
    control = Crossing()
    for volume in volumes:
        for plane in plan.planes:
            for offset, crossing in _crossings(volume, axis, plane, near).items():
                near[offset].append(crossing)
            progress.advance()
        for plane in plan.controls:
            control += _crossings(volume, axis, plane, [0])[0]
            progress.advance()
    comparisons = _compare(near, control)
    limit, chance = limits
    failures = tuple(
        key
        for key, found in comparisons.items()
        if found.ratio > (max(limit, EMPTIED) if found.kind == "emptied" else limit)
        and found.chance < chance
    )
    letter, planes = volumes[0].space[axis], len(near[0])
    return AxisSeams(letter, planes, control.planes, comparisons, failures)


def _compare(near: dict[int, list[Crossing]], control: Crossing) -> dict[str, Comparison]:
    found = {
        f"cut {offset:+d}" if offset else "cut": find_cut(reduce(add, crossings), control)
        for offset, crossings in near.items()
    }
    # One gap between tissues may lie on a block plane, so the emptiest plane is no evidence.
    fuller = sorted(near[0], key=lambda crossing: crossing.objects)[1:]
    found["merged"] = find_merged(reduce(add, near[0]), control)
    found["emptied"] = find_emptied(reduce(add, fuller, Crossing()), control)
    return {key: comparison for key, comparison in found.items() if comparison}


def _crossings(
    volume: Volume, axis: int, plane: int, offsets: Iterable[int]
) -> dict[int, Crossing]:
    """Count what crosses the planes at some offsets from a plane; those outside hold nothing."""
    size = volume.shape[axis]
    inside = [offset for offset in offsets if 0 < plane + offset < size]
    low, high = plane + min(inside) - 1, plane + max(inside) + 1
    section = tuple(1 if a == axis else n for a, n in enumerate(volume.shape))
    part = tuple(min(n, _PART[volume.ndim]) for n in section)
    tables: dict[int, list[OverlapTable]] = {offset: [] for offset in inside}
    for block in blocks(section, part, (0,) * volume.ndim):
        region = tuple(slice(low, high) if a == axis else s for a, s in enumerate(block.core))
        slab = volume.read(region)[0].swapaxes(0, axis)
        for offset in inside:
            below = plane + offset - 1 - low
            tables[offset].append(overlap_table(slab[below], slab[below + 1]))
    return {
        offset: Crossing.of(reduce(add, tables[offset])) if offset in tables else Crossing()
        for offset in offsets
    }


def _note(axes: tuple[AxisSeams, ...]) -> str:
    if not axes:
        return "one block: there are no seams"
    if not any(axis.comparisons for axis in axes):
        return "no objects to compare, or blocks too thin for control planes"
    return ""
