"""What an experiment will do, worked out before it does it: shapes, tiles, memory, outputs.

Arithmetic on settings and metadata; trains nothing and imports no torch. Sizes that can be known
are exact; memory is an estimate of the arrays that live at once, and is called one. Time is left
out, because it depends on a machine that was not measured.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cellulus.errors import InputError
from cellulus.nn import shapes
from cellulus.pipeline.init import LOOKED_AT, measure
from cellulus.pipeline.samples import open_samples, open_training
from cellulus.space import Length, Scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellulus.data.volume import Volume
    from cellulus.experiment.sections import Experiment, Network

Shape = tuple[int, ...]


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
        Largest size of what is written, before compression and without pyramids.
    """

    name: str
    shape: Shape
    voxel_size: tuple[float, ...]
    unit: str
    diameter: tuple[float, ...] | None
    canonical_shape: Shape | None
    tiles: int | None
    blocks: int
    prediction_bytes: int
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
        What it predicts, by name.
    parameters
        Weights and biases of the network.
    view
        Width of the region that one answer depends on [canonical voxel].
    crop, tile, block
        Edge of what is learnt from and predicted [canonical voxel], and segmented [voxel].
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
    ndim, inputs = _common(everything)
    depth, edges = experiment.network.depth, _edges(experiment, ndim)
    outputs = experiment.method.channels(ndim)
    return Plan(
        ndim=ndim,
        inputs=inputs,
        outputs=outputs,
        parameters=parameters(experiment.network, ndim, inputs, len(outputs)),
        view=shapes.view(depth),
        **edges,
        steps=experiment.train.steps,
        batch_size=experiment.train.batch_size,
        training=len(training),
        memory=_memory(experiment, edges, everything),
        images=tuple(
            _image(experiment, volume, edges, known=index < LOOKED_AT)
            for index, volume in enumerate(volumes)
        ),
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


def _common(volumes: Sequence[Volume]) -> tuple[int, int]:
    """Return the dimensions and the channels that all images share."""
    kinds = {(volume.ndim, len(volume.channels)): volume for volume in volumes}
    if len(kinds) > 1:
        found = ", ".join(f"{v.name}: {n} axes, {c} channels" for (n, c), v in kinds.items())
        raise InputError(
            "data",
            expected="images with the same number of axes and channels",
            found=found,
            remedy="make an experiment for each kind",
        )
    if not kinds:
        raise InputError(
            "data.apply",
            expected="at least one image to find objects in",
            found="none",
            remedy="add a table [[data.apply]]",
        )
    return next(iter(kinds))


def _edges(experiment: Experiment, ndim: int) -> dict[str, int]:
    depth = experiment.network.depth
    crop, tile = experiment.train.crop, experiment.predict.tile
    block = experiment.segment.block
    flat = ndim == 2
    return {
        "crop": shapes.legal_size((128 if flat else 48) if crop == "auto" else crop, depth),
        "tile": shapes.legal_size((512 if flat else 96) if tile == "auto" else tile, depth),
        "block": (2048 if flat else 256) if block == "auto" else block,
    }


def _image(
    experiment: Experiment, volume: Volume, edges: dict[str, int], *, known: bool
) -> ImagePlan:
    length = experiment.data.object_diameter
    if length == "auto" and known:
        value = measure(volume)
        length = Length(value, volume.voxel_size.unit) if value > 0 else "auto"
    canonical = diameter = None
    if isinstance(length, Length):
        diameter = length.in_voxels(volume.voxel_size)
        scale = Scale.of(length, volume.voxel_size, experiment.network.object_voxels)
        canonical = scale.canonical_shape(volume.shape)
    voxels = math.prod(volume.shape)
    step = shapes.output_size(edges["tile"], experiment.network.depth)
    return ImagePlan(
        name=volume.name,
        shape=volume.shape,
        voxel_size=volume.voxel_size.values,
        unit=volume.voxel_size.unit,
        diameter=diameter,
        canonical_shape=canonical,
        tiles=_count(canonical, step) if canonical else None,
        blocks=_count(volume.shape, edges["block"]),
        prediction_bytes=2 * voxels * len(experiment.method.channels(volume.ndim)),
        label_bytes=4 * voxels,
    )


def _count(shape: Shape, edge: int) -> int:
    return math.prod(math.ceil(n / edge) for n in shape)


def _memory(
    experiment: Experiment, edges: dict[str, int], volumes: Sequence[Volume]
) -> dict[str, int]:
    """Estimate what lives at once [byte]: activations of float32, or arrays of a block."""
    ndim, inputs = _common(volumes)
    network = experiment.network
    blocks = _blocks(network, inputs)
    outputs = len(experiment.method.channels(ndim))
    crop = experiment.train.batch_size * edges["crop"] ** ndim
    tile = experiment.predict.batch_size * edges["tile"] ** ndim
    block = max(math.prod(min(n, edges["block"]) for n in volume.shape) for volume in volumes)
    # Training keeps what each of a block's four layers gave; the optimiser, three copies more.
    kept = sum((a + 4 * b) / 2 ** (level * ndim) for a, b, level in blocks)
    # Predicting keeps the widest layer's input and output, and the skip connections.
    widest = max((a + b) / 2 ** (level * ndim) for a, b, level in blocks)
    skips = sum(b / 2 ** (k * ndim) for _, b, k in blocks[: network.depth])
    weights = parameters(network, ndim, inputs, outputs)
    return {
        "train": round(4 * (crop * kept + 4 * weights)),
        "predict": round(4 * (tile * (widest + skips) + weights)),
        "segment": 4 * block * (outputs + inputs + 2),
    }
