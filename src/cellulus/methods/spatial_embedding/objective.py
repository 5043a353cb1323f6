"""The loss of spatial embeddings, over the voxels that matter to each object.

Legend: B batch, D dimensions, V voxels, N objects per crop at most, K = B N places for them.

A voxel's embedding e is its position plus its offset. It is a member of object k by
``phi = 2^-|(e - c_k) / margin_k|^2``, with the centre c_k of the annotation and the margin of the
object's mean raw margin. Three terms:

- instance: the Lovasz hinge of ``2 phi - 1`` against the mask, mean over the objects of a crop;
- variance: the mean square by which raw margins in a mask differ from their mean;
- seed: the mean square by which seediness differs from phi in masks, and from 0 in background.

Published, every object compares all voxels of its crop. Here only its mask and voxels with phi
above `EPSILON` enter: the others' errors are below ``2 EPSILON``, come last in the hinge's order,
and change it by at most that. They are found without gradients, a bounded part at a time.

Source: Lalit et al. 2022, arXiv 2101.10033, equations 1 to 5; Neven et al. 2019, arXiv 1906.11109.
Ignored voxels and lengths in canonical voxels are ours. Knows nothing of networks or images; one
code path for any D and device, in single precision at least.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from cellulus.errors import InputError
from cellulus.methods.answers import (
    PUBLISHED_SCALE,
    answered,
    margins_of,
    offsets_of,
    seediness_of,
)
from cellulus.ops.lovasz import lovasz_hinge

if TYPE_CHECKING:
    from torch import Tensor

    from cellulus.methods.base import Target
    from cellulus.methods.spatial_embedding.settings import SpatialEmbedding

EPSILON = 1e-4
"""Voxels outside of a mask with less membership are as good as none."""
PAIRS = 2**20
"""Pairs of an object and a voxel that are looked at together; bounds the memory."""


class SpatialObjective:
    """What training minimises.

    Parameters
    ----------
    settings
        Weights of the terms.
    object_voxels
        Object diameter on the network's grid [voxel].
    epsilon
        Least membership for a voxel outside of a mask to count; 0 is the published loss.
    """

    def __init__(
        self, settings: SpatialEmbedding, object_voxels: float, epsilon: float = EPSILON
    ) -> None:
        self.settings, self.object_voxels, self.epsilon = settings, object_voxels, epsilon

    def __call__(
        self,
        output: Tensor,
        image: Tensor,
        generator: torch.Generator,
        target: Target | None = None,
    ) -> dict[str, Tensor]:
        """Return ``loss``, ``instance``, ``variance`` and ``seed`` for raw answers.

        Crops of which nothing is known count in no mean; if there are no others, the loss is 0.

        Raises
        ------
        InputError
            If there is no target.
        """
        if target is None:
            raise InputError(
                "data.train",
                expected="masks, which spatial embeddings are learnt from",
                found="images alone",
            )
        truth = _Truth.of(target, output)
        ndim, raw = output.ndim - 2, output.to(truth.centres.dtype).flatten(2).transpose(1, 2)
        offset, margin, seed = torch.split(raw, [ndim, ndim, 1], dim=2)
        embeddings = truth.positions + offsets_of(offset, self.object_voxels)
        mean, spread = truth.mean_and_spread(margin)
        margins = margins_of(mean, self.object_voxels)

        voxels, places = truth.members(embeddings.detach(), margins.detach(), self.epsilon)
        embeddings = embeddings.flatten(0, 1).index_select(0, voxels)
        away = embeddings - truth.centres.index_select(0, places)
        away = away / margins.index_select(0, places)
        membership = torch.exp2(-away.square().sum(dim=1))
        is_inside = truth.owner.flatten().index_select(0, voxels) == places
        hinge = lovasz_hinge(2 * membership - 1, is_inside, places, len(mean))

        aim = membership.detach()[is_inside], voxels[is_inside]
        terms = {
            "instance": truth.mean_of_objects(hinge),
            "variance": truth.mean_of_objects(spread) / PUBLISHED_SCALE**2,
            "seed": truth.mean_of_voxels(self._misses(seed[..., 0], truth, *aim)),
        }
        loss = (
            self.settings.instance_weight * terms["instance"]
            + self.settings.variance_weight * terms["variance"]
            + self.settings.seed_weight * terms["seed"]
        )
        return {"loss": loss} | {name: term.detach() for name, term in terms.items()}

    def _misses(self, raw: Tensor, truth: _Truth, membership: Tensor, voxels: Tensor) -> Tensor:
        """Return weighted squares by which seediness misses the membership of masks, ``(B, V)``."""
        aim = membership.new_zeros(raw.numel()).index_copy_(0, voxels, membership).view(raw.shape)
        squares = (seediness_of(raw) - aim).square()
        return torch.where(truth.owner >= 0, self.settings.foreground_weight * squares, squares)

    def constant(self, output: Tensor, image: Tensor) -> Tensor:
        """Return zeros: the loss sees all of an answer."""
        return torch.zeros(output.shape[1], device=output.device)


@dataclass(frozen=True)
class _Truth:
    """What is known of the crops, and what is counted over it.

    Attributes
    ----------
    is_known
        Voxels that are annotated, ``(B, V)``.
    owner
        Place of each voxel's object, ``(B, V)``; -1 if there is none.
    sizes
        Voxels of each object that are in its crop, ``(K,)``.
    positions, centres
        ``(V, D)`` and ``(K, D)`` [voxel from the first corner of what the network saw].
    """

    is_known: Tensor
    owner: Tensor
    sizes: Tensor
    positions: Tensor
    centres: Tensor

    @classmethod
    def of(cls, target: Target, output: Tensor) -> _Truth:
        """Return what concerns the voxels that are answered for, in the precision of the loss."""
        labels, positions = answered(target.labels, output)
        batch, count = target.centres.shape[:2]
        first = count * torch.arange(batch, device=output.device)
        owner = torch.where(labels > 0, labels - 1 + first[:, None], -1)
        return cls(
            is_known=labels >= 0,
            owner=owner,
            sizes=torch.bincount(owner[owner >= 0], minlength=batch * count),
            positions=positions,
            centres=target.centres.to(positions.dtype).flatten(0, 1),
        )

    def mean_and_spread(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return means over each object, ``(K, D)``, and the mean square distance from them.

        The distances, ``(K,)``, pull at the voxels and not at their mean.
        """
        is_owned = self.owner >= 0
        owner, raw, sizes = self.owner[is_owned], raw[is_owned], self.sizes.clamp_min(1)
        mean = raw.new_zeros(len(sizes), raw.shape[1]).index_add(0, owner, raw) / sizes[:, None]
        squares = (raw - mean.detach()[owner]).square().mean(dim=1)
        return mean, squares.new_zeros(len(sizes)).index_add(0, owner, squares) / sizes

    @torch.no_grad()
    def members(self, embeddings: Tensor, margins: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        """Return the voxels that matter to each object, with its place, both ``(n,)``.

        Voxels, counted over all crops, are in the mask or have membership above epsilon.
        """
        limit = -math.log2(epsilon) if epsilon else math.inf
        (batch, voxels, _), count = embeddings.shape, len(self.sizes) // len(embeddings)
        found = [self.owner.new_zeros(2, 0)]
        for crop in range(batch):
            lines = embeddings[crop].t().contiguous()
            present = self.sizes[crop * count : (crop + 1) * count].nonzero() + crop * count
            for places in torch.split(present, max(1, PAIRS // voxels)):
                away = lines.new_zeros(len(places), voxels)
                for axis, line in enumerate(lines):
                    distance = line - self.centres[places, axis]
                    away += distance.div_(margins[places, axis]).square_()
                is_member = (away < limit).logical_and_(self.is_known[crop])
                is_member.logical_or_(self.owner[crop] == places)
                object_, voxel = is_member.nonzero(as_tuple=True)
                found.append(torch.stack([voxel + crop * voxels, places[object_, 0]]))
        ids, owners = torch.cat(found, dim=1)
        return ids, owners

    def mean_of_objects(self, values: Tensor) -> Tensor:
        """Return the mean over crops of the mean over their objects, ``(K,)`` to a scalar."""
        batch = len(self.owner)
        is_present = (self.sizes > 0).view(batch, len(self.sizes) // batch).to(values.dtype)
        share = is_present / is_present.sum(dim=1, keepdim=True).clamp_min(1)
        return (values * share.flatten()).sum() / self._crops()

    def mean_of_voxels(self, values: Tensor) -> Tensor:
        """Return the mean over crops of the mean over known voxels, ``(B, V)`` to a scalar."""
        known = torch.where(self.is_known, values, 0).sum(dim=1)
        return (known / self.is_known.sum(dim=1).clamp_min(1)).sum() / self._crops()

    def _crops(self) -> Tensor:
        """Return how many crops there are of which anything is known; 1 if there is none."""
        return self.is_known.any(dim=1).sum().clamp_min(1)
