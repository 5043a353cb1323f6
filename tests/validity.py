"""The judge of everything that is written: three validators, and what all of them miss.

yaozarrs reads the whole hierarchy, ome-zarr-models the arrays and their metadata, ngff-zarr the
official JSON schemas. None compares a label's shape with its image's, a level's extent with its
scale, or an id with anything. Each sees defects that the others do not: `test_validity` says which.
"""

import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import ome_zarr_models
import yaozarrs
import zarr
from ngff_zarr import from_ngff_zarr
from ngff_zarr.validate import validate as validate_schema

MICROMETRES = {"nanometer": 1e-3, "millimeter": 1e3}
FORMAT = {"0.4": 2, "0.5": 3}
FILES = {"zarr.json", ".zgroup", ".zarray", ".zattrs"}


def judge(path, ngff="0.5", *, dense=False):
    """Fail if anything at or below a group is not as it should be.

    Parameters
    ----------
    path
        Of an image, or of labels, on a local disk.
    ngff
        The version that all of it must have.
    dense
        Whether label ids must be 1 to the number of objects, as in all that we compute.
    """
    found = faults(Path(path), ngff, dense=dense)
    assert not found, "\n".join(f"{who}: {what}" for who, whats in found.items() for what in whats)


def faults(path, ngff, *, dense=False):
    """Return what each of the judges objects to; none of them stops at the first group."""
    judges = {
        "yaozarrs": _by_yaozarrs,
        "ome-zarr-models": _by_models,
        "ngff-zarr": _by_schemas,
        "cellulus": lambda p, v: _by_us(p, v, dense),
    }
    found = {name: list(_each(by, path, ngff)) for name, by in judges.items()}
    return {name: said for name, said in found.items() if said}


def _each(by, path, ngff):
    for place in groups(path):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                for fault in by(place, ngff) or ():
                    yield f"{place.relative_to(path.parent)}: {fault}"
        except Exception as error:  # noqa: BLE001 - each has errors of its own
            yield f"{place.relative_to(path.parent)}: {type(error).__name__}: {error}"


def groups(path) -> Iterator[Path]:
    """Yield a group and all that lie in it."""
    yield path
    for child in sorted(path.iterdir()):
        if any((child / name).exists() for name in (".zgroup", "zarr.json")) and not _is_array(
            child
        ):
            yield from groups(child)


def _is_array(path):
    if (path / "zarr.json").exists():
        return '"node_type": "array"' in (path / "zarr.json").read_text()
    return (path / ".zarray").exists()


def _attributes(path):
    return zarr.open_group(path, mode="r").attrs.asdict()


def _inner(path):
    attributes = _attributes(path)
    return attributes.get("ome", attributes)


def _by_yaozarrs(path, ngff):
    if "multiscales" in _inner(path):  # a list of labels is read with its image
        yaozarrs.validate_zarr_store(str(path))


def _by_models(path, ngff):
    ome_zarr_models.open_ome_zarr(str(path), version=ngff)


def _by_schemas(path, ngff):
    inner = _inner(path)
    if "multiscales" in inner:
        validate_schema(_attributes(path), version=ngff, model="image")
        from_ngff_zarr(str(path), validate=True, version=ngff)
    if "image-label" in inner or path.parent.name == "labels":
        validate_schema(_attributes(path), version=ngff, model="label")


# --- our own


def _by_us(path, ngff, dense):
    group, inner = zarr.open_group(path, mode="r"), _inner(path)
    if group.metadata.zarr_format != FORMAT[ngff]:
        yield f"zarr format {group.metadata.zarr_format}"
    if ngff == "0.5" and inner.get("version") != ngff:
        yield f"version {inner.get('version')}"
    if path.name == "labels" and "multiscales" not in inner:
        there = {name for name, _ in group.groups()}
        if set(inner.get("labels", ())) != there or not there:
            yield f"lists {inner.get('labels')}, holds {sorted(there)}"
    yield from _strangers(path)
    if "multiscales" not in inner:
        return
    yield from _pyramid(path, ngff)
    if "image-label" in inner:
        yield from _labels(path, dense)
    elif path.parent.name == "labels" and path.parent.parent.suffix == ".zarr":
        yield "no image-label"


def _strangers(path):
    """Yield files that are none of zarr's: halves of what was being written, for one."""
    arrays = {name for name, _ in zarr.open_group(path, mode="r").arrays()}
    for child in path.iterdir():
        if child.is_file() and child.name not in FILES:
            yield f"the file {child.name}"
        if child.name in arrays:
            for file in child.rglob("*"):
                parts = [p for p in file.relative_to(child).parts if not p.isdigit() and p != "c"]
                if file.is_file() and parts and file.name not in FILES:
                    yield f"the file {file.relative_to(path)}"


