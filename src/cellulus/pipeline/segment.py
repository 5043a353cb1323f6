"""The step from predictions to labels.

A decoder is local: given a block and a margin, it is right about every voxel of the block, and it
names an object by its anchor, the same in every block that sees it. So blocks are decoded one by
one and joined by anchors afterwards (`labelling`). Knows nothing of how a method decodes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus.blocks.crew import Alone, Crew
from cellulus.blocks.jobs import Job, finish
from cellulus.blocks.shards import fit_shards
from cellulus.data import writer
from cellulus.data.arrays import EDGES
from cellulus.errors import MissingError, ModelError
from cellulus.files import write_arrays
from cellulus.methods.base import Decoder, Observation
from cellulus.ops.joining import Extents, compact
from cellulus.pipeline.extents import block_extent
from cellulus.pipeline.labelling import Labelling
from cellulus.pipeline.prediction import Prediction
from cellulus.pipeline.results import Result, begin, groups, names_of, publish
from cellulus.pipeline.samples import open_samples
from cellulus.progress import Progress, Silent
from cellulus.space import Block, Blocks, Region, ball_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cellulus.experiment.sections import Experiment
    from cellulus.runs import Run


def segment(
    experiment: Experiment,
    run: Run,
    *,
    predictions: Sequence[Path] | None = None,
    crew: Crew | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Group the voxels of predictions into objects.

    Parameters
    ----------
    experiment
        The settings.
    run
        ``predictions/`` is read, ``segments/`` is written: one OME-Zarr per image.
    predictions
        Predictions to read instead of those of the experiment's images.
    crew
        Who works; this process by default.
    resume, overwrite
        Keep or replace labels that are there already.
    progress
        One unit per block.

    Returns
    -------
    paths
        Of the labels, in the order of the predictions.

    Raises
    ------
    MissingError
        If an image has no prediction, or is gone.
    InputError, ModelError
        If something is no prediction, or one of another method.
    ExistsError
        If there are labels already and neither resume nor overwrite was asked for.
    StorageError
        If something cannot be read or written.
    """
    sources = _of_images(experiment, run) if predictions is None else predictions
    crew, listener = crew or Alone(), progress or Silent()
    works = (_begin(path, experiment, run, resume=resume, overwrite=overwrite) for path in sources)
    paths = []
    for group in groups(works, crew, _count):
        _finish([work for work in group if not work.result.complete], crew, listener)
        paths += [work.result.path for work in group]
    return paths


@dataclass(frozen=True)
class Decoding:
    """A prediction that is decoded block by block.

    Attributes
    ----------
    path
        Of the prediction.
    experiment
        The settings.
    folder
        Where the surveys left what they found.
    """

    path: Path
    experiment: Experiment
    folder: Path

    def open(self) -> Callable[[Block], tuple[NDArray[np.uint32], NDArray[np.int64]]]:
        """See `cellulus.pipeline.labelling.Source`."""
        prediction = Prediction.open(self.path)
        decoder = self.learned(prediction, len(decoder_of(prediction, self.experiment).surveys))

        def decode(block: Block) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
            observation = observe(prediction, block.outer)
            if np.isnan(observation.prediction).all():  # empty
                shape = observation.image.shape[1:]
                return np.zeros(shape, np.uint32)[block.inner], np.zeros((0, len(shape)), np.int64)
            objects = decoder(observation)
            return compact(objects.labels[block.inner], objects.anchors)

        return decode

    def learned(self, prediction: Prediction, surveys: int) -> Decoder:
        """Return the decoder, which has learnt from so many surveys."""
        decoder = decoder_of(prediction, self.experiment)
        for number in range(surveys):
            paths = sorted(self.parts(number).glob("*.npz"))
            decoder.learn([_load(path) for path in paths])
        return decoder

    def parts(self, number: int) -> Path:
        """Return the folder of what the blocks had to say to a survey."""
        return self.folder / f"survey-{number}-parts"


@dataclass(frozen=True)
class SurveyWork:
    """Asks every block what a decoder must know of the whole image.

    Attributes
    ----------
    decoding
        What is decoded.
    number
        Which survey, from 0.
    grid
        The blocks, with the halo of the survey.
    """

    decoding: Decoding
    number: int
    grid: Blocks

    def open(self) -> Callable[[int], dict[str, Any]]:
        """See `cellulus.blocks.crew.Work`."""
        prediction = Prediction.open(self.decoding.path)
        decoder = self.decoding.learned(prediction, self.number)
        folder = self.decoding.parts(self.number)

        def do(index: int) -> dict[str, Any]:
            block = self.grid[index]
            core = open_ended(block.core, self.grid.shape)
            found = decoder.survey(observe(prediction, block.outer), core)
            write_arrays(folder / f"{index}.npz", **found)
            return {}

        return do


def open_ended(core: Region, shape: tuple[int, ...]) -> Region:
    """Return a block whose slices are open where the image ends."""
    return tuple(
        slice(part.start or None, part.stop if part.stop < n else None)
        for part, n in zip(core, shape, strict=True)
    )


