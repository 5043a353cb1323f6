"""OME-Zarr metadata, both ways: attributes of a zarr group to axes and scales, and back.

Knows the versions 0.4 and 0.5 and nothing of arrays, files or pyramids. The models of yaozarrs
decide what is legal.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError
from yaozarrs import v04, v05

from cellulus.errors import InputError
from cellulus.space import VoxelSize

Ngff = Literal["0.4", "0.5"]
Kind = Literal["image", "labels"]

ZARR_FORMAT: dict[Ngff, Literal[2, 3]] = {"0.4": 2, "0.5": 3}
MICROMETRES = {
    "angstrom": 1e-4,
    "nanometer": 1e-3,
    "micrometer": 1.0,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "meter": 1e6,
}
_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


@dataclass(frozen=True)
class Placement:
    """Where one level of a pyramid lies in physical space.

    Attributes
    ----------
    path
        Of the array within the group.
    scale, translation
        Per axis, in the order of the axes, in the units of the axes.
    """

    path: str
    scale: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True)
class Multiscale:
    """What the metadata say of one image.

    Attributes
    ----------
    axes
        One letter per axis, out of ``tczyx``, in the order on disk.
    units
        One per axis; empty where none is given.
    levels
        Finest first.
    channel_names
        Empty where none are given.
    version
        Of the OME-Zarr specification.
    """

    axes: str
    units: tuple[str, ...]
    levels: tuple[Placement, ...]
    channel_names: tuple[str, ...]
    version: Ngff


def parse(attributes: dict[str, Any], where: str) -> Multiscale | None:
    """Read the attributes of a zarr group; None if it holds no image.

    Raises
    ------
    InputError
        If they speak of an image but break the specification.
    """
    inner = attributes.get("ome", attributes)
    if not isinstance(inner, dict) or "multiscales" not in inner:
        return None
    version: Ngff = "0.5" if "ome" in attributes else "0.4"
    model = v05.Image if version == "0.5" else v04.Image
    try:
        with warnings.catch_warnings():
            # Unusual units are legal; what they mean is decided below.
            warnings.simplefilter("ignore")
            image = model.model_validate({"multiscales": inner["multiscales"]})
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise InputError(
            where, expected=f"OME-Zarr {version} metadata", found=f"{place}: {fault['msg']}"
        ) from error
    first = image.multiscales[0]
    shared = first.coordinateTransformations or []
    return Multiscale(
        axes="".join(_letter(axis, where) for axis in first.axes),
        units=tuple(axis.unit or "" for axis in first.axes),
        levels=tuple(_placement(dataset, shared) for dataset in first.datasets),
        channel_names=_channel_names(inner.get("omero")),
        version=version,
    )


def _letter(axis: Any, where: str) -> str:
    if axis.type == "time":
        return "t"
    if axis.type == "space" and axis.name.lower() not in {"z", "y", "x"}:
        raise InputError(where, expected="spatial axes named z, y and x", found=repr(axis.name))
    # The slot between time and space holds channels, whatever they are called.
    letter = str(axis.name).lower()
    return letter if axis.type == "space" or letter == "t" else "c"


def _placement(dataset: Any, shared: list[Any]) -> Placement:
    ndim = dataset.coordinateTransformations[0].ndim
    scale, translation = [1.0] * ndim, [0.0] * ndim
    for step in [*dataset.coordinateTransformations, *shared]:
        if step.type == "scale":
            scale = [a * b for a, b in zip(scale, step.scale, strict=True)]
            translation = [a * b for a, b in zip(translation, step.scale, strict=True)]
        else:
            translation = [a + b for a, b in zip(translation, step.translation, strict=True)]
    return Placement(dataset.path, tuple(scale), tuple(translation))


def _channel_names(omero: object) -> tuple[str, ...]:
    """Read the names leniently: they are a courtesy, not part of the data."""
    channels = omero.get("channels") if isinstance(omero, dict) else None
    if not isinstance(channels, list):
        return ()
    return tuple(str(c.get("label") or "") if isinstance(c, dict) else "" for c in channels)


def voxel_size(
    where: str, space: str, extents: dict[str, float], units: dict[str, str]
) -> VoxelSize:
    """Return the voxel size along `space`, in um where every unit is known.

    Raises
    ------
    InputError
        If an extent is not positive.
    """
    values = [extents[axis] for axis in space]
    if not all(math.isfinite(v) and v > 0 for v in values):
        raise InputError(where, expected="a positive voxel size per axis", found=str(values))
    factors = [MICROMETRES.get(units.get(axis, "")) for axis in space]
    if any(factor is None for factor in factors):
        return VoxelSize(tuple(values))
    return VoxelSize(tuple(v * (f or 1.0) for v, f in zip(values, factors, strict=True)), "um")


@dataclass(frozen=True)
class Description:
    """Everything the attributes of an image or label group are made of.

    Attributes
    ----------
    name, kind, axes, unit
        Of the whole pyramid; `unit` is that of the voxel size.
    levels
        Finest first.
    channels
        Name and intensity range per channel, for viewers.
    source
        Path from a label group to its image.
    """

    name: str
    kind: Kind
    axes: str
    unit: str
    levels: tuple[Placement, ...]
    channels: tuple[tuple[str, float, float], ...] = ()
    source: str | None = None


def render(description: Description, version: Ngff) -> dict[str, Any]:
    """Return the attributes of the zarr group."""
    spec: Any = v05 if version == "0.5" else v04
    fields: dict[str, Any] = {"multiscales": [_multiscale(description)]}
    if description.kind == "labels":
        label: dict[str, Any] = {"version": version}
        if description.source is not None:
            label["source"] = {"image": description.source}
        model = spec.LabelImage.model_validate({**fields, "image-label": label})
    else:
        fields["omero"] = {"channels": [_channel(*channel) for channel in description.channels]}
        model = spec.Image.model_validate(fields)
    attributes: dict[str, Any] = model.model_dump(mode="json", exclude_none=True, by_alias=True)
    return {"ome": attributes} if version == "0.5" else attributes


def render_label_list(names: list[str], version: Ngff) -> dict[str, Any]:
    """Return the attributes of the group ``labels`` of an image."""
    # The model of 0.5 leaves the version out, which the specification wants in every group.
    return {"ome": {"version": version, "labels": names}} if version == "0.5" else {"labels": names}


def _multiscale(description: Description) -> dict[str, Any]:
    binned = description.kind == "image"
    return {
        "name": description.name,
        "axes": [_axis(letter, description.unit) for letter in description.axes],
        "datasets": [
            {
                "path": level.path,
                "coordinateTransformations": [
                    {"type": "scale", "scale": list(level.scale)},
                    {"type": "translation", "translation": list(level.translation)},
                ],
            }
            for level in description.levels
        ],
        "type": "mean" if binned else "nearest",
    }


def _axis(letter: str, unit: str) -> dict[str, str]:
    axis = {"name": letter, "type": _TYPES[letter]}
    if unit == "um" and axis["type"] == "space":
        axis["unit"] = "micrometer"
    return axis


def _channel(name: str, low: float, high: float) -> dict[str, Any]:
    window = {"min": low, "max": high, "start": low, "end": high}
    return {"label": name, "color": "FFFFFF", "active": True, "window": window}
