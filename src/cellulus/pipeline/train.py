"""The step from images to a model.

Crops come from every training image but those kept aside; the loss on these decides which model
is the best. Written at every validation: the best model, the last one, the state to resume from.
"""

from __future__ import annotations

import io
import json
import logging
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cellulus import __version__
from cellulus.data.augment import Augmentation
from cellulus.data.crops import Crops, Part
from cellulus.data.normalise import estimate
from cellulus.errors import StorageError
from cellulus.files import write_bytes, write_text
from cellulus.pipeline import model as models
from cellulus.pipeline.extents import crop_extent
from cellulus.pipeline.learning import VALIDATION_BATCHES, Learning, make_fabric
from cellulus.pipeline.samples import canonical, common_kind, fingerprint, open_training
from cellulus.progress import Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lightning_fabric import Fabric

    from cellulus.data.canonical import Canonical
    from cellulus.experiment.sections import Experiment
    from cellulus.runs import Run

_log = logging.getLogger(__name__)

LOG_EVERY = 10
"""Steps whose mean loss makes one line of the log."""


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
    if experiment.train.devices > 1:
        fabric.launch(_train, experiment, run, resume, Silent())
    else:
        _train(fabric, experiment, run, resume, progress or Silent())
    return run.model


def _train(
    fabric: Fabric, experiment: Experiment, run: Run, resume: bool, progress: Progress
) -> None:
    images, card = prepare(experiment)
    if fabric.is_global_zero:
        run.record_data({image.volume.name: fingerprint(image.volume) for image in images})
    sources = split(experiment, images)
    learning = Learning(experiment, card, fabric)
    history = _History()
    if resume and _state_file(run).exists():
        history = _restore(run, learning, fabric.device)
    loop = _Loop(experiment, run, card, learning, history, progress)
    loop.go(*sources)


def is_trained(experiment: Experiment, run: Run) -> bool:
    """Return whether the training of a run came to its end."""
    if not run.model.exists() or not _state_file(run).exists():
        return False
    history = torch.load(_state_file(run), map_location="cpu", weights_only=True)["history"]
    patience = experiment.train.patience
    is_stale = bool(patience) and history["stale"] >= patience
    return bool(history["step"] >= experiment.train.steps or is_stale)


def prepare(experiment: Experiment) -> tuple[list[Canonical], models.Card]:
    """Open, normalise and scale the training images, and describe the network to be.

    Raises
    ------
    MissingError, InputError, StorageError
        If an image cannot be used.
    """
    data, method, network = experiment.data, experiment.method, experiment.network
    volumes = open_training(experiment)
    ndim, inputs = common_kind(volumes)
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
        count = max(1, round(settings.validation * len(parts)))
        order = np.random.default_rng(seed).permutation(len(parts))
        kept = [parts[i] for i in sorted(order[:count])]
        parts = [parts[i] for i in sorted(order[count:])]
    elif settings.validation > 0:
        parts, kept = _halves(parts[0], size, settings.validation)
    if not kept:
        _log.warning("no image is kept aside: the validation loss is one on training images")
    turns = _turns(images[0])
    augmentation = Augmentation(settings.elastic, settings.intensity, turns)
    return (
        Crops(parts, size, seed, augmentation),
        Crops(kept or parts, size, seed + 1),
    )


def _halves(part: Part, size: tuple[int, ...], share: float) -> tuple[list[Part], list[Part]]:
    axis = int(np.argmax(part.image.shape))
    n = part.image.shape[axis]
    aside = max(size[axis], round(share * n))
    if n < 3 * size[axis]:
        return [part], []
    low, high = list(part.region), list(part.region)
    low[axis], high[axis] = slice(0, n - aside), slice(n - aside, n)
    return [Part(part.image, tuple(low))], [Part(part.image, tuple(high))]


