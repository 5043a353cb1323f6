"""A TIFF or PNG file, or a folder of them: images without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellulus.data import readers
from cellulus.data.layouts.base import Sample, image_files
from cellulus.data.readers import ome_zarr

if TYPE_CHECKING:
    from pathlib import Path


def accepts(path: Path) -> bool:
    """Return whether it is an image file, or a folder with one in it."""
    if ome_zarr.accepts(str(path)):
        return False
    return bool(image_files(path)) if path.is_dir() else readers.accepts(path)


def samples(path: Path, axes: str, scratch: Path) -> list[Sample]:
    """Return every image; nothing is unpacked to `scratch`."""
    files = image_files(path) if path.is_dir() else [path]
    images = [readers.open_image(file, axes=axes) for file in files]
    return [Sample(image.name, image) for image in images]
