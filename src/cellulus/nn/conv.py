"""The layers whose names depend on the number of dimensions: the only file that knows them."""

from __future__ import annotations

import torch
from torch import nn

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
_FORMAT = {2: torch.channels_last, 3: torch.channels_last_3d}


def convolution(ndim: int, inputs: int, outputs: int, kernel: int) -> nn.Module:
    """Return a valid convolution with a cubic `kernel`."""
    return _CONV[ndim](inputs, outputs, kernel)


def halving(ndim: int) -> nn.Module:
    """Return max-pooling by two along every axis."""
    return _POOL[ndim](2)


def channels_last(ndim: int) -> torch.memory_format:
    """Return the memory layout in which CPU and GPU convolutions are fastest."""
    return _FORMAT[ndim]
