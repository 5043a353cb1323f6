"""One U-Net for two and three dimensions: valid, shallow, with a view smaller than an object.

Every block has kernels 3, 1, 1, 3: the 1x1 layers add capacity without widening the view,
which must not see neighbouring objects (Wolf et al. 2023, supplement). Knows nothing of what
its output means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from cellulus.nn.conv import channels_last, convolution, halving

if TYPE_CHECKING:
    from torch import Tensor


class UNet(nn.Module):
    """Map an image to one vector per voxel.

    Parameters
    ----------
    ndim
        Spatial dimensions.
    inputs, outputs
        Channels of the image, and components of the answer.
    features, growth, depth, head_features
        As in the experiment's ``[network]``.
    """

    def __init__(
        self, ndim: int, inputs: int, outputs: int, *, features: int, growth: int, depth: int,
        head_features: int,
    ) -> None:  # fmt: skip
        super().__init__()
        widths = [features * growth**level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            _block(ndim, before, width)
            for before, width in zip([inputs, *widths], widths, strict=False)
        )
        merged = [head_features, *widths[1:]]
        self.up = nn.ModuleList(
            _block(ndim, widths[level] + merged[level + 1], merged[level])
            for level in reversed(range(depth))
        )
        if depth == 0:
            self.down[0] = _block(ndim, inputs, head_features)
        self.pool = halving(ndim)
        self.head = convolution(ndim, head_features, outputs, 1)
        self.ndim = ndim
        self._initialise()
        self.to(memory_format=channels_last(ndim))  # type: ignore[call-overload]

    def _initialise(self) -> None:
        """Keep the variance through ReLU layers (He et al. 2015); start from zero offsets."""
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
            else:
                nn.init.zeros_(parameter)
        with torch.no_grad():
            self.head.weight.mul_(0.1)  # type: ignore[operator]

    def forward(self, image: Tensor) -> Tensor:
        """Return the answer for the middle of the image.

        Parameters
        ----------
        image
            ``(B, inputs, *S)``, each extent legal (`cellulus.nn.shapes.is_legal`).

        Returns
        -------
        answer
            ``(B, outputs, *S - 2 halo)``.
        """
        x = image.contiguous(memory_format=channels_last(self.ndim))
        skips = []
        for block in self.down[:-1]:
            x = block(x)
            skips.append(x)
            x = self.pool(x)
        x = self.down[-1](x)
        for block in self.up:
            x = nn.functional.interpolate(x, scale_factor=2, mode="nearest")
            # Named, so that what it was put together from is not kept while the block works.
            x = torch.cat([_middle(skips.pop(), x), x], dim=1)
            x = block(x)
        answer: Tensor = self.head(x)
        return answer


def _block(ndim: int, inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for kernel in (3, 1, 1, 3):
        layers += [convolution(ndim, inputs, outputs, kernel), nn.ReLU(inplace=True)]
        inputs = outputs
    return nn.Sequential(*layers)


def _middle(x: Tensor, like: Tensor) -> Tensor:
    """Cut `x` symmetrically to the extent of `like`."""
    for axis in range(2, x.ndim):
        margin = (x.shape[axis] - like.shape[axis]) // 2
        x = x.narrow(axis, margin, like.shape[axis])
    return x
