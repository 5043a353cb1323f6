"""One folder per image, with ``images/*.png`` and one file per object in ``masks``.

The layout of the Data Science Bowl 2018 (BBBC038, doi:10.1038/s41592-019-0612-7). An object's
number is the place of its file in sorted order; a voxel claimed twice goes to the first.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus.data import readers
from cellulus.data.layouts.base import Deferred, Layer, Sample, image_files
from cellulus.data.readers.base import Image, Level
from cellulus.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def accepts(path: Path) -> bool:
    """Return whether folders in it hold ``images``."""
    return path.is_dir() and bool(_folders(path))


def samples(path: Path, axes: str, scratch: Path) -> list[Sample]:
    """Return every image with its objects; nothing is unpacked to `scratch`.

    Raises
    ------
    InputError
        If a folder does not hold exactly one image, or a mask has another shape than it.
    """
    return [_sample(folder, axes) for folder in _folders(path)]


def _folders(path: Path) -> list[Path]:
    found = [p for p in path.iterdir() if (p / "images").is_dir() or (p / "masks").is_dir()]
    return sorted(found, key=lambda p: readers.natural(p.name))


def _sample(folder: Path, axes: str) -> Sample:
    files = image_files(folder / "images") if (folder / "images").is_dir() else []
    if len(files) != 1:
        raise InputError(
            folder / "images",
            expected=f"one image, for the masks in {folder / 'masks'}",
            found=f"{len(files)} images",
        )
    image = readers.open_image(files[0], axes=axes)
    if not (folder / "masks").is_dir():
        return Sample(folder.name, image)
    masks = tuple(str(p) for p in image_files(folder / "masks"))
    shape = (image.extent("y"), image.extent("x"))
    array = Deferred(shape, np.dtype(np.uint32), partial(_labels, masks, shape, str(files[0])))
    size = image.levels[0].voxel_size
    labels = Image("masks", str(folder / "masks"), "yx", (Level(array, size),))
    return Sample(folder.name, image, (Layer("masks", labels),))


@lru_cache(maxsize=2)
def _labels(masks: tuple[str, ...], shape: tuple[int, int], image: str) -> NDArray[Any]:
    labels = np.zeros(shape, np.uint32)
    for number, path in enumerate(masks, start=1):
        (volume,) = readers.open_volumes(path)
        if volume.shape != shape:
            raise InputError(
                path, expected=f"the shape {shape} of {image}", found=str(volume.shape)
            )
        labels[(volume.read()[0] > 0) & (labels == 0)] = number
    return labels
