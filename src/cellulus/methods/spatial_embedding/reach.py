"""How far predictions point and the decoder looks: known before it is built, without its imports.

Arithmetic on settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellulus.methods.decoder import Reach

if TYPE_CHECKING:
    from cellulus.methods.spatial_embedding.settings import SpatialEmbedding

WIDEST = 2.0
"""Objects up to this wide, around their centre, are cleaned of pieces [object diameter]."""


def reach_of(_: SpatialEmbedding, object_voxels: float) -> Reach:
    """Return what decoding must see around a block; see `cellulus.methods.decoder.Reach`."""
    # Candidates are compared with the voxels that touch them: any positive length is at least one
    # voxel. Claims are a voxel's own affair.
    surveys = (1.0, 0.0)
    # Recall is infinite: whether a proposal is accepted hangs on better ones that touch it, and
    # so on. What is found near a region is not all that matters to it.
    return Reach(surveys, WIDEST * object_voxels)
