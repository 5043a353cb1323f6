"""An image as the network sees it: normalised, and resampled so that every object is as wide.

Reading a part resamples that part only, and gives what the whole would have given there. Reading
outside the image mirrors it. Knows nothing of networks, crops or tiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellulus.errors import InputError
from cellulus.ops.resample import reflect, resample, source_region

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellulus.data.normalise import Normalisation
    from cellulus.data.volume import Volume
    from cellulus.space import Region, Scale


@dataclass(frozen=True)
class Canonical:
    """A view of a volume on the canonical grid.

    Attributes
    ----------
    volume
        The image.
    scale
        Canonical voxels per image voxel.
    normalisation
        Of the whole image or data set.
    """

    volume: Volume
    scale: Scale
    normalisation: Normalisation

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of the canonical grid [voxel]."""
        return self.scale.canonical_shape(self.volume.shape)

    def read(self, region: Region) -> NDArray[np.float32]:
        """Return a part of the grid, ``(C, *S)``; slices may reach outside, where it is mirrored.

        Raises
        ------
        InputError
            If the image holds NaN or infinite values there.
        """
        index = [
            reflect(np.arange(part.start, part.stop), n)
            for part, n in zip(region, self.shape, strict=True)
        ]
        needed = source_region(index, self.scale.zoom, self.volume.shape)
        image = self.normalisation(self.volume.read(needed))
        if not np.isfinite(image).all():
            raise InputError(
                self.volume.path or self.volume.name,
                expected="finite intensities",
                found=f"NaN or infinite values in voxels {_text(needed)}",
                remedy="replace them (for example by 0) before conversion",
            )
        return resample(image, needed, index, self.scale.zoom, self.volume.shape)


def _text(region: Region) -> str:
    return "[" + ", ".join(f"{part.start}:{part.stop}" for part in region) + "]"
