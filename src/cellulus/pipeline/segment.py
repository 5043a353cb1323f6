"""The step from predictions to labels.

Blocks are decoded one by one (`decoding`), and joined by the anchors of their objects afterwards
(`labelling`). Knows nothing of how a method decodes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellulus.blocks.crew import Alone, Crew
from cellulus.blocks.jobs import Job, finish
from cellulus.errors import MissingError, ModelError
from cellulus.pipeline.cap import fit_block
from cellulus.pipeline.cuts import Subject
from cellulus.pipeline.decoding import (
    Decoding,
    SurveyWork,
    grid_of,
    is_local,
    smallest,
    survey_grids,
    tuned,
)
from cellulus.pipeline.labelling import Labelling, label_spec
from cellulus.pipeline.prediction import Prediction, points_path
from cellulus.pipeline.results import (
    WITHOUT,
    Result,
    begin,
    gaps_of,
    groups,
    names_of,
    publish,
)
from cellulus.pipeline.samples import open_samples
from cellulus.pipeline.stitching import Stitching
from cellulus.progress import Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cellulus.experiment.sections import Experiment
    from cellulus.ops.joining import Extents
    from cellulus.runs import Run
    from cellulus.space import Blocks


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
    begun = (
        begin_segmentation(path, experiment, run, resume=resume, overwrite=overwrite)
        for path in sources
    )
    paths = []
    for group in groups(begun, crew, _count):
        made = [one for one in group if not one.result.complete]
        _label(made, crew, listener)
        conclude(made, crew, listener)
        paths += [one.result.path for one in group]
    return paths


@dataclass(frozen=True)
class Segmentation:
    """The segmentation of one image, being made.

    Attributes
    ----------
    result
        What becomes of it.
    prediction
        What is segmented.
    grid
        The blocks, with the decoder's halo.
    decoding
        The work.
    smallest
        Objects below are dropped [voxel].
    """

    result: Result
    prediction: Prediction
    grid: Blocks
    decoding: Decoding
    smallest: float

    @property
    def labelling(self) -> Labelling:
        """Where the labels of blocks are kept until they are joined."""
        return Labelling.of(self.result, self.grid)

    @property
    def stitching(self) -> Stitching | None:
        """What joins blocks that can only be decoded alone; None where no block is."""
        if is_local(self.prediction, self.decoding.experiment) or len(self.grid) == 1:
            return None
        facts = self.prediction.facts
        diameter = [facts.object_voxels / z for z in facts.zoom]
        return Stitching.of(self.decoding, self.grid, self.result.journal.folder, diameter)

    def surveys(self) -> list[Job]:
        """Return what must be found out of the whole image, in order."""
        grids = survey_grids(self.prediction, self.decoding.experiment)
        return [
            Job(SurveyWork(self.decoding, number, grid), self.decoding.stage(number), len(grid))
            for number, grid in enumerate(grids)
        ]

    def keep(self, extents: Extents) -> NDArray[np.bool_]:
        """Return which objects are large enough."""
        return np.asarray(extents.sizes >= self.smallest)

    def join(self) -> Labelling:
        """Join the blocks, tell what came of it, and return their labels, to be numbered."""
        labelling, stitching = self.labelling, self.stitching
        if stitching:
            total = stitching.join(labelling, self.keep, self.result)
        else:
            total = labelling.join(self.keep)
        total.report(self.result, "no object found")
        return labelling


def begin_segmentation(
    path: Path,
    experiment: Experiment,
    run: Run,
    *,
    growing: bool = False,
    resume: bool = False,
    overwrite: bool = False,
) -> Segmentation:
    """Begin to segment an image.

    Parameters
    ----------
    path
        Of its prediction.
    experiment, run, resume, overwrite
        As for `segment`.
    growing
        Whether the prediction is still being written, by whoever asks.

    Raises
    ------
    CellulusError
        As `segment` does.
    """
    prediction = Prediction.open(path)
    if not growing:
        prediction.require_embeddings()
    facts = prediction.facts
    if facts.method != experiment.method.name:
        raise ModelError(
            prediction.name,
            expected=f"a prediction of {experiment.method.name}",
            found=f"one of {facts.method}",
            remedy="predict with a model of this method",
        )
    experiment = tuned(experiment, facts)
    experiment = fit_block(experiment, Subject.of(facts, prediction.image))
    grid = grid_of(prediction, experiment)
    if experiment.method.needs == "points" and prediction.points is None:
        raise MissingError(
            points_path(path), expected="the points of the image's cells", found="no such file",
            remedy="predict again, with --overwrite",
        )  # fmt: skip
    made_by = experiment.method.model_dump(mode="json") | experiment.segment.model_dump(mode="json")
    notes = facts.model_dump(mode="json") | {"segment": made_by, WITHOUT: gaps_of(str(path))}
    if prediction.points is not None:  # with others, the labels are made anew
        notes["points"] = hashlib.sha256(prediction.points.tobytes()).hexdigest()[:16]
    spec = label_spec(grid, prediction.image.voxel_size, notes)
    target = run.segments / f"{prediction.name}.zarr"
    result = begin(
        prediction.name, target, spec,
        resume=resume, overwrite=overwrite, store=experiment.output.store,
    )  # fmt: skip
    decoding = Decoding(path, experiment, result.journal.folder)
    return Segmentation(result, prediction, grid, decoding, smallest(experiment, facts))


def _count(one: Segmentation) -> int:
    return 0 if one.result.complete else len(one.grid)


def _label(made: Sequence[Segmentation], crew: Crew, progress: Progress) -> None:
    """Survey, then label the blocks of images, together."""
    if not made:
        return
    what = names_of([one.result for one in made])
    for surveys in zip(*(one.surveys() for one in made), strict=True):
        finish(surveys, crew, progress, f"survey {what}")
    jobs = [one.labelling.label(one.stitching or one.decoding, one.result) for one in made]
    finish(jobs, crew, progress, f"segment {what}")
    jobs = [one.stitching.pair(one.result) for one in made if one.stitching]
    finish(jobs, crew, progress, f"stitch {what}")


def conclude(made: Sequence[Segmentation], crew: Crew, progress: Progress) -> None:
    """Join, number and publish images whose blocks are labelled.

    Parameters
    ----------
    made
        The images.
    crew
        Who works; is told what had to be left out.
    progress
        One unit per block.

    Raises
    ------
    StorageError
        If the disk is full or refuses.
    """
    if not made:
        return
    jobs = [one.join().number(one.result) for one in made]
    finish(jobs, crew, progress, f"number {names_of([one.result for one in made])}")
    publish([one.result for one in made], crew, progress)


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
