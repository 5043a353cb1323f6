"""The label groups inside an image: what they inherit from it, and the list that names them.

Knows nothing of how labels are made or written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import zarr

from cellulus.data import pyramid
from cellulus.data.addresses import follow
from cellulus.data.arrays import Spec
from cellulus.data.ngff import MICROMETRES, ZARR_FORMAT, Ngff, parse, render_label_list
from cellulus.data.readers import ome_zarr
from cellulus.errors import InputError
from cellulus.space import VoxelSize

if TYPE_CHECKING:
    import numpy as np

    from cellulus.data.addresses import Address


def label_spec(image: str, dtype: np.dtype[Any], attributes: dict[str, Any]) -> Spec:
    """Return what labels of an image are: its axes but channels, its levels and voxel sizes.

    Raises
    ------
    MissingError, InputError
        If there is no such image.
    """
    opened = ome_zarr.open(image)
    found = parse(zarr.open_group(opened.path, mode="r").attrs.asdict(), image)
    if found is None:
        raise InputError(image, expected="an OME-Zarr image", found="none")
    kept = [i for i, axis in enumerate(found.axes) if axis != "c"]
    first = found.levels[0]
    grids = tuple(
        pyramid.Grid(
            tuple(level.array.shape[i] for i in kept),
            tuple(place.scale[i] / first.scale[i] for i in kept),
        )
        for level, place in zip(opened.levels, found.levels, strict=True)
    )
    unit = opened.levels[0].voxel_size.unit
    factors = {
        i: MICROMETRES[found.units[i]] if unit == "um" else 1.0
        for i in kept
        if found.axes[i] in "zyx"
    }
    return Spec(
        kind="labels",
        axes="".join(found.axes[i] for i in kept),
        shape=grids[0].shape,
        dtype=dtype,
        voxel_size=VoxelSize(tuple(first.scale[i] * f for i, f in factors.items()), unit),
        translation=tuple(first.translation[i] * f for i, f in factors.items()),
        ngff=found.version,
        attributes=attributes,
        source="../../",
        levels=grids,
    )


def labels_within(image: Spec, dtype: np.dtype[Any], attributes: dict[str, Any]) -> Spec:
    """Return what labels are of an image that is being written."""
    kept = [i for i, axis in enumerate(image.axes) if axis != "c"]
    grids = tuple(
        pyramid.Grid(tuple(g.shape[i] for i in kept), tuple(g.factors[i] for i in kept))
        for g in image.grids
    )
    return Spec(
        kind="labels",
        axes="".join(image.axes[i] for i in kept),
        shape=grids[0].shape,
        dtype=dtype,
        voxel_size=image.voxel_size,
        translation=image.translation,
        ngff=image.ngff,
        attributes=attributes,
        source="../../",
        levels=grids,
    )


def list_label(parent: Address, name: str, version: Ngff) -> None:
    """Add a label group to the list that the group around it keeps."""
    group = zarr.open_group(follow(parent), mode="a", zarr_format=ZARR_FORMAT[version])
    attributes = cast("dict[str, Any]", group.attrs.asdict())
    known = attributes.get("ome", attributes).get("labels", [])
    names = [*(known_name for known_name in known if known_name != name), name]
    group.attrs.update(render_label_list(names, version))
