"""The step from images and a model to predictions, tile by tile.

A tile is read with the margin that the network's view needs, and moves by whole strides: tiles
give what the whole would give, up to the rounding of the arithmetic. Memory is bounded by the
tile. Knows nothing of what the prediction means.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch

from cellulus.data import writer
from cellulus.nn import shapes
from cellulus.nn.device import arithmetic, choose_device
from cellulus.pipeline import model as models
from cellulus.pipeline.extents import tile_extent
from cellulus.pipeline.prediction import Facts
from cellulus.pipeline.samples import canonical, common_kind, open_samples
from cellulus.progress import Progress, Silent
from cellulus.space import VoxelSize, blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from cellulus.data.canonical import Canonical
    from cellulus.experiment.sections import Experiment
    from cellulus.pipeline.samples import Sample
    from cellulus.runs import Run
    from cellulus.space import Block

    Tiles = Iterator[tuple[Block, NDArray[np.float32]]]


def predict(
    experiment: Experiment,
    run: Run,
    *,
    model: Path | None = None,
    device: str = "auto",
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
    loaded = models.load(path)
    samples = open_samples(experiment)
    ndim, inputs = common_kind([sample.volume for sample in samples])
    models.check_fit(path, loaded.card, experiment, ndim, inputs)
    mark = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    ask = predictor(loaded, experiment, device)
    paths = []
    for sample in samples:
        image, facts = _look(sample, experiment, loaded.card, mark)
        target = run.predictions / f"{sample.volume.name}.zarr"
        spec = _spec(facts, image, experiment)
        pending = writer.create(target, spec, resume=resume, overwrite=overwrite)
        if not pending.complete:
            _fill(pending, ask, image, experiment, progress or Silent())
        paths.append(target)
    return paths


def predictor(
    model: models.Model, experiment: Experiment, device: str = "auto"
) -> Callable[[Canonical], Tiles]:
    """Return what predicts an image, tile by tile.

    Parameters
    ----------
    model
        A trained network.
    experiment
        How it is asked.
    device
        Where it runs.

    Returns
    -------
    tiles
        Function of an image; yields blocks of its canonical grid with their prediction,
        ``(channels, *core)`` float32.
    """
    place = choose_device(device)
    network = model.network.to(place)
    ask = experiment.method.inference(experiment.seed, experiment.predict.batch_size)
    depth = model.card.network.depth
    margin = shapes.halo(depth)

    def tiles(image: Canonical) -> Tiles:
        core = tile_extent(experiment, image.shape)
        # Every tile, cut ones at the far edge too, is read at the same legal extent.
        extent = [shapes.legal_size(n + 2 * margin, depth) for n in core]
        for block in blocks(image.shape, core, (margin,) * len(core), clip=False):
            origin = tuple(part.start for part in block.outer)
            region = tuple(slice(a, a + n) for a, n in zip(origin, extent, strict=True))
            seen = torch.from_numpy(image.read(region)).to(place)
            with torch.inference_mode(), arithmetic(place, experiment.predict.precision):
                said = ask(network, seen, origin).cpu().numpy()
            inside = tuple(slice(0, part.stop - part.start) for part in block.core)
            yield block, said[(slice(None), *inside)]

    return tiles


def count_tiles(experiment: Experiment, shape: tuple[int, ...]) -> int:
    """Return how many tiles a canonical grid is predicted in."""
    return sum(1 for _ in blocks(shape, tile_extent(experiment, shape), (0,) * len(shape)))


def _look(
    sample: Sample, experiment: Experiment, card: models.Card, mark: str
) -> tuple[Canonical, Facts]:
    """Return the image as the network sees it, and what is to be noted of it."""
    volume = sample.volume
    image = canonical(volume, experiment.data, card.network.object_voxels, card.normalisation)
    facts = Facts(
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
    return image, facts


def _spec(facts: Facts, image: Canonical, experiment: Experiment) -> writer.Spec:
    """Return what is written: a chunk per tile and channel, so that each has one writer."""
    volume = image.volume
    size = tuple(v / z for v, z in zip(facts.voxel_size, facts.zoom, strict=True))
    names = experiment.method.channels(volume.ndim)
    tile = tile_extent(experiment, image.shape)
    return writer.Spec(
        kind="image",
        axes="c" + volume.space,
        shape=(len(names), *image.shape),
        dtype=np.dtype(np.float16),
        voxel_size=VoxelSize(size, volume.voxel_size.unit),
        translation=tuple((a - b) / 2 for a, b in zip(size, facts.voxel_size, strict=True)),
        chunks=(1, *tile),
        shards=(len(names), *tile),
        channel_names=names,
        attributes=facts.model_dump(mode="json") | {"predict": _how(experiment)},
    )


def _how(experiment: Experiment) -> dict[str, object]:
    """Return the settings that a prediction depends on, besides the model."""
    return {"method": experiment.method.model_dump(mode="json"), "seed": experiment.seed}


def _fill(
    pending: writer.Pending,
    ask: Callable[[Canonical], Tiles],
    image: Canonical,
    experiment: Experiment,
    progress: Progress,
) -> None:
    progress.start(f"predict {image.volume.name}", count_tiles(experiment, image.shape))
    for block, said in ask(image):
        pending.write((slice(None), *block.core), said.astype(np.float16))
        progress.advance()
    progress.finish()
    pending.publish()
