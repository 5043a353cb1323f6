"""Intensities to a common range: percentiles of a whole image or data set, never of a crop.

A crop normalised by itself would look different from the image it came from, and dim empty
regions would turn into phantom cells. Knows nothing of networks, and of blocks only as samples.
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
"""Above this many voxels a data set is learnt from by a sample of it [voxel]."""
FEWEST_BLOCKS = 64
"""Blocks that a sample is spread over at least, however small they get."""


@dataclass(frozen=True)
class Normalisation:
    """A linear map per channel: `low` becomes 0, `high` becomes 1; nothing is clipped."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of(cls, spans: Sequence[tuple[float, float]]) -> Normalisation:
        """Return the map that takes each channel's span to 0 and 1."""
        return cls(tuple(low for low, _ in spans), tuple(high for _, high in spans))

    def __call__(self, image: NDArray[np.generic]) -> NDArray[np.float32]:
        """Return ``(C, *S)`` intensities as float32."""
        column = (-1, *[1] * (image.ndim - 1))
        low = np.asarray(self.low, np.float32).reshape(column)
        gain = 1.0 / (np.asarray(self.high, np.float32).reshape(column) - low)
        return (image.astype(np.float32) - low) * gain


def estimate(volumes: Sequence[Volume], percentiles: tuple[float, float]) -> Normalisation:
    """Return the normalisation by the percentiles of all volumes together.

    They are exact up to `SAMPLE_VOXELS`. Beyond that they are those of blocks drawn evenly: to
    learn from crops, a large volume is not read whole. Where a model is applied, all voxels count
    (`cellulus.pipeline.statistics`), so that it may be applied to intensities that are scaled a
    little differently from those that it has learnt from.

    Raises
    ------
    InputError
        If there are NaN or infinite values, or if a channel is constant.
    """
    share = SAMPLE_VOXELS // max(1, len(volumes))
    parts = [sample(volume, share) for volume in volumes]
    spans = []
    for channel in range(parts[0].shape[0]):
        values = np.concatenate([part[channel] for part in parts])
        low, high = np.percentile(values, percentiles)
        spans.append(span(volumes[0], channel, (low, high), (values.min(), values.max())))
    return Normalisation.of(spans)


def span(
    volume: Volume, channel: int, found: tuple[float, float], extremes: tuple[float, float]
) -> tuple[float, float]:
    """Return which intensities become 0 and 1: the percentiles, or the extremes if they are equal.

    Parameters
    ----------
    volume
        For the message.
    channel
        Which of its channels, by its place among them.
    found
        The percentiles.
    extremes
        Least and greatest value.

    Raises
    ------
    InputError
        If there is one value only.
    """
    low, high = found if found[1] > found[0] else extremes
    if not high > low:
        raise InputError(
            volume.path or volume.name,
            expected="an image with contrast",
            found=f"the value {low:g} everywhere in channel {volume.channels[channel]}",
            remedy="leave this image out, or choose another channel with data.channels",
        )
    return float(low), float(high)


def sample(volume: Volume, limit: int) -> NDArray[np.float32]:
    """Return the values of a volume, ``(C, n)``: all, or those of blocks spread over it.

    Raises
    ------
    InputError
        If a value is not finite.
    """
    parts = [volume.read(region) for region in _regions(volume.shape, limit)]
    values = np.concatenate([p.reshape(p.shape[0], -1).astype(np.float32) for p in parts], axis=1)
    refuse_strangers(volume, int((~np.isfinite(values)).sum()))
    return values


def refuse_strangers(volume: Volume, count: int) -> None:
    """Refuse an image with voxels that are NaN or infinite.

    Raises
    ------
    InputError
        If there are any.
    """
    if count:
        raise InputError(
            volume.path or volume.name,
            expected="finite intensities",
            found=f"{count} NaN or infinite voxels",
            remedy="replace them (for example by 0) before conversion",
        )


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
