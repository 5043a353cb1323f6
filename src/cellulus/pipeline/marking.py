"""A point per cell, and where there may be cells at all: as given, or found in the image.

Both are found on the canonical grid: points block by block, by one job whoever works, and the
rough foreground of an image to learn from in this process. Knows nothing of what is learnt.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus.blocks.jobs import Job, finish
from cellulus.blocks.journal import Journal
from cellulus.data.annotations import Markers
from cellulus.data.canonical import Canonical
from cellulus.data.masks import Masks, survey
from cellulus.data.points import Points, read_points, tells_times, write_points
from cellulus.data.volume import Volume
from cellulus.errors import InputError
from cellulus.files import read_arrays, write_arrays
from cellulus.ops import background, blobs
from cellulus.pipeline.extents import object_width, tile_extent
from cellulus.pipeline.prediction import points_path
from cellulus.pipeline.results import names_of
from cellulus.space import Blocks, Scale

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cellulus.blocks.crew import Crew
    from cellulus.blocks.journal import Stage
    from cellulus.experiment.sections import Data, Experiment
    from cellulus.methods import PointMarker
    from cellulus.ops.blobs import Blobs
    from cellulus.pipeline.predict import Predicting
    from cellulus.pipeline.prediction import Facts
    from cellulus.pipeline.samples import Sample
    from cellulus.progress import Progress
    from cellulus.space import Block

MOST = 2**28
"""Largest canonical grid whose foreground is found in memory [voxel]."""

_log = logging.getLogger(__name__)


def mark(made: Sequence[Predicting], crew: Crew, progress: Progress) -> None:
    """Write the points of images beside their predictions.

    Parameters
    ----------
    made
        The images, being predicted.
    crew
        Who works.
    progress
        One unit per tile of the images whose points are not given.

    Raises
    ------
    MissingError, InputError, StorageError
        If points that are given cannot be used, or channels cannot be read.
    """
    open_ = [one for one in made if one.sample.points is None]
    jobs = [_Marking.of(one).job() for one in open_]
    if jobs:
        finish(jobs, crew, progress, f"mark {names_of([one.result for one in open_])}")
    for one in made:
        if one.sample.points is None:
            found = _Marking.of(one).collect()
        else:
            found = given(one.sample, one.tiling.experiment.data)
        write_points(points_path(one.result.path), found)
        if len(found) == 0:
            _log.warning("%s: no point was found, so that no cell will be", one.result.name)


def given(sample: Sample, data: Data) -> Points:
    """Return the points that are given for an image: those of a table, or the middles of labels.

    Raises
    ------
    MissingError, InputError, StorageError
        If they cannot be read, or do not fit the image.
    """
    source = sample.points
    if isinstance(source, Volume):
        objects = survey(Masks(source, None, data.unknown)).objects
        return Points(objects.centroids, objects.ids.astype(np.int64))
    if source is None:
        raise TypeError("no points are given for this image")
    volume = sample.volume
    count = volume.array.shape[volume.axes.index("t")] if "t" in volume.axes else 1
    if count > 1 and not tells_times(source, volume):
        raise InputError(
            source,
            expected=f"a column t, because {volume.path or volume.name} has {count} time points",
            found="points that do not tell theirs",
            remedy="add the column: 0 is the first time point",
        )
    return read_points(source, volume)


def markers_of(
    experiment: Experiment, sample: Sample, image: Canonical, points: Points | None = None
) -> Markers:
    """Return what is learnt from on an image: its points, and where there may be cells.

    Parameters
    ----------
    experiment
        The settings.
    sample
        The image, with what is given.
    image
        The same on the canonical grid.
    points
        Of the image; by default those that are given, or else found.

    Raises
    ------
    MissingError, InputError, StorageError
        If points or foreground cannot be used; if the foreground of a huge image is not given.
    """
    data, method = experiment.data, experiment.method
    width = object_width(experiment.network, len(image.shape))
    if points is None:
        points = find_points(experiment, image) if sample.points is None else given(sample, data)
    middles = (points.positions + 0.5) * image.scale.zoom
    rough, scale, unknown = sample.foreground, image.scale, data.unknown
    if rough is None:
        rough = Volume.of(
            find_foreground(experiment, image, middles).astype(np.uint8), name=sample.volume.name
        )
        scale, unknown = Scale((1.0,) * len(image.shape)), None
    reach = method.patch / 2 * width  # type: ignore[union-attr]
    return Markers(middles, Masks(rough, None, unknown), scale, reach, width)


def find_points(experiment: Experiment, image: Canonical) -> Points:
    """Return a point per blob of an image, block by block."""
    find = _Candidates(experiment, image)
    parts = [find(block) for block in find.blocks]
    return _on_image(blobs.choose(parts), image)


def find_foreground(
    experiment: Experiment, image: Canonical, middles: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return where there may be cells, ``(*S)`` on the canonical grid.

    Parameters
    ----------
    experiment
        The settings.
    image
        What is looked at.
    middles
        Of the points, which lie in cells, ``(n, ndim)``; voxel ``i`` has its middle at ``i + 0.5``.

    Raises
    ------
    InputError
        If the image is too large for that.
    """
    method: PointMarker = experiment.method  # type: ignore[assignment]
    ndim, shape = len(image.shape), image.shape
    width = object_width(experiment.network, ndim)
    if math.prod(shape) > MOST:
        raise InputError(
            image.volume.path or image.volume.name,
            expected=f"an image of {MOST:,} canonical voxels at most, to find its foreground",
            found=f"{math.prod(shape):,}",
            remedy="learn from a part of it, or give data.train.foreground",
        )
    channel = role(experiment.data.cell, experiment.data, "data.cell")
    reach = background.reach(width)
    grid = Blocks(shape, tile_extent(experiment, shape), (reach,) * ndim)

    def read(block: Block) -> NDArray[np.float32]:
        seen = image.read(block.outer)
        return np.asarray(seen.mean(axis=0) if channel is None else seen[channel])

    counts = sum(background.survey(read(block), width, block.inner) for block in grid)
    limits = background.limits_of(np.asarray(counts))
    places = np.clip(middles.astype(np.int64), 0, np.array(shape) - 1)
    marked, found = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    marked[tuple(places.T)] = True
    for block in grid:
        if method.foreground == "otsu":
            inside = background.otsu(read(block), width, limits)
        else:
            inside = background.graph_cut(read(block), width, limits, marked[block.outer])
        found[block.core] = inside[block.inner]
    return found


