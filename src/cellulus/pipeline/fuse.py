"""Prediction and segmentation in one sweep: the embeddings of a large image are never stored whole.

Blocks are segmented layer by layer along the first axis, each layer as soon as the tiles that it
needs are predicted and the blocks around it are surveyed. Embeddings that no later layer needs
are dropped; how sure it is stays, for tables and the report. So at any time the embeddings of a
few layers lie on disk, and the labels are those that predict and segment give, voxel for voxel.
Knows nothing of how an image is predicted, or decoded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cellulus.blocks.crew import Alone, Crew
from cellulus.blocks.jobs import Job, finish
from cellulus.errors import InputError, MissingError
from cellulus.pipeline.drops import DropWork
from cellulus.pipeline.marking import mark
from cellulus.pipeline.objects import CONFIDENCE
from cellulus.pipeline.predict import Predicting, begin_predictions
from cellulus.pipeline.results import publish
from cellulus.pipeline.segment import Segmentation, begin_segmentation, conclude
from cellulus.progress import Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cellulus.experiment.sections import Experiment
    from cellulus.methods.decoder import Reach
    from cellulus.runs import Run
    from cellulus.space import Blocks

DROP = "drop"
"""Stage of the tiles whose embeddings are gone; it outlives what is made anew of the others."""


def fuse(
    experiment: Experiment,
    run: Run,
    *,
    model: Path | None = None,
    device: str = "auto",
    crew: Crew | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Predict and segment the images of an experiment, without storing all embeddings.

    Parameters
    ----------
    experiment
        The settings.
    run
        Gets ``predictions/``, of which only the confidence stays, and ``segments/``.
    model, device, crew, resume, overwrite
        As for `cellulus.pipeline.predict.predict`.
    progress
        One unit per tile and survey and block of an image.

    Returns
    -------
    paths
        Of the labels, in the order of the images.

    Raises
    ------
    InputError
        If the decoder must know all of an image before it can decode any of it.
    CellulusError
        Else as predict and segment do.
    """
    _require_local(experiment)
    crew, listener = crew or Alone(), progress or Silent()
    begun = begin_predictions(
        experiment, run, model=model, device=device, crew=crew, fused=True,
        resume=resume, overwrite=overwrite, progress=listener,
    )  # fmt: skip
    paths = []
    for predicting in begun:
        name, result = predicting.result.name, predicting.result
        if result.complete:  # so are the labels, which are finished first
            paths.append(_require(run.segments / f"{name}.zarr"))
            continue
        if experiment.method.needs == "points":
            mark([predicting], crew, listener)
        # What was labelled without tiles that are tried again is labelled anew.
        goes_on = resume and not predicting.job().stage.failed()
        one = begin_segmentation(
            result.pending.temporary, experiment, run,
            growing=True, resume=goes_on, overwrite=overwrite or (resume and not goes_on),
        )  # fmt: skip
        if not one.result.complete:
            _sweep(_Sweep(predicting, one), crew, listener)
            conclude([one], crew, listener)
        predicting.count()
        publish([result], crew, listener)
        paths.append(one.result.path)
    return paths


