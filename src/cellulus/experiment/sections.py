"""The sections of an experiment file and their defaults: the one place that lists every setting.

Knows nothing of TOML, and touches no disk: paths are checked where they are opened.
Field docstrings are what `init`, the help and the error messages show.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, field_validator, model_validator

from cellulus.blocks.slurm import Slurm
from cellulus.errors import InputError
from cellulus.methods import AnyMethod, ObjectCentric
from cellulus.settings import Settings
from cellulus.space import Length


def _read_diameter(value: object) -> object:
    if value == "auto" or isinstance(value, Length):
        return value
    return Length.parse(value if isinstance(value, str | int | float) else repr(value))


def _write_diameter(value: Length | str) -> str | float:
    """Return what reads back as exactly the same diameter."""
    if isinstance(value, str):
        return value
    return f"{value.value!r} um" if value.unit == "um" else value.value


Diameter = Annotated[
    Length | Literal["auto"],
    BeforeValidator(_read_diameter),
    PlainSerializer(_write_diameter),
]


_BYTES = {
    "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kKMGTiB]+)\s*")


def _read_memory(value: object) -> object:
    """Return a number of bytes; a number without a unit is refused."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match and match.group(2) in _BYTES:
        return round(float(match.group(1)) * _BYTES[match.group(2)])
    if value == "any":
        return value
    raise InputError("memory", expected='a size such as "8 GB", or "any"', found=repr(value))


def _write_memory(value: int | str) -> str:
    """Return what reads back as exactly as many bytes."""
    if isinstance(value, str):
        return value
    unit = max((u for u in _BYTES if value % _BYTES[u] == 0), key=lambda u: _BYTES[u])
    return f"{value // _BYTES[unit]} {unit}"


Memory = Annotated[
    int | Literal["any"],
    BeforeValidator(_read_memory),
    PlainSerializer(_write_memory),
]


class TrainImage(Settings):
    """An image, or a glob of images, to learn from."""

    image: str
    """OME-Zarr image, TIFF or PNG, or a glob of them; relative to the experiment file."""
    masks: str | None = None
    """Labels to learn from, paired with the images in sorted order; where the method needs them."""
    ignore: str | None = None
    """Where these are not 0 nobody has annotated, and nothing is learnt; paired likewise."""
    points: str | None = None
    """Tables (CSV) with a point per cell, or labels, paired likewise; found where not given."""
    foreground: str | None = None
    """Images that are not 0 where there may be cells, paired likewise; found where not given."""


class ApplyImage(Settings):
    """An image, or a glob of images, in which to find objects."""

    image: str
    """OME-Zarr image, TIFF or PNG, or a glob of them; relative to the experiment file."""
    truth: str | None = None
    """Labels to score against, paired with the images in sorted order; only evaluate reads them."""
    ignore: str | None = None
    """Where these are not 0 nobody has annotated, and nothing is scored; paired likewise."""
    points: str | None = None
    """Tables (CSV) with a point per cell, or labels, paired likewise; found where not given."""


