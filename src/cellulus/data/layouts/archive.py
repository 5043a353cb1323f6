"""NumPy archives (``.npz``): an image and its labels, many of each, or TissueNet's two channels.

Members are compressed as one stream, so each is unpacked to a scratch file once, piece by piece,
and mapped into memory from there. Only headers are read to find out what is in an archive.
What is not said (axes, unit of the voxel size) is not guessed.
"""

from __future__ import annotations

import shutil
import zipfile
import zlib
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus.data.arrays import failures
from cellulus.data.layouts.archive_axes import Member, infer_axes
from cellulus.data.layouts.base import Deferred, Layer, Sample
from cellulus.data.readers.base import Image, Level, stem
from cellulus.errors import InputError, StorageError
from cellulus.space import VoxelSize

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_ONE = ("image", "img", "raw")
_MANY = ("images", "imgs", "X", "x", "data")
_LABELS = ("labels", "label", "masks", "mask", "Y", "y")
_PACKED = {"names", "shapes", "offsets", "images"}


def accepts(path: Path) -> bool:
    """Return whether the file ends in ``.npz``."""
    return path.is_file() and path.suffix.lower() == ".npz"


def samples(path: Path, axes: str, scratch: Path) -> list[Sample]:
    """Return every image with its labels.

    Raises
    ------
    InputError
        If the archive holds no image, or does not say how to read it.
    StorageError
        If it is damaged.
    """
    archive = Archive(path, scratch)
    if archive.members.keys() >= _PACKED:
        return _packed(archive)
    if _is_tissuenet(archive):
        return _tissuenet(archive)
    return _stacked(archive, axes)


