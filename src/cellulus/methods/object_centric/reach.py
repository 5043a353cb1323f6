"""How far the decoder looks around a voxel: known before it is built, and without its imports.

Arithmetic on settings; the decoder and its outlines take their distances from here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cellulus.methods.decoder import Reach
from cellulus.ops.density import mode_reach

if TYPE_CHECKING:
    from cellulus.methods.object_centric.settings import ObjectCentric

FARTHEST = 1.0
"""Embeddings farther from their voxel than this are no embeddings [object diameter]."""
WIDEST = 2.0
"""Objects up to this wide are decided as in the whole image [object diameter]."""
RIM = 0.25
"""How far around a cluster its background is looked for [object diameter]."""


def reach_of(settings: ObjectCentric, object_voxels: float) -> Reach:
    """Return what decoding must see around a block; see `cellulus.methods.decoder.Reach`."""
    is_otsu = settings.foreground == "uncertainty"
    # The published threshold is one of the whole image.
    first = (0.0,) if is_otsu else ()
    if settings.clustering == "meanshift":
        return Reach(first, math.inf)
    to_mode = FARTHEST * object_voxels + mode_reach(settings.bandwidth * object_voxels)
    if is_otsu:
        return Reach((*first, to_mode), 0.0)
    # The modes that an embedding can lie near, counted in whole bins.
    recall = FARTHEST * object_voxels + settings.bandwidth * object_voxels + 4
    return Reach((to_mode,), (WIDEST + RIM) * object_voxels, recall)
