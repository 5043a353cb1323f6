"""One sample: a lazily read image or label array of one time point, space in ``(z,) y, x``.

Whatever the axes order on disk, `read` returns ``(C, *S)``. Knows nothing of file formats
(the readers make volumes) and nothing of scales or normalisation.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cellulus.errors import CellulusError, InputError, StorageError
from cellulus.space import Region, VoxelSize

if TYPE_CHECKING:
    from numpy.typing import NDArray


class LazyArray(Protocol):
    """What a reader must offer: a shape, a type, and reading of a part."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent per axis, in the order on disk."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""

    def __getitem__(self, key: tuple[slice | int, ...]) -> Any:
        """Return a part as an array; only what it touches is read."""


@dataclass(frozen=True)
class Volume:
    """An image or a label array of one time point.

    Attributes
    ----------
    name
        Unique among the samples of an experiment, fit for a file name.
    array
        The data on disk.
    axes
        One letter per axis of `array`, out of ``tczyx``, in the order on disk.
    voxel_size
        Per spatial axis, in the order ``(z,) y, x``.
    channels
        Indices to read, in order.
    time
        The time point read; 0 without a time axis.
    path
        Where it came from, for messages and provenance; empty for an array in memory.
    """

    name: str
    array: LazyArray
    axes: str
    voxel_size: VoxelSize
    channels: tuple[int, ...] = (0,)
    time: int = 0
    path: str = ""

    @classmethod
    def of(
        cls,
        array: NDArray[Any],
        *,
        axes: str | None = None,
        voxel_size: VoxelSize | None = None,
        name: str = "image",
    ) -> Volume:
        """Wrap an array in memory; axes default to ``yx`` or ``zyx``, channels to all.

        Raises
        ------
        InputError
            If the axes are not given and cannot be told from the number of dimensions.
        """
        if axes is None:
            axes = {2: "yx", 3: "zyx"}.get(array.ndim, "")
        if len(axes) != array.ndim or not set("yx") <= set(axes) <= set("tczyx"):
            raise InputError(
                name,
                expected='axes out of "tczyx", one per dimension',
                found=f"{axes!r} for shape {array.shape}",
            )
        ndim = len(spatial_axes(axes, array.shape))
        return cls(
            name=name,
            array=array,
            axes=axes,
            voxel_size=voxel_size or VoxelSize((1.0,) * ndim),
            channels=tuple(range(array.shape[axes.index("c")])) if "c" in axes else (0,),
        )

    @property
    def space(self) -> str:
        """The spatial axes, ``"yx"`` or ``"zyx"``; a z axis of one plane does not count."""
        return spatial_axes(self.axes, self.array.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial extent, ``(z,) y, x`` [voxel]."""
        return tuple(self.array.shape[self.axes.index(a)] for a in self.space)

    @property
    def ndim(self) -> int:
        """Number of spatial axes, 2 or 3."""
        return len(self.space)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements on disk."""
        return self.array.dtype

    def read(self, region: Region | None = None) -> NDArray[Any]:
        """Return a part of the volume.

        Parameters
        ----------
        region
            Slices within the grid, per spatial axis [voxel]; everything by default.

        Returns
        -------
        data
            ``(C, *S)``, in the type on disk.

        Raises
        ------
        StorageError
            If the data are damaged.
        """
        where = dict(zip(self.space, region or (slice(None),) * self.ndim, strict=True))
        where = {a: where.get(a, slice(0, 1)) for a in "zyx"}
        parts = [self._read_channel(where, c) for c in self.channels]
        return np.stack(parts)

    def _read_channel(self, where: dict[str, slice], channel: int) -> NDArray[Any]:
        fixed: dict[str, slice | int] = {"c": channel, "t": self.time, **where}
        if "z" not in self.space:
            fixed["z"] = 0
        try:
            part = np.asarray(self.array[tuple(fixed[a] for a in self.axes)])
        except CellulusError:
            raise
        except (OSError, RuntimeError, ValueError, zlib.error) as error:
            raise StorageError(
                self.path or self.name, expected="readable data", found=str(error)
            ) from error
        order = [a for a in self.axes if not isinstance(fixed[a], int)]
        return part.transpose([order.index(a) for a in self.space])


def spatial_axes(axes: str, shape: tuple[int, ...]) -> str:
    """Return ``"zyx"`` if there is more than one plane, else ``"yx"``."""
    has_depth = "z" in axes and shape[axes.index("z")] > 1
    return "zyx" if has_depth else "yx"
