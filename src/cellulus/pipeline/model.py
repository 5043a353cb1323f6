"""The model file: weights as safetensors, and beside them, as JSON, everything needed to use them.

Loading runs no code from the file. Knows nothing of training.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import safetensors
import safetensors.torch
import torch
from pydantic import Field, ValidationError

from cellulus.data.normalise import Normalisation
from cellulus.errors import MissingError, ModelError
from cellulus.experiment.sections import Network  # noqa: TC001 read by pydantic
from cellulus.files import write_bytes
from cellulus.methods import AnyMethod  # noqa: TC001 read by pydantic
from cellulus.nn.conv import channels_last
from cellulus.nn.unet import UNet
from cellulus.pipeline.extents import object_width
from cellulus.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from cellulus.experiment.sections import Experiment

_KEY = "cellulus"


class Card(Settings):
    """What a model is, and what it was made from."""

    format: Literal[1] = 1
    """Version of this description."""
    method: Annotated[AnyMethod, Field()]
    """How it was trained."""
    network: Network
    """Its shape."""
    ndim: int = Field(ge=2, le=3)
    """Spatial dimensions of the images it takes."""
    inputs: int = Field(ge=1)
    """Channels of the images it takes."""
    outputs: int = Field(ge=1)
    """Components of its answer."""
    percentiles: tuple[float, float]
    """Intensities that became 0 and 1."""
    low: tuple[float, ...] = ()
    """The intensities that become 0, where all images share them; else each has its own."""
    high: tuple[float, ...] = ()
    """The intensities that become 1."""
    tuned: dict[str, float] = Field(default_factory=dict)
    """Thresholds that did best on images kept aside, by the names of their settings."""
    provenance: dict[str, Any] = Field(default_factory=dict)
    """Step, losses, seed, versions, and the normalisation of each training image."""

    @property
    def object_voxels(self) -> float:
        """Width of an object on the grid that the network sees [canonical voxel]."""
        return object_width(self.network, self.ndim)

    @property
    def normalisation(self) -> Normalisation | None:
        """The normalisation that all images share; None where each has its own."""
        return Normalisation(self.low, self.high) if self.low else None


@dataclass(frozen=True)
class Model:
    """A network, and what it is."""

    network: UNet
    card: Card


def new_network(card: Card) -> UNet:
    """Return the network that a card describes, freshly initialised."""
    shape = card.network.model_dump(exclude={"object_voxels"})
    return UNet(card.ndim, card.inputs, card.outputs, **shape)


def save(path: Path, weights: dict[str, torch.Tensor], card: Card) -> Path:
    """Write a model file; what was there stays until the new one is whole.

    Raises
    ------
    StorageError
        If the disk is full or refuses.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_bytes(path, safetensors.torch.save(tensors, {_KEY: card.model_dump_json()}))
    return path


def load(path: Path) -> Model:
    """Read a model file.

    Raises
    ------
    MissingError
        If there is none.
    ModelError
        If it is damaged, or not of this program.
    """
    if not path.is_file():
        raise MissingError(path, expected="a model", found="no file", remedy="run train first")
    try:
        with safetensors.safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise _damaged(path, f"a damaged file ({error})") from error
    if text is None:
        raise _damaged(path, "a safetensors file of another program")
    try:
        card = Card.model_validate(json.loads(text))
        with torch.device("meta"):  # no memory is taken before the weights are seen to fit
            network = new_network(card)
        network.load_state_dict(weights, assign=True)
        network.to(torch.float32, memory_format=channels_last(card.ndim))  # type: ignore[call-overload]
    except ValidationError as error:
        fault = error.errors()[0]
        where, why = ".".join(map(str, fault["loc"])), fault["msg"]
        if fault["type"] == "union_tag_invalid":  # which says how it looks for the name
            where, why = f"{where}.name", f"expected {fault['ctx']['expected_tags']}"
        raise _damaged(path, f"another description of it ({where}: {why})") from error
    except (ValueError, RuntimeError, TypeError, OverflowError) as error:
        raise _damaged(path, f"weights that do not go together ({error})") from error
    return Model(network.eval(), card)


def check_fit(path: Path, card: Card, experiment: Experiment, ndim: int, inputs: int) -> None:
    """Refuse a model that was made for another method or other images.

    Raises
    ------
    ModelError
        Says what differs.
    """
    pairs = {
        "method": (experiment.method.name, card.method.name),
        "number of spatial axes": (ndim, card.ndim),
        "number of channels": (inputs, card.inputs),
    }
    for what, (expected, found) in pairs.items():
        if expected != found:
            raise ModelError(
                path,
                expected=f"a model whose {what} is {expected}",
                found=f"one whose {what} is {found}",
                remedy="train one on images like these, or choose another with -m",
            )


def _damaged(path: Path, found: str) -> ModelError:
    return ModelError(
        path, expected="a model that train wrote", found=found, remedy="train it again"
    )
