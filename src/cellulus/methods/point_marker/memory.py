"""The memory that decoding takes, an estimate from above; without its imports."""

from __future__ import annotations

import math

LABELS = 32
"""While labels are written and cleaned of pieces, per voxel [byte]."""


def memory_of(outer: tuple[int, ...]) -> float:
    """Return what decoding takes; see `cellulus.methods.base.MethodSettings.memory`."""
    return LABELS * math.prod(outer)
