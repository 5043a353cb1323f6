"""What a layout finds: images with their labels, all unread.

Also the lazy arrays that several layouts need. Knows nothing of what becomes of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cellulus.data import readers
from cellulus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cellulus.data.readers.base import Image


@dataclass(frozen=True)
class Layer:
    """Labels of an image.

    Attributes
    ----------
    name
        Of the label group to be.
    image
        The labels, without channels.
    attributes
        Worth keeping with them.
    """

    name: str
    image: Image
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """One image with its labels.

    Attributes
    ----------
    name
        Of the OME-Zarr image to be, without suffix; may lie in a folder (``"train/a"``).
    image, layers
        The image and its labels.
    attributes
        Worth keeping with the image.
    """

    name: str
    image: Image
    layers: tuple[Layer, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)


class Layout(Protocol):
    """What a file of this folder offers."""

    def accepts(self, path: Path) -> bool:
        """Return whether the path looks like this layout; reads no data."""

    def samples(self, path: Path, axes: str, scratch: Path) -> list[Sample]:
        """Return what is there, lazily.

        `axes` holds for files that do not tell theirs; `scratch` is a folder for what must be
        unpacked to be read in parts.
        """


@dataclass(frozen=True)
class Deferred:
    """An array that is made, mapped or unpacked when first read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    load: Callable[[], NDArray[Any]]

    def __getitem__(self, key: tuple[slice | int, ...]) -> Any:
        """Return a part."""
        return self.load()[key]


@dataclass(frozen=True)
class Frames:
    """One file per time point; where there is none, zeros.

    Attributes
    ----------
    files
        By time, or by time and plane where a file holds a single plane.
    shape
        Time first, then space as in the files [voxel].
    dtype
        Of the elements.
    """

    files: dict[tuple[int, ...], str]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, key: tuple[slice | int, ...]) -> Any:
        """Return a part; opens the files of the time points in it."""
        moments = key[0] if isinstance(key[0], slice) else slice(key[0], key[0] + 1)
        parts = [self._frame(time, key[1:]) for time in range(self.shape[0])[moments]]
        return np.stack(parts) if isinstance(key[0], slice) else parts[0]

    def _frame(self, time: int, where: tuple[slice | int, ...]) -> NDArray[Any]:
        if (time,) in self.files:
            return np.asarray(_opened(self.files[time,])[where])
        planes = {index[1]: path for index, path in self.files.items() if index[0] == time}
        extents = (
            len(range(n)[w])
            for n, w in zip(self.shape[1:], where, strict=True)
            if isinstance(w, slice)
        )
        frame = np.zeros(tuple(extents), self.dtype)
        depth = range(self.shape[1])[where[0]] if planes else ()
        for index, plane in enumerate([depth] if isinstance(depth, int) else depth):
            if plane in planes:
                part = _opened(planes[plane])[where[1:]]
                frame[... if isinstance(depth, int) else index] = part
        return frame


@lru_cache(maxsize=8)
def _opened(path: str) -> Any:
    return readers.open_image(path, axes="zyx").levels[0].array


def image_files(folder: Path) -> list[Path]:
    """Return the TIFF and PNG files of a folder, in natural order."""
    found = [p for p in folder.iterdir() if p.is_file() and readers.accepts(p)]
    return sorted(found, key=lambda p: readers.natural(p.name))


def require_single_channel(image: Image) -> Image:
    """Return labels unchanged.

    Raises
    ------
    InputError
        If they have several channels, such as colours.
    """
    if image.extent("c") > 1:
        raise InputError(
            image.path,
            expected="labels, one number per voxel",
            found=f"{image.extent('c')} channels",
        )
    return image
