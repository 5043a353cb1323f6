"""From what others write to OME-Zarr: every image a pyramid, every labelling a group inside it.

Copies region by region, in whole shards, so that memory is bounded whatever the size of a file.
Knows nothing of how files are arranged (that is `cellulus.data.layouts`).
"""

from __future__ import annotations

import math
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus.data import pyramid, writer
from cellulus.data.addresses import Address, inside, is_url
from cellulus.data.arrays import failures
from cellulus.data.layouts import find_samples
from cellulus.data.places import place_of
from cellulus.errors import CellulusError, ExistsError, InputError, StorageError
from cellulus.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from cellulus.data.layouts.base import Layer, Sample
    from cellulus.data.ngff import Ngff
    from cellulus.data.readers.base import Image
    from cellulus.data.writer import Pending
    from cellulus.progress import Progress
    from cellulus.space import Region

_MEMORY = 64 << 20
"""A region is grown to at most this, if a single shard is not larger [byte]."""
_CHUNKS = {"yx": (512, 512), "zyx": (64, 64, 64)}
_SHARDS = {"yx": (1024, 1024), "zyx": (64, 512, 512)}
"""Flatter than the writer's default: files are mostly stored plane by plane."""


def convert(
    paths: Iterable[Path | str],
    output: Address,
    *,
    ngff: Ngff = "0.5",
    overwrite: bool = False,
    axes: str = "",
    progress: Progress | None = None,
) -> list[Address]:
    """Write images and labels in any known layout as OME-Zarr.

    Parameters
    ----------
    paths
        Files and folders; see `cellulus.data.layouts`.
    output
        Folder for the images, or its URL; ``<name>.zarr`` each.
    ngff
        Version of the OME-Zarr specification.
    overwrite
        Replace images that are there; see `cellulus.data.places` for when they go.
    axes
        One letter per axis, out of ``tczyx``, for files that do not tell theirs.
    progress
        Listens.

    Returns
    -------
    images
        What was written, in order.

    Raises
    ------
    MissingError
        If there is nothing at a path.
    InputError
        If a layout is unknown, or images and labels do not fit each other.
    ExistsError
        If an image is there and not to be overwritten; nothing is written then.
    StorageError
        If a file is damaged, or the disk or the store is full or refuses.
    """
    with _scratch(output) as scratch:
        samples = [s for path in paths for s in find_samples(Path(path), axes, scratch)]
        targets = _targets(samples, output, overwrite=overwrite)
        for sample, target in zip(samples, targets, strict=True):
            _write(sample, target, ngff, overwrite, progress or Silent())
    return targets


@contextmanager
def _scratch(output: Address) -> Iterator[Path]:
    """Make a folder for what must be unpacked, where there is room for the images too.

    A folder that is made for the images goes again if there are none.
    """
    if is_url(output):
        with tempfile.TemporaryDirectory(prefix="unpacked_") as scratch:
            yield Path(scratch)
        return
    folder = Path(output)
    with failures(folder):
        existed = folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".unpacked_", dir=folder) as scratch:
            yield Path(scratch)
    except BaseException:
        if not existed and not any(folder.iterdir()):
            folder.rmdir()
        raise


def _targets(samples: list[Sample], output: Address, *, overwrite: bool) -> list[Address]:
    """Return where each image goes, after all checks that can be made before any work."""
    folder = output if is_url(output) else Path(output)
    targets: dict[Address, Sample] = {}
    for sample in samples:
        target = inside(folder, f"{sample.name}.zarr")
        if target in targets:
            raise InputError(
                sample.image.path,
                expected="a name of its own for every image",
                found=f"the name of {targets[target].image.path}",
            )
        if place_of(target).obstacles() and not overwrite:
            raise ExistsError(
                target,
                expected="a new name",
                found="something of that name",
                remedy="ask to overwrite it, or choose another output folder",
            )
        for layer in sample.layers:
            _check_fit(layer.image, sample.image)
        targets[target] = sample
    return list(targets)


def _check_fit(labels: Image, image: Image) -> None:
    wanted = {axis: image.extent(axis) for axis in "tzyx"}
    found = {axis: labels.extent(axis) for axis in "tzyx"}
    if wanted != found or labels.extent("c") > 1:
        raise InputError(
            labels.path,
            expected=f"the shape of {image.path}, {_shown(image)}",
            found=_shown(labels),
        )


def _shown(image: Image) -> str:
    return " ".join(f"{axis}={image.extent(axis)}" for axis in "tczyx" if axis in image.axes)


