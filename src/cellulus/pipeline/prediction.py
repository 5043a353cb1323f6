"""A stored prediction: what the network said of an image, and how it lies on the image's grid.

Knows nothing of how it was made or what will be made of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from pydantic import ConfigDict, ValidationError

from cellulus.data.normalise import Normalisation
from cellulus.data.readers import ome_zarr, open_image, open_volumes
from cellulus.errors import InputError
from cellulus.ops.resample import resample, source_region
from cellulus.settings import Settings
from cellulus.space import Unit, VoxelSize

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from cellulus.data.volume import Volume
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
    notes = zarr.open_group(path, mode="r").attrs.get("cellulus", {})
    return dict(notes) if isinstance(notes, dict) else {}


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
    """

    name: str
    volume: Volume
    image: Volume
    facts: Facts

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
        channels = tuple(range(open_image(path).extent("c")))
        volume = open_volumes(path, channels=channels)[0]
        facts = Facts.of(notes_of(str(path)))
        if facts is None:
            raise InputError(
                path,
                expected="a prediction that predict wrote",
                found="an image without notes of one",
                remedy="give an image to run or predict, or a prediction to segment",
            )
        image = facts.open_image()
        return cls(path.name.removesuffix(".zarr"), volume, image, facts)

    def read(self, region: Region) -> NDArray[np.float32]:
        """Return the prediction on a part of the image's grid, ``(channels, *S)``.

        Linear between canonical voxels, never averaged: offsets of neighbours must not mix.
        """
        index = [np.arange(part.start, part.stop) for part in region]
        zoom = tuple(1.0 / z for z in self.facts.zoom)
        shape = self.volume.shape
        needed = source_region(index, zoom, shape)
        data = self.volume.read(needed).astype(np.float32)
        return resample(data, needed, index, zoom, shape, widen=False)

    def read_image(self, region: Region) -> NDArray[np.float32]:
        """Return normalised intensities, ``(C, *S)``."""
        return self.facts.normalisation(self.image.read(region))
