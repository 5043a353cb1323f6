"""Labels to better labels, object by object; each step is a function of `cellulus.ops.labels`.

In this order: what `kind` asks for, the largest piece, holes, size limits, the border, and again
the holes that dropped objects leave; then ids become dense. Whole images at a time. Knows nothing
of how objects were found.
"""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from cellulus.data import writer
from cellulus.data.normalise import Normalisation
from cellulus.data.readers import expand, ome_zarr, open_volumes
from cellulus.errors import InputError, MissingError
from cellulus.ops import labels as ops
from cellulus.progress import Silent
from cellulus.space import Scale, ball_volume

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cellulus.data.volume import Volume
    from cellulus.experiment.sections import Experiment, Postprocess
    from cellulus.progress import Progress
    from cellulus.runs import Run

_log = logging.getLogger(__name__)


def apply_postprocess(
    labels: NDArray[Any],
    settings: Postprocess,
    *,
    image: NDArray[Any] | None = None,
    spacing: Sequence[float],
    object_voxels: float,
) -> NDArray[np.uint32]:
    """Apply the settings to one label array.

    Parameters
    ----------
    labels
        ``(*S)``, integer ids; an object may lie in several pieces.
    settings
        Distances in object diameters, sizes in volumes of a ball of that diameter (a disc in an
        image).
    image
        Intensities, ``(*S)``; only ``kind = "intensity"`` needs them.
    spacing
        Canonical voxels per voxel, per axis.
    object_voxels
        The object diameter [canonical voxel].

    Returns
    -------
    labels
        ``(*S)``, dense ids in the order of the old ones.

    Raises
    ------
    InputError
        If an argument does not fit the labels, or an image is needed.
    """
    if labels.ndim > 2 and labels.shape[0] == 1:
        image, spacing = None if image is None else image[0], spacing[1:]
        plane = apply_postprocess(
            labels[0], settings, image=image, spacing=spacing, object_voxels=object_voxels
        )
        return plane[np.newaxis]
    result = _reshaped(ops.relabel(labels), settings, image, spacing, object_voxels)
    if settings.keep_largest:
        result = ops.keep_largest(result)
    if settings.fill_holes:
        result = ops.fill_holes(result)
    result = _selected(result, settings, spacing, object_voxels)
    if settings.fill_holes:
        result = ops.fill_holes(result)
    return ops.relabel(result)


