"""Mean embedding and uncertainty by repeated noise.

In each pass a few voxels are replaced, by grey in one half of the passes and by white in the
other. Inside objects the answer hardly moves; background embeddings jump. Which voxels are hit is
a function of seed, pass and canonical coordinates: a tile sees the specks the whole would see.

Source: Wolf et al. 2023, arXiv 2310.08501, section 3.2. Knows nothing of tiles or files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from cellulus.methods.object_centric.settings import ObjectCentric

GREY, WHITE = 0.5, 1.0


class NoisyPasses:
    """Ask the network several times.

    Parameters
    ----------
    settings
        Number of passes and share of noise.
    seed
        Of the noise.
    batch_size
        Passes sent through the network together.
    """

    def __init__(self, settings: ObjectCentric, seed: int, batch_size: int) -> None:
        self.settings, self.seed, self.batch_size = settings, seed, batch_size

    def __call__(self, network: nn.Module, image: Tensor, origin: tuple[int, ...]) -> Tensor:
        """Return mean offsets, and the sum over components of their deviation [voxel]."""
        count = self.settings.passes
        for start in range(0, count, self.batch_size):
            passes = range(start, min(start + self.batch_size, count))
            answers = network(torch.stack([self._noisy(image, origin, n) for n in passes])).float()
            if start == 0:
                # Sums of differences from one answer lose no digits, as sums of squares would.
                first = answers[0]
                total, squares = torch.zeros_like(first), torch.zeros_like(first)
            change = answers - first
            total += change.sum(dim=0)
            squares += change.square().sum(dim=0)
        mean = total / count
        deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
        return torch.cat([first + mean, deviation.sum(dim=0, keepdim=True)])

    def _noisy(self, image: Tensor, origin: tuple[int, ...], number: int) -> Tensor:
        value = GREY if number < self.settings.passes // 2 else WHITE
        hit = specks(image.shape[1:], origin, self.settings.noise, (self.seed, number))
        return torch.where(torch.from_numpy(hit).to(image.device), value, image)


def specks(
    shape: tuple[int, ...], origin: tuple[int, ...], share: float, key: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return which voxels are hit: a hash of `key` and coordinates, below a threshold.

    Parameters
    ----------
    shape, origin
        Of the region, in global coordinates.
    share
        Expected share of voxels hit.
    key
        Seed and number of the pass.
    """
    with np.errstate(over="ignore"):
        state = _mixed(_mixed(np.uint64(key[0])) + np.uint64(key[1]))
        for axis, (n, start) in enumerate(zip(shape, origin, strict=True)):
            line = np.arange(start, start + n).astype(np.uint64)
            state = _mixed(state[..., None] + line if axis else state + line)
    hit: NDArray[np.bool_] = state < np.uint64(share * 2.0**64)
    return hit


def _mixed(state: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """Return the next value of the splitmix64 generator (Steele et al. 2014)."""
    state = np.asarray(state, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(state ^ (state >> np.uint64(31)))
