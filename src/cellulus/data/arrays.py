"""The arrays of an OME-Zarr pyramid: what is to be written, its chunks, shards and codecs.

Knows nothing of how they are filled or when they appear (that is `cellulus.data.writer`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from cellulus.data import pyramid
from cellulus.data.addresses import Address, follow
from cellulus.data.ngff import Description, Kind, Ngff, Placement
from cellulus.errors import CellulusError, InputError
from cellulus.files import reading, storage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from cellulus.space import VoxelSize

EDGES = {2: (512, 1024), 3: (64, 256)}
"""Edges of a chunk and of a shard in two and three dimensions [voxel]."""
OUTCOME = "outcome"
"""Among the attributes, what came out of making the array; all others were known before."""
_LABEL_TYPES = (np.dtype(np.uint32), np.dtype(np.uint64))


@dataclass(frozen=True)
class Spec:
    """What is to be written.

    Attributes
    ----------
    kind
        Images are averaged in the pyramid, labels are not.
    axes
        One letter per axis, in the order of ``tczyx``.
    shape
        Extent per axis [voxel].
    dtype
        Of the elements; uint32 or uint64 for labels.
    voxel_size
        Per spatial axis, ``(z,) y, x``; a z axis of one plane counts here.
    translation
        Of the first voxel's centre per spatial axis, in the unit of the voxel size; 0 by default.
    chunks, shards
        Extent per axis [voxel], a shard in whole chunks; by default about 512 and 1024 in two
        dimensions, 64 and 256 in three. Version 0.4 knows no shards.
    ngff
        Version of the OME-Zarr specification.
    channel_names
        One per channel, or none.
    attributes
        Stored under the key ``cellulus``.
    source
        Path from a label group to its image.
    missing
        What stands where nothing was written.
    levels
        The pyramid; planned from shape and voxel size by default.
    """

    kind: Kind
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    voxel_size: VoxelSize
    translation: tuple[float, ...] = ()
    chunks: tuple[int, ...] | None = None
    shards: tuple[int, ...] | None = None
    ngff: Ngff = "0.5"
    channel_names: tuple[str, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    source: str | None = None
    missing: float = 0
    levels: tuple[pyramid.Grid, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", np.dtype(self.dtype))
        spatial = sum(axis in "zyx" for axis in self.axes)
        ordered = "".join(sorted(self.axes, key="tczyx".find)) == self.axes
        _require(ordered and self.axes.endswith("yx"), 'axes in the order of "tczyx"', self.axes)
        _require(len(self.shape) == len(self.axes), f"{len(self.axes)} extents", self.shape)
        _require(min(self.shape) > 0, "extents of at least one voxel", self.shape)
        _require(self.voxel_size.ndim == spatial, f"{spatial} voxel extents", self.voxel_size)
        _require(len(self.translation) in {0, spatial}, f"{spatial} values", self.translation)
        if self.kind == "labels":
            _require(self.dtype in _LABEL_TYPES, "labels as uint32 or uint64", self.dtype)
            _require("c" not in self.axes, "labels without a channel axis", self.axes)
        chunks, shards = self.chunks or (), self.shards or ()
        whole = not shards or all(s % c == 0 for s, c in zip(shards, chunks, strict=False))
        _require(whole, "shards of whole chunks", f"{shards} of {chunks}")
        _require(
            len(chunks) in {0, len(self.axes)} and len(shards) in {0, len(chunks)},
            "chunks, and shards of them, with one extent per axis",
            f"{chunks}, {shards}",
        )

    @property
    def extents(self) -> tuple[float, ...]:
        """Extent of a voxel of the finest level along every axis; 1 along t and c."""
        sizes = dict(zip(self._spatial, self.voxel_size.values, strict=True))
        return tuple(sizes.get(axis, 1.0) for axis in self.axes)

    @property
    def grids(self) -> tuple[pyramid.Grid, ...]:
        """The levels, finest first."""
        return self.levels or pyramid.plan(self.axes, self.shape, self.extents)

    @property
    def _spatial(self) -> str:
        return "".join(axis for axis in self.axes if axis in "zyx")

    def chunking(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return chunks and shards of a level, never larger than needed."""
        ndim = len(self._spatial)
        chunks = self.chunks or tuple(EDGES[ndim][0] if a in "zyx" else 1 for a in self.axes)
        fitted = tuple(min(c, n) for c, n in zip(chunks, shape, strict=True))
        if self.shards:
            per_shard = [s // c for s, c in zip(self.shards, chunks, strict=True)]
        else:
            limits = [EDGES[ndim][1] if a in "zyx" else 1 for a in self.axes]
            per_shard = [max(1, limit // c) for limit, c in zip(limits, fitted, strict=True)]
        needed = [-(-n // c) for n, c in zip(shape, fitted, strict=True)]
        shards = (c * min(k, n) for c, k, n in zip(fitted, per_shard, needed, strict=True))
        return fitted, tuple(shards)

    def description(self, name: str, ranges: list[tuple[float, float]]) -> Description:
        """Return the metadata; `ranges` are the intensities of each channel."""
        placements = []
        origin = dict(zip(self._spatial, self.translation, strict=False))
        for index, grid in enumerate(self.grids):
            # The mean of k voxels lies at their centre; a sample lies where it was taken.
            shift = 0.5 if self.kind == "image" else 0.0
            scale = [e * f for e, f in zip(self.extents, grid.factors, strict=True)]
            moved = [
                origin.get(a, 0.0) + shift * (s - e)
                for a, s, e in zip(self.axes, scale, self.extents, strict=True)
            ]
            placements.append(Placement(str(index), tuple(scale), tuple(moved)))
        names = [*self.channel_names, *(f"channel {i}" for i in range(len(ranges)))]
        if not self.channel_names and len(ranges) == 1:
            names = ["intensity"]
        return Description(
            name=name.removesuffix(".zarr"),
            kind=self.kind,
            axes=self.axes,
            unit=self.voxel_size.unit,
            levels=tuple(placements),
            channels=tuple((n, *r) for n, r in zip(names, ranges, strict=False)),
            source=self.source,
        )


def create_array(group: Address, name: str, spec: Spec, shape: tuple[int, ...]) -> zarr.Array[Any]:
    """Create one level."""
    chunks, shards = spec.chunking(shape)
    common: dict[str, Any] = {"shape": shape, "dtype": spec.dtype, "chunks": chunks}
    # Labels repeat, so their bits compress better sorted by significance.
    shuffle: Any = "bitshuffle" if spec.kind == "labels" else "shuffle"
    if spec.ngff == "0.4":
        code = {"shuffle": 1, "bitshuffle": 2}[shuffle]
        common |= {
            "zarr_format": 2,
            "compressors": {"id": "blosc", "cname": "zstd", "clevel": 3, "shuffle": code},
            "chunk_key_encoding": {"name": "v2", "separator": "/"},
        }
    else:
        common |= {
            "zarr_format": 3,
            "shards": shards,
            "compressors": BloscCodec(cname="zstd", clevel=3, shuffle=shuffle),
            "dimension_names": tuple(spec.axes),
        }
    return zarr.create_array(
        follow(group), name=name, fill_value=spec.missing, overwrite=True, **common
    )


def ranges_of(spec: Spec, coarsest: zarr.Array[Any]) -> list[tuple[float, float]]:
    """Return the intensities that a viewer should show, per channel."""
    if spec.kind == "labels":
        return []
    channels = spec.shape[spec.axes.index("c")] if "c" in spec.axes else 1
    ranges = []
    for channel in range(channels):
        index = {"t": 0, "c": channel}
        part = np.asarray(coarsest[tuple(index.get(axis, slice(None)) for axis in spec.axes)])
        finite = part[np.isfinite(part)].astype(np.float64)
        low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
        ranges.append((float(low), float(high)))
    return ranges


def open_array(address: Address, mode: Literal["r", "r+"]) -> zarr.Array[Any]:
    """Open an array of an image that is there or growing, wherever its data are."""
    address = follow(address)
    with reading(address):
        return zarr.open_array(address, mode=mode)


def existing_array(
    where: Address, group: Address, spec: Spec, mode: Literal["r", "r+"]
) -> zarr.Array[Any]:
    """Open the finest level of an earlier run.

    Raises
    ------
    InputError
        If it is not what `spec` says.
    """
    try:
        with reading(follow(where)):
            opened = zarr.open_group(follow(group), mode=mode)
            array = opened["0"]
    except CellulusError:
        raise
    except (OSError, KeyError, ValueError) as error:
        raise InputError(where, expected="what an earlier run wrote", found=str(error)) from error
    if not isinstance(array, zarr.Array):
        raise InputError(where, expected="what an earlier run wrote", found="a group named 0")
    chunks, shards = spec.chunking(spec.shape)
    wanted = (spec.shape, spec.dtype, chunks, shards if spec.ngff == "0.5" else None)
    found = (array.shape, array.dtype, array.chunks, array.shards)
    notes = opened.attrs.get("cellulus")
    if isinstance(notes, dict):
        notes = {key: value for key, value in notes.items() if key != OUTCOME}
    if wanted != found or notes != spec.attributes:
        changed = "; ".join(_changes(notes, spec.attributes)) if isinstance(notes, dict) else ""
        raise InputError(
            where,
            expected=f"an earlier run of the same kind, {spec.shape} {spec.dtype}",
            found=changed or f"{array.shape} {array.dtype}, or other settings",
            remedy="overwrite it, or choose another name",
        )
    return array


def _changes(before: dict[str, Any], now: dict[str, Any], within: str = "") -> Iterator[str]:
    """Yield what differs between two sets of attributes, by dotted names."""
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _changes(old, new, f"{within}{key}.")
        elif old != new:
            yield f"{within}{key} was {old}, is {new}"


def failures(address: Address) -> AbstractContextManager[None]:
    """Turn what a disk or a store refuses into a `StorageError` that names the place."""
    return storage(follow(address))


def _require(condition: bool, expected: str, found: object) -> None:
    if not condition:
        raise InputError("what is to be written", expected=expected, found=str(found))
