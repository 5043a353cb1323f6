"""From offsets and presence to cells: every voxel goes to the point that it most likely belongs to.

A voxel belongs to the point nearest to where it points, if that is near enough, the point's
patch holds the voxel, and there is a cell at all. Of each cell the piece that holds its point is
kept, or that which comes nearest to it. Points are known beforehand: nothing is surveyed, and a
cell is named by the voxel of its point.

Source: Ud Din and Yu, Scientific Reports 2021; the pieces are ours. Knows nothing of blocks:
`halo` says what a result depends on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus.errors import InputError
from cellulus.methods.bounds import FARTHEST, ROUNDING
from cellulus.methods.decoder import Objects, Observation
from cellulus.ops.claimants import Claimants, EmbeddingMap
from cellulus.ops.claims import assign
from cellulus.ops.pieces import keep_nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellulus.methods.point_marker.settings import PointMarker
    from cellulus.space import Region

LENIENCE = 1.5
"""How far past a point a voxel may point, in margins. Where cells are elongated, or markers off
their middle, voxels at the rim point short; in training they must learn not to."""


class PointDecoder:
    """A local operator from offsets, presence and points to labels.

    Parameters
    ----------
    settings
        Patch, margin and threshold.
    ndim
        Spatial dimensions.
    object_voxels
        Object diameter [canonical voxel].
    """

    surveys: tuple[float, ...] = ()

    def __init__(self, settings: PointMarker, ndim: int, object_voxels: float) -> None:
        self.settings, self.ndim, self.object_voxels = settings, ndim, object_voxels

    @property
    def halo(self) -> float:
        """How far the voxels of a cell can lie apart [canonical voxel]."""
        return self.settings.reach(self.object_voxels).halo

    def survey(self, observation: Observation, core: Region) -> dict[str, NDArray[Any]]:
        """Return nothing: there is no survey."""
        return {}

    def learn(self, parts: Sequence[dict[str, NDArray[Any]]]) -> None:
        """Take nothing: there is no survey."""

    def __call__(self, observation: Observation) -> Objects:
        """Return the cells of a region; see `cellulus.methods.decoder.Decoder`.

        Raises
        ------
        InputError
            If there are no points, not even none.
        """
        if observation.points is None:
            raise InputError(
                "points", expected="the points of an image's cells", found="an image alone"
            )
        region = EmbeddingMap(
            observation.prediction[: self.ndim],
            observation.prediction[-1],
            observation.spacing,
            observation.origin,
            FARTHEST * self.object_voxels * ROUNDING,
        )
        claimants = self._claimants(observation, observation.points)
        near = claimants[claimants.may_claim(region)]
        labels = assign(region, near, self.settings.presence)
        keep_nearest(labels, near.centres, observation.origin, observation.spacing)
        return Objects(labels, near.anchors)

    def _claimants(self, observation: Observation, points: NDArray[np.float64]) -> Claimants:
        """Return the points that lie in or near a region, one per voxel, by their voxels."""
        first, spacing = np.array(observation.origin), np.array(observation.spacing)
        half = self.settings.patch / 2 * self.object_voxels
        around = half / spacing + 1
        shape = np.array(observation.prediction.shape[1:])
        is_near = ((points >= first - around) & (points <= first + shape + around)).all(axis=1)
        points = points[is_near]
        anchors, rows = np.unique(np.rint(points).astype(np.int64), axis=0, return_index=True)
        return Claimants(
            anchors=anchors,
            centres=(points[rows] + 0.5) * spacing,
            margins=np.full(anchors.shape, LENIENCE * self.settings.margin * self.object_voxels),
            seeds=np.ones(len(anchors), np.float32),
            reach=np.full(len(anchors), half),
        )
