"""The step from predictions to labels.

Blocks are decoded one by one (`decoding`), and joined by the anchors of their objects afterwards
(`labelling`). Knows nothing of how a method decodes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellulus.blocks.crew import Alone, Crew
from cellulus.blocks.jobs import Job, finish
from cellulus.errors import MissingError, ModelError
from cellulus.pipeline.decoding import Decoding, SurveyWork, grid_of, survey_grids
from cellulus.pipeline.labelling import Labelling, label_spec
from cellulus.pipeline.prediction import Prediction
from cellulus.pipeline.results import Result, begin, groups, names_of, publish
from cellulus.pipeline.samples import open_samples
from cellulus.progress import Progress, Silent
from cellulus.space import Blocks, ball_volume

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cellulus.experiment.sections import Experiment
    from cellulus.ops.joining import Extents
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
    notes = facts.model_dump(mode="json") | {"segment": made_by}
    spec = label_spec(grid, prediction.image.voxel_size, notes)
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
