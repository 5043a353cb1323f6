"""A cap on memory: the tiles and blocks that are left to us are made small enough to obey it.

What is set is not changed, but refused if it does not fit. Where there is no cap, or what is
usual fits, nothing is changed at all. Results are the same whatever the cap: tiles give what the
whole gives up to rounding, blocks give it exactly. Knows nothing of files or of what runs.
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


def require_training(experiment: Experiment, ndim: int, inputs: int) -> None:
    """Refuse to train over the cap: smaller batches or crops would be another experiment.

    Raises
    ------
    InputError
        Says which batch would fit.
    """
    cap, need = experiment.memory, memory.training(experiment, ndim, inputs)
    if cap == "any" or need <= cap:
        return
    sizes = range(experiment.train.batch_size - 1, 0, -1)
    made = (_changed(experiment, "train", "batch_size", size) for size in sizes)
    fitting = next((m for m in made if memory.training(m, ndim, inputs) <= cap), None)
    one = memory.training(_changed(experiment, "train", "batch_size", 1), ndim, inputs)
    raise InputError(
        "memory",
        expected=f"at least about {memory.amount(need)}, which training needs",
        found=memory.amount(cap),
        remedy=f"train.batch_size = {fitting.train.batch_size} fits, but learns differently"
        if fitting
        else f"with train.batch_size = 1 it would be {memory.amount(one)}; a smaller train.crop "
        "needs less",
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
