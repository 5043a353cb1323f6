"""The most memory that one process takes for a step: an estimate from above.

Arrays that live at once are counted where their sizes are known. What cannot be counted (codecs,
buffers of convolutions, temporary arrays of filters) is in the constants below, which were
measured: `benchmarks/memory.py` compares estimates with peaks. On a GPU, what the network needs
is the GPU's. Knows nothing of how sizes are chosen.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cellulus.pipeline import cuts
from cellulus.pipeline.activations import alive, kept, parameters
from cellulus.pipeline.extents import crop_extent, sees_objects_whole

if TYPE_CHECKING:
    from cellulus.experiment.sections import Experiment
    from cellulus.pipeline.cuts import Subject

BASE = 620_000_000
"""A process that has imported all that `cellulus run` needs [byte]."""
CONVOLUTIONS = 1.35
"""What convolutions need beside their inputs and outputs, as a factor."""
MARKED = 64
"""While blobs are looked for in a tile and what lies around it, per voxel [byte]."""
SPECKS = 40
"""While the noise of a tile is drawn, per voxel [byte]."""
READING = 1.1
"""What reading a prediction needs beside its arrays, as a factor."""
RESHAPED = {"none": 25, "pieces": 25, "intensity": 26, "cell": 76}
"""While labels are reshaped, per voxel; "pieces" is their cutting and filling alone [byte]."""


def training(experiment: Experiment, ndim: int, inputs: int) -> int:
    """Return what learning needs: activations, and the optimiser's copies of weights [byte]."""
    network = experiment.network
    weights = parameters(network, ndim, inputs, experiment.method.outputs(ndim))
    crops = math.ceil(experiment.train.batch_size / parts_of(experiment))
    crop = crops * math.prod(crop_extent(experiment, ndim))
    return round(BASE + 4 * (crop * kept(network, ndim, inputs) + 4 * weights))


def parts_of(experiment: Experiment) -> int:
    """Return how many parts a batch goes through the network in; one if that was left open."""
    parts = experiment.train.accumulate
    return 1 if parts == "auto" else parts


def predicting(experiment: Experiment, subject: Subject) -> int:
    """Return what predicting a tile needs: its intensities, then its activations [byte]."""
    network, outer = experiment.network, cuts.tiling(experiment, subject).outer
    ndim, inputs = len(outer), subject.inputs
    # What "auto" comes to is only known where the network runs.
    value = 2 if experiment.predict.precision == "bf16" else 4
    views = experiment.method.views(ndim, tta=experiment.predict.tta)
    count = min(experiment.predict.batch_size, views)
    weights = 4 * parameters(network, ndim, inputs, experiment.method.outputs(ndim))
    answers = 4 * (3 * count + 4) * len(experiment.method.channels(ndim)) * math.prod(outer)
    images = 4 * inputs * (1 + 2 * count) * math.prod(outer)
    asked = CONVOLUTIONS * value * count * alive(network, inputs, outer) + images + answers
    drawn = images + SPECKS * math.prod(outer)
    source = math.prod(
        _span(n, z, limit) for n, z, limit in zip(outer, subject.zoom, subject.shape, strict=True)
    )
    # As it is stored, then normalised in two steps, then on both grids.
    size = subject.itemsize
    read = inputs * max((size + 8) * source, 4 * (source + math.prod(outer)))
    return round(BASE + weights + max(asked, drawn, read, _marking(experiment, subject)))


def _marking(experiment: Experiment, subject: Subject) -> float:
    """Return what finding the points of a tile needs, where the method has some [byte]."""
    if experiment.method.needs != "points":
        return 0.0
    from cellulus.ops import blobs  # compiles, and few plans need it

    core = cuts.tiling(experiment, subject).core
    margin = 2 * blobs.reach(subject.object_voxels, len(core))
    return (MARKED + 4.0 * subject.inputs) * math.prod(n + margin for n in core)


def segmenting(experiment: Experiment, subject: Subject) -> list[int]:
    """Return what each survey needs, and last what decoding a block needs [byte]."""
    zoom, channels = subject.zoom, len(experiment.method.channels(len(subject.shape)))
    parts = [*cuts.surveys(experiment, subject), cuts.decoding(experiment, subject)]
    needs = []
    for step, cut in enumerate(parts):
        voxels = math.prod(cut.outer)
        source = math.prod(
            _span(n, 1 / z, limit)
            for n, z, limit in zip(cut.outer, zoom, subject.canonical, strict=True)
        )
        # One channel as it is stored, and what becomes of all.
        read = READING * 4 * (channels * voxels + source)
        held = 4 * (channels + subject.inputs) * voxels
        work = experiment.method.memory(step, cut.outer, cut.core, zoom, subject.object_voxels)
        needs.append(round(BASE + max(read, held + work)))
    return needs


def postprocessing(experiment: Experiment, subject: Subject) -> int:
    """Return what reshaping the labels of a block needs [byte]."""
    voxels = math.prod(cuts.reshaping(experiment, subject).outer)
    kind: str = experiment.postprocess.kind
    if kind == "none" and sees_objects_whole(experiment.postprocess):
        kind = "pieces"
    image = 8 * subject.inputs if kind == "intensity" else 0
    return round(BASE + (RESHAPED[kind] + image) * voxels)


def amount(count: float) -> str:
    """Write a number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _span(length: int, zoom: float, limit: int) -> int:
    """Return how many voxels of a grid are read for `length` of one `zoom` times as fine."""
    return min(limit, math.ceil(length / zoom + 2 * max(1.0, 1 / zoom)) + 1)
