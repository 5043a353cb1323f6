"""From the network's raw answers to lengths and seediness, the same for training and prediction.

A raw answer has D components of the offset, D of the margin (axis order) where the method has
margins, and last one of the seediness, or presence. A raw margin is a log-scale: 0, where training
starts, is a margin of `FIRST_MARGIN`. The published precision is ``exp(10 s)``; with membership
``2^-(distance / margin)^2`` it is ``ln 2 / margin^2``, so a raw margin is ``-5 s`` plus a constant.

Source: Lalit et al. 2022, arXiv 2101.10033, section 2; units and bounds are ours. Knows nothing of
networks; one code path for any D.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from cellulus.methods.bounds import FARTHEST, MARGINS

if TYPE_CHECKING:
    from torch import Tensor

FIRST_MARGIN = 0.25
"""What a raw margin of 0 means [object diameter]."""
PUBLISHED_SCALE = 5.0
"""How much faster raw margins change than the published ``s``."""
_LOW, _HIGH = (math.log(margin / FIRST_MARGIN) for margin in MARGINS)


def offsets_of(raw: Tensor, object_voxels: float) -> Tensor:
    """Return offsets [canonical voxel] of raw ones, of any shape."""
    return FARTHEST * object_voxels * torch.tanh(raw)


def margins_of(raw: Tensor, object_voxels: float) -> Tensor:
    """Return the distances [canonical voxel] at which membership is one half, of any shape.

    Kept between the bounds of `MARGINS`. The gradient is that of no bounds: a margin that went
    beyond finds its way back.
    """
    bounded = raw.detach().clamp(_LOW, _HIGH) + (raw - raw.detach())
    return FIRST_MARGIN * object_voxels * torch.exp(bounded)


def seediness_of(raw: Tensor) -> Tensor:
    """Return the seediness, 0 to 1, of raw ones, of any shape."""
    return torch.sigmoid(raw)


def activate(raw: Tensor, ndim: int, object_voxels: float) -> Tensor:
    """Return what is predicted and stored.

    Parameters
    ----------
    raw
        The network's answer, ``(..., 2 D + 1, *S)``, or ``D + 1`` without margins.
    ndim
        Spatial dimensions, D.
    object_voxels
        Object diameter [canonical voxel].

    Returns
    -------
    prediction
        Offsets and margins in axis order [canonical voxel], seediness; as large as `raw`, float32.
    """
    axis = -ndim - 1
    widths = [ndim, raw.shape[axis] - ndim - 1, 1]
    offset, margin, seed = torch.split(raw.float(), widths, dim=axis)
    parts = (offsets_of(offset, object_voxels), margins_of(margin, object_voxels))
    return torch.cat([*parts, seediness_of(seed)], dim=axis)


def answered(labels: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
    """Return what is annotated where a network answers, and where that is.

    Parameters
    ----------
    labels
        ``(B, *S + 2 halo)``, of what the network saw.
    output
        Its answer, ``(B, outputs, *S)``.

    Returns
    -------
    labels, positions
        ``(B, V)``, and the middles of the voxels, ``(V, D)`` in the precision of the answer, single
        at least [voxel from the first corner of what the network saw].
    """
    lines, dtype = [], torch.promote_types(output.dtype, torch.float32)
    for axis, n in enumerate(output.shape[2:], start=1):
        start = (labels.shape[axis] - n) // 2
        labels = labels.narrow(axis, start, n)
        lines.append(torch.arange(start, start + n, device=output.device, dtype=dtype) + 0.5)
    positions = torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1).flatten(0, -2)
    return labels.flatten(1), positions
