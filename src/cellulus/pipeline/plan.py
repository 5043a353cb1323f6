"""What an experiment will do, worked out before it does it: shapes, tiles, memory, outputs.

Arithmetic on settings and metadata; trains nothing and imports no torch. Sizes that can be known
are exact; memory is an estimate of the arrays that live at once, and is called one. Time is left
out, because it depends on a machine that was not measured.
"""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cellulus.errors import InputError
from cellulus.nn import shapes
from cellulus.pipeline.extents import block_extent, crop_extent, tile_extent
from cellulus.pipeline.measure import LOOKED_AT, measure
from cellulus.pipeline.samples import common_kind, open_samples, open_training
from cellulus.space import Length, Scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellulus.data.volume import Volume
    from cellulus.experiment.sections import Experiment, Network

Shape = tuple[int, ...]

UNBOUNDED = sys.maxsize // 2
"""Extent of an image that no tile or block holds whole [voxel]."""
MARGIN = 4.0
"""What is read around a block, about; each decoder knows its own exactly [object diameter]."""


@dataclass(frozen=True)
class ImagePlan:
    """What will be done with one image.

    Attributes
    ----------
    name
        Of the image.
    shape
        ``(z,) y, x`` [voxel].
    voxel_size
        Per axis, in `unit`.
    unit
        ``"um"``, or ``"voxel"`` where the voxel size is unknown.
    diameter
        Of a typical object along each axis [voxel]; None where it is measured only when run.
    canonical_shape
        Of the grid that the network sees [voxel]; None with `diameter`.
    tiles
        Parts that the network is applied to; None with `diameter`.
    blocks
        Parts that are segmented at a time.
    prediction_bytes, label_bytes
        Size of what is written, before compression and without pyramids; None with `diameter`.
    """

    name: str
    shape: Shape
    voxel_size: tuple[float, ...]
    unit: str
    diameter: tuple[float, ...] | None
    canonical_shape: Shape | None
    tiles: int | None
    blocks: int
    prediction_bytes: int | None
    label_bytes: int