@dataclass
class Archive:
    """An archive whose members are unpacked when first read."""

    path: Path
    scratch: Path
    members: dict[str, Member] = field(init=False)
    _mapped: dict[str, NDArray[Any]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        try:
            with zipfile.ZipFile(self.path) as file:
                names = [n for n in file.namelist() if n.endswith(".npy")]
                self.members = {n.removesuffix(".npy"): _header(file, n) for n in names}
        except zipfile.BadZipFile as error:
            raise InputError(self.path, expected="an npz file", found=str(error)) from error
        except (OSError, ValueError, EOFError, zlib.error) as error:
            raise StorageError(self.path, expected="a whole npz file", found=str(error)) from error

    def small(self, name: str) -> NDArray[Any]:
        """Read a member whole."""
        try:
            with np.load(self.path, allow_pickle=False) as file:
                return np.asarray(file[name])
        except (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise StorageError(
                f"{self.path}: {name}", expected="a whole array", found=str(error)
            ) from error

    def mapped(self, name: str) -> NDArray[Any]:
        """Return a member as an array on disk, unpacking it first."""
        if name not in self._mapped:
            unpacked = self.scratch / f"{self.path.stem}_{name}.npy"
            try:
                with (
                    failures(self.scratch),
                    zipfile.ZipFile(self.path) as file,
                    file.open(f"{name}.npy") as source,
                    unpacked.open("wb") as target,
                ):
                    shutil.copyfileobj(source, target, 1 << 20)
                self._mapped[name] = np.load(unpacked, mmap_mode="r", allow_pickle=False)
            except (ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
                raise StorageError(
                    f"{self.path}: {name}", expected="a whole array", found=str(error)
                ) from error
        return self._mapped[name]

    def image(self, member: str, axes: str, index: int | None, channel: int | None = None) -> Image:
        """Return a member, or the part of it at `index` (and `channel`, the last axis)."""
        shape = self.members[member].shape
        place: tuple[Any, ...] = (slice(None) if index is None else index, ...)
        kept = shape if index is None else shape[1:]
        kept, place = (kept, place) if channel is None else (kept[:-1], (*place, channel))
        array = Deferred(kept, self.members[member].dtype, lambda: self.mapped(member)[place])
        return self.wrap(member, array, axes)

    def wrap(self, member: str, array: Deferred, axes: str) -> Image:
        """Return a lazy array with the voxel size of the archive."""
        size = self.voxel_size(sum(a in "zyx" for a in axes))
        if "z" in axes and array.shape[axes.index("z")] == 1:
            size = VoxelSize(size.values[1:], size.unit)
        return Image(stem(self.path.name), f"{self.path}: {member}", axes, (Level(array, size),))

    def voxel_size(self, ndim: int) -> VoxelSize:
        """Return the voxel size, in um if a member ``unit`` says so; else proportions."""
        values = self.voxel_extents
        if len(values) != ndim:
            return VoxelSize((1.0,) * ndim)
        unit = str(self.small("unit")) if "unit" in self.members else ""
        return VoxelSize(values, "um" if unit in {"um", "µm", "micrometer"} else "voxel")

    @property
    def space(self) -> int:
        """Return the number of spatial axes that the voxel size has; 0 if there is none."""
        shape = self.members["voxel_size"].shape if "voxel_size" in self.members else ()
        return shape[0] if len(shape) == 1 else 0

    @property
    def voxel_extents(self) -> tuple[float, ...]:
        """Return what the member ``voxel_size`` says; nothing if it says nothing useful."""
        values = self.small("voxel_size") if "voxel_size" in self.members else np.zeros(0)
        is_known = values.ndim == 1 and bool((np.isfinite(values) & (values > 0)).all())
        return tuple(float(v) for v in values) if is_known else ()


def _header(file: zipfile.ZipFile, name: str) -> Member:
    with file.open(name) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read = np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    return Member(tuple(shape), dtype)


def _packed(archive: Archive) -> list[Sample]:
    """Images of different shapes, flattened one after the other."""
    names, shapes = archive.small("names"), archive.small("shapes")
    offsets = [int(o) for o in archive.small("offsets")]
    split = archive.small("split") if "split" in archive.members else None
    members = [m for m in ("images", "labels") if m in archive.members]
    sizes = [int(np.prod(shape)) for shape in shapes]
    ends = [archive.members[m].shape for m in members]
    fits = [b - a for a, b in pairwise(offsets)] == sizes
    fits = fits and shapes.shape[1:] in {(2,), (3,)}
    if not fits or len(names) != len(sizes) or any(end != (offsets[-1],) for end in ends):
        raise InputError(
            archive.path,
            expected="offsets that agree with names, shapes, images and labels",
            found=f"{len(names)} names, {len(sizes)} shapes, ends {offsets[-1:]} and {ends}",
        )
    found = []
    for i, name in enumerate(names):
        shape, part = tuple(int(n) for n in shapes[i]), slice(offsets[i], offsets[i + 1])
        images = [_part(archive, member, part, shape) for member in members]
        layers = tuple(Layer("labels", labels) for labels in images[1:])
        attributes = {"split": str(split[i])} if split is not None else {}
        # A name must not lead out of the output folder.
        plain = str(name).replace("/", "_").replace("\\", "_")
        found.append(Sample(plain, images[0], layers, attributes))
    return found


def _part(archive: Archive, member: str, part: slice, shape: tuple[int, ...]) -> Image:
    dtype = archive.members[member].dtype
    array = Deferred(shape, dtype, lambda: archive.mapped(member)[part].reshape(shape))
    return archive.wrap(member, array, {2: "yx", 3: "zyx"}[len(shape)])


def _is_tissuenet(archive: Archive) -> bool:
    shapes = [archive.members[m].shape for m in ("X", "y") if m in archive.members]
    return (
        len(shapes) == 2
        and len(shapes[0]) == 4 == len(shapes[1])
        and (shapes[0][-1] == 2 == shapes[1][-1])
    )


def _tissuenet(archive: Archive) -> list[Sample]:
    """TissueNet (Greenwald et al. 2022, doi:10.1038/s41587-021-01094-0)."""
    count, image_count = archive.members["y"].shape[0], archive.members["X"].shape[0]
    if count != image_count:
        raise InputError(
            f"{archive.path}: y", expected=f"{image_count} labels, as images in X", found=str(count)
        )
    found = []
    for i in range(count):
        image = archive.image("X", "yxc", i)
        named = Image(image.name, image.path, image.axes, image.levels, ("nuclear", "membrane"))
        layers = tuple(
            Layer(name, archive.image("y", "yx", i, channel))
            for channel, name in enumerate(("whole_cell", "nuclear"))
        )
        found.append(Sample(_numbered(archive, i, count), named, layers))
    return found


def _stacked(archive: Archive, hint: str) -> list[Sample]:
    """One image, or several of the same shape along the first axis."""
    images = [m for m in (*_ONE, *_MANY) if m in archive.members]
    labels = [m for m in _LABELS if m in archive.members][:1]
    if not images:
        raise InputError(
            archive.path,
            expected=f"an array called one of {', '.join((*_ONE, *_MANY))}",
            found=", ".join(archive.members) or "nothing",
        )
    picture = archive.members[images[0]]
    truth = archive.members[labels[0]] if labels else None
    # Keras keeps a last axis of one channel.
    channel = 0 if truth and len(truth.shape) > 2 and truth.shape[-1] == 1 else None
    flat = truth.shape[:-1] if truth and channel == 0 else truth.shape if truth else None
    where = f"{archive.path}: {' and '.join([images[0], *labels])}"
    several = images[0] in _MANY
    axes = infer_axes(where, picture.shape, flat, (several, archive.space, hint))
    inner, count = axes.removeprefix("n"), picture.shape[0]
    found = []
    for i in range(count) if axes.startswith("n") else [None]:
        image = archive.image(images[0], inner, i)
        plain = inner.replace("c", "")
        layers = tuple(Layer("labels", archive.image(m, plain, i, channel)) for m in labels)
        name = stem(archive.path.name) if i is None else _numbered(archive, i, count)
        found.append(Sample(name, image, layers))
    return found


def _numbered(archive: Archive, index: int, count: int) -> str:
    return f"{stem(archive.path.name)}_{index:0{max(4, len(str(count - 1)))}}"
