"""How long an experiment will take: one tile and one block are really done, and counted up.

Decoding depends on what there is to decode. So it is tried on a prediction that is there, else on
the tile that a trained model has just predicted; without a model nothing can be said of it. Writes
nothing. Training is not tried out.
"""

from __future__ import annotations

import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from cellulus.errors import InputError
from cellulus.methods.decoder import Observation
from cellulus.pipeline import cap
from cellulus.pipeline import model as models
from cellulus.pipeline.cuts import Subject
from cellulus.pipeline.decoding import grid_of, observe
from cellulus.pipeline.prediction import Prediction
from cellulus.pipeline.reshaping import reshape
from cellulus.pipeline.sample_tile import SampleTile, middle, untrained
from cellulus.pipeline.samples import open_samples

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cellulus.data.volume import Volume
    from cellulus.experiment.sections import Experiment
    from cellulus.pipeline.plan import Plan

T = TypeVar("T")

PATIENT = 2.0
"""What took less is done again: the first time includes what happens only once [s]."""
FEW = 32
"""Edge of the part that is decoded beforehand, so that nothing is compiled while it is timed."""


@dataclass(frozen=True)
class Asked:
    """What is to be tried out.

    Attributes
    ----------
    model
        A model file; without one a network that has learnt nothing stands in for it.
    predictions
        Folder that may hold predictions of the images.
    device
        Where the network runs.
    workers
        Processes that share the work.
    """

    model: Path | None
    predictions: Path
    device: str
    workers: int


@dataclass(frozen=True)
class Trial:
    """One step that was tried out.

    Attributes
    ----------
    name
        Of the step, as in the plan.
    on
        What it was tried on.
    probed
        How long that took [s]; None where it could not be tried.
    seconds
        How long all images will take, about [s].
    note
        What to know of it.
    """

    name: str
    on: str
    probed: float | None
    seconds: float | None
    note: str


