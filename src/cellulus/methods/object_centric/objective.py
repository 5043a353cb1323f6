"""The pairwise loss, in a dense form that gathers nothing.

Legend: B batch, D dimensions, S space, K displacements.

Draw K displacements d from a ball. For each, compare the offset map r with itself moved by d:
the embeddings of x and x + d differ by ``delta = r(x) - r(x + d) - d``, and the loss is the mean
of ``1 - exp(-|delta|^2 / tau)``, plus a small pull on ``|r|``. Both members of a pair get
gradients: then the gradient of a common shift of all offsets vanishes, as the loss demands.

The mean weighs a pair by its intensities. Background is most of a volume and can teach nothing:
unweighted, its noise drowns the objects, and 3D training sits on the plateau of zero offsets.

Source: Wolf et al. 2023, arXiv 2310.08501, equations 2 and 3. The paper's sigmoid of the squared
distance and this exponential differ by an affine map in shape.
Knows nothing of networks or images; one code path for any D.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from cellulus.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from cellulus.methods.base import Target
    from cellulus.methods.object_centric.settings import ObjectCentric


class PairwiseObjective:
    """What training minimises.

    Parameters
    ----------
    settings
        Radius, temperature, regularisation and number of pairs.
    ndim
        Spatial dimensions.
    object_voxels
        Object diameter on the network's grid [voxel].
    """

    def __init__(self, settings: ObjectCentric, ndim: int, object_voxels: float) -> None:
        self.settings = settings
        self.candidates = half_ball(settings.radius * object_voxels, ndim)

    def __call__(
        self,
        output: Tensor,
        image: Tensor,
        generator: torch.Generator,
        target: Target | None = None,
    ) -> dict[str, Tensor]:
        """Return ``loss``, ``pairs`` and ``length`` for offsets ``(B, D, *S)`` [voxel].

        Raises
        ------
        InputError
            If the offsets cover too little space to hold a pair.
        """
        inside = np.abs(self.candidates) < np.array(output.shape[2:])
        candidates = self.candidates[inside.all(axis=1)]
        order = torch.randperm(len(candidates), generator=generator)
        chosen = candidates[order[: self.settings.pairs].numpy()]
        if len(chosen) == 0:
            raise InputError(
                "train.crop",
                expected="crops and a method.radius large enough for pairs of voxels",
                found=f"answers for {' x '.join(map(str, output.shape[2:]))} voxels",
                remedy="make train.crop or method.radius larger",
            )
        offsets = output.float()
        weight = brightness(image, output.shape[2:]).clamp_min(self.settings.background)
        pairs = pairwise_loss(offsets, chosen, self.settings.temperature, weight)
        length = offsets.norm(dim=1).mean()
        loss = pairs + self.settings.regularisation * length
        return {"loss": loss, "pairs": pairs.detach(), "length": length.detach()}

    def constant(self, output: Tensor, image: Tensor) -> Tensor:
        """Return the mean offset of what is bright: pairs see differences of offsets only.

        An embedding is the middle of its object only once this common shift is taken off.
        """
        weight = brightness(image, output.shape[2:])
        space = tuple(range(2, output.ndim))
        total = (output.float() * weight).sum(dim=(0, *space))
        return total / weight.sum().clamp_min(1e-6)


def brightness(image: Tensor, extent: tuple[int, ...]) -> Tensor:
    """Return the mean of the channels between 0 and 1, in the middle `extent`, ``(B, 1, *S)``."""
    bright = image.float().mean(dim=1, keepdim=True).clamp(0, 1)
    for axis, n in enumerate(extent, start=2):
        bright = bright.narrow(axis, (bright.shape[axis] - n) // 2, n)
    return bright


def half_ball(radius: float, ndim: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the integer displacements shorter than `radius`, one of each pair d, -d.

    Returns
    -------
    displacements
        ``(n, ndim)``, in lexicographic order.
    """
    reach = int(np.ceil(radius))
    grid = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * ndim, indexing="ij"), axis=-1)
    points = grid.reshape(-1, ndim)
    points = points[(points**2).sum(axis=1) < radius**2]
    half: np.ndarray[Any, np.dtype[np.int64]] = points[len(points) // 2 + 1 :]
    return half  # lexicographic: the second half mirrors the first


def pairwise_loss(
    offsets: Tensor,
    displacements: np.ndarray[Any, np.dtype[np.int64]],
    temperature: float,
    weight: Tensor,
) -> Tensor:
    """Return the weighted mean over pairs of ``1 - exp(-|delta|^2 / temperature)``.

    Parameters
    ----------
    offsets
        ``(B, D, *S)`` float32 [voxel].
    displacements
        ``(K, D)`` [voxel], each shorter than the extent.
    temperature
        Squared distance at which the loss saturates [voxel^2].
    weight
        ``(B, 1, *S)``, positive; a pair weighs as its two voxels together, and every
        displacement as much as any other.

    Returns
    -------
    loss
        Scalar in [0, 1).
    """
    loss: Tensor = _Pairwise.apply(offsets, displacements, temperature, weight)  # type: ignore[no-untyped-call]
    return loss


class _Pairwise(torch.autograd.Function):
    """Value and gradient in one pass: no graph over K displacements is kept in memory."""

    @staticmethod
    def forward(
        ctx: Any,
        offsets: Tensor,
        displacements: np.ndarray[Any, Any],
        temperature: float,
        weight: Tensor,
    ) -> Tensor:
        offsets = offsets.contiguous()
        gradient = torch.zeros_like(offsets)
        total = offsets.new_zeros(())
        for displacement in displacements.tolist():
            here, there = _overlap(offsets, displacement)
            shift = offsets.new_tensor(displacement).view(-1, *[1] * (offsets.ndim - 2))
            delta = offsets[here] - offsets[there]
            delta -= shift
            near = delta.square().sum(dim=1, keepdim=True).div_(-temperature).exp_()
            share = weight[here] + weight[there]
            near *= share.div_(share.sum() * len(displacements))
            total += 1.0 / len(displacements) - near.sum()
            delta.mul_(near).mul_(2.0 / temperature)
            gradient[here] += delta
            gradient[there] -= delta
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad, None, None, None


def _overlap(
    offsets: Tensor, displacement: list[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return where x and x + d both lie inside the crop, as indices of x and of x + d."""
    here, there = [slice(None), slice(None)], [slice(None), slice(None)]
    for d, n in zip(displacement, offsets.shape[2:], strict=True):
        here.append(slice(max(-d, 0), n - max(d, 0)))
        there.append(slice(max(d, 0), n - max(-d, 0)))
    return tuple(here), tuple(there)