def _write(
    sample: Sample, target: Address, ngff: Ngff, overwrite: bool, progress: Progress
) -> None:
    image = sample.image
    axes = _kept_axes(image)
    spatial = image.space
    lead = (1,) * (len(axes) - len(spatial))
    spec = writer.Spec(
        kind="image",
        axes=axes,
        shape=tuple(image.extent(axis) for axis in axes),
        dtype=_stored_type(image),
        voxel_size=image.levels[0].voxel_size,
        chunks=lead + _CHUNKS[spatial],
        shards=lead + _SHARDS[spatial],
        ngff=ngff,
        channel_names=image.channel_names,
        attributes={"source": Path(image.path).name, **sample.attributes},
    )
    pending = writer.create(target, spec, overwrite=overwrite)
    try:
        _copy(image, pending, progress, f"convert {sample.name}")
        for layer in sample.layers:
            _write_layer(layer, pending, sample.name, progress)
        pending.publish(progress)
    except BaseException:
        pending.discard()
        raise


def _write_layer(layer: Layer, image: Pending, name: str, progress: Progress) -> None:
    kind = _label_type(layer.image)
    attributes = {"source": Path(layer.image.path).name, **layer.attributes}
    pending = image.start_labels(layer.name, kind, attributes)
    _copy(layer.image, pending, progress, f"convert {layer.name} of {name}")
    pending.publish(progress)


def _copy(image: Image, pending: Pending, progress: Progress, what: str) -> None:
    shape = pending.array.shape
    step = _region_shape(shape, pending.shards, pending.array.dtype.itemsize)
    progress.start(what, pyramid.count(shape, step))
    for region in pyramid.regions(shape, step):
        data = _read(image, region)
        pending.write(region, _checked(data, image) if pending.spec.kind == "labels" else data)
        progress.advance()
    progress.finish()


def _region_shape(
    shape: tuple[int, ...], shards: tuple[int, ...], itemsize: int
) -> tuple[int, ...]:
    """Return whole shards, grown along the last axes first while they fit into memory."""
    step = list(shards)
    for axis in reversed(range(len(step))):
        room = _MEMORY // (math.prod(step) * itemsize)
        needed = -(-shape[axis] // shards[axis])
        step[axis] *= max(1, min(room, needed))
    return tuple(step)


def _kept_axes(image: Image) -> str:
    """Return the axes that are written: y, x, and the others where they are longer than one."""
    return "".join(a for a in "tczyx" if a in image.axes and (a in "yx" or image.extent(a) > 1))


def _read(image: Image, region: Region) -> NDArray[Any]:
    """Return a region of the kept axes, in their order."""
    kept = _kept_axes(image)
    where = dict(zip(kept, region, strict=True))
    on_disk = [axis for axis in image.axes if axis in kept]
    try:
        part = np.asarray(image.levels[0].array[tuple(where.get(a, 0) for a in image.axes)])
    except CellulusError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise StorageError(image.path, expected="readable data", found=str(error)) from error
    return part.transpose([on_disk.index(axis) for axis in kept])


def _stored_type(image: Image) -> np.dtype[Any]:
    kind = image.levels[0].array.dtype
    # Booleans have no mean; what comes in any byte order goes out in the native one.
    return np.dtype(np.uint8) if kind.kind == "b" else kind.newbyteorder("=")


def _label_type(image: Image) -> np.dtype[Any]:
    """Return uint32, or uint64 where an id does not fit."""
    kind = image.levels[0].array.dtype
    if kind.kind in "bui" and kind.itemsize <= 4:
        return np.dtype(np.uint32)
    shape = tuple(image.extent(axis) for axis in _kept_axes(image))
    tile = (1,) * (len(shape) - 2) + tuple(min(n, 512) for n in shape[-2:])
    step = _region_shape(shape, tile, kind.itemsize)
    largest = max(
        int(_checked(_read(image, region), image).max()) for region in pyramid.regions(shape, step)
    )
    return np.dtype(np.uint32 if largest < 2**32 else np.uint64)


def _checked(part: NDArray[Any], image: Image) -> NDArray[Any]:
    if part.dtype.kind == "f" and not np.array_equal(part, np.rint(part)):
        raise InputError(image.path, expected="whole numbers as labels", found="fractions or NaN")
    if part.dtype.kind in "if" and part.min() < 0:
        raise InputError(image.path, expected="labels from 0 up", found=str(part.min()))
    return part
