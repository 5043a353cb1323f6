"""One tile from the middle of an image, predicted, and what a decoder sees of it.

Reads no more of the image than that. Knows nothing of time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus.data.canonical import Canonical
from cellulus.data.normalise import Normalisation
from cellulus.methods.decoder import Observation
from cellulus.ops.resample import resample
from cellulus.pipeline import cap
from cellulus.pipeline import model as models
from cellulus.pipeline.cuts import Subject
from cellulus.pipeline.samples import diameter_of
from cellulus.pipeline.tiling import Predictor, tiles_of
from cellulus.space import Scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellulus.data.volume import Volume
    from cellulus.experiment.sections import Experiment
    from cellulus.space import Block, Blocks, Region


@dataclass(frozen=True)
class SampleTile:
    """A tile that can be predicted.

    Attributes
    ----------
    volume
        The image.
    image
        As the network sees it, normalised by its middle alone.
    tile
        In the canonical grid.
    predictor
        What predicts it.
    width
        Of an object [canonical voxel].
    """

    volume: Volume
    image: Canonical
    tile: Block
    predictor: Predictor
    width: float

    @classmethod
    def of(
        cls, experiment: Experiment, volume: Volume, model: models.Model, device: str
    ) -> SampleTile:
        """Return the tile in the middle of an image.

        Parameters
        ----------
        experiment
            The settings.
        volume
            The image.
        model
            What predicts it.
        device
            Where it runs.
        """
        experiment = experiment.model_copy(update={"network": model.card.network})
        width = model.card.object_voxels
        scale = Scale.of(diameter_of(volume, experiment.data), volume.voxel_size, width)
        inputs, itemsize = len(volume.channels), volume.dtype.itemsize
        subject = Subject(volume.shape, scale.zoom, inputs, itemsize, width)
        tiled = cap.fit_tile(experiment, subject)
        tiles = tiles_of(tiled, subject.canonical)
        tile = tiles[middle(tiles)]
        normalisation = model.card.normalisation or _normalisation(
            volume.read(_covered(tile.core, scale.zoom, volume.shape)), experiment
        )
        # What is empty would be skipped: the time of a tile is that of one with something in it.
        predict = tiled.predict.model_copy(update={"empty": 0.0})
        predictor = Predictor(model, tiled.model_copy(update={"predict": predict}), device)
        return cls(volume, Canonical(volume, scale, normalisation), tile, predictor, width)

    def predict(self) -> NDArray[np.float32]:
        """Return the prediction of the tile, ``(channels, *S)``."""
        said = self.predictor(self.image, self.tile)
        if said is None:  # nothing is empty at a threshold of 0
            raise AssertionError
        return said

    def observe(self, said: NDArray[np.float32]) -> Observation:
        """Return what a decoder sees of the prediction, as if it had been stored."""
        zoom, shape = self.image.scale.zoom, self.volume.shape
        region = _covered(self.tile.core, zoom, shape)
        index = [np.arange(part.start, part.stop) for part in region]
        prediction = resample(
            said.astype(np.float16).astype(np.float32), self.tile.core, index,
            tuple(1 / z for z in zoom), self.image.shape, widen=False,
        )  # fmt: skip
        origin = tuple(part.start for part in region)
        image = self.image.normalisation(self.volume.read(region))
        return Observation(prediction, image, zoom, origin)


def untrained(experiment: Experiment, volume: Volume) -> models.Model:
    """Return a model of the experiment that has learnt nothing, but takes as long."""
    card = models.Card(
        method=experiment.method,
        network=experiment.network,
        ndim=volume.ndim,
        inputs=len(volume.channels),
        outputs=experiment.method.outputs(volume.ndim),
        percentiles=experiment.data.percentiles,
    )
    return models.Model(models.new_network(card).eval(), card)


def middle(grid: Blocks) -> int:
    """Return the number of a block in the middle, never one that the far edge cuts, if it can."""
    return int(np.ravel_multi_index([(n - 1) // 2 for n in grid.counts], grid.counts))


def _normalisation(raw: np.ndarray[Any, Any], experiment: Experiment) -> Normalisation:
    """Return the normalisation of a part of the image: the whole is not read to tell a time."""
    values = raw.reshape(len(raw), -1).astype(np.float32)
    low, high = np.percentile(values, experiment.data.percentiles, axis=1)
    high = np.where(high > low, high, low + 1)
    return Normalisation(tuple(map(float, low)), tuple(map(float, high)))


def _covered(core: Region, zoom: Sequence[float], shape: Sequence[int]) -> Region:
    """Return the part of an image that is interpolated from a part of its canonical grid alone."""
    region = []
    for part, z, n in zip(core, zoom, shape, strict=True):
        first = np.floor((np.arange(n) + 0.5) * z - 0.5)
        # The outermost voxels of the grid go on behind its edge.
        last = part.stop - 1 if part.stop < np.ceil(n * z - 1e-6) else part.stop
        inside = np.flatnonzero((first >= part.start - (part.start == 0)) & (first < last))
        region.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return tuple(region)