class Data(Settings):
    """What the images are."""

    object_diameter: Diameter = "auto"
    """Diameter of a typical object: "9.6 um", a number of voxels, or "auto" (per image)."""
    channels: tuple[int | str, ...] = ()
    """Channels to use, by index or name; needed where an image has more than one."""
    marker: int | str = ""
    """The one of `channels` with a blob per cell, for points; "" is the first."""
    cell: int | str = ""
    """The one of `channels` that is bright where cells are; "" is the mean of all."""
    level: Annotated[int, Field(ge=0)] | Literal["auto"] = 0
    """Pyramid level to work on; "auto" takes the coarsest that still resolves the objects."""
    voxel_size: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """Voxel size (z,) y, x [um], for images that carry none or a wrong one."""
    percentiles: tuple[float, float] = (1.0, 99.8)
    """Intensities mapped to 0 and 1, as percentiles."""
    normalise: Literal["image", "dataset"] = "image"
    """Whether the percentiles are those of each image or of all training images together."""
    ignore_label: int | Literal["none"] = "none"
    """Number in masks and truths for what nobody annotated: it is neither learnt nor scored."""
    train: tuple[TrainImage, ...] = ()
    """Images to learn from; the images to apply to, where none are given."""
    apply: tuple[ApplyImage, ...] = ()
    """Images to find objects in."""

    @property
    def unknown(self) -> int | None:
        """The number that marks what nobody annotated; None if there is none."""
        return None if self.ignore_label == "none" else self.ignore_label

    @field_validator("percentiles")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] < value[1] <= 100:
            raise ValueError("two ascending percentages between 0 and 100")
        return value

    @field_validator("voxel_size")
    @classmethod
    def _per_axis(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(value) not in {0, 2, 3}:
            raise ValueError("two extents (y, x) or three (z, y, x)")
        return value


class Output(Settings):
    """Where results go."""

    store: str = ""
    """URL of a folder for predictions, segments and labels, "s3://bucket/run"; "" is the run."""

    @field_validator("store")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if value and "://" not in value:
            raise ValueError('a URL, such as "s3://bucket/run", or "" for the run folder')
        return value


class Network(Settings):
    """The U-Net; two or three dimensions follow from the data."""

    features: int = Field(default=24, ge=1)
    """Feature maps of the first level."""
    growth: int = Field(default=3, ge=1)
    """Factor of feature maps from level to level; by default 2 with spatial_embedding."""
    depth: int = Field(default=1, ge=0, le=4)
    """How often the resolution is halved; by default 2 with spatial_embedding."""
    head_features: int = Field(default=48, ge=1)
    """Feature maps of the last layer before the output."""
    object_voxels: Annotated[float, Field(ge=4)] | Literal["auto"] = "auto"
    """Width of an object on the canonical grid [voxel]; "auto" is 20 in 2D and 12 in 3D."""


class Train(Settings):
    """How the network learns."""

    steps: int = Field(default=2000, ge=1)
    """Optimiser steps."""
    batch_size: int = Field(default=8, ge=1)
    """Crops per step."""
    accumulate: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Parts that a batch goes through the network in; "auto": as few as fit 4 GB, or `memory`."""
    crop: Annotated[int, Field(ge=4)] | Literal["auto"] = "auto"
    """Edge of a crop [canonical voxel]; "auto": 6.4 objects (128 in 2D), 3 (36 in 3D), or more."""
    learning_rate: float = Field(default=8e-4, gt=0)
    """Adam's step size; falls to zero along half a cosine."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay."""
    elastic: float = Field(default=0.5, ge=0)
    """Standard deviation of the elastic deformation [canonical voxel]; 0 turns it off."""
    intensity: float = Field(default=0.2, ge=0, lt=1)
    """Spread of the random gain, offset and gamma; 0 turns them off."""
    validation: float = Field(default=0.1, ge=0, lt=1)
    """Share of the training images kept aside for the validation loss (at least one of two)."""
    validate_every: int = Field(default=100, ge=1)
    """Steps between validations and checkpoints."""
    patience: int = Field(default=0, ge=0)
    """Stop after this many validations without a better one; 0 never stops early."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the network; "auto" is bf16 where the device is faster with it."""
    tensorboard: bool = False
    """Write the losses for TensorBoard too, to tensorboard/ in the run folder."""
    devices: int = Field(default=1, ge=1)
    """Devices that share each batch (GPUs, or processes on the CPU); each weighs its own share."""
    workers: int = Field(default=1, ge=0)
    """Threads that prepare crops ahead of the network."""


class Predict(Settings):
    """How the network is applied."""

    tile: Annotated[int, Field(ge=16)] | Literal["auto"] = "auto"
    """Edge of a tile [canonical voxel]; bounds the memory. "auto" is 512 in 2D and 96 in 3D."""
    batch_size: int = Field(default=4, ge=1)
    """Noisy passes, or orientations of a tile, sent through the network together."""
    tta: bool = False
    """Average over 8 turns and flips of a tile in 2D, 16 in 3D, where the method can; slower."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the network; "auto" is bf16 where the device is faster with it."""
    empty: float = Field(default=0.05, ge=0, lt=1)
    """Tiles whose averages over quarters of an object span less are skipped [percentile range]."""


class Segment(Settings):
    """How predictions become labels; what depends on the method stands in `[method]`."""

    block: Annotated[int, Field(ge=16)] | Literal["auto"] = "auto"
    """Mean edge of a block, a cube in um [voxel]; bounds memory. "auto": 2048 in 2D, 256 in 3D."""
    min_size: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    """Smallest object kept [volume of a ball of the diameter]; "auto": as tuned, else 0.1."""


class Postprocess(Settings):
    """What is done to each object after segmentation."""

    kind: Literal["none", "cell", "intensity"] = "none"
    """Nothing; "cell" grows, then shrinks; "intensity" is Otsu inside each object (nuclei)."""
    grow: float = Field(default=0.15, ge=0)
    """Distance that "cell" grows objects by [object diameter]."""
    shrink: float = Field(default=0.3, ge=0)
    """Distance that "cell" then shrinks them by [object diameter]."""
    separate: bool = False
    """Whether "cell" shrinks objects from touching neighbours too, so that a gap opens."""
    keep_largest: bool = False
    """Keep only the largest connected piece of each object."""
    fill_holes: bool = False
    """Fill the holes of each object."""
    min_size: float = Field(default=0.0, ge=0)
    """Smallest object kept [volume of a ball of the object diameter]."""
    max_size: float = Field(default=0.0, ge=0)
    """Largest object kept, in the same unit; 0 keeps all."""
    clear_border: bool = False
    """Drop objects that touch the image border."""


class Evaluate(Settings):
    """How labels are scored."""

    iou: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)] = (
        0.5, 0.6, 0.7, 0.75, 0.8, 0.9,
    )  # fmt: skip
    """IoU thresholds; a match needs at least this much."""


class Experiment(Settings):
    """One experiment: data, method, and how each step goes."""

    format: Literal[1] = 1
    """Version of this file format."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything random."""
    memory: Memory = "any"
    """Most that a process may take, "8 GB"; tiles and blocks that are "auto" are made to fit."""
    data: Data = Data()
    output: Output = Output()
    method: AnyMethod = ObjectCentric()
    network: Network = Network()
    train: Train = Train()
    predict: Predict = Predict()
    segment: Segment = Segment()
    postprocess: Postprocess = Postprocess()
    evaluate: Evaluate = Evaluate()
    slurm: Slurm = Slurm()

    @model_validator(mode="after")
    def _as_the_method_has_it(self) -> Self:
        """Give what was not set of the network the default that the method has."""
        was_set, defaults = self.network.model_fields_set, self.method.network
        open_ = {name: value for name, value in defaults.items() if name not in was_set}
        if open_:
            object.__setattr__(self, "network", self.network.model_copy(update=open_))
        return self
