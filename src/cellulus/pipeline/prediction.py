"""A stored prediction: what the network said of an image, and how it lies on the image's grid.

Knows nothing of how it was made or what will be made of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from pydantic import ConfigDict, Field, ValidationError

from cellulus.data.addresses import follow
from cellulus.data.arrays import open_array
from cellulus.data.normalise import Normalisation
from cellulus.data.points import read_points
from cellulus.data.readers import ome_zarr, open_image, open_volumes
from cellulus.data.volume import Volume
from cellulus.errors import InputError
from cellulus.ops.resample import resample, source_region
from cellulus.settings import Settings
from cellulus.space import Unit, VoxelSize

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from cellulus.space import Region


class Facts(Settings):
    """What is noted beside predictions and labels: from which image, at which scale."""

    image: str
    """Path of the image."""
    time: int
    """Time point of it."""
    channels: tuple[int, ...]
    """Channels of it that were used."""
    level: int
    """Pyramid level of it."""
    shape: tuple[int, ...]
    """Extent of that level, (z,) y, x [voxel]."""
    voxel_size: tuple[float, ...]
    """Of that level."""
    unit: Unit
    """Of the voxel size."""
    zoom: tuple[float, ...]
    """Canonical voxels per voxel."""
    object_voxels: float
    """Object diameter [canonical voxel]."""
    low: tuple[float, ...]
    """Intensities that became 0, per channel."""
    high: tuple[float, ...]
    """Intensities that became 1, per channel."""
    method: str
    """What predicted."""
    model: str
    """Fingerprint of the model file."""
    tuned: dict[str, float] = Field(default_factory=dict)
    """Thresholds that were tuned with the model, by the names of their settings."""
    fused: bool = False
    """Whether embeddings go when they have been segmented, and only the confidence stays."""

    model_config = ConfigDict(extra="ignore")

    @classmethod
    def of(cls, notes: object) -> Facts | None:
        """Read them from what lies beside an array; None where they are not there."""
        try:
            return cls.model_validate_json(json.dumps(notes))
        except ValidationError:
            return None

    @property
    def normalisation(self) -> Normalisation:
        """The normalisation of the image."""
        return Normalisation(self.low, self.high)

    def open_image(self) -> Volume:
        """Open the image, metadata only.

        Raises
        ------
        MissingError
            If it is gone.
        InputError
            If it has changed its shape.
        """
        frames = open_volumes(self.image, channels=self.channels, level=self.level)
        image = frames[self.time] if self.time < len(frames) else None
        if image is None or image.shape != self.shape:
            raise InputError(
                self.image,
                expected=f"the image that was looked at, of shape {self.shape}",
                found=f"shape {image.shape}" if image else f"{len(frames)} time points",
                remedy="predict it again",
            )
        # The experiment may have known the voxel size better than the file does.
        return replace(image, voxel_size=VoxelSize(self.voxel_size, self.unit))


def notes_of(path: str) -> dict[str, Any]:
    """Return what earlier steps noted beside an array; empty for what is from elsewhere."""
    if not ome_zarr.accepts(path):
        return {}
    try:
        notes = zarr.open_group(follow(path), mode="r").attrs.get("cellulus", {})
    except FileNotFoundError:  # whoever reads the array says that it is not there
        return {}
    return dict(notes) if isinstance(notes, dict) else {}


def points_path(prediction: Path) -> Path:
    """Return where the points lie that a prediction is decoded with."""
    name = prediction.name.removesuffix(".partial").removesuffix(".zarr")
    return prediction.with_name(f"{name}.points.csv")


@dataclass(frozen=True)
class Prediction:
    """A prediction on the canonical grid, with its image.

    Attributes
    ----------
    name
        Of the image.
    volume
        The prediction, ``(channels, *canonical shape)``.
    image
        What was predicted from.
    facts
        What was noted beside it.
    is_growing
        Whether it is still being written.
    points
        A point per cell, ``(n, ndim)``, if the method decodes with points [voxel of the image].
    """

    name: str
    volume: Volume
    image: Volume
    facts: Facts
    is_growing: bool = False
    points: NDArray[np.float64] | None = None

    @classmethod
    def open(cls, path: Path) -> Prediction:
        """Open a prediction and its image, metadata only.

        Raises
        ------
        MissingError
            If the prediction or its image is gone.
        InputError
            If it is no prediction, or the image has changed its shape.
        """
        facts = Facts.of(notes_of(str(path)))
        is_growing = facts is not None and not ome_zarr.is_image(str(path))
        if facts is not None and is_growing:
            volume = _growing(path, facts)
        else:
            channels = tuple(range(open_image(path).extent("c")))
            volume = open_volumes(path, channels=channels)[0]
        if facts is None:
            raise InputError(
                path,
                expected="a prediction that predict wrote",
                found="an image without notes of one",
                remedy="give an image to run or predict, or a prediction to segment",
            )
        name = path.name.removesuffix(".partial").removesuffix(".zarr")
        image, marked = facts.open_image(), points_path(path)
        points = read_points(marked, image).positions if marked.exists() else None
        return cls(name, volume, image, facts, is_growing, points)

    def read(self, region: Region) -> NDArray[np.float32]:
        """Return the prediction on a part of the image's grid, ``(channels, *S)``.

        Linear between canonical voxels, never averaged: offsets of neighbours must not mix.
        """
        index, needed = _indices(region), self.needed(region)
        channels, shape = self.volume.channels, self.volume.shape
        result = np.empty((len(channels), *(len(i) for i in index)), np.float32)
        for channel, target in zip(channels, result, strict=True):
            # One at a time, so that the others take no memory yet.
            stored = replace(self.volume, channels=(channel,))
            resample(stored.read(needed), needed, index, self._zoom, shape,
                     widen=False, out=target[np.newaxis])  # fmt: skip
        return result

    def needed(self, region: Region) -> Region:
        """Return the part of the canonical grid that a part of the image's grid is made from."""
        return source_region(_indices(region), self._zoom, self.volume.shape)

    def read_image(self, region: Region) -> NDArray[np.float32]:
        """Return normalised intensities, ``(C, *S)``."""
        return self.facts.normalisation(self.image.read(region))

    def require_embeddings(self) -> None:
        """Refuse a prediction that is not whole.

        Raises
        ------
        InputError
            If it is still being written, or its embeddings were dropped when it was segmented.
        """
        if self.is_growing:
            raise InputError(
                self.volume.path,
                expected="a whole prediction",
                found="one that is still being written, or was interrupted",
                remedy="go on with predict --resume",
            )
        if self.facts.fused:
            raise InputError(
                self.volume.path,
                expected="a prediction with its embeddings",
                found="one whose embeddings were dropped when it was segmented (--fuse)",
                remedy="predict it again, with --overwrite",
            )

    @property
    def _zoom(self) -> tuple[float, ...]:
        return tuple(1.0 / z for z in self.facts.zoom)


def _growing(path: Path, facts: Facts) -> Volume:
    """Return the finest level of a prediction that is being written, and has no metadata yet."""
    array = open_array(path / "0", "r")
    size = tuple(v / z for v, z in zip(facts.voxel_size, facts.zoom, strict=True))
    return Volume(
        name=path.name,
        array=array,
        axes="c" + "zyx"[-len(size) :],
        voxel_size=VoxelSize(size, facts.unit),
        channels=tuple(range(array.shape[0])),
        path=str(path),
    )


def _indices(region: Region) -> list[NDArray[np.int64]]:
    return [np.arange(part.start, part.stop) for part in region]
