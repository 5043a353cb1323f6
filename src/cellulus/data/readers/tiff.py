"""TIFF with the metadata of ImageJ, OME or none, through tifffile.

Uncompressed data are mapped into memory, others decoded page by page (or tile by tile). Axes are
those of the metadata; a stack without any is an error unless the caller says what they are.
"""

from __future__ import annotations

import math
import struct
import weakref
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import tifffile
import zarr

from cellulus.data import ngff
from cellulus.data.readers.base import Image, Level, stem
from cellulus.data.volume import spatial_axes
from cellulus.errors import InputError, MissingError, StorageError

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator

_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")
_UNITS = {
    "å": "angstrom",
    "nm": "nanometer",
    "nanometer": "nanometer",
    "um": "micrometer",
    "µm": "micrometer",
    "μm": "micrometer",
    "\\u00b5m": "micrometer",
    "micron": "micrometer",
    "microns": "micrometer",
    "micrometer": "micrometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "m": "meter",
}


@dataclass
class TiffArray:
    """One level of a TIFF, opened when first read; pickles as its path."""

    path: str
    level: int
    mapped: bool
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _opened: Any = field(default=None, repr=False, compare=False)

    def __getitem__(self, key: tuple[slice | int, ...]) -> Any:
        """Return a part in native byte order."""
        if self._opened is None:
            self._opened = self._open()
        return np.asarray(self._opened[key]).astype(self.dtype, copy=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def _open(self) -> Any:
        if self.mapped:
            return tifffile.memmap(self.path, series=0, level=self.level, mode="r")
        store = tifffile.imread(self.path, aszarr=True, series=0, level=self.level)
        weakref.finalize(self, store.close)
        return zarr.open_array(store, mode="r", zarr_format=2)


def accepts(path: str) -> bool:
    """Return whether the path ends in ``.tif`` or ``.tiff``."""
    return path.lower().endswith(_SUFFIXES)


def open(path: str, axes: str = "") -> Image:
    """Open a TIFF that holds one image.

    Raises
    ------
    MissingError
        If there is no such file.
    InputError
        If it is no TIFF, holds several images, or does not tell its axes.
    StorageError
        If it is damaged or cut off.
    """
    if not Path(path).is_file():
        found = "a folder" if Path(path).is_dir() else "nothing of that name"
        raise MissingError(path, expected="a TIFF", found=found)
    try:
        with _faults() as faults, tifffile.TiffFile(path) as tiff:
            image = _open(path, tiff, axes)
    except tifffile.TiffFileError as error:
        raise InputError(path, expected="a TIFF", found=f"something else ({error})") from error
    except (InputError, StorageError):
        raise
    except (OSError, ValueError, LookupError, struct.error, ElementTree.ParseError) as error:
        raise StorageError(path, expected="a whole TIFF", found=str(error)) from error
    if faults:
        raise StorageError(path, expected="a whole TIFF", found=faults[0])
    return image


@contextmanager
def _faults() -> Iterator[list[str]]:
    """Collect what tifffile logs about missing pages, which it otherwise leaves out silently."""
    found: list[str] = []

    def listen(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        is_fault = "invalid page offset" in text or "corrupted file" in text
        found.extend([text] if is_fault else [])
        return not is_fault

    logger = tifffile.logger()
    logger.addFilter(listen)
    try:
        yield found
    finally:
        logger.removeFilter(listen)


def _open(path: str, tiff: tifffile.TiffFile, axes: str) -> Image:
    if len(tiff.series) != 1:
        raise InputError(
            path,
            expected="a file with one image",
            found=f"{len(tiff.series)} of different shapes",
            remedy="store each in a file of its own",
        )
    series = tiff.series[0]
    _check_whole(path, series)
    letters = _axes(path, series, axes)
    extents, units = _extents(tiff)
    levels = []
    for index, level in enumerate(series.levels):
        # Levels cover the same extent, so voxels grow as their number falls.
        ratios = [full / part for full, part in zip(series.shape, level.shape, strict=True)]
        grown = {a: extents.get(a, 1.0) * r for a, r in zip(letters, ratios, strict=True)}
        size = ngff.voxel_size(path, spatial_axes(letters, level.shape), grown, units)
        native = np.dtype(level.dtype).newbyteorder("=")
        mapped = level.dataoffset is not None and level.keyframe.is_memmappable
        levels.append(Level(TiffArray(path, index, mapped, tuple(level.shape), native), size))
    return Image(stem(path), path, letters, tuple(levels), _channel_names(tiff, letters))


def _check_whole(path: str, series: tifffile.TiffPageSeries) -> None:
    """Compare where the data should end with the size of the file."""
    if any(page is None for page in series.pages):
        raise StorageError(path, expected="every plane its metadata name", found="some missing")
    size = Path(path).stat().st_size
    end = max(
        (
            offset + count
            for page in (series.pages[0], series.pages[-1])
            if page is not None
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
        ),
        default=0,
    )
    if series.dataoffset is not None:
        end = max(end, series.dataoffset + series.nbytes)
    if end > size:
        raise StorageError(path, expected=f"a file of {end} bytes", found=f"only {size}: cut off")


def _axes(path: str, series: tifffile.TiffPageSeries, hint: str) -> str:
    """Return the axes as letters out of ``tczyx``."""
    told = series.axes.lower()
    if "c" not in told:
        told = told.replace("s", "c")
    for letters in (told, hint):
        is_whole = len(letters) == len(set(letters)) == len(series.shape)
        if is_whole and set("yx") <= set(letters) <= set("tczyx"):
            return str(letters)
    raise InputError(
        path,
        expected="metadata that say which axes of t, c, z, y, x the data have",
        found=f"shape {series.shape} with axes {series.axes!r}",
        remedy="save it again from ImageJ, or with tifffile.imwrite(path, data, imagej=True, "
        "metadata={'axes': 'ZYX'})",
    )


def _extents(tiff: tifffile.TiffFile) -> tuple[dict[str, float], dict[str, str]]:
    """Return the extent of a voxel per axis, and the units."""
    if tiff.is_ome:
        return _ome_extents(tiff)
    if tiff.is_imagej:
        return _imagej_extents(tiff)
    # The resolution of a plain TIFF is that of a printer more often than of a microscope.
    return {}, {}


def _ome_extents(tiff: tifffile.TiffFile) -> tuple[dict[str, float], dict[str, str]]:
    pixels = _ome_pixels(tiff)
    extents, units = {}, {}
    for axis in "xyz":
        value = pixels.get(f"PhysicalSize{axis.upper()}")
        if value is not None:
            extents[axis] = float(value)
            unit = pixels.get(f"PhysicalSize{axis.upper()}Unit", "µm")
            units[axis] = _UNITS.get(unit.lower(), "")
    return extents, units


def _ome_pixels(tiff: tifffile.TiffFile) -> ElementTree.Element:
    pixels = ElementTree.fromstring(tiff.ome_metadata or "<OME/>").find(".//{*}Pixels")
    return ElementTree.Element("Pixels") if pixels is None else pixels


def _imagej_extents(tiff: tifffile.TiffFile) -> tuple[dict[str, float], dict[str, str]]:
    metadata = tiff.imagej_metadata or {}
    unit = _UNITS.get(str(metadata.get("unit", "")).lower(), "")
    tags = tiff.pages.first.tags
    extents = {"z": abs(float(metadata.get("spacing", 1.0)))}
    for axis, name in (("x", "XResolution"), ("y", "YResolution")):
        voxels, length = tags[name].value if name in tags else (1, 1)
        extents[axis] = length / voxels if voxels and length else 1.0
    if not all(math.isfinite(v) and v > 0 for v in extents.values()):
        return {}, {}
    return extents, dict.fromkeys("zyx", unit)


def _channel_names(tiff: tifffile.TiffFile, axes: str) -> tuple[str, ...]:
    if "c" not in axes or not tiff.is_ome:
        return ()
    channels = _ome_pixels(tiff).findall("{*}Channel")
    return tuple(channel.get("Name", "") for channel in channels)
