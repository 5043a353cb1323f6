"""The loss of cells that compete for voxels, each known by one point.

Legend: B batch, D dimensions, V voxels of a crop, N points of a crop at most, K = B N places.

A voxel's embedding e is its position plus its offset, and ``b`` its presence, the probability that
there is a cell at all. It is claimed for point k by ``p_k = b 2^-|(e - c_k) / margin|^2``. With
``u = -ln(1 - p)``, summed over all points and the voxels of their patches,

    loss = sum p_k (competition * (sum of u over the other points + background * m) - 1) / (B V)

where m is 1 in the background. A voxel earns one by being claimed, loses what others claim of it,
and the background is one rival more. All points whose patches reach into a crop take part in it,
also those that lie outside: no voxel has a rival that is not counted, and cells at the border are
learnt like others. One gather of voxels to pairs, one scatter back.

Published, the sum is divided by the number of cells, which weighs a crop by those that go through
the network with it; a mean over voxels is the same however a batch is cut.

The image alone tells offsets and presence, not where the points are. Two voxels that look alike
point alike: what a cell can claim without a quarrel is what looks like a part of it.

Published, one network is run per patch and answers for one cell; here it is run once, and answers
what every patch needs. At the start offsets are zero, and cells are balls around their points,
which is the published warm start.

Source: Ud Din and Yu, Scientific Reports 2021, equation 3 and the code published with it. Knows
nothing of networks or images; one code path for any D and device, in single precision at least.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from cellulus.errors import InputError
from cellulus.methods.answers import answered, offsets_of, seediness_of
from cellulus.space import ball_volume

if TYPE_CHECKING:
    from torch import Tensor

    from cellulus.methods.base import Target
    from cellulus.methods.point_marker.settings import PointMarker

SUREST = 1 - 1e-4
"""A claim is never as sure as this, so that it costs others no more than can be counted."""
PAIRS = 2**20
"""Pairs of a point and a voxel that are looked at together; bounds the memory."""


class CompetitionObjective:
    """What training minimises.

    Parameters
    ----------
    settings
        Weights of the terms.
    object_voxels
        Object diameter on the network's grid [voxel].
    """

    def __init__(self, settings: PointMarker, object_voxels: float) -> None:
        self.settings, self.object_voxels = settings, object_voxels

    def __call__(
        self,
        output: Tensor,
        image: Tensor,
        generator: torch.Generator,
        target: Target | None = None,
    ) -> dict[str, Tensor]:
        """Return ``loss``, ``claimed``, ``contested``, ``background`` and ``size`` for raw answers.

        The terms are shares of all voxels that are answered for; nothing is lost or earned where
        nobody knows, and nothing in crops without points.

        Raises
        ------
        InputError
            If there is no target.
        """
        if target is None:
            raise InputError(
                "data.train",
                expected="points, which point markers are learnt from",
                found="images alone",
            )
        ndim = output.ndim - 2
        labels, positions = answered(target.labels, output)
        raw = output.to(positions.dtype).flatten(2).transpose(1, 2)
        offsets = offsets_of(raw[..., :ndim], self.object_voxels)
        embeddings = (positions + offsets).flatten(0, 1)
        presence = seediness_of(raw[..., ndim]).flatten()
        voxels, places, is_whole = self._pairs(target, labels, positions)
        centres = target.centres.to(raw.dtype).flatten(0, 1)
        away = embeddings.index_select(0, voxels) - centres.index_select(0, places)
        away = away / (self.settings.margin * self.object_voxels)
        claims = SUREST * torch.exp2(-away.square().sum(dim=1)) * presence.index_select(0, voxels)
        cost = -torch.log1p(-claims)
        total = cost.new_zeros(len(presence)).index_add(0, voxels, cost)
        rivals = total.index_select(0, voxels) - cost
        is_background = (labels.flatten() == 0).to(claims.dtype).index_select(0, voxels)

        ball, count = ball_volume(self.object_voxels, ndim), len(presence)
        sizes = claims.new_zeros(len(centres)).index_add(0, places, claims)[is_whole]
        terms = {
            "claimed": claims.sum() / count,
            "contested": (claims * rivals).sum() / count,
            "background": (claims * is_background).sum() / count,
            "size": ball * (sizes / ball - 1).square().sum() / count,
        }
        settings = self.settings
        loss = (
            settings.competition * (terms["contested"] + settings.background * terms["background"])
            - terms["claimed"]
            + settings.size * terms["size"]
        )
        return {"loss": loss} | {name: term.detach() for name, term in terms.items()}

    def constant(self, output: Tensor, image: Tensor) -> Tensor:
        """Return zeros: the loss sees all of an answer."""
        return torch.zeros(output.shape[1], device=output.device)

    @torch.no_grad()
    def _pairs(
        self, target: Target, labels: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the voxels and points that meet in a patch, and which points are seen whole.

        Returns
        -------
        voxels, places
            ``(n,)`` each: the voxel, counted over all crops, and the place of the point.
        is_whole
            ``(K,)``: all of the point's patch is answered for, and known.
        """
        half, voxels = self.settings.patch / 2 * self.object_voxels, len(positions)
        low, high = positions.min(dim=0).values - 0.5, positions.max(dim=0).values + 0.5
        inside = (target.centres - half >= low) & (target.centres + half <= high)
        is_whole = inside.all(dim=2)  # not where there is no point, which is NaN
        found = [labels.new_zeros(2, 0)]
        for crop, centres in enumerate(target.centres):
            present = (~centres.isnan().any(dim=1)).nonzero()[:, 0]
            for some in torch.split(present, max(1, PAIRS // voxels)):
                away = positions.new_zeros(len(some), voxels)
                for line, along in zip(positions.t(), centres[some].t(), strict=True):
                    away = torch.maximum(away, (line - along[:, None]).abs())
                is_near = away <= half
                is_whole[crop, some] &= ~(is_near & (labels[crop] < 0)).any(dim=1)
                point, voxel = (is_near & (labels[crop] >= 0)).nonzero(as_tuple=True)
                place = crop * target.centres.shape[1] + some[point]
                found.append(torch.stack([crop * voxels + voxel, place]))
        ids, places = torch.cat(found, dim=1)
        return ids, places, is_whole.flatten()
