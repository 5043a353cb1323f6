"""What a U-Net holds: its weights, and the values that live at once when it learns or predicts.

Follows `cellulus.nn.unet` layer by layer, in whole numbers and without torch. Knows nothing of
bytes or of images.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellulus.experiment.sections import Network

Shape = tuple[int, ...]


def parameters(network: Network, ndim: int, inputs: int, outputs: int) -> int:
    """Return the number of weights and biases."""
    taps: int = 3**ndim
    head = network.head_features * outputs + outputs
    return head + sum(
        taps * a * b + (2 + taps) * b**2 + 4 * b for a, b, _ in _blocks(network, inputs)
    )


def kept(network: Network, ndim: int, inputs: int) -> float:
    """Return the values kept for the way back when learning, per voxel of a crop.

    What goes into a block, and what each of its four layers gave.
    """
    return sum((a + 4 * b) / float(2 ** (level * ndim)) for a, b, level in _blocks(network, inputs))


def alive(network: Network, inputs: int, shape: Shape) -> int:
    """Return the most values that live at once when one image is predicted.

    Parameters
    ----------
    network
        Its features.
    inputs
        Channels of the image.
    shape
        What it is given, with the margin (`cellulus.nn.shapes.is_legal`) [voxel].
    """
    blocks, depth = _blocks(network, inputs), network.depth
    peak = 0
    skips: list[int] = []
    for a, b, level in blocks[: depth + 1]:
        peak = max(peak, sum(skips) + _inside(a, b, shape))
        shape = _less(shape, 4)
        if level < depth:
            skips.append(b * math.prod(shape))
            shape = tuple(n // 2 for n in shape)
    for a, b, _ in blocks[depth + 1 :]:
        shape = tuple(2 * n for n in shape)
        risen = (a - blocks[len(skips) - 1][1]) * math.prod(shape)
        peak = max(peak, sum(skips) + risen + a * math.prod(shape))
        skips.pop()
        peak = max(peak, sum(skips) + _inside(a, b, shape))
        shape = _less(shape, 4)
    return peak


def _inside(inputs: int, outputs: int, shape: Shape) -> int:
    """Return the values alive in a block: what it was given, a layer's input and its output."""
    return inputs * math.prod(shape) + 2 * outputs * math.prod(_less(shape, 2))


def _less(shape: Shape, count: int) -> Shape:
    return tuple(n - count for n in shape)


def _blocks(network: Network, inputs: int) -> list[tuple[int, int, int]]:
    """Return the channels that each block takes and gives, and its level, in order."""
    depth = network.depth
    widths = [network.features * network.growth**level for level in range(depth + 1)]
    if depth == 0:
        return [(inputs, network.head_features, 0)]
    down = [(a, b, k) for k, (a, b) in enumerate(zip([inputs, *widths], widths, strict=False))]
    merged = [network.head_features, *widths[1:]]
    up = [(widths[k] + merged[k + 1], merged[k], k) for k in reversed(range(depth))]
    return down + up
