"""What may be set for point markers. Imports no torch."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from cellulus.methods.base import Objective
from cellulus.methods.decoder import Decoder, Reach
from cellulus.methods.oriented import OrientedSettings


class PointMarker(OrientedSettings):
    """Cells compete for voxels: each has one point, and nobody has drawn its outline."""

    needs: ClassVar[Literal["nothing", "points", "masks"]] = "points"
    source: ClassVar[str] = "Ud Din & Yu, Scientific Reports 2021, s41598-021-97604-0"
    # A voxel must see its cell, and the gap to the next one: a view of 44 voxels.
    network: ClassVar[dict[str, int]] = {"depth": 2, "growth": 2}
    # Where cells quarrel, a step too far makes all of them give up, and nothing brings them back.
    steepest: ClassVar[float | None] = 0.5

    name: Literal["point_marker"] = "point_marker"
    """Which method this is."""
    foreground: Literal["graph_cut", "otsu"] = "graph_cut"
    """How it is found where there may be cells, if not given: a cut along edges, or a threshold."""
    patch: float = Field(default=2.5, gt=0, le=4)
    """Edge of the patch around a point that its cell may claim voxels of [object diameter]."""
    margin: float = Field(default=0.4, gt=0, le=1)
    """A voxel that points so far past a point claims it by one half [object diameter]."""
    competition: float = Field(default=1.0, ge=0)
    """What it costs to claim what others claim, where a voxel earns 1: lambda of the paper."""
    background: float = Field(default=2.0, ge=0)
    """What it costs to claim background, where a voxel earns 1: beta of the paper, 20 there."""
    size: float = Field(default=0.0, ge=0)
    """Weight in the loss of how far sizes are from that of a ball of the object diameter."""
    presence: float = Field(default=0.5, gt=0, lt=1)
    """Least probability that there is a cell at all for a voxel to be claimed."""

    def outputs(self, ndim: int) -> int:
        """Return one component of the offset per axis, and the presence."""
        return ndim + 1

    def channels(self, ndim: int) -> tuple[str, ...]:
        """Return the offsets, in axis order [canonical voxel], and the presence, 0 to 1."""
        return (*(f"offset_{axis}" for axis in "zyx"[-ndim:]), "presence")

    def objective(self, ndim: int, object_voxels: float) -> Objective:
        """Return the competition of cells for voxels."""
        from cellulus.methods.point_marker.objective import CompetitionObjective

        return CompetitionObjective(self, object_voxels)

    def reach(self, object_voxels: float) -> Reach:
        """Return how far decoding looks."""
        from cellulus.methods.point_marker.reach import reach_of

        return reach_of(self, object_voxels)

    def memory(
        self,
        step: int,
        outer: tuple[int, ...],
        core: tuple[int, ...],
        zoom: tuple[float, ...],
        object_voxels: float,
    ) -> float:
        """Return what decoding takes."""
        from cellulus.methods.point_marker.memory import memory_of

        return memory_of(outer)

    def decoder(self, ndim: int, object_voxels: float) -> Decoder:
        """Return what gives every voxel to the most probable point."""
        from cellulus.methods.point_marker.decoding import PointDecoder

        return PointDecoder(self, ndim, object_voxels)