def role(name: int | str, data: Data, where: str) -> int | None:
    """Return which of the channels that are used has a role; None if that is not said.

    Raises
    ------
    InputError
        If it is not among them.
    """
    if name == "":
        return None
    known = data.channels or (0,)
    if name not in known:
        raise InputError(
            where,
            expected=f"one of data.channels, {', '.join(map(repr, known))}",
            found=repr(name),
        )
    return known.index(name)


class _Candidates:
    """What may be a blob in a block of an image.

    Parameters
    ----------
    experiment
        The settings.
    image
        Mirrored where a block reaches out of it.
    """

    def __init__(self, experiment: Experiment, image: Canonical) -> None:
        ndim = len(image.shape)
        self.image, self.width = image, object_width(experiment.network, ndim)
        self.channel = role(experiment.data.marker, experiment.data, "data.marker") or 0
        reach = blobs.reach(self.width, ndim)
        core = tile_extent(experiment, image.shape)
        self.blocks = Blocks(image.shape, core, (reach,) * ndim, clip=False)

    def __call__(self, block: Block) -> Blobs:
        seen = self.image.read(block.outer)[self.channel]
        origin = [part.start for part in block.core]
        return blobs.candidates(seen, block.inner, origin, self.width)


@dataclass(frozen=True)
class _Marking:
    """The candidates of one image as work on its blocks."""

    experiment: Experiment
    facts: Facts
    folder: Path

    @classmethod
    def of(cls, one: Predicting) -> _Marking:
        return cls(one.tiling.experiment, one.tiling.facts, one.result.journal.folder)

    @property
    def image(self) -> Canonical:
        facts = self.facts
        return Canonical(facts.open_image(), Scale(facts.zoom), facts.normalisation)

    def job(self) -> Job:
        return Job(self, self._stage, len(_Candidates(self.experiment, self.image).blocks))

    def open(self) -> Callable[[int], dict[str, Any]]:
        """See `cellulus.blocks.crew.Work`."""
        find, stage = _Candidates(self.experiment, self.image), self._stage

        def do(index: int) -> dict[str, Any]:
            found = find(find.blocks[index])
            write_arrays(stage.part(index), **vars(found))
            return {"candidates": len(found)}

        return do

    def collect(self) -> Points:
        parts = [blobs.Blobs(**read_arrays(path)) for path in self._stage.parts()]
        return _on_image(blobs.choose(parts), self.image)

    @property
    def _stage(self) -> Stage:
        return Journal(self.folder).stage("mark")


def _on_image(found: Blobs, image: Canonical) -> Points:
    """Return blobs as points on the image's own grid."""
    positions = (found.positions + 0.5) / image.scale.zoom - 0.5
    return Points.of(np.clip(positions, 0, np.array(image.volume.shape) - 1))
