"""A prediction that is decoded block by block: surveys of the whole first, then each block alone.

A decoder that is local, given a block and a margin, is right about every voxel of the block, and
names an object by its anchor, the same in every block that sees it. Another takes what it is given
for the whole, and its blocks must be stitched. Knows nothing of how a method decodes, or of what
becomes of the labels of a block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus.blocks.journal import Journal
from cellulus.files import read_arrays, write_arrays
from cellulus.methods.decoder import Decoder, Observation
from cellulus.ops.joining import compact
from cellulus.pipeline.extents import seen_around, seen_from
from cellulus.pipeline.prediction import Prediction
from cellulus.space import ball_volume

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cellulus.blocks.journal import Stage
    from cellulus.experiment.sections import Experiment
    from cellulus.pipeline.prediction import Facts
    from cellulus.space import Block, Blocks, Region


SMALLEST = 0.1
"""Smallest object where none is set or tuned [volume of a ball of the object diameter]."""


@dataclass(frozen=True)
class Decoding:
    """A prediction that is decoded block by block.

    Attributes
    ----------
    path
        Of the prediction.
    experiment
        The settings, `tuned`.
    folder
        Of the journal, where the surveys left what they found.
    known
        How much of that there is when a part of the image is decoded before all is surveyed:
        a worker that opened this when less was known must open it again.
    """

    path: Path
    experiment: Experiment
    folder: Path
    known: int = 0

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
            decoder.learn([read_arrays(path) for path in self.stage(number).parts()])
        return decoder

    def stage(self, number: int) -> Stage:
        """Return the stage that keeps what the blocks had to say to a survey."""
        return Journal(self.folder).stage(f"survey-{number}")


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
        stage = self.decoding.stage(self.number)

        def do(index: int) -> dict[str, Any]:
            block = self.grid[index]
            core = open_ended(block.core, self.grid.shape)
            found = decoder.survey(observe(prediction, block.outer, blind=True), core)
            write_arrays(stage.part(index), **found)
            return {}

        return do


def open_ended(core: Region, shape: tuple[int, ...]) -> Region:
    """Return a block whose slices are open where the image ends."""
    return tuple(
        slice(part.start or None, part.stop if part.stop < n else None)
        for part, n in zip(core, shape, strict=True)
    )


def tuned(experiment: Experiment, facts: Facts) -> Experiment:
    """Return the experiment with thresholds that are "auto" as they were tuned with the model."""
    segment, least = experiment.segment, experiment.segment.min_size
    if least == "auto":
        least = facts.tuned.get("min_size", SMALLEST)
    return experiment.model_copy(
        update={
            "method": experiment.method.tuned(facts.tuned),
            "segment": segment.model_copy(update={"min_size": least}),
        }
    )


def smallest(experiment: Experiment, facts: Facts) -> float:
    """Return the size of the smallest object that is kept [voxel]; the experiment is `tuned`."""
    ball = ball_volume(facts.object_voxels, len(facts.zoom)) / math.prod(facts.zoom)
    return float(experiment.segment.min_size) * ball


def decoder_of(prediction: Prediction, experiment: Experiment) -> Decoder:
    """Return what decodes a prediction."""
    facts = prediction.facts
    return experiment.method.decoder(len(facts.shape), facts.object_voxels)


def is_local(prediction: Prediction, experiment: Experiment) -> bool:
    """Return whether what a block holds depends only on what lies around it."""
    return math.isfinite(decoder_of(prediction, experiment).halo)


def grid_of(prediction: Prediction, experiment: Experiment) -> Blocks:
    """Return the blocks that a prediction is decoded in, with what is seen around them [voxel]."""
    facts, halo = prediction.facts, decoder_of(prediction, experiment).halo
    around = seen_around(halo, facts.object_voxels)
    return seen_from(experiment, facts.shape, facts.zoom, around)


def survey_grids(prediction: Prediction, experiment: Experiment) -> list[Blocks]:
    """Return the blocks of each survey, with the halo that it needs [voxel]."""
    facts, surveys = prediction.facts, decoder_of(prediction, experiment).surveys
    return [seen_from(experiment, facts.shape, facts.zoom, halo) for halo in surveys]


def observe(prediction: Prediction, region: Region, *, blind: bool = False) -> Observation:
    """Return what a decoder sees of a part of the image's grid.

    Parameters
    ----------
    prediction
        With its image.
    region
        Slices with a start and a stop [voxel].
    blind
        Whether the intensities are left unread and stand as zeros, as surveys are content with.
    """
    shape = (len(prediction.facts.channels), *(part.stop - part.start for part in region))
    zeros = np.broadcast_to(np.float32(0), shape)
    return Observation(
        prediction=prediction.read(region),
        image=zeros if blind else prediction.read_image(region),
        spacing=prediction.facts.zoom,
        origin=tuple(part.start for part in region),
        points=prediction.points,
    )
