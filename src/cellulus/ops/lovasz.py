"""The Lovasz hinge of many groups at once: a convex stand-in for one minus intersection over union.

For each group, margin errors are sorted; an error weighs by how much the Jaccard loss grows when
its voxel is wrong besides all voxels of larger error. With logits of 1 and -1, of which those of
wrong voxels miss by 2, the loss is twice one minus the intersection over union.

Source: Yu and Blaschko 2015; Berman et al. 2018, arXiv 1705.08790, algorithm 1. Knows nothing of
images: groups are of any size, and one sort does all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def lovasz_hinge(logits: Tensor, is_inside: Tensor, group: Tensor, count: int) -> Tensor:
    """Return the Lovasz hinge of each group.

    Parameters
    ----------
    logits
        ``(n,)``, positive where a voxel is said to be inside.
    is_inside
        ``(n,)`` bool, the truth.
    group
        ``(n,)`` int64, which group a voxel belongs to, in any order.
    count
        Number of groups.

    Returns
    -------
    losses
        ``(count,)``; 0 for a group in which nothing is inside.
    """
    errors = torch.relu(torch.where(is_inside, 1 - logits, 1 + logits))
    weights = _weights(errors.detach(), is_inside, group, count)
    return errors.new_zeros(count).index_add(0, group, errors * weights)


def _weights(errors: Tensor, is_inside: Tensor, group: Tensor, count: int) -> Tensor:
    """Return by how much the Jaccard loss of its group grows at each error, ``(n,)``."""
    order = errors.argsort(descending=True, stable=True)
    by_group = group.index_select(0, order).argsort(stable=True)
    order = order.index_select(0, by_group)  # by group, in each by falling error
    inside, group = is_inside.index_select(0, order), group.index_select(0, order)
    sizes = torch.bincount(group, minlength=count)
    ends = sizes.cumsum(0)
    wrong = torch.nn.functional.pad(inside.cumsum(0), (1, 0))  # inside, before each place
    rank = torch.arange(1, len(order) + 1, device=order.device)
    rank -= (ends - sizes).index_select(0, group)
    # Of the intersection, when so many errors are made.
    left = wrong[ends].index_select(0, group) - wrong[1:]
    union = (left + rank).to(errors.dtype)
    # Closed forms of the differences, because differences of almost equal shares lose all digits.
    growth = torch.where(inside, 1 / union, left / (union * (union - 1).clamp_min(1)))
    return torch.empty_like(errors).index_copy_(0, order, growth)
