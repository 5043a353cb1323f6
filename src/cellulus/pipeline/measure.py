"""How wide the objects of an image are: the one thing that is read off intensities beforehand.

Reads the middle of an image at most. Knows nothing of experiments or of other images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellulus.errors import InputError

if TYPE_CHECKING:
    from cellulus.data.volume import Volume

LOOKED_AT = 8
"""Images that are measured to propose or plan an experiment on many."""
LOOKED_AT_VOXELS = 1_000_000
"""Size of the part of an image, around its middle, that is measured [voxel]."""


def measure(volume: Volume) -> float:
    """Return the diameter of a typical object in the middle of an image.

    Returns
    -------
    diameter
        [um], or [voxel] of the finest axis where the voxel size is unknown; 0 if nothing stands
        out.

    Raises
    ------
    InputError
        If the image holds NaN or infinite intensities there.
    """
    from cellulus.ops.diameter import estimate_diameter  # costly to import, and rarely needed

    edge = round(LOOKED_AT_VOXELS ** (1 / volume.ndim))
    starts = [max(0, (n - edge) // 2) for n in volume.shape]
    region = tuple(slice(a, min(a + edge, n)) for a, n in zip(starts, volume.shape, strict=True))
    part = volume.read(region)[0]
    if not np.isfinite(part).all():
        raise InputError(
            volume.path or volume.name,
            expected="finite intensities",
            found="NaN or infinite ones",
            remedy="replace them (for example by 0) before conversion",
        )
    size = volume.voxel_size
    return estimate_diameter(part, size.values) / (1.0 if size.unit == "um" else min(size.values))