def postprocess(
    experiment: Experiment,
    run: Run,
    *,
    labels: Sequence[Path] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Improve the labels of a run.

    Parameters
    ----------
    experiment
        The settings.
    run
        ``segments/`` is read, ``labels/`` is written: one OME-Zarr per image, of the same name.
    labels
        Other labels to read instead.
    resume, overwrite
        Keep or replace labels that are there already.
    progress
        One unit per image.

    Returns
    -------
    paths
        Of the new labels.

    Raises
    ------
    MissingError
        If there are no labels, or an image that is needed is gone.
    InputError
        If a file holds no labels, or something needed is not known of them.
    ExistsError
        If there are labels already and neither resume nor overwrite was asked for.
    StorageError
        If something cannot be read or written.
    """
    listener = progress or Silent()
    volumes = [v for path in _sources(run, labels) for v in open_volumes(path)]
    _refuse_twins(volumes)
    listener.start("postprocess", len(volumes))
    paths = []
    for volume in volumes:
        target = run.labels / f"{volume.name}.zarr"
        paths.append(_improve(volume, target, experiment, resume=resume, overwrite=overwrite))
        listener.advance()
    listener.finish()
    return paths


def _reshaped(
    labels: NDArray[np.uint32],
    settings: Postprocess,
    image: NDArray[Any] | None,
    spacing: Sequence[float],
    object_voxels: float,
) -> NDArray[np.uint32]:
    """Apply what `kind` asks for."""
    if settings.kind == "cell":
        labels = ops.grow(labels, settings.grow * object_voxels, spacing)
        shrink = ops.shrink if settings.separate else ops.shrink_foreground
        return shrink(labels, settings.shrink * object_voxels, spacing)
    if settings.kind == "intensity":
        if image is None:
            raise InputError(
                "postprocess.kind",
                expected='an image beside the labels, for kind = "intensity"',
                found="none",
            )
        return ops.fill_holes(ops.brighter_part(labels, image))
    return labels


def _selected(
    labels: NDArray[np.uint32],
    settings: Postprocess,
    spacing: Sequence[float],
    object_voxels: float,
) -> NDArray[np.uint32]:
    """Drop objects by their size and place."""
    if settings.min_size or settings.max_size:
        ball = ball_volume(object_voxels, labels.ndim) / math.prod(spacing)
        largest = settings.max_size * ball or math.inf
        labels = ops.keep_sizes(labels, settings.min_size * ball, largest)
    return ops.clear_border(labels) if settings.clear_border else labels


def _sources(run: Run, labels: Sequence[Path] | None) -> list[str]:
    if labels:
        return [path for pattern in labels for path in expand(pattern)]
    if not any(run.segments.glob("*.zarr")):
        raise MissingError(
            run.segments, expected="labels to improve", found="none", remedy="run segment first"
        )
    return expand(run.segments / "*.zarr")


def _refuse_twins(volumes: Sequence[Volume]) -> None:
    twins = [name for name, count in Counter(v.name for v in volumes).items() if count > 1]
    if twins:
        raise InputError(
            "labels",
            expected="names that differ, for results of the same names",
            found=f"several times {', '.join(twins)}",
            remedy="improve them one after the other, each with its own --output",
        )


def _improve(
    volume: Volume, target: Path, experiment: Experiment, *, resume: bool, overwrite: bool
) -> Path:
    """Read, improve and write one label array."""
    settings, facts = experiment.postprocess, _facts(volume)
    spec = writer.Spec(
        kind="labels",
        axes=volume.space,
        shape=volume.shape,
        dtype=np.dtype(np.uint32),
        voxel_size=volume.voxel_size,
        attributes=facts | {"postprocess": settings.model_dump(mode="json")},
        source=_relative(facts.get("image"), target),
    )
    pending = writer.create(target, spec, resume=resume, overwrite=overwrite)
    if pending.complete:
        return target
    try:
        zoom, object_voxels = _scale(volume, facts, experiment)
        image = _image(volume, facts) if settings.kind == "intensity" else None
        before = volume.read()[0]
        after = apply_postprocess(
            before, settings, image=image, spacing=zoom, object_voxels=object_voxels
        )
        if before.any() and not after.any():
            _log.warning("%s: post-processing left no object", volume.name)
        pending.write((slice(None),) * after.ndim, after)
        return pending.publish()
    except BaseException:
        pending.discard()
        raise


def _facts(volume: Volume) -> dict[str, Any]:
    """Return what earlier steps noted beside the labels; empty for labels from elsewhere."""
    if not ome_zarr.accepts(volume.path):
        return {}
    facts = zarr.open_group(volume.path, mode="r").attrs.get("cellulus", {})
    return dict(facts) if isinstance(facts, dict) else {}


def _scale(
    volume: Volume, facts: dict[str, Any], experiment: Experiment
) -> tuple[tuple[float, ...], float]:
    """Return canonical voxels per voxel, and the object diameter [canonical voxel]."""
    settings, object_voxels = experiment.postprocess, experiment.network.object_voxels
    if "zoom" in facts:
        return tuple(facts["zoom"]), float(facts["object_voxels"])
    if experiment.data.object_diameter != "auto":
        scale = Scale.of(experiment.data.object_diameter, volume.voxel_size, object_voxels)
        return scale.zoom, object_voxels
    if settings.kind == "cell" or settings.min_size or settings.max_size:
        raise InputError(
            volume.path or volume.name,
            expected="labels that tell how wide their objects are, for distances and sizes",
            found="labels from elsewhere",
            remedy="add --set data.object_diameter=..., in um or voxels",
        )
    return (1.0,) * volume.ndim, object_voxels


def _image(volume: Volume, facts: dict[str, Any]) -> NDArray[np.float32]:
    """Return the normalised intensities that the labels were made from, mean over channels."""
    try:
        path, time, level = facts["image"], facts["time"], facts["level"]
        channels, normalise = facts["channels"], Normalisation(facts["low"], facts["high"])
    except KeyError as error:
        raise InputError(
            volume.path or volume.name,
            expected='labels that name their image, for postprocess.kind = "intensity"',
            found=f"no note of {error}",
            remedy="improve labels that segment made, or choose another kind",
        ) from error
    frames = open_volumes(path, channels=tuple(channels), level=level)
    found = frames[time].shape if time < len(frames) else None
    if found != volume.shape:
        raise InputError(
            path,
            expected=f"the shape of its labels, {volume.shape}, at time {time}",
            found=f"shape {found}" if found else f"{len(frames)} time points",
            remedy="the image changed since: segment it anew",
        )
    mean: NDArray[np.float32] = normalise(frames[time].read()).mean(axis=0)
    return mean


def _relative(image: str | None, target: Path) -> str | None:
    """Return the way from the labels to their image, which viewers follow."""
    if image is None or "://" in image:
        return image
    return os.path.relpath(image, target)
