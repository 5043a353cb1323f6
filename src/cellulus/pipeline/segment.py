"""The step from predictions to labels, block by block.

A decoder is local: given a block and a margin, it is right about every voxel of the block, and it
names an object by its anchor, the same in every block that sees it. So blocks are decoded one by
one under numbers of their own, and joined by anchors afterwards: no overlap is compared, and any
cutting gives what the whole gives. Knows nothing of how a method decodes.
"""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from cellulus.data import writer
from cellulus.data.arrays import failures
from cellulus.errors import MissingError, ModelError
from cellulus.methods.base import Observation
from cellulus.pipeline.extents import block_extent
from cellulus.pipeline.prediction import Prediction
from cellulus.pipeline.samples import open_samples
from cellulus.progress import Progress, Silent
from cellulus.space import ball_volume, blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from cellulus.experiment.sections import Experiment
    from cellulus.methods.base import Decoder
    from cellulus.runs import Run
    from cellulus.space import Block, Region

_log = logging.getLogger(__name__)


def segment(
    experiment: Experiment,
    run: Run,
    *,
    predictions: Sequence[Path] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Group the voxels of predictions into objects.

    Parameters
    ----------
    experiment
        The settings.
    run
        ``predictions/`` is read, ``segments/`` is written: one OME-Zarr per image.
    predictions
        Predictions to read instead of those of the experiment's images.
    resume, overwrite
        Keep or replace labels that are there already.
    progress
        One unit per block.

    Returns
    -------
    paths
        Of the labels, in the order of the predictions.

    Raises
    ------
    MissingError
        If an image has no prediction, or is gone.
    InputError, ModelError
        If something is no prediction, or one of another method.
    ExistsError
        If there are labels already and neither resume nor overwrite was asked for.
    StorageError
        If something cannot be read or written.
    """
    sources = _of_images(experiment, run) if predictions is None else predictions
    listener = progress or Silent()
    return [
        _segment(Prediction.open(path), experiment, run, resume=resume, overwrite=overwrite,
                 progress=listener)
        for path in sources
    ]  # fmt: skip


def _of_images(experiment: Experiment, run: Run) -> list[Path]:
    """Return the predictions of the experiment's images: others may lie there from before."""
    names = [sample.volume.name for sample in open_samples(experiment)]
    paths = [run.predictions / f"{name}.zarr" for name in names]
    absent = [path.name for path in paths if not path.exists()]
    if absent:
        raise MissingError(
            run.predictions,
            expected="a prediction of every image",
            found=f"none of {', '.join(absent[:5])}",
            remedy="run predict first",
        )
    return paths


def _segment(
    prediction: Prediction,
    experiment: Experiment,
    run: Run,
    *,
    resume: bool,
    overwrite: bool,
    progress: Progress,
) -> Path:
    facts = prediction.facts
    if facts.method != experiment.method.name:
        raise ModelError(
            prediction.name,
            expected=f"a prediction of {experiment.method.name}",
            found=f"one of {facts.method}",
            remedy="predict with a model of this method",
        )
    target = run.segments / f"{prediction.name}.zarr"
    made_by = experiment.method.model_dump(mode="json") | experiment.segment.model_dump(mode="json")
    spec = writer.Spec(
        kind="labels",
        axes=prediction.image.space,
        shape=facts.shape,
        dtype=np.dtype(np.uint32),
        voxel_size=prediction.image.voxel_size,
        attributes=facts.model_dump(mode="json") | {"segment": made_by},
    )
    pending = writer.create(target, spec, resume=resume, overwrite=overwrite)
    if pending.complete:
        return target
    decoder = experiment.method.decoder(len(facts.shape), facts.object_voxels)
    extent = block_extent(experiment, facts.shape)
    smallest = (
        experiment.segment.min_size
        * ball_volume(facts.object_voxels, len(facts.zoom))
        / math.prod(facts.zoom)
    )
    count = label_volume(prediction, decoder, extent, smallest, pending, progress)
    if count == 0:
        _log.warning("%s: no object found", prediction.name)
    return pending.publish()


def label_volume(
    prediction: Prediction,
    decoder: Decoder,
    extent: tuple[int, ...],
    smallest: float,
    pending: writer.Pending,
    progress: Progress,
) -> int:
    """Decode a prediction block by block into a label array, and return the number of objects.

    Parameters
    ----------
    prediction
        To be decoded.
    decoder
        Of its method.
    extent
        Of a block's core [voxel].
    smallest
        Objects with fewer voxels are dropped [voxel].
    pending
        The labels to be.
    progress
        One unit per block.
    """
    shape = prediction.facts.shape
    if math.isinf(decoder.halo):
        extent, halo = shape, (0,) * len(shape)
    else:
        halo = tuple(math.ceil(decoder.halo / z) + 1 for z in prediction.facts.zoom)
    parts = list(blocks(shape, extent, halo))
    progress.start(f"segment {prediction.name}", len(parts))
    if decoder.is_global:
        for block in parts:
            decoder.survey(_observe(prediction, block.core))
    with _staging(pending, shape, extent) as staging:
        joined = _Joined()
        for block in parts:
            labels, anchors = _decode(prediction, decoder, block)
            staging[block.core] = labels
            joined.add(labels, anchors)
            progress.advance()
        numbers = joined.numbers(smallest)
        for block, table in zip(parts, numbers, strict=True):
            pending.write(block.core, table[staging[block.core]])
    progress.finish()
    return int(max((table.max() for table in numbers), default=0))


def _decode(
    prediction: Prediction, decoder: Decoder, block: Block
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return a block's labels under numbers of their own, and the anchor of each number."""
    objects = decoder(_observe(prediction, block.outer))
    labels = objects.labels[block.inner]
    present, numbers = np.unique(labels, return_inverse=True)
    is_object = present > 0
    shift = 0 if present.size and present[0] == 0 else 1
    own = (numbers.reshape(labels.shape) + shift).astype(np.uint32)
    return own, objects.anchors[present[is_object].astype(np.int64) - 1]


def _observe(prediction: Prediction, region: Region) -> Observation:
    return Observation(
        prediction=prediction.read(region),
        image=prediction.read_image(region),
        spacing=prediction.facts.zoom,
        origin=tuple(part.start for part in region),
    )


@dataclass
class _Joined:
    """Objects of all blocks, joined by their anchors."""

    anchors: list[NDArray[np.int64]] = field(default_factory=list)
    sizes: list[NDArray[np.int64]] = field(default_factory=list)

    def add(self, labels: NDArray[np.uint32], anchors: NDArray[np.int64]) -> None:
        """Note the anchors of a block, and how many voxels each has in it."""
        self.anchors.append(anchors)
        self.sizes.append(np.bincount(labels.ravel(), minlength=len(anchors) + 1)[1:])

    def numbers(self, smallest: float) -> list[NDArray[np.uint32]]:
        """Return for each block the final number of each of its own: dense, by anchor."""
        everything = np.concatenate(self.anchors)
        if len(everything) == 0:
            return [np.zeros(1, np.uint32) for _ in self.anchors]
        _, which = np.unique(everything, axis=0, return_inverse=True)
        which = which.ravel()
        total = np.bincount(which, weights=np.concatenate(self.sizes))
        kept = total >= smallest
        final = np.where(kept, np.cumsum(kept), 0).astype(np.uint32)
        ends = np.cumsum([len(a) for a in self.anchors])[:-1]
        background = np.zeros(1, np.uint32)
        return [np.concatenate([background, part]) for part in np.split(final[which], ends)]


@contextlib.contextmanager
def _staging(
    pending: writer.Pending, shape: tuple[int, ...], extent: tuple[int, ...]
) -> Iterator[Any]:
    """Lend an array for labels under the blocks' own numbers, on disk beside the labels to be."""
    if shape == extent:
        yield np.zeros(shape, np.uint32)
        return
    path = Path(f"{pending.temporary}.staging")
    try:
        with failures(path):
            yield zarr.create_array(
                path, shape=shape, chunks=extent, dtype=np.uint32, overwrite=True
            )
    finally:
        shutil.rmtree(path, ignore_errors=True)
