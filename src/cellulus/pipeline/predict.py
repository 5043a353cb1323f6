"""The step from images and a model to predictions (`tiling` says how one image is predicted)."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellulus.blocks.crew import Alone, Crew
from cellulus.blocks.jobs import Job, finish
from cellulus.data import writer
from cellulus.data.volume import Volume
from cellulus.errors import ExistsError
from cellulus.pipeline import model as models
from cellulus.pipeline.cap import fit_tile
from cellulus.pipeline.cuts import Subject
from cellulus.pipeline.marking import given, mark
from cellulus.pipeline.prediction import Facts
from cellulus.pipeline.results import Result, begin, groups, names_of, publish
from cellulus.pipeline.samples import canonical, common_kind, fingerprint, open_samples
from cellulus.pipeline.statistics import normalisation_of
from cellulus.pipeline.tiling import Tiling, tiles_of
from cellulus.progress import Progress, Silent
from cellulus.space import Blocks, Scale, VoxelSize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cellulus.data.normalise import Normalisation
    from cellulus.experiment.sections import Data, Experiment
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
        Gets ``predictions/``: one OME-Zarr per image, float16, on the canonical grid;
        ``NAME.percentiles.json`` of an image that is read in several blocks; and
        ``NAME.points.csv``, where the method decodes with points.
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
    crew, listener = crew or Alone(), progress or Silent()
    begun = begin_predictions(
        experiment, run, model=model, device=device, crew=crew,
        resume=resume, overwrite=overwrite, progress=listener,
    )  # fmt: skip
    paths = []
    for group in groups(begun, crew, lambda one: one.job().count):
        made = [one for one in group if not one.result.complete]
        what = names_of([one.result for one in made])
        finish([one.job() for one in made], crew, listener, f"predict {what}")
        if experiment.method.needs == "points":
            mark(made, crew, listener)
        for one in made:
            one.count()
        publish([one.result for one in made], crew, listener)
        paths += [one.result.path for one in group]
    return paths


@dataclass(frozen=True)
class Predicting:
    """The prediction of one image, being made.

    Attributes
    ----------
    result
        What becomes of it.
    tiling
        The work.
    sample
        The image, with the points that are given for it.
    """

    result: Result
    tiling: Tiling
    sample: Sample

    def job(self, part: range | None = None) -> Job:
        """Return the prediction of some tiles, by default of all."""
        return Job(self.tiling, self.result.journal.stage("predict"), len(self.tiling.tiles), part)

    def count(self) -> None:
        """Note how many tiles there are, and how many of them were empty."""
        stage, count = self.result.journal.stage("predict"), len(self.tiling.tiles)
        empty = sum(bool(stage.record(index)["skipped"]) for index in stage.done())
        self.result.note(tiles=count, empty=empty)


def begin_predictions(  # noqa: PLR0913 - all that predict is told, and one thing more
    experiment: Experiment,
    run: Run,
    *,
    model: Path | None = None,
    device: str = "auto",
    crew: Crew | None = None,
    fused: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Iterator[Predicting]:
    """Begin to predict each image, one after the other as they are asked for.

    Parameters
    ----------
    experiment, run, model, device, crew, resume, overwrite, progress
        As for `predict`; a large image is read to find its percentiles.
    fused
        Whether what is predicted goes again when it is segmented (`cellulus.pipeline.fuse`).

    Raises
    ------
    CellulusError
        As `predict` does.
    """
    path = model or run.model
    card = models.load(path).card
    samples = open_samples(experiment)
    ndim, inputs = common_kind([sample.volume for sample in samples])
    models.check_fit(path, card, experiment, ndim, inputs)
    # Tiles move by the strides of the network that there is, whichever the experiment would train.
    experiment = experiment.model_copy(update={"network": card.network})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    for sample in samples:
        target = run.predictions / f"{sample.volume.name}.zarr"
        if not (resume or overwrite):
            _refuse_existing(target)
        normalisation = card.normalisation or normalisation_of(
            sample.volume, experiment.data.percentiles, target.with_suffix(".percentiles.json"),
            crew=crew, resume=resume, progress=progress,
        )  # fmt: skip
        facts = _look(sample, experiment, card, digest, normalisation)
        facts = facts.model_copy(update={"fused": fused})
        tiled = fit_tile(experiment, Subject.of(facts, sample.volume))
        tiles = tiles_of(tiled, Scale(facts.zoom).canonical_shape(facts.shape))
        spec = _spec(facts, experiment, tiles, sample)
        result = begin(
            sample.volume.name, target, spec,
            resume=resume, overwrite=overwrite, store=experiment.output.store,
        )  # fmt: skip
        array = result.pending.temporary / "0"
        yield Predicting(result, Tiling(path, digest, tiled, device, facts, array), sample)


def _refuse_existing(target: Path) -> None:
    """Say that there is a prediction before the image is read, which may take hours."""
    if target.exists():
        raise ExistsError(
            target,
            expected="a new name",
            found="something of that name",
            remedy="choose another name, or ask to overwrite or resume",
        )


def _look(
    sample: Sample,
    experiment: Experiment,
    card: models.Card,
    digest: str,
    normalisation: Normalisation,
) -> Facts:
    """Return what is to be noted of an image: all that its prediction depends on."""
    volume = sample.volume
    image = canonical(volume, experiment.data, card.object_voxels, normalisation)
    return Facts(
        image=volume.path,
        time=volume.time,
        channels=volume.channels,
        level=sample.level,
        shape=volume.shape,
        voxel_size=volume.voxel_size.values,
        unit=volume.voxel_size.unit,
        zoom=image.scale.zoom,
        object_voxels=card.object_voxels,
        low=normalisation.low,
        high=normalisation.high,
        method=card.method.name,
        model=digest,
        tuned=card.tuned,
    )


def _spec(facts: Facts, experiment: Experiment, tiles: Blocks, sample: Sample) -> writer.Spec:
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
        attributes=facts.model_dump(mode="json") | {"predict": _how(experiment, tiles, sample)},
        missing=math.nan,
    )


def _how(experiment: Experiment, tiles: Blocks, sample: Sample) -> dict[str, object]:
    """Return the settings that a prediction, and points beside it, depend on besides the model."""
    method = experiment.method
    how: dict[str, object] = {
        "method": method.model_dump(mode="json", include={"name", *method.asked_with}),
        "seed": experiment.seed,
        "empty": experiment.predict.empty,
        "tta": experiment.predict.tta,
        "tile": list(tiles.core),
    }
    if method.needs == "points":
        how["points"] = _origin(sample, experiment.data)
    return how


def _origin(sample: Sample, data: Data) -> str:
    """Return where the points of an image are from, in short; reads a table, not labels."""
    if sample.points is None:
        return f"found, data.marker = {data.marker!r}"
    if isinstance(sample.points, Volume):
        return f"labels {fingerprint(sample.points)}"
    places = given(sample, data).positions
    return f"table {hashlib.sha256(places.tobytes()).hexdigest()[:16]}"
