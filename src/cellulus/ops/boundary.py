"""Boundary F: how much of the outlines lies where the true ones do.

The only score that wants the voxels themselves. What it counts adds up over blocks: read each with
a halo, and count its core. Knows nothing of which object is which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from cellulus.errors import InputError
from cellulus.ops.nearest import distance_to
from cellulus.ops.tallies import Tally, ratio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from cellulus.space import Region

# Rounding must not decide whether a voxel at exactly the tolerance is near; distances are float32.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Boundary(Tally):
    """Voxels of the outlines.

    Source: Martin et al. 2004, doi:10.1109/TPAMI.2004.1273918; with distances in place of their
    matching as in Csurka et al. 2013, doi:10.5244/C.27.32.

    Attributes
    ----------
    n_pred, near_pred
        Of the predicted outlines, and those of them near a true one [voxel].
    n_true, near_true
        Of the true outlines, and those of them near a predicted one [voxel].
    """

    SCORES: ClassVar[Mapping[str, str]] = {
        "precision": "no predicted outline",
        "recall": "no true outline",
        "f": "no outline on either side",
    }

    n_pred: int
    near_pred: int
    n_true: int
    near_true: int

    @property
    def precision(self) -> float | None:
        """Share of the predicted outlines near a true one."""
        return ratio(self.near_pred, self.n_pred)

    @property
    def recall(self) -> float | None:
        """Share of the true outlines near a predicted one."""
        return ratio(self.near_true, self.n_true)

    @property
    def f(self) -> float | None:
        """Harmonic mean of both; 0 where only one side has outlines."""
        if not self.n_pred + self.n_true:
            return None
        precision, recall = self.precision or 0.0, self.recall or 0.0
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary(
    labels: NDArray[Any],
    truth: NDArray[Any],
    tolerance: float,
    spacing: Sequence[float],
    *,
    core: Region | None = None,
) -> Boundary:
    """Count the voxels of outlines, and those near the outlines of the other side.

    Parameters
    ----------
    labels, truth
        Ids, ``(*S)``; 0 is background.
    tolerance
        How far apart is near, inclusive, in the unit of `spacing`.
    spacing
        Size of a voxel along each axis.
    core
        Part of the arrays that is counted; the rest is its halo. All by default.

    Raises
    ------
    InputError
        If the shapes differ, or the tolerance is negative.
    """
    if labels.shape != truth.shape:
        raise InputError(
            "truth", expected=f"shape {labels.shape}, of the labels", found=f"shape {truth.shape}"
        )
    if not 0 <= tolerance < np.inf:
        raise InputError("tolerance", expected="a distance of at least 0", found=repr(tolerance))
    part = core or (slice(None),) * labels.ndim
    found, true = outlines(labels), outlines(truth)
    reach = tolerance * (1 + _ROUNDING)
    counts = []
    for own, other in ((found, true), (true, found)):
        near = own[part] & (distance_to(other, spacing)[part] <= reach)
        counts += [int(np.count_nonzero(own[part])), int(np.count_nonzero(near))]
    return Boundary(*counts)


def outlines(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the voxels of objects that share a face with another id, or with background.

    The edge of the image is no outline: nobody sees whether the object ends there.
    """
    differs = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        ahead = np.moveaxis(labels, axis, 0)
        mark = np.moveaxis(differs, axis, 0)
        step = ahead[1:] != ahead[:-1]
        mark[1:] |= step
        mark[:-1] |= step
    return np.asarray(differs & (labels != 0))


def halo(tolerance: float, spacing: Sequence[float]) -> tuple[int, ...]:
    """Return what a block must know around its core, along each axis [voxel].

    As far as an outline may be near, and one voxel more that tells whether it is an outline.
    """
    return tuple(int(np.floor(tolerance * (1 + _ROUNDING) / step)) + 1 for step in spacing)
