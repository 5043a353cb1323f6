"""How the density of embeddings is smoothed, and how far that reaches; in bins of a lattice.

Arithmetic alone, so that plans know it without compiling anything. What is done with the density
is `cellulus.ops.clustering`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHT_UNIT = 64
"""Integer height of the smoothing kernel's middle, per axis."""
KERNEL_SHARE = 0.5
"""Standard deviation of the smoothing over the bandwidth."""


def kernel(bandwidth: float) -> NDArray[np.float64]:
    """Return the smoothing weights, integers: a Gaussian cut where it rounds to zero."""
    sigma = KERNEL_SHARE * bandwidth
    reach = int(np.floor(sigma * np.sqrt(2 * np.log(2 * WEIGHT_UNIT))))
    x = np.arange(-reach, reach + 1)
    weights: NDArray[np.float64] = np.rint(WEIGHT_UNIT * np.exp(-0.5 * (x / sigma) ** 2))
    return weights


def mode_reach(bandwidth: float) -> float:
    """Return how far from a mode the choice of it can depend on embeddings [bin].

    The distance at which another maximum suppresses it, and the smoothing of that maximum; a bin
    for its neighbours, and one at each end for rounding.
    """
    return bandwidth + len(kernel(bandwidth)) // 2 + 3