@dataclass(frozen=True)
class Plan:
    """What an experiment will do.

    Attributes
    ----------
    ndim
        Dimensions of the images, 2 or 3.
    inputs
        Channels that the network reads.
    outputs
        What is predicted and stored, by name.
    parameters
        Weights and biases of the network.
    view
        Width of the region that one answer depends on [canonical voxel].
    crop, tile, block
        Largest edge of what is learnt from and predicted at a time [canonical voxel], and
        segmented at a time [voxel], without margins.
    steps, batch_size
        Of training.
    training
        Number of images learnt from.
    memory
        Estimated bytes of the arrays that live at once, per step.
    images
        Those to find objects in.
    """

    ndim: int
    inputs: int
    outputs: tuple[str, ...]
    parameters: int
    view: int
    crop: int
    tile: int
    block: int
    steps: int
    batch_size: int
    training: int
    memory: dict[str, int]
    images: tuple[ImagePlan, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as what JSON can hold."""
        return asdict(self)


def plan(experiment: Experiment, *, training: bool = True) -> Plan:
    """Open the images of an experiment, metadata only, and work out what it will do.

    Where every image has its own diameter, the first few are measured, which reads their middle.

    Parameters
    ----------
    experiment
        What to do.
    training
        Whether it will train; otherwise the images to learn from need not be there.

    Raises
    ------
    MissingError, InputError, StorageError
        If an image cannot be opened, or does not go with the settings.
    """
    samples = open_samples(experiment) if experiment.data.apply else []
    learnt_from = open_training(experiment) if training else []
    return plan_volumes(experiment, [sample.volume for sample in samples], learnt_from)


def plan_volumes(
    experiment: Experiment, volumes: Sequence[Volume], training: Sequence[Volume]
) -> Plan:
    """Work out what an experiment will do to images that are open; see `plan`."""
    everything = [*volumes, *training]
    if not everything:
        raise InputError(
            "data.apply",
            expected="at least one image to find objects in",
            found="none",
            remedy="add a table [[data.apply]]",
        )
    ndim, inputs = common_kind(everything)
    method, network = experiment.method, experiment.network
    images = tuple(
        _image(experiment, volume, known=index < LOOKED_AT) for index, volume in enumerate(volumes)
    )
    unbounded = (UNBOUNDED,) * ndim
    return Plan(
        ndim=ndim,
        inputs=inputs,
        outputs=method.channels(ndim),
        parameters=parameters(network, ndim, inputs, method.outputs(ndim)),
        view=shapes.view(network.depth),
        crop=crop_extent(experiment, ndim)[0],
        tile=tile_extent(experiment, unbounded)[0],
        block=block_extent(experiment, unbounded)[0],
        steps=experiment.train.steps,
        batch_size=experiment.train.batch_size,
        training=len(training),
        memory=_memory(experiment, images, ndim, inputs),
        images=images,
    )


def parameters(network: Network, ndim: int, inputs: int, outputs: int) -> int:
    """Return the number of weights and biases of the network."""
    head = network.head_features * outputs + outputs
    return head + sum(_convolutions(ndim, a, b) for a, b, _ in _blocks(network, inputs))


def _blocks(network: Network, inputs: int) -> list[tuple[int, int, int]]:
    """Return the channels that each block of the U-Net takes and gives, and its level."""
    depth = network.depth
    widths = [network.features * network.growth**level for level in range(depth + 1)]
    if depth == 0:
        return [(inputs, network.head_features, 0)]
    down = [(a, b, k) for k, (a, b) in enumerate(zip([inputs, *widths], widths, strict=False))]
    merged = [network.head_features, *widths[1:]]
    up = [(widths[k] + merged[k + 1], merged[k], k) for k in reversed(range(depth))]
    return down + up


def _convolutions(ndim: int, inputs: int, outputs: int) -> int:
    """Return the weights and biases of one block, of kernels 3, 1, 1, 3."""
    taps: int = 3**ndim
    return taps * inputs * outputs + (2 + taps) * outputs**2 + 4 * outputs


def _image(experiment: Experiment, volume: Volume, *, known: bool) -> ImagePlan:
    length = experiment.data.object_diameter
    if length == "auto" and known:
        value = measure(volume)
        length = Length(value, volume.voxel_size.unit) if value > 0 else "auto"
    canonical = diameter = None
    if isinstance(length, Length):
        diameter = length.in_voxels(volume.voxel_size)
        scale = Scale.of(length, volume.voxel_size, experiment.network.object_voxels)
        canonical = scale.canonical_shape(volume.shape)
    stored = 2 * len(experiment.method.channels(volume.ndim))
    return ImagePlan(
        name=volume.name,
        shape=volume.shape,
        voxel_size=volume.voxel_size.values,
        unit=volume.voxel_size.unit,
        diameter=diameter,
        canonical_shape=canonical,
        tiles=_count(canonical, tile_extent(experiment, canonical)) if canonical else None,
        blocks=_count(volume.shape, block_extent(experiment, volume.shape)),
        prediction_bytes=stored * math.prod(canonical) if canonical else None,
        label_bytes=4 * math.prod(volume.shape),
    )


def _count(shape: Shape, extent: Shape) -> int:
    return math.prod(math.ceil(n / edge) for n, edge in zip(shape, extent, strict=True))


def _memory(
    experiment: Experiment, images: Sequence[ImagePlan], ndim: int, inputs: int
) -> dict[str, int]:
    """Estimate what lives at once [byte]: activations of float32, or arrays of a block."""
    network, method = experiment.network, experiment.method
    layers = _blocks(network, inputs)
    weights = parameters(network, ndim, inputs, method.outputs(ndim))
    crop = experiment.train.batch_size * math.prod(crop_extent(experiment, ndim))
    # Training keeps what each of a block's four layers gave; the optimiser, three copies more.
    kept = sum((a + 4 * b) / 2 ** (level * ndim) for a, b, level in layers)
    # Predicting keeps the widest layer's input and output, and the skip connections.
    widest = max((a + b) / 2 ** (level * ndim) for a, b, level in layers)
    skips = sum(b / 2 ** (k * ndim) for _, b, k in layers[: network.depth])
    # Segmenting keeps the prediction and the image of float32, labels, and float64 coordinates.
    decoded = 4 * (len(method.channels(ndim)) + inputs + 4) + 8 * 3 * ndim
    made = {"train": round(4 * (crop * kept + 4 * weights))}
    if images:
        tile = experiment.predict.batch_size * max(_seen(experiment, image) for image in images)
        made["predict"] = round(4 * (tile * (widest + skips) + weights))
        made["segment"] = decoded * max(_decoded(experiment, image) for image in images)
    return made


def _seen(experiment: Experiment, image: ImagePlan) -> int:
    """Return what the network is given for one tile, with its margin [canonical voxel]."""
    depth = experiment.network.depth
    grid = image.canonical_shape or (UNBOUNDED,) * len(image.shape)
    core = tile_extent(experiment, grid)
    return math.prod(shapes.legal_size(n + 2 * shapes.halo(depth), depth) for n in core)


def _decoded(experiment: Experiment, image: ImagePlan) -> int:
    """Return what the decoder is given for one block, about [voxel]."""
    core = block_extent(experiment, image.shape)
    margin = [2 * MARGIN * d for d in image.diameter or (0.0,) * len(core)]
    whole = zip(image.shape, core, margin, strict=True)
    return math.prod(min(n, edge + math.ceil(around)) for n, edge, around in whole)
