"""The memory that surveys and decoding take, an estimate from above; without their imports.

Traced allocations of decoding are 5 to 14 bytes per voxel; the constants leave room for what was
not seen there.
"""

from __future__ import annotations

import math

CANDIDATES, CLAIMS, LABELS = 8, 16, 24
"""While candidates are looked for, claims counted and labels written, per voxel [byte]."""


def memory_of(step: int, outer: tuple[int, ...]) -> float:
    """Return what a step takes; see `cellulus.methods.base.MethodSettings.memory`."""
    return (CANDIDATES, CLAIMS, LABELS)[step] * math.prod(outer)