def decoder_of(prediction: Prediction, experiment: Experiment) -> Decoder:
    """Return what decodes a prediction."""
    facts = prediction.facts
    return experiment.method.decoder(len(facts.shape), facts.object_voxels)


def grid_of(prediction: Prediction, experiment: Experiment) -> Blocks:
    """Return the blocks that a prediction is decoded in, with the decoder's halo [voxel]."""
    halo = decoder_of(prediction, experiment).halo
    if math.isinf(halo):
        shape = prediction.facts.shape
        return Blocks(shape, shape, (0,) * len(shape))
    return _seeing(halo, prediction, experiment)


def survey_grids(prediction: Prediction, experiment: Experiment) -> list[Blocks]:
    """Return the blocks of each survey, with the halo that it needs [voxel]."""
    surveys = decoder_of(prediction, experiment).surveys
    return [_seeing(halo, prediction, experiment) for halo in surveys]


def _seeing(halo: float, prediction: Prediction, experiment: Experiment) -> Blocks:
    facts = prediction.facts
    around = tuple(math.ceil(halo / z) + 1 if halo else 0 for z in facts.zoom)
    return Blocks(facts.shape, block_extent(experiment, facts.shape), around)


def observe(prediction: Prediction, region: Region) -> Observation:
    """Return what a decoder sees of a part of the image's grid."""
    return Observation(
        prediction=prediction.read(region),
        image=prediction.read_image(region),
        spacing=prediction.facts.zoom,
        origin=tuple(part.start for part in region),
    )


@dataclass(frozen=True)
class _Work:
    """The segmentation of one image."""

    result: Result
    prediction: Prediction
    grid: Blocks
    decoding: Decoding
    smallest: float

    @property
    def surveys(self) -> list[Job]:
        """What must be found out of the whole image, in order."""
        grids = survey_grids(self.prediction, self.decoding.experiment)
        works = [SurveyWork(self.decoding, number, grid) for number, grid in enumerate(grids)]
        stages = [self.result.journal.stage(f"survey-{work.number}") for work in works]
        return [Job(w, s, len(w.grid)) for w, s in zip(works, stages, strict=True)]

    def keep(self, extents: Extents) -> NDArray[np.bool_]:
        """Return which objects are large enough."""
        return np.asarray(extents.sizes >= self.smallest)


def _begin(path: Path, experiment: Experiment, run: Run, *, resume: bool, overwrite: bool) -> _Work:
    prediction = Prediction.open(path)
    facts = prediction.facts
    if facts.method != experiment.method.name:
        raise ModelError(
            prediction.name,
            expected=f"a prediction of {experiment.method.name}",
            found=f"one of {facts.method}",
            remedy="predict with a model of this method",
        )
    grid = grid_of(prediction, experiment)
    made_by = experiment.method.model_dump(mode="json") | experiment.segment.model_dump(mode="json")
    notes = {"segment": made_by, "cut": list(grid.core)}
    chunks, shards = fit_shards(grid.shape, grid.core, *EDGES[len(grid.shape)])
    spec = writer.Spec(
        kind="labels",
        axes=prediction.image.space,
        shape=facts.shape,
        dtype=np.dtype(np.uint32),
        voxel_size=prediction.image.voxel_size,
        chunks=chunks,
        shards=shards,
        attributes=facts.model_dump(mode="json") | notes,
    )
    target = run.segments / f"{prediction.name}.zarr"
    result = begin(prediction.name, target, spec, resume=resume, overwrite=overwrite)
    decoding = Decoding(path, experiment, result.journal.folder)
    ball = ball_volume(facts.object_voxels, len(facts.zoom)) / math.prod(facts.zoom)
    return _Work(result, prediction, grid, decoding, experiment.segment.min_size * ball)


def _count(work: _Work) -> int:
    return 0 if work.result.complete else len(work.grid)


def _finish(works: Sequence[_Work], crew: Crew, progress: Progress) -> None:
    """Survey, decode, join, number and publish images together."""
    if not works:
        return
    what = names_of([work.result for work in works])
    for surveys in zip(*(work.surveys for work in works), strict=True):
        finish(surveys, crew, progress, f"survey {what}")
    labellings = [Labelling.of(work.result, work.grid) for work in works]
    pairs = list(zip(works, labellings, strict=True))
    jobs = [labelling.label(work.decoding, work.result) for work, labelling in pairs]
    finish(jobs, crew, progress, f"segment {what}")
    for work, labelling in pairs:
        labelling.join(work.keep).report(work.result, "no object found")
    jobs = [labelling.number(work.result) for work, labelling in pairs]
    finish(jobs, crew, progress, f"number {what}")
    publish([work.result for work in works], crew, progress)


def _load(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path) as found:
        return dict(found)


def _of_images(experiment: Experiment, run: Run) -> list[Path]:
    """Return the predictions of the experiment's images: others may lie there from before."""
    names = [sample.volume.name for sample in open_samples(experiment)]
    paths = [run.predictions / f"{name}.zarr" for name in names]
    absent = [path.name for path in paths if not path.exists()]
    if absent:
        raise MissingError(
            run.predictions,
            expected="a prediction of every image",
            found=f"none of {', '.join(absent[:5])}",
            remedy="run predict first",
        )
    return paths