@dataclass(frozen=True)
class Probe:
    """What was tried out.

    Attributes
    ----------
    machine
        Where.
    workers
        Processes that the work was divided by.
    steps
        In order.
    """

    machine: str
    workers: int
    steps: tuple[Trial, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as what JSON can hold."""
        return asdict(self)


def try_out(experiment: Experiment, plan: Plan, asked: Asked) -> Probe:
    """Predict a tile and decode a block from the middle of the largest image.

    Parameters
    ----------
    experiment
        The settings.
    plan
        How much of everything there is to do.
    asked
        What to try, and where.

    Raises
    ------
    InputError
        If there is no image whose objects' width is known.
    CellulusError
        If the image cannot be read, or the model not be used.
    """
    known = {image.name for image in plan.images if image.steps}
    volumes = [s.volume for s in open_samples(experiment) if s.volume.name in known]
    if not volumes:
        raise InputError(
            "--probe",
            expected="an image to find objects in, whose object diameter is known",
            found="none",
            remedy="set data.object_diameter",
        )
    volume = max(volumes, key=lambda v: float(np.prod(v.shape)))
    told = _Told(plan, min(asked.workers, _cores()))
    made = SampleTile.of(experiment, volume, _model(experiment, volume, asked), asked.device)
    said = told.predict(made, asked)
    stored = asked.predictions / f"{volume.name}.zarr"
    if stored.exists():
        prediction = Prediction.open(stored)
        grid = grid_of(prediction, cap.fit_block(experiment, Subject.of(prediction.facts, volume)))
        block = grid[middle(grid)]
        part, reading = _timed(lambda: observe(prediction, block.outer))
        told.decode(
            experiment, part, prediction.facts.object_voxels, f"a block of {volume.name}", reading
        )
    elif asked.model:
        told.decode(experiment, made.observe(said), made.width, f"a tile of {volume.name}")
    else:
        told.leave_open()
    return Probe(_machine(asked), asked.workers, tuple(told.trials))


class _Told:
    """What was found so far; counts it up by the voxels that a step reads."""

    def __init__(self, plan: Plan, sharing: int) -> None:
        self.plan, self.sharing = plan, sharing
        self.trials: list[Trial] = []

    def add(self, name: str, on: str, seconds: float, voxels: int, note: str) -> None:
        total = sum(i.steps[name].cut.voxels for i in self.plan.images if i.steps)
        whole = seconds / voxels * total / self.sharing
        self.trials.append(Trial(name, on, seconds, whole, note))

    def predict(self, made: SampleTile, asked: Asked) -> NDArray[np.float32]:
        """Predict a tile, with the share of the cores that a worker has."""
        threads = torch.get_num_threads()
        torch.set_num_threads(max(1, threads // asked.workers))
        try:
            said, seconds = _timed(made.predict)
        finally:
            torch.set_num_threads(threads)
        note = f"by {asked.model}" if asked.model else "by an untrained network of the same size"
        cut = next(i for i in self.plan.images if i.name == made.volume.name).steps["predict"].cut
        self.add("predict", f"a tile of {made.volume.name}", seconds, cut.voxels // cut.count, note)
        return said

    def decode(
        self, experiment: Experiment, part: Observation, width: float, on: str, reading: float = 0
    ) -> None:
        """Survey, decode and post-process a part of the image."""
        spacing = part.spacing
        voxels, ndim = part.image[0].size, len(spacing)
        few = (slice(None), *(slice(0, FEW),) * ndim)
        once = Observation(part.prediction[few], part.image[few], spacing, part.origin)
        reshape(
            experiment.method.decoder(ndim, width)(once).labels,
            experiment.postprocess, once.image.mean(axis=0), spacing, width,
        )  # fmt: skip
        decoder = experiment.method.decoder(ndim, width)
        everywhere = (slice(None),) * ndim
        for number in range(1, len(decoder.surveys) + 1):
            said, seconds = _timed(lambda: decoder.survey(part, everywhere))
            decoder.learn([said])
            self.add(f"survey {number}", on, reading + seconds, voxels, "")
        objects, seconds = _timed(lambda: decoder(part))
        note = f"{len(objects.anchors)} objects there; writing comes on top"
        self.add("segment", on, reading + seconds, voxels, note)
        _, seconds = _timed(
            lambda: reshape(
                objects.labels, experiment.postprocess, part.image.mean(axis=0), spacing, width
            )
        )
        note = "reading, writing and the table of objects come on top"
        self.add("postprocess", on, seconds, voxels, note)

    def leave_open(self) -> None:
        """Say that decoding cannot be tried."""
        note = "known once there is a model: an untrained network finds nothing to segment"
        first = next(image for image in self.plan.images if image.steps)
        for name in first.steps:
            if name != "predict":
                self.trials.append(Trial(name, "", None, None, note))


def _model(experiment: Experiment, volume: Volume, asked: Asked) -> models.Model:
    """Return the model, or one of the same size that has learnt nothing."""
    if asked.model is None:
        return untrained(experiment, volume)
    model = models.load(asked.model)
    models.check_fit(asked.model, model.card, experiment, volume.ndim, len(volume.channels))
    return model


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """Do something, twice if it is quick, and return what came of it and how long it took [s]."""
    for _ in range(2):
        began = time.perf_counter()
        made = work()
        seconds = time.perf_counter() - began
        if seconds > PATIENT:
            break
    return made, seconds


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _machine(asked: Asked) -> str:
    name = platform.processor() or platform.machine()
    if (file := Path("/proc/cpuinfo")).exists():
        lines = file.read_text().splitlines()
        name = next((x.split(": ", 1)[1] for x in lines if x.startswith("model name")), name)
    if asked.device.startswith("cuda") or (asked.device == "auto" and torch.cuda.is_available()):
        name = f"{torch.cuda.get_device_name(None)}, {name}"
    workers = f"{asked.workers} worker{'s' * (asked.workers > 1)}"
    return f"{name}, {_cores()} cores, {workers}"
