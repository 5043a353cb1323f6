"""Intensities to a common range: percentiles of a whole image or data set, never of a crop.

A crop normalised by itself would look different from the image it came from, and dim empty
regions would turn into phantom cells. Knows nothing of training or networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellulus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellulus.data.volume import Volume
    from cellulus.space import Region

SAMPLE_VOXELS = 2**24
"""Above this many voxels the percentiles come from blocks spread over it [voxel]."""
FEWEST_BLOCKS = 64
"""Blocks that a sample is spread over at least, however small they get."""


@dataclass(frozen=True)
class Normalisation:
    """A linear map per channel: `low` becomes 0, `high` becomes 1; nothing is clipped."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __call__(self, image: NDArray[np.generic]) -> NDArray[np.float32]:
        """Return ``(C, *S)`` intensities as float32."""
        column = (-1, *[1] * (image.ndim - 1))
        low = np.asarray(self.low, np.float32).reshape(column)
        gain = 1.0 / (np.asarray(self.high, np.float32).reshape(column) - low)
        return (image.astype(np.float32) - low) * gain


def estimate(volumes: Sequence[Volume], percentiles: tuple[float, float]) -> Normalisation:
    """Return the normalisation by the percentiles of all volumes together.

    Raises
    ------
    InputError
        If there are NaN or infinite values, or if a channel is constant.
    """
    share = SAMPLE_VOXELS // max(1, len(volumes))
    parts = [sample(volume, share) for volume in volumes]
    low, high = [], []
    for channel in range(parts[0].shape[0]):
        values = np.concatenate([part[channel] for part in parts])
        a, b = np.percentile(values, percentiles)
        if not b > a:
            a, b = float(values.min()), float(values.max())
        if not b > a:
            raise InputError(
                volumes[0].path or volumes[0].name,
                expected="an image with contrast",
                found=f"the value {a:g} everywhere in channel {volumes[0].channels[channel]}",
                remedy="leave this image out, or choose another channel with data.channels",
            )
        low.append(float(a))
        high.append(float(b))
    return Normalisation(tuple(low), tuple(high))


def sample(volume: Volume, limit: int) -> NDArray[np.float32]:
    """Return the values of a volume, ``(C, n)``: all, or those of blocks spread over it.

    Raises
    ------
    InputError
        If a value is not finite.
    """
    parts = [volume.read(region) for region in _regions(volume.shape, limit)]
    values = np.concatenate([p.reshape(p.shape[0], -1).astype(np.float32) for p in parts], axis=1)
    if not np.isfinite(values).all():
        raise InputError(
            volume.path or volume.name,
            expected="finite intensities",
            found=f"{int((~np.isfinite(values)).sum())} NaN or infinite voxels",
            remedy="replace them (for example by 0) before conversion",
        )
    return values


def _regions(shape: tuple[int, ...], limit: int, edge: int = 64) -> list[Region]:
    """Return the whole grid, or blocks of it drawn evenly, with about `limit` voxels in all."""
    if np.prod(shape, dtype=np.int64) <= limit:
        return [tuple(slice(0, n) for n in shape)]
    edge = max(1, min(edge, int((limit / FEWEST_BLOCKS) ** (1 / len(shape)))))
    lattice = [-(-n // edge) for n in shape]
    total = int(np.prod(lattice, dtype=np.int64))
    count = min(total, max(1, limit // edge ** len(shape)))
    # Drawn, not every k-th: where k divides the lattice, these would be one column of it.
    drawn = np.sort(np.random.default_rng(0).choice(total, count, replace=False))
    corners = np.stack(np.unravel_index(drawn, lattice), axis=1) * edge
    return [
        tuple(slice(int(a), min(int(a) + edge, n)) for a, n in zip(corner, shape, strict=True))
        for corner in corners
    ]