@dataclass(frozen=True)
class _Sweep:
    """One image, predicted and segmented layer by layer along its first axis."""

    predicting: Predicting
    one: Segmentation

    @property
    def total(self) -> int:
        """Number of tiles to predict, and of blocks to survey and to decode."""
        return len(self._tiles) + sum(job.count for job in self.one.surveys()) + len(self._grid)

    def recall(self) -> None:
        """Let what an interrupted run dropped be predicted again, where it is still needed."""
        predicted, dropped = self.predicting.job().stage, self._drop().stage
        gone = dropped.done()
        stages = [job.stage for job in (*self.one.surveys(), self._label(0))]
        for stage, halo in zip(stages, (*self._reach.surveys, self._reach.halo), strict=True):
            left = set(range(len(self._grid))) - stage.done()
            for layer in sorted({index // self._per_layer for index in left}):
                for index in gone & set(self._tiles_of(self._rows(layer, halo))):
                    predicted.unmark(index)
                    dropped.unmark(index)

    def steps(self) -> Iterator[Job]:
        """Yield what is to be done, one after the other."""
        surveys, reach = self.one.surveys(), self._reach
        predicted = surveyed = dropped = 0
        for layer in range(self._layers):
            rows = self._rows(layer, reach.halo)
            known = self._layers_to(rows.stop + self._voxels(reach.recall))
            seen = [rows] + [self._rows(known - 1, halo) for halo in reach.surveys]
            ends = self._tiles_of(slice(0, max(part.stop for part in seen))).stop
            yield self.predicting.job(range(predicted, ends))
            predicted = ends
            for survey in surveys:
                yield replace(survey, part=self._blocks(surveyed, known))
            surveyed = known
            yield replace(self._label(known), part=self._blocks(layer, layer + 1))
            after = [(layer + 1, reach.halo), *((surveyed, halo) for halo in reach.surveys)]
            left = [self._rows(k, halo).start for k, halo in after if k < self._layers]
            ends = self._tiles_of(slice(min(left), None)).start if left else len(self._tiles)
            yield replace(self._drop(), part=range(dropped, ends))
            dropped = ends

    @property
    def _reach(self) -> Reach:
        object_voxels = self.one.prediction.facts.object_voxels
        return self.one.decoding.experiment.method.reach(object_voxels)

    @property
    def _grid(self) -> Blocks:
        return self.one.grid

    @property
    def _tiles(self) -> Blocks:
        return self.predicting.tiling.tiles

    @property
    def _layers(self) -> int:
        return self._grid.counts[0]

    @property
    def _per_layer(self) -> int:
        return len(self._grid) // self._layers

    def _voxels(self, reach: float) -> int:
        """Return a length along the first axis [voxel]."""
        return math.ceil(reach / self.one.prediction.facts.zoom[0]) + 1 if reach else 0

    def _layers_to(self, row: int) -> int:
        """Return how many layers of blocks hold all rows before one."""
        return min(self._layers, -(-row // self._grid.core[0]))

    def _blocks(self, first: int, end: int) -> range:
        """Return the blocks of some layers."""
        return range(first * self._per_layer, end * self._per_layer)

    def _rows(self, layer: int, halo: float) -> slice:
        """Return the rows that the blocks of a layer see."""
        n, core, around = self._grid.shape[0], self._grid.core[0], self._voxels(halo)
        return slice(max(0, layer * core - around), min(n, (layer + 1) * core + around))

    def _tiles_of(self, rows: slice) -> range:
        """Return the tiles that lie in the layers of tiles that rows are made from."""
        shape = self._grid.shape
        region = (slice(*rows.indices(shape[0])), *(slice(0, n) for n in shape[1:]))
        needed, core = self.one.prediction.needed(region)[0], self._tiles.core[0]
        per_layer = len(self._tiles) // self._tiles.counts[0]
        return range(needed.start // core * per_layer, -(-needed.stop // core) * per_layer)

    def _label(self, known: int) -> Job:
        """Return the decoding of blocks, told by the surveys of so many layers."""
        decoding = replace(self.one.decoding, known=known)
        return self.one.labelling.label(decoding, self.one.result)

    def _drop(self) -> Job:
        names = self.predicting.result.pending.spec.channel_names
        kept = tuple(i for i, name in enumerate(names) if name in CONFIDENCE)
        work = DropWork(self.predicting.tiling.target, self._tiles, kept)
        return Job(work, self.predicting.result.journal.stage(DROP), len(self._tiles))


def _require(labels: Path) -> Path:
    """Return labels that cannot be made again without a new prediction."""
    if not labels.exists():
        raise MissingError(
            labels,
            expected="the labels that were made when the image was predicted",
            found="none, and the embeddings are gone",
            remedy="predict and segment again, with --fuse --overwrite",
        )
    return labels


def _require_local(experiment: Experiment) -> None:
    """Refuse a decoder that must know all of an image first."""
    reach = experiment.method.reach(1.0)  # for objects of any width
    is_local = math.isfinite(reach.halo) and math.isfinite(reach.recall)
    if not is_local or len(reach.surveys) > 1:
        raise InputError(
            "--fuse",
            expected="a method that can decode a part of an image before all of it is predicted",
            found="one that needs a threshold, clusters or seeds of the whole image",
            remedy="leave --fuse out; object_centric can, with method.foreground and "
            "method.clustering as they are by default",
        )


@dataclass
class _Total:
    """Shows many steps as one."""

    progress: Progress
    shown: int = 0

    def start(self, what: str, total: int) -> None:
        """Hide it."""

    def advance(self, amount: int = 1, **values: float) -> None:
        """Show it as part of the whole."""
        self.shown += amount
        self.progress.advance(amount, **values)

    def finish(self) -> None:
        """Hide it."""


def _sweep(sweep: _Sweep, crew: Crew, progress: Progress) -> None:
    """Do all steps; what was done before counts as done."""
    sweep.recall()
    total = _Total(progress)
    progress.start(f"predict and segment {sweep.one.result.name}", sweep.total)
    expected = 0
    for job in sweep.steps():
        is_shown = job.stage.folder.name != DROP
        finish([job], crew, total if is_shown else Silent(), "")
        expected += len(job.blocks) if is_shown else 0
        if expected > total.shown:
            total.advance(expected - total.shown)
    progress.finish()
