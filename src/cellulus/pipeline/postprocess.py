"""The step from labels to better labels, block by block (`reshaping` says what is done).

What depends on a whole object sees it whole: blocks are read with a margin as wide as the widest
object, which a survey finds. Sizes and the border are judged when all blocks are known. Beside
the labels lies a table of their objects. Knows nothing of how objects were found.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellulus.blocks.crew import Alone, Crew
from cellulus.blocks.jobs import finish
from cellulus.data.addresses import way
from cellulus.data.arrays import OUTCOME
from cellulus.data.readers import expand, open_volumes
from cellulus.errors import InputError, MissingError
from cellulus.pipeline.cap import fit_reshaping
from cellulus.pipeline.cuts import Subject
from cellulus.pipeline.extents import block_extent, object_width, reshaping_blocks
from cellulus.pipeline.labelling import Labelling, label_spec
from cellulus.pipeline.measuring import GrowingLabels, Measuring, StoredLabels, settle
from cellulus.pipeline.prediction import Facts, notes_of
from cellulus.pipeline.reshaping import Reshaping, size_limits
from cellulus.pipeline.results import (
    WITHOUT,
    Result,
    begin,
    gaps_of,
    groups,
    names_of,
    publish,
    url_in,
)
from cellulus.progress import Silent
from cellulus.space import Blocks, Scale

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cellulus.data.volume import Volume
    from cellulus.experiment.sections import Experiment
    from cellulus.ops.joining import Extents
    from cellulus.progress import Progress
    from cellulus.runs import Run


def postprocess(
    experiment: Experiment,
    run: Run,
    *,
    labels: Sequence[Path | str] | None = None,
    crew: Crew | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Improve the labels of a run, and measure their objects.

    Parameters
    ----------
    experiment
        The settings.
    run
        ``segments/`` is read, ``labels/`` is written: one OME-Zarr per image, of the same name,
        and a table of its objects as CSV (see `cellulus.pipeline.objects`).
    labels
        Paths or URLs of other labels to read instead.
    crew
        Who works; this process by default.
    resume, overwrite
        Keep or replace labels that are there already.
    progress
        One unit per block.

    Returns
    -------
    paths
        Of the new labels.

    Raises
    ------
    MissingError
        If there are no labels, or an image that is needed is gone.
    InputError
        If a file holds no labels, or something needed is not known of them.
    ExistsError
        If there are labels already and neither resume nor overwrite was asked for.
    StorageError
        If something cannot be read or written.
    """
    volumes = [v for path in _sources(run, labels) for v in open_volumes(path)]
    _refuse_twins(volumes)
    crew, listener = crew or Alone(), progress or Silent()
    works = (_begin(v, experiment, run, resume=resume, overwrite=overwrite) for v in volumes)
    paths = []
    for group in groups(works, crew, lambda work: 0 if work.result.complete else len(work.grid)):
        _finish([work for work in group if not work.result.complete], crew, listener)
        paths += [work.result.path for work in group]
    return paths


@dataclass(frozen=True)
class _Work:
    """The improvement of the labels of one image."""

    result: Result
    source: Reshaping
    grid: Blocks
    measuring: Measuring

    def seeing(self, widest: tuple[int, ...]) -> Blocks:
        """Return the blocks with the halo that objects of this extent need [voxel]."""
        whole = widest if self.source.sees_objects_whole else (0,) * len(widest)
        return reshaping_blocks(self.grid, self.source.margin, whole)

    def keep(self, extents: Extents) -> NDArray[np.bool_]:
        """Return which objects have the right size and place."""
        settings = self.source.settings
        limits = size_limits(settings, self.source.spacing, self.source.object_voxels)
        kept = (extents.sizes >= limits[0]) & (extents.sizes <= limits[1])
        if settings.clear_border:
            ends = np.array(self.grid.shape)
            kept &= ((extents.starts > 0) & (extents.stops < ends)).all(axis=1)
        return kept


