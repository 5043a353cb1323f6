"""Cell Tracking Challenge: ``01/t000.tif``, with truth in ``01_GT`` and ``01_ST``.

One sequence becomes one image with a time axis. Truth of some frames only (or of some planes
only) is zero elsewhere, and the attributes list what is annotated.
Source: the challenge's annotation naming rules, celltrackingchallenge.net.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from cellulus.data import readers
from cellulus.data.layouts.base import Frames, Layer, Sample, require_single_channel
from cellulus.data.readers.base import Image, Level
from cellulus.errors import InputError

_FRAME = re.compile(r"t(\d{3,})\.tiff?$", re.IGNORECASE)
_TRUTH = {
    "gt_seg": ("GT/SEG", re.compile(r"man_seg_?(\d{3,})(?:_(\d{3,}))?\.tiff?$", re.IGNORECASE)),
    "st_seg": ("ST/SEG", re.compile(r"man_seg_?(\d{3,})(?:_(\d{3,}))?\.tiff?$", re.IGNORECASE)),
    "gt_tra": ("GT/TRA", re.compile(r"man_track_?(\d{3,})\.tiff?$", re.IGNORECASE)),
}


def accepts(path: Path) -> bool:
    """Return whether it is a sequence, or a data set with sequences in it."""
    return path.is_dir() and bool(_sequences(path))


def samples(path: Path, axes: str, scratch: Path) -> list[Sample]:
    """Return every sequence with its truth; nothing is unpacked to `scratch`.

    Raises
    ------
    InputError
        If frames differ in shape, are missing, or truth fits no frame.
    """
    return [_sample(folder) for folder in _sequences(path)]


def _sequences(path: Path) -> list[Path]:
    folders = [path.resolve()]
    if not re.fullmatch(r"\d{2,}", folders[0].name):
        folders = sorted(p for p in path.resolve().iterdir() if re.fullmatch(r"\d{2,}", p.name))
    return [f for f in folders if f.is_dir() and any(_FRAME.match(p.name) for p in f.iterdir())]


def _sample(folder: Path) -> Sample:
    files = _numbered(folder, _FRAME)
    times = [index[0] for index in files]
    if times != list(range(times[0], times[0] + len(times))):
        gap = next(t for t in range(times[0], times[-1]) if t not in times)
        raise InputError(folder, expected="a frame for every time point", found=f"none for {gap}")
    first = readers.open_image(files[times[0],], axes="zyx")
    require_single_channel(first)
    _check_shapes(files, first)
    shifted: dict[tuple[int, ...], str] = {
        (index[0] - times[0],): path for index, path in files.items()
    }
    image = _over_time(first, shifted, len(times), str(folder))
    layers = []
    for name, (place, pattern) in _TRUTH.items():
        truth = folder.parent / f"{folder.name}_{place}"
        if truth.is_dir():
            layers.append(_layer(name, truth, pattern, first, times))
    attributes = {"first_frame": times[0]}
    return Sample(f"{folder.parent.name}_{folder.name}", image, tuple(layers), attributes)


def _layer(
    name: str, folder: Path, pattern: re.Pattern[str], first: Image, times: list[int]
) -> Layer:
    files = _numbered(folder, pattern)
    for index, path in files.items():
        if index[0] not in times or (len(index) == 2 and index[1] >= first.extent("z")):
            raise InputError(
                path, expected=f"a frame and plane of {Path(first.path).parent}", found="none"
            )
    _check_shapes(files, first)
    shifted = {(index[0] - times[0], *index[1:]): path for index, path in files.items()}
    attributes: dict[str, Any] = {"annotated_frames": sorted({index[0] for index in shifted})}
    planes = sorted(index for index in shifted if len(index) == 2)
    if planes:
        attributes["annotated_planes"] = [list(index) for index in planes]
    some = next(iter(files.values()), None)
    model = readers.open_image(some, axes="zyx") if some else first
    dtype = model.levels[0].array.dtype if some else np.dtype(np.uint16)
    axes = first.axes if any(len(index) == 2 for index in files) or not some else model.axes
    shape = tuple(first.extent(axis) for axis in axes)
    array = Frames(shifted, (len(times), *shape), dtype)
    size = first.levels[0].voxel_size
    return Layer(name, Image(name, str(folder), f"t{axes}", (Level(array, size),)), attributes)


def _numbered(folder: Path, pattern: re.Pattern[str]) -> dict[tuple[int, ...], str]:
    """Return the files by the numbers in their names: time, and plane where there is one."""
    matches = [(pattern.match(p.name), p) for p in sorted(folder.iterdir())]
    found = {tuple(int(g) for g in m.groups() if g): str(p) for m, p in matches if m}
    return dict(sorted(found.items()))


def _check_shapes(files: dict[tuple[int, ...], str], first: Image) -> None:
    for index, path in files.items():
        image = readers.open_image(path, axes="zyx")
        axes = "yx" if len(index) == 2 else "zyx"
        wanted = tuple(first.extent(axis) for axis in axes)
        found = tuple(image.extent(axis) for axis in axes)
        if found != wanted or image.extent("t") * image.extent("c") > 1:
            raise InputError(
                path,
                expected=f"the shape {wanted} of {first.path}",
                found=f"{image.levels[0].array.shape}",
            )


def _over_time(first: Image, files: dict[tuple[int, ...], str], times: int, path: str) -> Image:
    level = first.levels[0]
    array = Frames(files, (times, *level.array.shape), level.array.dtype)
    return Image(first.name, path, f"t{first.axes}", (Level(array, level.voxel_size),))
