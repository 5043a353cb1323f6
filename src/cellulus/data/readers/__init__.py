"""Reading images: whatever the format, one lazy `Volume` per time point.

This file holds the list of readers; a new format is one file in this folder and one name here.
Opening reads metadata only.
"""

from __future__ import annotations

import re
from glob import escape, glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING

from cellulus.data.readers import ome_zarr, png, tiff
from cellulus.data.volume import spatial_axes
from cellulus.errors import InputError, MissingError

if TYPE_CHECKING:
    from cellulus.data.readers.base import Image, Reader
    from cellulus.data.volume import Volume
    from cellulus.space import VoxelSize

READERS: tuple[Reader, ...] = (ome_zarr, tiff, png)

__all__ = ["READERS", "accepts", "expand", "levels", "open_image", "open_volumes"]


def open_volumes(
    path: str | Path,
    *,
    channels: tuple[int | str, ...] = (),
    level: int = 0,
    voxel_size: tuple[float, ...] = (),
    axes: str = "",
) -> list[Volume]:
    """Open an image; nothing but its metadata is read.

    Parameters
    ----------
    path
        A file, a zarr group (``container.zarr/name`` too), or a URL of one.
    channels
        By index or name; needed where there is more than one.
    level
        Of the pyramid, 0 the finest.
    voxel_size
        Of the finest level, ``(z,) y, x`` [um]; overrides what the file says.
    axes
        One letter per axis, out of ``tczyx``, for files that do not tell theirs.

    Returns
    -------
    volumes
        One per time point, named after the file, with ``_t003`` where there are several.

    Raises
    ------
    MissingError
        If there is nothing at `path`.
    InputError
        If it is no image, if a channel or level does not exist, or if none of several channels
        was chosen.
    StorageError
        If it is damaged.
    """
    return open_image(path, axes=axes).volumes(channels, level, voxel_size)


def levels(path: str | Path) -> list[tuple[tuple[int, ...], VoxelSize]]:
    """Return spatial shape [voxel] and voxel size of every pyramid level, finest first.

    Raises
    ------
    MissingError, InputError, StorageError
        As `open_volumes`.
    """
    image = open_image(path)
    return [
        (tuple(level.array.shape[image.axes.index(axis)] for axis in space), level.voxel_size)
        for level in image.levels
        if (space := spatial_axes(image.axes, level.array.shape))
    ]


def expand(pattern: str | Path) -> list[str]:
    """Return the images that a path or a glob names, in natural order (``t2`` before ``t10``).

    Raises
    ------
    MissingError
        If there are none.
    """
    text = str(pattern)
    is_glob = "://" not in text and has_magic(text) and not Path(text).exists()
    found = [p for p in _named(text) if not is_glob or (accepts(p) and _is_whole(p))]
    if not found:
        raise MissingError(text, expected="at least one image", found="nothing of that name")
    return found


def named(pattern: str | Path) -> list[str]:
    """Return the files and folders that a path or a glob names, in natural order.

    Raises
    ------
    MissingError
        If there are none.
    """
    found = _named(str(pattern))
    if not found:
        raise MissingError(pattern, expected="at least one file", found="nothing of that name")
    return found


def natural(text: str) -> list[tuple[int, str]]:
    """Return a sort key that compares runs of digits as numbers."""
    parts = re.split(r"(\d+)", text)
    return [(int(p), "") if p.isdigit() else (-1, p) for p in parts]


def accepts(path: str | Path) -> bool:
    """Return whether some reader takes this path, by its look."""
    return any(reader.accepts(str(path)) for reader in READERS)


def open_image(path: str | Path, *, axes: str = "") -> Image:
    """Open an image with all its levels and channels.

    Raises
    ------
    MissingError, InputError, StorageError
        As `open_volumes`.
    """
    text = str(path)
    for reader in READERS:
        if reader.accepts(text):
            return reader.open(text, axes)
    if "://" not in text and not Path(text).exists():
        raise MissingError(text, expected="an image", found="nothing of that name")
    is_folder = "://" not in text and Path(text).is_dir()
    raise InputError(
        text,
        expected="an OME-Zarr image, a TIFF or a PNG",
        found="a folder" if is_folder else f"a file of type {Path(text).suffix or '(none)'!r}",
        remedy=f"name the images in it, such as {escape(text)}/*.tif" if is_folder else "",
    )


def _named(text: str) -> list[str]:
    if "://" in text:
        found = _expand_url(text)
    elif has_magic(text) and not Path(text).exists():
        found = _glob(text)
    else:
        found = [text] if Path(text).exists() else []
    return sorted(found, key=natural)


def _is_whole(path: str) -> bool:
    """Leave out what a glob finds beside the images of a zarr container."""
    inside = ome_zarr.accepts(path) and not path.rstrip("/\\").endswith(".zarr")
    return not inside or ome_zarr.is_image(path)


def _glob(text: str) -> list[str]:
    return glob(text, recursive=True)  # noqa: PTH207 Path.glob takes no absolute patterns


def _expand_url(text: str) -> list[str]:
    if not has_magic(text):
        return [text]
    import fsspec  # type: ignore[import-untyped]

    filesystem, inner = fsspec.core.url_to_fs(text)
    return [str(filesystem.unstrip_protocol(p)) for p in filesystem.glob(inner)]
