"""What an experiment will do, worked out before it does it: shapes, parts, memory, disk.

Arithmetic on settings and metadata; trains nothing and imports no torch. What can be known is
exact. Memory is an estimate from above, and disk is what would be needed without compression.
Time depends on the machine and is measured, if asked for, by `cellulus.pipeline.probe`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cellulus.errors import InputError
from cellulus.nn import shapes
from cellulus.pipeline import cap, cuts, disk, memory
from cellulus.pipeline.activations import parameters
from cellulus.pipeline.cuts import Cut, Subject
from cellulus.pipeline.extents import block_edge, crop_extent, object_width, tile_edge
from cellulus.pipeline.measure import LOOKED_AT, measure
from cellulus.pipeline.samples import common_kind, open_samples, open_training
from cellulus.space import Length, Scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellulus.data.volume import Volume
    from cellulus.experiment.sections import Experiment

Shape = tuple[int, ...]

__all__ = ["ImagePlan", "Plan", "StepPlan", "parameters", "plan", "plan_volumes"]


@dataclass(frozen=True)
class StepPlan:
    """What one step will do with one image.

    Attributes
    ----------
    cut
        The parts, and what is read for them.
    memory
        That one process needs at most, estimated [byte].
    """

    cut: Cut
    memory: int


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
    steps
        By name; empty without `diameter`. Predicting cuts the canonical grid, the others the
        image's.
    disk
        See `cellulus.pipeline.disk`; empty without `diameter`.
    """

    name: str
    shape: Shape
    voxel_size: tuple[float, ...]
    unit: str
    diameter: tuple[float, ...] | None
    canonical_shape: Shape | None
    steps: dict[str, StepPlan]
    disk: dict[str, int]


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
        segmented at a time [voxel], without margins; the least of all images under a cap.
    steps, batch_size, parts
        Of training; a batch goes through the network in so many parts.
    training
        Number of images learnt from.
    cap
        Most that one process may take [byte]; None where any amount is allowed.
    memory
        Most that one process takes, per step, estimated [byte].
    disk
        Before compression [byte]: results of all images together; of what is there only while an
        image is worked on, that of the largest.
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
    parts: int
    training: int
    cap: int | None
    memory: dict[str, int]
    disk: dict[str, int]
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
        If an image cannot be opened, or does not go with the settings; if something does not fit
        under the cap on memory.
    """
    samples = open_samples(experiment) if experiment.data.apply else []
    learnt_from = [s.volume for s in open_training(experiment)] if training else []
    return plan_volumes(experiment, [s.volume for s in samples], learnt_from)


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
    if training:
        experiment = cap.fit_training(experiment, ndim, inputs)
    made = [_image(experiment, v, known=n < LOOKED_AT) for n, v in enumerate(volumes)]
    images = tuple(image for image, _, _ in made)
    return Plan(
        ndim=ndim,
        inputs=inputs,
        outputs=method.channels(ndim),
        parameters=parameters(network, ndim, inputs, method.outputs(ndim)),
        view=shapes.view(network.depth),
        crop=crop_extent(experiment, ndim)[0],
        tile=min([tile for _, tile, _ in made], default=tile_edge(experiment, ndim)),
        block=min([block for _, _, block in made], default=block_edge(experiment, ndim)),
        steps=experiment.train.steps,
        batch_size=experiment.train.batch_size,
        parts=memory.parts_of(experiment),
        training=len(training),
        cap=None if experiment.memory == "any" else experiment.memory,
        memory=_memory(experiment, images, ndim, inputs),
        disk=_disk(images),
        images=images,
    )


def _image(experiment: Experiment, volume: Volume, *, known: bool) -> tuple[ImagePlan, int, int]:
    """Return the plan of an image, and the edges of its tiles and blocks."""
    ndim, size = volume.ndim, volume.voxel_size
    tile, block = tile_edge(experiment, ndim), block_edge(experiment, ndim)
    length = experiment.data.object_diameter
    if length == "auto" and known:
        value = measure(volume)
        length = Length(value, size.unit) if value > 0 else "auto"
    if length == "auto":
        made = ImagePlan(volume.name, volume.shape, size.values, size.unit, None, None, {}, {})
        return made, tile, block
    width = object_width(experiment.network, ndim)
    scale = Scale.of(length, size, width)
    inputs, itemsize = len(volume.channels), volume.dtype.itemsize
    subject = Subject(volume.shape, scale.zoom, inputs, itemsize, width)
    tiled = cap.fit_tile(experiment, subject)
    blocked = cap.fit_block(experiment, subject)
    reshaped = cap.fit_reshaping(experiment, subject)
    tiles, surveys = cuts.tiling(tiled, subject), cuts.surveys(blocked, subject)
    needs = memory.segmenting(blocked, subject)
    names = [f"survey {number}" for number in range(1, len(surveys) + 1)]
    parts = [*surveys, cuts.decoding(blocked, subject)]
    steps = {
        "predict": StepPlan(tiles, memory.predicting(tiled, subject)),
        **{
            name: StepPlan(cut, need)
            for name, cut, need in zip([*names, "segment"], parts, needs, strict=True)
        },
        "postprocess": StepPlan(
            cuts.reshaping(reshaped, subject), memory.postprocessing(reshaped, subject)
        ),
    }
    made = ImagePlan(
        name=volume.name,
        shape=volume.shape,
        voxel_size=size.values,
        unit=size.unit,
        diameter=length.in_voxels(size),
        canonical_shape=subject.canonical,
        steps=steps,
        disk=disk.needed(blocked, subject, size),
    )
    edges = block_edge(blocked, ndim), block_edge(reshaped, ndim)
    return made, tile_edge(tiled, ndim), min(edges)


def _memory(
    experiment: Experiment, images: Sequence[ImagePlan], ndim: int, inputs: int
) -> dict[str, int]:
    """Return the most that one process needs, per step [byte]."""
    made = {"train": memory.training(experiment, ndim, inputs)}
    for image in images:
        for name, step in image.steps.items():
            made[name] = max(made.get(name, 0), step.memory)
    return made


def _disk(images: Sequence[ImagePlan]) -> dict[str, int]:
    known = [image.disk for image in images if image.disk]
    passing = {"staging", "parts"}
    return {
        key: max(of[key] for of in known) if key in passing else sum(of[key] for of in known)
        for key in (known[0] if known else ())
    }