def _levels(path):
    """Return the axes, and array, scale and translation of each level, in micrometres."""
    multiscale = _inner(path)["multiscales"][0]
    of = multiscale["axes"]
    axes = [axis["name"] for axis in of]
    group, levels = zarr.open_group(path, mode="r"), []
    for dataset in multiscale["datasets"]:
        steps = {s["type"]: s[s["type"]] for s in dataset["coordinateTransformations"]}
        moved = steps.get("translation", [0.0] * len(axes))
        sizes = [
            [
                value * MICROMETRES.get(axis.get("unit"), 1.0)
                for axis, value in zip(of, step, strict=False)
            ]
            for step in (steps["scale"], moved)
        ]
        levels.append((group[dataset["path"]], *sizes))
    return axes, levels


def _pyramid(path, ngff):
    multiscale = _inner(path)["multiscales"][0]
    if ngff == "0.4" and multiscale.get("version") != ngff:
        yield f"multiscales of version {multiscale.get('version')}"
    if len({a.get("unit") for a in multiscale["axes"] if a["type"] == "space"}) > 1:
        yield "several units"
    axes, levels = _levels(path)
    binned = multiscale.get("type") == "mean"
    for number, level in enumerate(levels):
        said = [*_array(level[0], ngff, axes), *_extent(level, levels[0], axes, binned)]
        yield from (f"level {number}: {what}" for what in said)
        level[0][...]  # every chunk can be read


def _array(array, ngff, axes):
    metadata = array.metadata
    if metadata.zarr_format != FORMAT[ngff]:
        yield f"zarr format {metadata.zarr_format}"
    elif ngff == "0.4" and metadata.dimension_separator != "/":
        yield f"chunks separated by {metadata.dimension_separator}"
    elif ngff == "0.5" and list(metadata.dimension_names or ()) != axes:
        yield f"dimensions {metadata.dimension_names}"


def _extent(level, finest, axes, binned):
    """Compare what a level covers with what the finest one does."""
    (array, scale, place), (first, size, origin) = level, finest
    if array.dtype != first.dtype:
        yield f"type {array.dtype}"
    if not len(array.shape) == len(scale) == len(place) == len(axes):
        yield f"{len(array.shape)} dimensions, a scale of {len(scale)}"
        return
    if not all(math.isfinite(s) and s > 0 for s in scale):
        yield f"scale {scale}"
        return
    for i, axis in enumerate(axes):
        n, m, ratio = first.shape[i], array.shape[i], scale[i] / size[i]
        # Whole voxels: the last one may cover less than its extent, or a rest be left out.
        if not abs(n / ratio - m) < 1 or m > n:
            yield f"{m} voxels of {scale[i]} along {axis}, for {n} of {size[i]}"
        shift = (scale[i] - size[i]) / 2 if binned else 0.0
        if not math.isclose(place[i] - origin[i], shift, abs_tol=1e-6 * scale[i]):
            yield f"begins at {place[i]} along {axis}, the first at {origin[i]}"


def _labels(path, dense):
    _, levels = _levels(path)
    finest = levels[0][0]
    if finest.dtype not in (np.uint32, np.uint64):
        yield f"ids of type {finest.dtype}"
        return
    ids = np.unique(finest[...])
    largest = int(ids.max())
    if finest.dtype == np.uint64 and largest < 2**32 and dense:
        yield f"ids up to {largest} as {finest.dtype}"
    if dense and largest != len(ids[ids > 0]):
        yield f"ids up to {largest} of {len(ids[ids > 0])} objects"
    told = _attributes(path).get("cellulus", {}).get("outcome", {}).get("objects")
    if told is not None and told != len(ids[ids > 0]):
        yield f"{told} objects noted, {len(ids[ids > 0])} there"
    for number, (array, _, _) in enumerate(levels[1:], 1):
        if strange := set(np.unique(array[...]).tolist()) - set(ids.tolist()):
            yield f"level {number} has ids that the finest has not: {sorted(strange)[:3]}"
    source = _inner(path)["image-label"].get("source", {}).get("image")
    if source is not None and not (path / source).exists():
        yield f"no image at {source}"
    if path.parent.name == "labels" and path.parent.parent.suffix == ".zarr":
        yield from _fits(path, path.parent.parent)


def _fits(path, image):
    """Compare labels in an image's own group with the image."""
    axes, levels = _levels(path)
    of_image, wanted = _levels(image)
    kept = [i for i, axis in enumerate(of_image) if axis != "c"]
    if axes != [of_image[i] for i in kept]:
        yield f"axes {axes} of an image with {of_image}"
        return
    if len(levels) != len(wanted):
        yield f"{len(levels)} levels of an image with {len(wanted)}"
    for number, ((a, scale, _), (b, other, _)) in enumerate(zip(levels, wanted, strict=False)):
        if a.shape != tuple(b.shape[i] for i in kept):
            yield f"level {number}: {a.shape} of an image of {b.shape}"
        if not np.allclose(scale, [other[i] for i in kept], rtol=1e-6, atol=0):
            yield f"level {number}: scale {scale} of an image of {other}"
    told = _inner(path)["image-label"].get("source", {}).get("image")
    if (path / (told or "../../")).resolve() != image.resolve():
        yield f"names another image: {told}"
