"""The step from images to a model.

Crops come from every training image but those kept aside; the loss on these decides which model
is the best. Written at every validation: the best model, the last one, the state to resume from.
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
import torch

from cellulus import __version__
from cellulus.data.augment import Augmentation
from cellulus.data.crops import Crops, Part
from cellulus.data.normalise import estimate
from cellulus.errors import InputError
from cellulus.pipeline import model as models
from cellulus.pipeline.cap import require_training
from cellulus.pipeline.extents import crop_extent
from cellulus.pipeline.interrupts import interruptible
from cellulus.pipeline.learning import VALIDATION_BATCHES, Learning, make_fabric
from cellulus.pipeline.samples import canonical, common_kind, fingerprint, open_training
from cellulus.pipeline.state import History, load_history, restore, save_state
from cellulus.pipeline.tensorboard import TensorBoard
from cellulus.progress import Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lightning_fabric import Fabric
    from numpy.typing import NDArray

    from cellulus.data.canonical import Canonical
    from cellulus.experiment.sections import Experiment
    from cellulus.runs import Run

_log = logging.getLogger(__name__)

LOG_EVERY = 10
"""Steps whose mean loss makes one line of the log."""
SHOWN = 50
"""Steps whose mean loss is shown while it runs."""


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
    images, card = prepare(experiment)
    if fabric.is_global_zero:
        run.record_data({image.volume.name: fingerprint(image.volume) for image in images})
    sources = split(experiment, images)
    learning = Learning(experiment, card, fabric)
    history = (restore(run, learning, fabric.device) if resume else None) or History()
    if history.is_over(experiment.train.steps, experiment.train.patience):
        return
    is_shown = experiment.train.tensorboard and fabric.is_global_zero
    board = TensorBoard(run.folder / "tensorboard") if is_shown else None
    loop = _Loop(experiment, run, card, learning, history, progress, board)
    loop.go(*sources)


def is_trained(experiment: Experiment, run: Run) -> bool:
    """Return whether the training of a run came to its end."""
    history = load_history(run) if run.model.exists() else None
    settings = experiment.train
    return history is not None and history.is_over(settings.steps, settings.patience)


def prepare(experiment: Experiment) -> tuple[list[Canonical], models.Card]:
    """Open, normalise and scale the training images, and describe the network to be.

    Raises
    ------
    MissingError, InputError, StorageError
        If an image cannot be used.
    """
    data, method, network = experiment.data, experiment.method, experiment.network
    volumes = [sample.volume for sample in open_training(experiment)]
    ndim, inputs = common_kind(volumes)
    require_training(experiment, ndim, inputs)
    shared = estimate(volumes, data.percentiles) if data.normalise == "dataset" else None
    images = [canonical(v, data, network.object_voxels, shared) for v in volumes]
    card = models.Card(
        method=method,
        network=network,
        ndim=ndim,
        inputs=inputs,
        outputs=method.outputs(ndim),
        percentiles=data.percentiles,
        low=shared.low if shared else (),
        high=shared.high if shared else (),
        provenance={
            "cellulus": __version__,
            "torch": torch.__version__,
            "seed": experiment.seed,
            "images": {
                i.volume.name: {
                    "zoom": i.scale.zoom,
                    "low": i.normalisation.low,
                    "high": i.normalisation.high,
                }
                for i in images
            },
        },
    )
    return images, card


def split(experiment: Experiment, images: Sequence[Canonical]) -> tuple[Crops, Crops]:
    """Return where crops are drawn from to learn, and to validate.

    Whole images are kept aside; of a single image one end of its longest axis, if it is long
    enough for that, and else nothing: then the validation loss is one on training images, which
    is said.
    """
    settings, seed = experiment.train, experiment.seed
    size = crop_extent(experiment, images[0].volume.ndim)
    parts = [Part(image, tuple(slice(0, n) for n in image.shape)) for image in images]
    kept: list[Part] = []
    if settings.validation > 0 and len(parts) > 1:
        count = min(max(1, round(settings.validation * len(parts))), len(parts) - 1)
        order = np.random.default_rng(seed).permutation(len(parts))
        kept = [parts[i] for i in sorted(order[:count])]
        parts = [parts[i] for i in sorted(order[count:])]
    elif settings.validation > 0:
        parts, kept = _halves(parts[0], size, settings.validation)
    if not kept:
        _log.warning("no image is kept aside: the validation loss is one on training images")
    augmentation = Augmentation(settings.elastic, settings.intensity, _turns(images))
    return (
        Crops(parts, size, seed, augmentation),
        Crops(kept or parts, size, seed + 1),
    )


def _halves(part: Part, size: tuple[int, ...], share: float) -> tuple[list[Part], list[Part]]:
    axis = int(np.argmax(part.image.shape))
    n = part.image.shape[axis]
    # Both ends hold a crop at least, so that none reaches over into the other.
    aside = min(max(size[axis], round(share * n)), n - size[axis])
    if n < 3 * size[axis]:
        return [part], []
    low, high = list(part.region), list(part.region)
    low[axis], high[axis] = slice(0, n - aside), slice(n - aside, n)
    return [Part(part.image, tuple(low))], [Part(part.image, tuple(high))]


def _turns(images: Sequence[Canonical]) -> tuple[tuple[int, int], ...]:
    """Return the pairs of axes along which the microscope samples every image alike."""
    sizes = np.array([image.volume.voxel_size.values for image in images])
    pairs = [(a, b) for a in range(sizes.shape[1]) for b in range(a)]
    alike = [np.abs(sizes[:, a] / sizes[:, b] - 1).max() < 0.01 for a, b in pairs]
    return tuple(pair for pair, is_alike in zip(pairs, alike, strict=True) if is_alike)


@dataclass
class _Loop:
    experiment: Experiment
    run: Run
    card: models.Card
    learning: Learning
    history: History
    progress: Progress
    board: TensorBoard | None = None

    def go(self, crops: Crops, aside: Crops) -> None:
        """Do the remaining steps."""
        settings, history = self.experiment.train, self.history
        share = range(self.learning.fabric.global_rank, settings.batch_size, settings.devices)
        held = [aside.batch(n, range(settings.batch_size)).image for n in range(VALIDATION_BATCHES)]
        steps = range(history.step, settings.steps)
        self.progress.start("train", settings.steps)
        self.progress.advance(history.step)
        latest: deque[float] = deque(maxlen=SHOWN)
        began = time.perf_counter()
        with interruptible() as is_interrupted:
            for step, batch in crops.prefetch(steps, share, settings.workers):
                loss = self.learning.step(step, batch.image)
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

    def _validate(self, held: Sequence[NDArray[np.float32]]) -> None:
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
        self._record(validation=loss)
        is_better = loss < history.best
        history.best, history.stale = min(loss, history.best), 0 if is_better else history.stale + 1
        if self.learning.fabric.is_global_zero:
            facts = self.card.provenance | {"step": history.step, "validation": loss}
            card = self.card.model_copy(update={"provenance": facts})
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
