"""What a method is.

It says what may be set, what is minimised, how the network is asked, and how its predictions
become labels. A method's settings class builds the other parts and imports torch only then. A new
one is a folder and a name in `cellulus.methods`. Knows nothing of files, blocks or training.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, Self

from cellulus.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from cellulus.methods.decoder import Decoder, Reach


@dataclass(frozen=True)
class Target:
    """What is annotated in the crops of a batch, on the canonical grid.

    Attributes
    ----------
    labels
        ``(B, *S)`` int64, as wide as the images that the network sees: 0 is background, -1 is not
        annotated and no term of a loss may see it. With masks, 1 to N are the objects of a crop;
        with points, 1 is where there may be a cell.
    centres
        ``(B, N, D)`` float32 [canonical voxel from the crop's first corner: the middle of voxel i
        is i + 0.5]. Of whole objects, so that those of cut ones may lie outside of the crop; or
        the points in and around it. NaN beyond those of a crop; N is that of the crop with most,
        and may be 0.
    """

    labels: torch.Tensor
    centres: torch.Tensor


class Objective(Protocol):
    """What training minimises."""

    def __call__(
        self,
        output: torch.Tensor,
        image: torch.Tensor,
        generator: torch.Generator,
        target: Target | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return the terms of the loss, scalars by name; ``"loss"`` is their weighted sum.

        Parameters
        ----------
        output
            The network's answer, ``(B, outputs, *S)``.
        image
            What the network saw, ``(B, C, *S + 2 halo)``.
        generator
            Source of every random choice, on the CPU.
        target
            What is annotated there; without it a method that needs it raises an `InputError`.
        """

    def constant(self, output: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Return what the loss cannot see in an answer and training leaves to chance.

        It is taken off the trained network, ``(outputs,)``; zeros where there is no such thing.

        Parameters
        ----------
        output
            ``(B, outputs, *S)``.
        image
            What the network saw, ``(B, C, *S + 2 halo)``.
        """


class Inference(Protocol):
    """How a trained network is asked."""

    def __call__(
        self, network: torch.nn.Module, image: torch.Tensor, origin: tuple[int, ...]
    ) -> torch.Tensor:
        """Return the prediction for the middle of an image.

        Parameters
        ----------
        network
            Maps ``(B, C, *S)`` to ``(B, outputs, *S - 2 halo)``.
        image
            ``(C, *S)``.
        origin
            Canonical coordinates of the image's first voxel: whatever is random depends on them
            and not on how the volume was cut.

        Returns
        -------
        prediction
            ``(channels, *S - 2 halo)`` float32.
        """


class MethodSettings(Settings):
    """The settings of one method; every method's class is a subclass."""

    needs: ClassVar[Literal["nothing", "points", "masks"]]
    """What must be annotated to train."""
    source: ClassVar[str]
    """The paper."""
    network: ClassVar[dict[str, int]] = {}
    """Defaults of the network that are others with this method."""
    has_tta: ClassVar[bool] = False
    """Whether its answers can be averaged over orientations of the image (`predict.tta`)."""
    steepest: ClassVar[float | None] = None
    """Norm of a gradient that steeper ones are scaled down to; None takes all as they are."""
    asked_with: ClassVar[tuple[str, ...]] = ()
    """Settings that a prediction depends on: others may change, and it stays what it is."""

    def tuned(self, values: Mapping[str, float]) -> Self:
        """Return the settings with values in place of "auto", where there are some."""
        open_ = {name: v for name, v in values.items() if getattr(self, name, 0) == "auto"}
        return self.model_copy(update=open_)

    def centres(self) -> Literal["medoid", "centroid"]:
        """Return what stands for an annotated object, where masks are needed."""
        return "medoid"

    @abstractmethod
    def outputs(self, ndim: int) -> int:
        """Return how many components the network answers with."""

    @abstractmethod
    def channels(self, ndim: int) -> tuple[str, ...]:
        """Return the names of what is predicted and stored, in order."""

    @abstractmethod
    def objective(self, ndim: int, object_voxels: float) -> Objective:
        """Return what training minimises, for objects `object_voxels` wide in `ndim` dimensions."""

    @abstractmethod
    def views(self, ndim: int, *, tta: bool = False) -> int:
        """Return how many variants of an image the network is shown to predict it once."""

    @abstractmethod
    def inference(
        self, object_voxels: float, seed: int, batch_size: int, *, tta: bool = False
    ) -> Inference:
        """Return how the network is asked.

        Parameters
        ----------
        object_voxels
            Width of an object [canonical voxel].
        seed
            Of whatever is random.
        batch_size
            Variants of an image that go through the network together.
        tta
            Whether answers are averaged over orientations of the image.

        Raises
        ------
        InputError
            If a method cannot (`has_tta`).
        """

    @abstractmethod
    def reach(self, object_voxels: float) -> Reach:
        """Return how far the decoder will look, without building it; imports nothing heavy."""

    @abstractmethod
    def memory(
        self,
        step: int,
        outer: tuple[int, ...],
        core: tuple[int, ...],
        zoom: tuple[float, ...],
        object_voxels: float,
    ) -> float:
        """Return what a survey or, as the last step, decoding takes of a block [byte].

        That is besides what it is given. `outer` is the block's extent with its margin [voxel].
        """

    @abstractmethod
    def decoder(self, ndim: int, object_voxels: float) -> Decoder:
        """Return how predictions become labels, for objects `object_voxels` wide."""
