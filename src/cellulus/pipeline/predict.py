"""The step from images and a model to predictions, tile by tile.

A tile is read with the margin that the network's view needs, and moves by whole strides: tiles
give what the whole would give, up to the rounding of the arithmetic. Memory is bounded by the
tile. Knows nothing of what the prediction means.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import zarr

from cellulus.blocks.crew import Alone, Crew
from cellulus.blocks.jobs import Job, finish
from cellulus.data import writer
from cellulus.data.arrays import failures
from cellulus.data.canonical import Canonical
from cellulus.nn import shapes
from cellulus.nn.device import arithmetic, choose_device
from cellulus.pipeline import model as models
from cellulus.pipeline.extents import tile_extent
from cellulus.pipeline.prediction import Facts
from cellulus.pipeline.results import Result, begin, groups, names_of, publish
from cellulus.pipeline.samples import canonical, common_kind, open_samples
from cellulus.progress import Progress, Silent
from cellulus.space import Block, Blocks, Scale, VoxelSize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from cellulus.experiment.sections import Experiment
    from cellulus.pipeline.samples import Sample
    from cellulus.runs import Run


def predict(
    experiment: Experiment,
    run: Run,
    *,
    model: Path | None = None,
    device: str = "auto",
    crew: Crew | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Apply a model to the images of an experiment.

    Parameters
    ----------
    experiment
        The settings.
    run
        Gets ``predictions/``: one OME-Zarr per image, float16, on the canonical grid.
    model
        The model file; by default the run's own.
    device
        As for `cellulus.pipeline.train.train`.
    crew
        Who works; this process by default.
    resume, overwrite
        Keep or replace predictions that are there already.
    progress
        One unit per tile.

    Returns
    -------
    paths
        Of the predictions, in the order of the images.

    Raises
    ------
    MissingError, InputError
        If the images or the model cannot be used.
    ModelError
        If the model is damaged, or made for other images or another method.
    ExistsError
        If there are predictions already and neither resume nor overwrite was asked for.
    StorageError
        If the disk is full or refuses.
    """
    path = model or run.model
    card = models.load(path).card
    samples = open_samples(experiment)
    ndim, inputs = common_kind([sample.volume for sample in samples])
    models.check_fit(path, card, experiment, ndim, inputs)
    mark = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    crew, listener = crew or Alone(), progress or Silent()

    def begun() -> Iterator[tuple[Result, Tiling]]:
        for sample in samples:
            facts = _look(sample, experiment, card, mark)
            target = run.predictions / f"{sample.volume.name}.zarr"
            tiles = tiles_of(experiment, Scale(facts.zoom).canonical_shape(facts.shape))
            spec = _spec(facts, experiment, tiles)
            result = begin(sample.volume.name, target, spec, resume=resume, overwrite=overwrite)
            array = result.pending.temporary / "0"
            yield result, Tiling(path, mark, experiment, device, facts, array)

    paths = []
    for group in groups(begun(), crew, lambda pair: len(pair[1].tiles)):
        made = [(result, tiling) for result, tiling in group if not result.complete]
        jobs = [Job(tiling, r.journal.stage("predict"), len(tiling.tiles)) for r, tiling in made]
        finish(jobs, crew, listener, f"predict {names_of([r for r, _ in made])}")
        for job, (result, _) in zip(jobs, made, strict=True):
            result.note(tiles=job.count, empty=_count_skipped(job))
        publish([result for result, _ in made], crew, listener)
        paths += [result.path for result, _ in group]
    return paths


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
        self.quarter = max(1, int(model.card.network.object_voxels / 4))
        self.place = choose_device(device)
        self.network = model.network.to(self.place)
        self.ask = experiment.method.inference(experiment.seed, experiment.predict.batch_size)

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
        target, tiles = zarr.open_array(self.target, mode="r+"), self.tiles

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


def _look(sample: Sample, experiment: Experiment, card: models.Card, mark: str) -> Facts:
    """Return what is to be noted of an image: all that its prediction depends on."""
    volume = sample.volume
    image = canonical(volume, experiment.data, card.network.object_voxels, card.normalisation)
    return Facts(
        image=volume.path,
        time=volume.time,
        channels=volume.channels,
        level=sample.level,
        shape=volume.shape,
        voxel_size=volume.voxel_size.values,
        unit=volume.voxel_size.unit,
        zoom=image.scale.zoom,
        object_voxels=card.network.object_voxels,
        low=image.normalisation.low,
        high=image.normalisation.high,
        method=card.method.name,
        model=mark,
    )


def _spec(facts: Facts, experiment: Experiment, tiles: Blocks) -> writer.Spec:
    """Return what is written: a chunk per tile and channel, so that each has one writer."""
    space = "zyx"[-len(facts.shape) :]
    size = tuple(v / z for v, z in zip(facts.voxel_size, facts.zoom, strict=True))
    names = experiment.method.channels(len(facts.shape))
    return writer.Spec(
        kind="image",
        axes="c" + space,
        shape=(len(names), *tiles.shape),
        dtype=np.dtype(np.float16),
        voxel_size=VoxelSize(size, facts.unit),
        translation=tuple((a - b) / 2 for a, b in zip(size, facts.voxel_size, strict=True)),
        chunks=(1, *tiles.core),
        shards=(len(names), *tiles.core),
        channel_names=names,
        attributes=facts.model_dump(mode="json") | {"predict": _how(experiment)},
        missing=math.nan,
    )


def _count_skipped(job: Job) -> int:
    """Return how many tiles were empty."""
    return sum(bool(job.stage.record(index)["skipped"]) for index in job.stage.done())


def _how(experiment: Experiment) -> dict[str, object]:
    """Return the settings that a prediction depends on, besides the model."""
    return {
        "method": experiment.method.model_dump(mode="json"),
        "seed": experiment.seed,
        "empty": experiment.predict.empty,
    }