def _finish(works: Sequence[_Work], crew: Crew, progress: Progress) -> None:
    """Survey, reshape, join, number, measure and publish images together."""
    if not works:
        return
    what = names_of([work.result for work in works])
    surveyed = [work for work in works if work.source.sees_objects_whole and len(work.grid) > 1]
    surveys = {
        id(work): Measuring(work.source.labels, work.grid, work.measuring.voxel_size)
        for work in surveyed
    }
    jobs = [surveys[id(work)].job(work.result, "survey") for work in surveyed]
    finish(jobs, crew, progress, f"survey {what}")
    pairs = []
    for work in works:
        widest = work.grid.shape
        if id(work) in surveys:
            found = surveys[id(work)].found(work.result, "survey")
            widest = tuple(np.max(found.stops - found.starts, axis=0, initial=0).tolist())
        pairs.append((work, Labelling.of(work.result, work.seeing(widest))))
    jobs = [labelling.label(work.source, work.result) for work, labelling in pairs]
    finish(jobs, crew, progress, f"postprocess {what}")
    for work, labelling in pairs:
        labelling.join(work.keep).report(work.result, "post-processing left no object")
    jobs = [
        labelling.number(work.result, fill=work.source.settings.fill_holes)
        for work, labelling in pairs
    ]
    finish(jobs, crew, progress, f"number {what}")
    finish([w.measuring.job(w.result, "measure") for w in works], crew, progress, f"measure {what}")
    for work in works:
        work.measuring.write(work.result)
        publish([work.result], crew, progress)
        settle(work.result)


def _begin(
    volume: Volume, experiment: Experiment, run: Run, *, resume: bool, overwrite: bool
) -> _Work:
    settings = experiment.postprocess
    notes = {key: value for key, value in notes_of(volume.path).items() if key != OUTCOME}
    facts = Facts.of(notes)
    zoom, object_voxels = _scale(volume, facts, experiment)
    if settings.kind == "intensity" and facts is None:
        raise InputError(
            volume.path or volume.name,
            expected='labels that name their image, for postprocess.kind = "intensity"',
            found="no note of it",
            remedy="improve labels that segment made, or choose another kind",
        )
    image = facts if settings.kind == "intensity" else None
    if image:
        image.open_image()
    subject = Subject(
        volume.shape, zoom, len(facts.channels) if facts else 1, volume.dtype.itemsize,
        object_voxels,
    )  # fmt: skip
    block = block_extent(fit_reshaping(experiment, subject), volume.shape, subject.zoom)
    grid = Blocks(volume.shape, block, (0,) * volume.ndim)
    target = run.labels / f"{volume.name}.zarr"
    made_by = notes | {
        "postprocess": settings.model_dump(mode="json"),
        WITHOUT: gaps_of(volume.path),
    }
    store = experiment.output.store
    source = way(facts.image, url_in(store, target) or target) if facts else None
    spec = label_spec(grid, volume.voxel_size, made_by, source)
    result = begin(volume.name, target, spec, resume=resume, overwrite=overwrite, store=store)
    settle(result)
    prediction = run.predictions / f"{volume.name}.zarr"
    measured = prediction if facts and prediction.exists() else None
    stored = StoredLabels(volume.path, volume.time)
    finest = GrowingLabels(result.pending.temporary / "0")
    return _Work(
        result,
        Reshaping(stored, settings, zoom, object_voxels, image),
        grid,
        Measuring(finest, grid, volume.voxel_size, measured),
    )


def _sources(run: Run, labels: Sequence[Path | str] | None) -> list[str]:
    if labels:
        return [path for pattern in labels for path in expand(pattern)]
    if not any(run.segments.glob("*.zarr")):
        raise MissingError(
            run.segments, expected="labels to improve", found="none", remedy="run segment first"
        )
    return expand(run.segments / "*.zarr")


def _refuse_twins(volumes: Sequence[Volume]) -> None:
    twins = [name for name, count in Counter(v.name for v in volumes).items() if count > 1]
    if twins:
        raise InputError(
            "labels",
            expected="names that differ, for results of the same names",
            found=f"several times {', '.join(twins)}",
            remedy="improve them one after the other, each with its own --output",
        )


def _scale(
    volume: Volume, facts: Facts | None, experiment: Experiment
) -> tuple[tuple[float, ...], float]:
    """Return canonical voxels per voxel, and the object diameter [canonical voxel]."""
    if facts:
        return facts.zoom, facts.object_voxels
    settings, object_voxels = experiment.postprocess, object_width(experiment.network, volume.ndim)
    if experiment.data.object_diameter != "auto":
        scale = Scale.of(experiment.data.object_diameter, volume.voxel_size, object_voxels)
        return scale.zoom, object_voxels
    if settings.kind == "cell" or settings.min_size or settings.max_size:
        raise InputError(
            volume.path or volume.name,
            expected="labels that tell how wide their objects are, for distances and sizes",
            found="labels from elsewhere",
            remedy="add --set data.object_diameter=..., in um or voxels",
        )
    return (1.0,) * volume.ndim, object_voxels
