"""A cap on memory: tiles, blocks and parts of batches that are left to us are made to obey it.

What is set is not changed, but refused if it does not fit. Where there is no cap, or what is
usual fits, nothing is changed at all. Results are the same whatever the cap: tiles give what the
whole gives up to rounding, blocks give it exactly; of a batch in parts every part weighs its own
share. Knows nothing of files or of what runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellulus.errors import InputError
from cellulus.pipeline import memory
from cellulus.pipeline.extents import block_edge, tile_edge

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellulus.experiment.sections import Experiment
    from cellulus.pipeline.cuts import Subject

SMALL = 4_000_000_000
"""What a small GPU has: no cap is needed for training to fit it, if it can [byte]."""
STEP = 16
"""Edges that are tried are multiples of it; it is the least that may be set [voxel]."""


def fit_tile(experiment: Experiment, subject: Subject) -> Experiment:
    """Return the experiment with tiles that can be predicted under its cap.

    Parameters
    ----------
    experiment
        The settings, with the network that predicts.
    subject
        The image.

    Raises
    ------
    InputError
        If a tile was set and does not fit, or none would.
    """
    setting = _Setting("predict", "tile", tile_edge(experiment, len(subject.shape)))
    return _fit(experiment, setting, lambda made: memory.predicting(made, subject))


def fit_block(experiment: Experiment, subject: Subject) -> Experiment:
    """Return the experiment with blocks that can be segmented under its cap; see `fit_tile`."""
    setting = _Setting("segment", "block", block_edge(experiment, len(subject.shape)))
    return _fit(experiment, setting, lambda made: max(memory.segmenting(made, subject)))


def fit_reshaping(experiment: Experiment, subject: Subject) -> Experiment:
    """Return the experiment with blocks that can be post-processed under its cap."""
    setting = _Setting("segment", "block", block_edge(experiment, len(subject.shape)))
    return _fit(experiment, setting, lambda made: memory.postprocessing(made, subject))


def fit_training(experiment: Experiment, ndim: int, inputs: int) -> Experiment:
    """Return the experiment with batches in as few parts as fit its cap, or a small GPU.

    Smaller batches or crops would learn something else, so there are none.

    Raises
    ------
    InputError
        If the parts that were set do not fit the cap, or single crops would not.
    """
    train, cap = experiment.train, experiment.memory
    counts = range(1, train.batch_size + 1) if train.accumulate == "auto" else [train.accumulate]
    made = [_changed(experiment, "train", "accumulate", count) for count in counts]
    most = SMALL if cap == "any" else cap
    fitting = next((m for m in made if memory.training(m, ndim, inputs) <= most), made[-1])
    need = memory.training(fitting, ndim, inputs)
    if cap == "any" or need <= cap:
        return fitting
    raise InputError(
        "memory",
        expected=f"at least about {memory.amount(need)}, which training needs",
        found=memory.amount(cap),
        remedy="a smaller train.crop or train.batch_size needs less, but learns differently"
        if train.accumulate == "auto" or train.accumulate >= train.batch_size
        else 'leave train.accumulate "auto", or allow more memory',
    )


@dataclass(frozen=True)
class _Setting:
    """An edge that may be chosen, and what it is at most."""

    section: str
    key: str
    edge: int

    @property
    def name(self) -> str:
        return f"{self.section}.{self.key}"


def _fit(
    experiment: Experiment, setting: _Setting, need: Callable[[Experiment], int]
) -> Experiment:
    cap = experiment.memory
    if cap == "any" or (whole := need(experiment)) <= cap:
        return experiment
    edges = range((setting.edge - 1) // STEP * STEP, 0, -STEP)
    smaller = [_changed(experiment, setting.section, setting.key, edge) for edge in edges]
    fitting = next((made for made in smaller if need(made) <= cap), None)
    if fitting is None:
        least = min([whole, *(need(made) for made in smaller[-1:])])
        raise InputError(
            "memory",
            expected=f"at least about {memory.amount(least)}, which one process needs with the "
            f"smallest {setting.name}",
            found=memory.amount(cap),
            remedy="allow more",
        )
    if getattr(getattr(experiment, setting.section), setting.key) != "auto":
        chosen = getattr(getattr(fitting, setting.section), setting.key)
        raise InputError(
            setting.name,
            expected=f"at most {chosen}, for a process of {memory.amount(cap)}",
            found=f"{setting.edge}, which needs about {memory.amount(whole)}",
            remedy='leave it "auto", or allow more memory',
        )
    return fitting


def _changed(experiment: Experiment, section: str, key: str, value: int) -> Experiment:
    changed = getattr(experiment, section).model_copy(update={key: value})
    return experiment.model_copy(update={section: changed})
