"""What may be set for object-centric embeddings. Imports no torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from cellulus.errors import InputError
from cellulus.methods.base import Inference, MethodSettings, Objective
from cellulus.methods.decoder import Decoder, Reach


class ObjectCentric(MethodSettings):
    """Embeddings in which all voxels of an object meet at its centre; needs no labels."""

    needs: ClassVar[Literal["nothing", "points", "masks"]] = "nothing"
    source: ClassVar[str] = "Wolf et al., ICCV 2023, arXiv 2310.08501"
    asked_with: ClassVar[tuple[str, ...]] = ("passes", "noise")

    name: Literal["object_centric"] = "object_centric"
    """Which method this is."""
    radius: float = Field(default=0.5, gt=0, le=2)
    """Voxels closer than this are compared: kappa of the paper [object diameter]."""
    temperature: float = Field(default=10.0, gt=0)
    """How far apart two embeddings may lie before the loss saturates: tau [canonical voxel^2]."""
    regularisation: float = Field(default=1e-5, ge=0)
    """Weight of the mean length of the offsets: lambda."""
    background: float = Field(default=0.05, gt=0, le=1)
    """Weight in the loss of what is dark, where bright voxels weigh 1; 1 is the published loss."""
    pairs: int = Field(default=32, ge=1)
    """Displacements drawn per step; each compares the whole crop with itself, moved."""
    passes: int = Field(default=16, ge=2, multiple_of=2)
    """Noisy passes per voxel, half of them with grey and half with white specks."""
    noise: float = Field(default=0.01, gt=0, lt=1)
    """Share of voxels replaced by noise in a pass."""
    foreground: Literal["contrast", "uncertainty"] = "contrast"
    """Per object by its contrast and certainty, or the published Otsu on the uncertainty."""
    outline: Annotated[float, Field(gt=0, lt=1)] | Literal["auto"] = "auto"
    """Intensity of an outline between local background, 0, and object, 1; "auto": 0.4, 3D 0.35."""
    smoothing: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = "auto"
    """Blur of the image before outlines are drawn [object diameter]; "auto": 0.025, 3D 0.075."""
    surround: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    """Least brightness over the mean around, against glare; "auto": 0 (any), 3D 1.25."""
    clustering: Literal["modes", "meanshift"] = "modes"
    """Modes of the embedding density (local, linear time), or scikit-learn's MeanShift."""
    bandwidth: float = Field(default=0.5, gt=0, le=2)
    """Two modes closer than this are one object [object diameter]."""

    def outputs(self, ndim: int) -> int:
        """Return one component of the offset per axis."""
        return ndim

    def channels(self, ndim: int) -> tuple[str, ...]:
        """Return the offsets, in axis order, and the uncertainty [canonical voxel]."""
        return (*(f"offset_{axis}" for axis in "zyx"[-ndim:]), "uncertainty")

    def objective(self, ndim: int, object_voxels: float) -> Objective:
        """Return the pairwise loss of the paper, equation 3, in its dense form."""
        from cellulus.methods.object_centric.objective import PairwiseObjective

        return PairwiseObjective(self, ndim, object_voxels)

    def views(self, ndim: int, *, tta: bool = False) -> int:
        """Return the number of noisy passes."""
        return self.passes

    def inference(
        self, object_voxels: float, seed: int, batch_size: int, *, tta: bool = False
    ) -> Inference:
        """Return mean and spread over noisy passes (section 3.2 of the paper)."""
        if tta:
            raise InputError(
                "predict.tta",
                expected=f"false: {self.name} averages noisy passes already",
                found="true",
            )
        from cellulus.methods.object_centric.inference import NoisyPasses

        return NoisyPasses(self, seed, batch_size)

    def reach(self, object_voxels: float) -> Reach:
        """Return how far surveys and outlines look."""
        from cellulus.methods.object_centric.reach import reach_of

        return reach_of(self, object_voxels)

    def memory(
        self,
        step: int,
        outer: tuple[int, ...],
        core: tuple[int, ...],
        zoom: tuple[float, ...],
        object_voxels: float,
    ) -> float:
        """Return what surveys and decoding take."""
        from cellulus.methods.object_centric.memory import memory_of

        return memory_of(self, step, outer, core, zoom, object_voxels)

    def decoder(self, ndim: int, object_voxels: float) -> Decoder:
        """Return the clustering of embeddings to objects."""
        from cellulus.methods.object_centric.decoding import EmbeddingDecoder

        return EmbeddingDecoder(self, ndim, object_voxels)
