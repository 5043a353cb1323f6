"""A zarr array that names the chunks that cannot be read, and those that are missing from data.

What zarr raises names no chunk. By its specification a chunk that is not stored reads as the fill
value, which is how empty space costs nothing; so a lost file would read as empty space too. It
counts as lost where the chunks on all its sides are stored and most of the voxels that touch it
hold something; an empty file always does. Knows nothing of OME-Zarr.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import defaultdict
from dataclasses import dataclass
from os import SEEK_END
from typing import TYPE_CHECKING, Any

import numpy as np
from zarr.core.sync import sync
from zarr.storage import LocalStore

from cellulus.errors import ChunkError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import zarr
    from numpy.typing import NDArray

    from cellulus.space import Region

LISTED = 5
"""How many damaged chunks are looked for and named."""
_RESTORE = "restore it from a copy"
_EMPTY = "; if it is meant to be empty, store it all the same (zarr's write_empty_chunks)"


@dataclass(frozen=True)
class ChunkedArray:
    """A zarr array to read from.

    Attributes
    ----------
    array
        The data.
    path
        Where the group lies that the array is in, for messages.
    axes
        A letter per axis, of which ``z``, ``y`` and ``x`` are space.
    dense
        Whether a chunk that is missing amid data is an error.
    """

    array: zarr.Array[Any]
    path: str
    axes: str
    dense: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent per axis [voxel]."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return self.array.dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        """Extent of what is decoded at once [voxel]."""
        return self.array.chunks

    @property
    def shards(self) -> tuple[int, ...] | None:
        """Extent of what is stored as one file, if that holds several chunks [voxel]."""
        return self.array.shards

    def __getitem__(self, key: tuple[slice | int, ...]) -> NDArray[Any]:
        """Return a part.

        Raises
        ------
        ChunkError
            If chunks are damaged or lost; names them.
        StorageError
            If the data cannot be read for another reason.
        """
        region = tuple(
            slice(k, k + 1) if isinstance(k, int) else slice(*k.indices(n)[:2])
            for k, n in zip(key, self.shape, strict=True)
        )
        self._check_lengths(region)
        try:
            part = np.asarray(self.array[key])
        except MemoryError:
            raise
        except Exception as error:  # codecs and stores raise what they like
            raise self._failure(region, error) from error
        if part.size:
            self._check_missing(region, part.reshape([r.stop - r.start for r in region]))
        return part

    def _failure(self, region: Region, error: Exception) -> StorageError:
        """Return what to say of a region that could not be read."""
        why = f"{type(error).__name__}: {error}"
        damaged: list[Region] = []
        if self._read(region) is None:
            damaged = list(itertools.islice(self._damaged(region), LISTED + 1))
        if not damaged:  # it could be read a moment later
            return StorageError(self.path, expected="readable data", found=why)
        stored: dict[tuple[int, ...], list[Region]] = defaultdict(list)
        for part in damaged[:LISTED]:
            place = tuple(p.start // edge for p, edge in zip(part, self._edges, strict=True))
            stored[place].append(part)
        found = ", ".join(f"{self._key(p)} ({self._text(_around(s))})" for p, s in stored.items())
        more = " and more" if len(damaged) > LISTED else ""
        return ChunkError(
            self.path,
            expected="chunks that can be read",
            found=f"damage in {found}{more}: {why}",
            remedy=_RESTORE,
        )

    def _damaged(self, region: Region) -> Iterator[Region]:
        """Yield the chunks of an unreadable region that cannot be read.

        By halves: what can be read needs no closer look.
        """
        counts = [
            -(-part.stop // edge) - part.start // edge
            for part, edge in zip(region, self.chunks, strict=True)
        ]
        axis = counts.index(max(counts))
        if counts[axis] == 1:
            place = [p.start // edge for p, edge in zip(region, self.chunks, strict=True)]
            yield _cell(place, self.chunks, self.shape)
            return
        edge = self.chunks[axis]
        cut = (region[axis].start // edge + counts[axis] // 2) * edge
        for half in (slice(region[axis].start, cut), slice(cut, region[axis].stop)):
            part = (*region[:axis], half, *region[axis + 1 :])
            if self._read(part) is None:
                yield from self._damaged(part)

    def _read(self, region: Region) -> NDArray[Any] | None:
        """Return a part; None if it cannot be read."""
        try:
            return np.asarray(self.array[region])
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - codecs and stores raise what they like
            return None

    def _check_lengths(self, region: Region) -> None:
        """Look at the length of files that Blosc decodes.

        It trusts the length that they begin with, and reads on into whatever memory follows.
        """
        store, packing = self.array.store, self.array.compressors
        is_blosc = bool(packing) and "blosc" in type(packing[-1]).__name__.lower()
        if self.shards or not is_blosc or not isinstance(store, LocalStore):
            return
        for place in self._places(region):
            told = size = 0
            with contextlib.suppress(OSError), (store.root / self._key(place)).open("rb") as file:
                told, size = int.from_bytes(file.read(16)[12:], "little"), file.seek(0, SEEK_END)
            if told != size:
                raise self._unfit(place, f"a file of {size} bytes in place of {told}")

    def _check_missing(self, region: Region, part: NDArray[Any]) -> None:
        """Look at the files where nothing but the fill value was read."""
        for place in self._places(region):
            inside = part[_within(self._extent(place), region)]
            # The first voxel tells of nearly all data that there is something.
            if not (self._is_fill(inside.flat[0]) and self._is_fill(inside).all()):
                continue
            size = self._size(place)
            if size == 0:
                raise self._unfit(place, "an empty file")
            if size is None and self._is_surrounded(place):
                raise self._unfit(place, "no such file, though there are data all around", _EMPTY)
            name = "zarr.json" if self.array.metadata.zarr_format == 3 else ".zarray"
            if size is None and _size_of(self.array, name) is None:
                raise StorageError(
                    self.path,
                    expected=f"the array {self.array.path!r}",
                    found="that it has gone since it was opened",
                )

    def _is_surrounded(self, place: tuple[int, ...]) -> bool:
        """Return whether a missing chunk lies amid data."""
        if not self.dense or self.array.fill_value != self.array.fill_value:  # NaN says it itself
            return False
        extent, layers = self._extent(place), []
        for axis in (i for i, letter in enumerate(self.axes) if letter in "zyx"):
            for step, face in ((-1, extent[axis].start - 1), (1, extent[axis].stop)):
                if not 0 <= face < self.shape[axis]:
                    continue
                if self._size((*place[:axis], place[axis] + step, *place[axis + 1 :])) is None:
                    return False
                layers.append((*extent[:axis], slice(face, face + 1), *extent[axis + 1 :]))
        parts = [part.ravel() for layer in layers if (part := self._read(layer)) is not None]
        return bool(parts) and bool(self._is_fill(np.concatenate(parts)).mean() < 0.5)

    def _is_fill(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        fill = self.array.fill_value
        # NaN is the only value that differs from itself.
        return np.asarray(values != values if fill != fill else values == fill)

    def _unfit(self, place: tuple[int, ...], found: str, remedy: str = "") -> ChunkError:
        """Return what to say of one file."""
        wanted = f"the chunk {self._key(place)} ({self._text(self._extent(place))})"
        return ChunkError(self.path, expected=wanted, found=found, remedy=_RESTORE + remedy)

    def _places(self, region: Region) -> Iterator[tuple[int, ...]]:
        """Yield the places, on the grid of files, of those that a region lies in."""
        pairs = zip(region, self._edges, strict=True)
        return itertools.product(*(range(r.start // e, -(-r.stop // e)) for r, e in pairs))

    def _size(self, place: tuple[int, ...]) -> int | None:
        return _size_of(self.array, self.array.metadata.encode_chunk_key(place))

    @property
    def _edges(self) -> tuple[int, ...]:
        """Extent of a file [voxel]."""
        return self.shards or self.chunks

    def _extent(self, place: Sequence[int]) -> Region:
        return _cell(place, self._edges, self.shape)

    def _key(self, place: tuple[int, ...]) -> str:
        return f"{self.array.path}/{self.array.metadata.encode_chunk_key(place)}"

    def _text(self, region: Region) -> str:
        ranges = (f"{a} {r.start}:{r.stop}" for a, r in zip(self.axes, region, strict=True))
        return f"{', '.join(ranges)} [voxel]"


def _size_of(array: zarr.Array[Any], name: str) -> int | None:
    """Return the size of a file of an array [byte]; None if there is none."""
    path = array.store_path / name
    try:
        return int(sync(path.store.getsize(path.path)))
    except FileNotFoundError:
        return None


def _cell(place: Sequence[int], edges: tuple[int, ...], shape: tuple[int, ...]) -> Region:
    """Return a cell of a grid over an array, cut where the array ends."""
    bounds = zip(place, edges, shape, strict=True)
    return tuple(slice(p * edge, min((p + 1) * edge, n)) for p, edge, n in bounds)


def _within(part: Region, region: Region) -> Region:
    """Return where a part lies inside an array that holds a region, cut at its edges."""
    return tuple(
        slice(max(p.start, r.start) - r.start, min(p.stop, r.stop) - r.start)
        for p, r in zip(part, region, strict=True)
    )


def _around(parts: Iterable[Region]) -> Region:
    """Return the region that just holds all parts."""
    return tuple(
        slice(min(p.start for p in along), max(p.stop for p in along))
        for along in zip(*parts, strict=True)
    )
