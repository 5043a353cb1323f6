"""What every reader returns: one image on disk with its axes, levels, channels and voxel size.

Knows nothing of any file format, and of volumes only how to cut them out of an image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cellulus.data.volume import LazyArray, Volume, spatial_axes
from cellulus.errors import InputError
from cellulus.space import VoxelSize

if TYPE_CHECKING:
    from collections.abc import Sequence


class Reader(Protocol):
    """What a file of this folder offers."""

    def accepts(self, path: str) -> bool:
        """Return whether the path looks like this format; reads no data."""

    def open(self, path: str, axes: str) -> Image:
        """Open an image lazily; `axes` holds for files that do not tell theirs."""


@dataclass(frozen=True)
class Level:
    """One level of a pyramid.

    Attributes
    ----------
    array
        The data on disk.
    voxel_size
        Per spatial axis, ``(z,) y, x``; a z axis of one plane does not count.
    """

    array: LazyArray
    voxel_size: VoxelSize


@dataclass(frozen=True)
class Image:
    """One image on disk, unread.

    Attributes
    ----------
    name
        Fit for a file name.
    path
        Where it lies.
    axes
        One letter per axis, out of ``tczyx``, in the order on disk.
    levels
        Finest first.
    channel_names
        Empty where the file gives none.
    """

    name: str
    path: str
    axes: str
    levels: tuple[Level, ...]
    channel_names: tuple[str, ...] = ()

    def extent(self, axis: str) -> int:
        """Return the extent along an axis at the finest level; 1 where there is no such axis."""
        return self.levels[0].array.shape[self.axes.index(axis)] if axis in self.axes else 1

    @property
    def space(self) -> str:
        """The spatial axes of the finest level, ``"yx"`` or ``"zyx"``."""
        return spatial_axes(self.axes, self.levels[0].array.shape)

    def volumes(
        self, channels: Sequence[int | str], level: int, voxel_size: tuple[float, ...]
    ) -> list[Volume]:
        """Return one volume per time point; the parameters are those of `open_volumes`."""
        chosen = self._level(level)
        indices = self._channels(channels)
        size = self._resize(voxel_size, level) if voxel_size else chosen.voxel_size
        times = self.extent("t")
        digits = max(3, len(str(times - 1)))
        return [
            Volume(
                name=self.name if times == 1 else f"{self.name}_t{time:0{digits}}",
                array=chosen.array,
                axes=self.axes,
                voxel_size=size,
                channels=indices,
                time=time,
                path=self.path,
            )
            for time in range(times)
        ]

    def _level(self, level: int) -> Level:
        if not 0 <= level < len(self.levels):
            shapes = ", ".join(f"{k}: {v.array.shape}" for k, v in enumerate(self.levels))
            raise InputError(
                self.path, expected=f"a pyramid level out of {shapes}", found=f"level {level}"
            )
        return self.levels[level]

    def _channels(self, wanted: Sequence[int | str]) -> tuple[int, ...]:
        count = self.extent("c")
        if not wanted and count > 1:
            raise InputError(
                self.path,
                expected="a choice of channels",
                found=f"{count} channels: {self._listed()}",
                remedy="give data.channels = [...], by index or by name",
            )
        return tuple(self._channel(c) for c in wanted) or (0,)

    def _channel(self, wanted: int | str) -> int:
        names = list(self.channel_names)
        if isinstance(wanted, str) and names.count(wanted) == 1:
            return names.index(wanted)
        if isinstance(wanted, int) and 0 <= wanted < self.extent("c"):
            return wanted
        raise InputError(
            self.path, expected=f"a channel out of {self._listed()}", found=repr(wanted)
        )

    def _listed(self) -> str:
        names = [*self.channel_names, *[""] * self.extent("c")]
        shown = (f"{i} {names[i]!r}" if names[i] else str(i) for i in range(self.extent("c")))
        return ", ".join(shown)

    def _resize(self, values: tuple[float, ...], level: int) -> VoxelSize:
        """Return a voxel size given for the finest level, as it is at another level [um]."""
        finest, chosen = self.levels[0].voxel_size, self.levels[level].voxel_size
        if not len(values) == finest.ndim == chosen.ndim:
            raise InputError(
                "data.voxel_size",
                expected=f"{finest.ndim} values, along {', '.join(self.space)} of {self.path}",
                found=str(list(values)),
            )
        ratios = (c / f for c, f in zip(chosen.values, finest.values, strict=True))
        return VoxelSize(tuple(v * r for v, r in zip(values, ratios, strict=True)), "um")


def stem(path: str) -> str:
    """Return the name of a file without its suffixes, or of an image within a zarr container."""
    parts = [p for p in path.split("://")[-1].replace("\\", "/").split("/") if p]
    roots = [i for i, part in enumerate(parts) if part.endswith(".zarr")]
    kept = parts[roots[0] :] if roots else parts[-1:]
    for suffix in (".zarr", ".tif", ".tiff", ".png", ".npz", ".ome"):
        kept = [part.removesuffix(suffix) for part in kept]
    return "_".join(kept) or "image"
