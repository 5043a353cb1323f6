"""OME-Zarr 0.4 and 0.5, images and label groups, local or at a URL.

Metadata are checked in `cellulus.data.ngff`; arrays say which chunks cannot be read.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import zarr

from cellulus.data import ngff
from cellulus.data.addresses import follow
from cellulus.data.chunks import ChunkedArray
from cellulus.data.readers.base import Image, Level, stem
from cellulus.data.volume import spatial_axes
from cellulus.errors import InputError, MissingError, StorageError
from cellulus.files import reading

_MARKERS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")


def accepts(path: str) -> bool:
    """Return whether a part of the path ends in ``.zarr``, or a folder holds zarr metadata."""
    path = str(follow(path))
    if re.search(r"\.zarr(/|\\|$)", path):
        return True
    return "://" not in path and any((Path(path) / marker).is_file() for marker in _MARKERS)


def is_image(path: str) -> bool:
    """Return whether a path names a group that says it holds an image."""
    try:
        attributes = _group(str(follow(path))).attrs.asdict()
    except (MissingError, InputError, StorageError):
        return False
    inner = attributes.get("ome", attributes)
    return isinstance(inner, dict) and "multiscales" in inner


def open(path: str, axes: str = "") -> Image:
    """Open an image or a label group.

    Raises
    ------
    MissingError
        If there is nothing at `path`.
    InputError
        If the group is no image, or its metadata contradict its arrays.
    """
    path = str(follow(path))
    group = _group(path)
    attributes: dict[str, Any] = group.attrs.asdict()
    found = ngff.parse(attributes, path)
    if found is None:
        raise _no_image(path, group)
    # Labels hold nothing where a block was left out; in an image such a place is a fault.
    dense = "image-label" not in attributes.get("ome", attributes)
    levels = tuple(_level(path, group, found, placement, dense) for placement in found.levels)
    return Image(
        name=stem(path),
        path=path,
        axes=found.axes,
        levels=levels,
        channel_names=found.channel_names,
    )


def _group(path: str) -> zarr.Group:
    if "://" not in path and not Path(path).exists():
        raise MissingError(path, expected="an OME-Zarr image", found="nothing of that name")
    with reading(path):
        try:
            return zarr.open_group(path, mode="r")
        except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
            kind = "a zarr array" if _is_array(path) else "no zarr group"
            raise InputError(
                path,
                expected="a zarr group with OME-Zarr metadata",
                found=kind,
                remedy="name the group that holds the array" if "array" in kind else "",
            ) from error


def _is_array(path: str) -> bool:
    try:
        zarr.open_array(path, mode="r")
    except (FileNotFoundError, ValueError, KeyError, TypeError, OSError):
        return False
    return True


def _no_image(path: str, group: zarr.Group) -> InputError:
    inside = [
        name
        for name, child in sorted(group.groups())
        if ngff.parse(child.attrs.asdict(), f"{path}/{name}") is not None
    ]
    return InputError(
        path,
        expected="a zarr group with multiscales metadata",
        found=f"a group of images: {', '.join(inside[:10])}" if inside else "a group without",
        remedy=f"name one of them, such as {path}/{inside[0]}, or all: {path}/*" if inside else "",
    )


def _level(
    path: str, group: zarr.Group, found: ngff.Multiscale, placement: ngff.Placement, dense: bool
) -> Level:
    array = _array(path, group, placement.path)
    if array.ndim != len(found.axes):
        raise InputError(
            f"{path}/{placement.path}",
            expected=f"{len(found.axes)} dimensions, for the axes {', '.join(found.axes)}",
            found=f"an array of shape {array.shape}",
        )
    size = ngff.voxel_size(
        f"{path}/{placement.path}",
        spatial_axes(found.axes, array.shape),
        dict(zip(found.axes, placement.scale, strict=True)),
        dict(zip(found.axes, found.units, strict=True)),
    )
    return Level(ChunkedArray(array, path, found.axes, dense), size)


def _array(path: str, group: zarr.Group, name: str) -> zarr.Array[Any]:
    try:
        node = group[name]
    except (KeyError, ValueError) as error:
        raise InputError(
            path, expected=f"the array {name!r} that its metadata name", found="none"
        ) from error
    if not isinstance(node, zarr.Array):
        raise InputError(f"{path}/{name}", expected="an array", found="a group")
    return node
