"""PNG: grayscale as one channel, colour as three, unless the colours are all the same gray.

Transparency is dropped. A PNG is compressed as a whole, so the first read decodes all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image

from cellulus.data.readers.base import Image, Level, stem
from cellulus.errors import InputError, MissingError, StorageError
from cellulus.space import VoxelSize

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GRAY = {"1": np.bool_, "L": np.uint8, "LA": np.uint8, "I;16": np.uint16, "I": np.int32}
_COLOUR = {"RGB", "RGBA", "P"}


@dataclass(frozen=True)
class PngArray:
    """The pixels of a PNG, decoded when first read; pickles as its path."""

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, key: tuple[slice | int, ...]) -> Any:
        """Return a part of the pixels."""
        pixels = _decode(self.path, Path(self.path).stat().st_mtime_ns)
        return (pixels if len(self.shape) == 3 else pixels[..., 0])[key]


def accepts(path: str) -> bool:
    """Return whether the path ends in ``.png``."""
    return path.lower().endswith(".png")


def open(path: str, axes: str = "") -> Image:
    """Open a PNG; colour images are decoded at once, to see whether their colours differ.

    Raises
    ------
    MissingError
        If there is no such file.
    InputError
        If it is no PNG, or has 16 bits per colour.
    StorageError
        If it is damaged.
    """
    mode, (width, height), bits = _header(path)
    if mode not in _GRAY and (mode not in _COLOUR or bits == 16):
        raise InputError(
            path,
            expected="a PNG in grayscale, or in colour with 8 bits per channel",
            found=f"mode {mode!r} with {bits} bits",
            remedy="store it as TIFF",
        )
    if mode in _GRAY:
        array = PngArray(path, (height, width), np.dtype(_GRAY[mode]))
        return _image(path, array, "yx")
    pixels = _decode(path, Path(path).stat().st_mtime_ns)
    colour = bool((pixels != pixels[..., :1]).any())
    shape = (height, width, 3) if colour else (height, width)
    return _image(path, PngArray(path, shape, pixels.dtype), "yxc" if colour else "yx")


def _image(path: str, array: PngArray, axes: str) -> Image:
    names = ("red", "green", "blue") if "c" in axes else ()
    return Image(stem(path), path, axes, (Level(array, VoxelSize((1.0, 1.0))),), names)


def _header(path: str) -> tuple[str, tuple[int, int], int]:
    """Return mode, width and height, and bits per channel."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(25)
        with PIL.Image.open(path, formats=["PNG"]) as image:
            mode, size = image.mode, image.size
    except FileNotFoundError as error:
        raise MissingError(path, expected="a PNG", found="nothing of that name") from error
    except PIL.UnidentifiedImageError as error:
        raise InputError(
            path, expected="a PNG", found="something else, or a damaged one"
        ) from error
    except (OSError, SyntaxError) as error:
        raise StorageError(path, expected="a readable PNG", found=str(error)) from error
    # Pillow silently reduces some 16-bit images to 8 bits; the header tells (byte 24 is the depth).
    bits = head[24]
    return ("16-bit LA" if mode == "LA" and bits == 16 else mode), size, bits


@lru_cache(maxsize=8)
def _decode(path: str, modified: int) -> NDArray[Any]:
    """Return the pixels without transparency, ``(y, x, channels)``; `modified` keys the cache."""
    try:
        with PIL.Image.open(path, formats=["PNG"]) as image:
            pixels = np.asarray(image.convert("RGB") if image.mode == "P" else image)
            kept = {"LA": 1, "RGBA": 3}.get(image.mode)
    except (OSError, SyntaxError, ValueError) as error:
        raise StorageError(path, expected="a whole PNG", found=str(error)) from error
    pixels = pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
    return pixels[..., :kept]
