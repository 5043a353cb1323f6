"""The step from images to a model.

Crops come from every training image but those kept aside. The loss on these decides which model
is the best; where they are annotated, the objects found in them do. Written at every validation:
the best model, the last one, the state to resume from.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from cellulus.errors import InputError
from cellulus.pipeline import model as models
from cellulus.pipeline.cap import fit_training
from cellulus.pipeline.interrupts import interruptible
from cellulus.pipeline.learning import VALIDATION_BATCHES, Learning, make_fabric
from cellulus.pipeline.material import card_of, fingerprints, open_parts, split
from cellulus.pipeline.state import History, load_history, restore, save_state
from cellulus.pipeline.tensorboard import TensorBoard
from cellulus.pipeline.tuning import Tuning
from cellulus.progress import Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lightning_fabric import Fabric

    from cellulus.data.batches import Batch
    from cellulus.data.crops import Crops
    from cellulus.experiment.sections import Experiment
    from cellulus.runs import Run

LOG_EVERY = 10
"""Steps whose mean loss makes one line of the log."""
SHOWN = 50
"""Steps whose mean loss is shown while it runs."""
STALE = 3
"""Validations without a better model that are no accident any more."""

_log = logging.getLogger(__name__)


def train(
    experiment: Experiment,
    run: Run,
    *,
    device: str = "auto",
    resume: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Learn a network from the images of an experiment.

    Parameters
    ----------
    experiment
        The settings.
    run
        Gets ``model.safetensors`` (the best), ``state/`` (the last) and ``log.jsonl``.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    resume
        Go on from ``state/``; the result is that of a training that was never cut.
    progress
        One unit per step, with the loss.

    Returns
    -------
    model
        Path of the best model.

    Raises
    ------
    MissingError, InputError
        If the images cannot be learnt from.
    StorageError
        If the disk is full or refuses; the last state that was written stays.
    KeyboardInterrupt
        If the user interrupts; the state is saved first.
    """
    fabric = make_fabric(experiment, device)
    work = partial(_train, experiment=experiment, run=run, resume=resume)
    if experiment.train.devices > 1:
        fabric.launch(partial(work, progress=Silent()))  # what listens stays in this process
    else:
        work(fabric, progress=progress or Silent())
    return run.model


def _train(
    fabric: Fabric, experiment: Experiment, run: Run, resume: bool, progress: Progress
) -> None:
    parts = open_parts(experiment)
    images = [part.image for part in parts]
    card = card_of(experiment, images)
    if fabric.is_global_zero:
        run.record_data(fingerprints(parts))
    sources = split(experiment, parts)
    experiment = fit_training(experiment, card.ndim, card.inputs)
    learning = Learning(experiment, card, fabric)
    history = (restore(run, learning, fabric.device) if resume else None) or History()
    if history.is_over(experiment.train.steps, experiment.train.patience):
        return
    is_shown = experiment.train.tensorboard and fabric.is_global_zero
    board = TensorBoard(run.folder / "tensorboard") if is_shown else None
    is_drawn = experiment.method.needs == "masks"
    tuning = Tuning(experiment, sources[1].parts) if is_drawn else None
    loop = _Loop(experiment, run, card, learning, history, progress, board, tuning)
    loop.go(*sources)


def is_trained(experiment: Experiment, run: Run) -> bool:
    """Return whether the training of a run came to its end."""
    history = load_history(run) if run.model.exists() else None
    settings = experiment.train
    return history is not None and history.is_over(settings.steps, settings.patience)


@dataclass
class _Loop:
    experiment: Experiment
    run: Run
    card: models.Card
    learning: Learning
    history: History
    progress: Progress
    board: TensorBoard | None = None
    tuning: Tuning | None = None

    def go(self, crops: Crops, aside: Crops) -> None:
        """Do the remaining steps."""
        settings, history = self.experiment.train, self.history
        share = range(self.learning.fabric.global_rank, settings.batch_size, settings.devices)
        held = [aside.batch(n, range(settings.batch_size)) for n in range(VALIDATION_BATCHES)]
        steps = range(history.step, settings.steps)
        self.progress.start("train", settings.steps)
        self.progress.advance(history.step)
        latest: deque[float] = deque(maxlen=SHOWN)
        began = time.perf_counter()
        with interruptible() as is_interrupted:
            for step, batch in crops.prefetch(steps, share, settings.workers):
                loss = self.learning.step(step, batch)
                latest.append(loss)
                history.recent.append(loss)
                history.step = step + 1
                self.progress.advance(loss=float(np.mean(latest)))
                if history.step % LOG_EVERY == 0 or history.step == settings.steps:
                    rate = (history.step - steps.start) / (time.perf_counter() - began)
                    self._record(loss=float(np.mean(history.recent)), rate=rate)
                    history.recent.clear()
                is_cut = self.learning.agree(is_interrupted())
                is_last = history.step == settings.steps
                if is_last or history.step % settings.validate_every == 0:
                    self._validate(held)
                elif is_cut:
                    self._save_state()
                if is_cut or history.is_over(settings.steps, settings.patience):
                    break
        self.progress.finish()
        if is_interrupted():
            raise KeyboardInterrupt
        self._tell_stale()

    def _tell_stale(self) -> None:
        """Say if most of the training was for nothing: a network may have stopped to learn."""
        idle = self.history.stale * self.experiment.train.validate_every
        if idle >= self.history.step / 2 and self.history.stale >= STALE:
            _log.warning(
                "the best model was found at step %d, and none better in the %d steps after it",
                self.history.step - idle, idle,
            )  # fmt: skip

    def _validate(self, held: Sequence[Batch]) -> None:
        """Measure, and save what there is."""
        history = self.history
        loss, constant = self.learning.validate(held)
        if not math.isfinite(loss):
            raise InputError(
                "train.learning_rate",
                expected="steps small enough for the loss to stay finite",
                found=f"a validation loss of {loss} after {history.step} steps",
                remedy='make it smaller, or train with train.precision = "fp32"',
            )
        verdict = self.tuning(self.learning.model(self.card)) if self.tuning else None
        # Objects found tell more than a loss, which weighs what no decoder looks at.
        said = {"validation": loss}
        if verdict:
            said |= {"ap": verdict.ap} | {f"ap@{iou:g}": ap for iou, ap in verdict.aps.items()}
        self._record(**said)
        score = 1 - verdict.ap if verdict else loss
        is_better = score < history.best
        history.best = min(score, history.best)
        history.stale = 0 if is_better else history.stale + 1
        if self.learning.fabric.is_global_zero:
            facts = self.card.provenance | {"step": history.step} | said
            tuned = verdict.tuned if verdict else {}
            card = self.card.model_copy(update={"provenance": facts, "tuned": tuned})
            weights = self.learning.weights(constant)
            if is_better:
                models.save(self.run.model, weights, card)
            models.save(self.run.state / "last.safetensors", weights, card)
        self._save_state()

    def _record(self, **values: float) -> None:
        self.history.record(**values)
        if self.board:
            self.board.record(self.history.records[-1])

    def _save_state(self) -> None:
        if self.board:
            self.board.flush()
        if self.learning.fabric.is_global_zero:
            save_state(self.run, self.learning, self.history)
