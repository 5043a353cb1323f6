"""How far the decoder looks around a voxel: known before it is built, and without its imports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellulus.methods.decoder import Reach

if TYPE_CHECKING:
    from cellulus.methods.point_marker.settings import PointMarker


def reach_of(settings: PointMarker, object_voxels: float) -> Reach:
    """Return what decoding must see around a block; see `cellulus.methods.decoder.Reach`."""
    # Which piece of a cell is kept hangs on all of it: as far beyond its point as before it.
    return Reach((), settings.patch * object_voxels, 0.0)
