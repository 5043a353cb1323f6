"""An image as a volume of one plane, so that one kernel serves both. Knows nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def as_volume(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array of at most three axes, contiguous, with three; a view where it can be."""
    return np.ascontiguousarray(array).reshape((1,) * (3 - array.ndim) + array.shape)


def of_three(values: Sequence[float], fill: float) -> tuple[float, ...]:
    """Return what holds along each axis of an array as it holds along three."""
    return (fill,) * (3 - len(values)) + tuple(values)
