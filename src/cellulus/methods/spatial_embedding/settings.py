"""What may be set for spatial embeddings. Imports no torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from cellulus.methods.base import Objective
from cellulus.methods.decoder import Decoder, Reach
from cellulus.methods.oriented import OrientedSettings

Threshold = Annotated[float, Field(gt=0, lt=1)]


class SpatialEmbedding(OrientedSettings):
    """Every voxel points at the centre of its object, says how near is near, and where to start."""

    needs: ClassVar[Literal["nothing", "points", "masks"]] = "masks"
    source: ClassVar[str] = "Lalit et al., MedIA 2022, arXiv 2101.10033"
    # A voxel must see all of its object to tell where the middle is: a view of 44 voxels.
    network: ClassVar[dict[str, int]] = {"depth": 2, "growth": 2}

    name: Literal["spatial_embedding"] = "spatial_embedding"
    """Which method this is."""
    centre: Literal["medoid", "centroid"] = "medoid"
    """What voxels point at: the voxel of the object nearest to all others, or the mean position."""
    instance_weight: float = Field(default=1.0, ge=0)
    """Weight in the loss of how well what each object claims is its mask."""
    variance_weight: float = Field(default=10.0, ge=0)
    """Weight in the loss of how much margins differ within an object."""
    seed_weight: float = Field(default=1.0, ge=0)
    """Weight in the loss of how well the seediness tells the middle of objects."""
    foreground_weight: float = Field(default=10.0, gt=0)
    """Weight in the seediness' part of the loss of a voxel of an object; background weighs 1."""
    foreground: Threshold | Literal["auto"] = "auto"
    """Least seediness of an object's voxels, 0 to 1; "auto": as tuned with the model, else 0.5."""
    seed: Threshold | Literal["auto"] = "auto"
    """Least seediness for a voxel to start an object, 0 to 1; "auto": as tuned, else 0.9."""

    def centres(self) -> Literal["medoid", "centroid"]:
        """Return what voxels point at."""
        return self.centre

    def outputs(self, ndim: int) -> int:
        """Return one component of the offset and one of the margin per axis, and the seed."""
        return 2 * ndim + 1

    def channels(self, ndim: int) -> tuple[str, ...]:
        """Return offsets and margins, in axis order [canonical voxel], and the seediness."""
        lengths = (f"{what}_{axis}" for what in ("offset", "margin") for axis in "zyx"[-ndim:])
        return (*lengths, "seediness")

    def objective(self, ndim: int, object_voxels: float) -> Objective:
        """Return the loss of the paper, over the voxels that matter to each object."""
        from cellulus.methods.spatial_embedding.objective import SpatialObjective

        return SpatialObjective(self, object_voxels)

    def reach(self, object_voxels: float) -> Reach:
        """Return how far surveys and the clean-up look."""
        from cellulus.methods.spatial_embedding.reach import reach_of

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
        from cellulus.methods.spatial_embedding.memory import memory_of

        return memory_of(step, outer)

    def decoder(self, ndim: int, object_voxels: float) -> Decoder:
        """Return the clustering of embeddings around seeds."""
        from cellulus.methods.spatial_embedding.decoding import SeedDecoder

        return SeedDecoder(self, ndim, object_voxels)