def _turns(image: Canonical) -> tuple[tuple[int, int], ...]:
    """Return the pairs of axes along which the microscope samples alike."""
    sizes = image.volume.voxel_size.values
    pairs = [(a, b) for a in range(len(sizes)) for b in range(a)]
    return tuple((a, b) for a, b in pairs if abs(sizes[a] / sizes[b] - 1) < 0.01)


@dataclass
class _History:
    """What is known of the steps done."""

    step: int = 0
    best: float = float("inf")
    stale: int = 0
    records: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class _Loop:
    experiment: Experiment
    run: Run
    card: models.Card
    learning: Learning
    history: _History
    progress: Progress

    def go(self, crops: Crops, aside: Crops) -> None:
        """Do the remaining steps."""
        settings, rank = self.experiment.train, self.learning.fabric.global_rank
        share = range(rank, settings.batch_size, settings.devices)
        held = [aside.batch(n, range(settings.batch_size)) for n in range(VALIDATION_BATCHES)]
        steps = range(self.history.step, settings.steps)
        self.progress.start("train", settings.steps)
        self.progress.advance(self.history.step)
        losses: list[float] = []
        began = time.perf_counter()
        with _interruptible() as is_interrupted:
            for step, batch in crops.prefetch(steps, share, settings.workers):
                losses.append(self.learning.step(step, batch))
                self.progress.advance(loss=float(np.mean(losses[-50:])))
                done = self.history.step = step + 1
                if done % LOG_EVERY == 0 or done == settings.steps:
                    rate = (step - steps.start + 1) / (time.perf_counter() - began)
                    self._record(loss=float(np.mean(losses[-LOG_EVERY:])), rate=rate)
                is_last = done == settings.steps or is_interrupted()
                if done % settings.validate_every == 0 or done == settings.steps:
                    is_last |= self._validate(held)
                elif is_last:
                    self._save_state()
                if is_last:
                    break
        self.progress.finish()
        if is_interrupted():
            raise KeyboardInterrupt

    def _record(self, **values: float) -> None:
        rounded = {key: float(f"{value:.6g}") for key, value in values.items()}
        self.history.records.append({"step": self.history.step, **rounded})

    def _validate(self, held: Sequence[np.ndarray[Any, np.dtype[np.float32]]]) -> bool:
        """Save what there is, and return whether it is time to stop."""
        history = self.history
        loss, constant = self.learning.validate(held)
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
        patience = self.experiment.train.patience
        return bool(patience) and history.stale >= patience

    def _save_state(self) -> None:
        if not self.learning.fabric.is_global_zero:
            return
        history = self.history
        buffer = io.BytesIO()
        facts = {"step": history.step, "best": history.best, "stale": history.stale}
        torch.save(self.learning.state() | {"history": facts}, buffer)
        lines = "".join(json.dumps(record) + "\n" for record in history.records)
        write_text(self.run.log, lines)
        write_bytes(_state_file(self.run), buffer.getvalue())


def _state_file(run: Run) -> Path:
    return run.state / "last.pt"


def _restore(run: Run, learning: Learning, device: torch.device) -> _History:
    try:
        state = torch.load(_state_file(run), map_location=device, weights_only=True)
        learning.restore(state)
    except Exception as error:
        raise StorageError(
            _state_file(run),
            expected="the state of an interrupted training",
            found=f"a damaged file ({error})",
            remedy="train anew with --overwrite",
        ) from error
    history = _History(**state["history"])
    lines = run.log.read_text().splitlines() if run.log.exists() else []
    records = [json.loads(line) for line in lines]
    history.records = [record for record in records if record["step"] <= history.step]
    return history


@contextmanager
def _interruptible() -> Iterator[Any]:
    """Turn the first Ctrl-C into a question that the loop asks between steps."""
    seen = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield seen.is_set
        return
    before = signal.signal(signal.SIGINT, lambda *_: seen.set())
    try:
        yield seen.is_set
    finally:
        signal.signal(signal.SIGINT, before)
