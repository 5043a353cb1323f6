"""The prediction of one image as work on its tiles.

A tile is read with the margin that the network's view needs, and moves by whole strides: tiles
give what the whole would give, up to the rounding of the arithmetic. Memory is bounded by the
tile. Knows nothing of what the prediction means.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cellulus.data.arrays import failures, open_array
from cellulus.data.canonical import Canonical
from cellulus.nn import shapes
from cellulus.nn.device import arithmetic, choose_device
from cellulus.pipeline import model as models
from cellulus.pipeline.extents import tile_extent
from cellulus.space import Block, Blocks, Scale

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cellulus.experiment.sections import Experiment
    from cellulus.pipeline.prediction import Facts


class Predictor:
    """What predicts an image, tile by tile.

    Parameters
    ----------
    model
        A trained network.
    experiment
        How it is asked.
    device
        Where it runs.
    """

    def __init__(self, model: models.Model, experiment: Experiment, device: str = "auto") -> None:
        self.experiment, self.depth = experiment, model.card.network.depth
        self.quarter = max(1, int(model.card.object_voxels / 4))
        self.place = choose_device(device)
        self.network = model.network.to(self.place)
        self.ask = experiment.method.inference(
            model.card.object_voxels, experiment.seed, experiment.predict.batch_size,
            tta=experiment.predict.tta,
        )  # fmt: skip

    def __call__(self, image: Canonical, tile: Block) -> NDArray[np.float32] | None:
        """Return the prediction in a tile of the canonical grid, ``(channels, *core)``.

        None where the tile, with its margin, is empty.
        """
        margin = shapes.halo(self.depth)
        core = tile_extent(self.experiment, image.shape)
        origin = tuple(part.start - margin for part in tile.core)
        # Every tile, cut ones at the far edge too, is read at the same legal extent.
        region = tuple(
            slice(a, a + shapes.legal_size(n + 2 * margin, self.depth))
            for a, n in zip(origin, core, strict=True)
        )
        intensities = image.read(region)
        if is_empty(intensities, self.quarter, self.experiment.predict.empty):
            return None
        seen = torch.from_numpy(intensities).to(self.place)
        with torch.inference_mode(), arithmetic(self.place, self.experiment.predict.precision):
            said: NDArray[np.float32] = self.ask(self.network, seen, origin).cpu().numpy()
        inside = tuple(slice(0, part.stop - part.start) for part in tile.core)
        return said[(slice(None), *inside)]


def is_empty(image: NDArray[np.float32], edge: int, least: float) -> bool:
    """Return whether an image is too even to hold an object.

    A cube a quarter as wide as a ball that holds the ball's centre lies inside of the ball. So an
    object that stands out shows in the averages over such cubes, where noise does not.

    Parameters
    ----------
    image
        Normalised intensities, ``(C, *S)``.
    edge
        Of the cubes [voxel].
    least
        The averages of every channel span less in an empty image.
    """
    whole = [n - n % edge if n >= edge else n for n in image.shape[1:]]
    steps = [min(edge, n) for n in image.shape[1:]]
    split = [e for n, step in zip(whole, steps, strict=True) for e in (n // step, step)]
    part = image[(slice(None), *(slice(0, n) for n in whole))]
    means = part.reshape(len(image), *split).mean(axis=tuple(range(2, 2 + 2 * len(whole), 2)))
    spans = np.ptp(means.reshape(len(image), -1), axis=1)
    return bool((spans < least).all())


def tiles_of(experiment: Experiment, shape: tuple[int, ...]) -> Blocks:
    """Return the tiles that a canonical grid of `shape` is predicted in."""
    return Blocks(shape, tile_extent(experiment, shape), (0,) * len(shape))


@dataclass(frozen=True)
class Tiling:
    """The prediction of one image as work on its tiles.

    Attributes
    ----------
    model, mark
        The model file, and its fingerprint.
    experiment
        How it is asked.
    device
        Where it runs.
    facts
        The image, and how it lies on the canonical grid.
    target
        The finest level of the prediction.
    """

    model: Path
    mark: str
    experiment: Experiment
    device: str
    facts: Facts
    target: Path

    @property
    def tiles(self) -> Blocks:
        """The tiles of the canonical grid."""
        return tiles_of(self.experiment, Scale(self.facts.zoom).canonical_shape(self.facts.shape))

    def open(self) -> Callable[[int], dict[str, Any]]:
        """See `cellulus.blocks.crew.Work`."""
        predict = _load(self.model, self.mark, self.experiment, self.device)
        image = Canonical(self.facts.open_image(), Scale(self.facts.zoom), self.facts.normalisation)
        target, tiles = open_array(self.target, "r+"), self.tiles

        def do(index: int) -> dict[str, Any]:
            tile = tiles[index]
            said = predict(image, tile)
            if said is None:
                return {"skipped": True}
            with failures(self.target):
                target[(slice(None), *tile.core)] = said.astype(np.float16)
            return {"skipped": False}

        return do


@lru_cache(maxsize=1)
def _load(path: Path, mark: str, experiment: Experiment, device: str) -> Predictor:
    """Load a model, once per process however many images it is applied to."""
    return Predictor(models.load(path), experiment, device)
