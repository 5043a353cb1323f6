"""Detections against a truth of points: who is found within a distance.

For truths that say where objects are and not how large. Works on coordinates, in whatever unit
they share. Knows nothing of labels; `measures` has the centroids of objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from scipy.spatial import KDTree

from cellulus.errors import InputError
from cellulus.ops.assignment import assign
from cellulus.ops.tallies import Tally, ratio

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# Rounding must not decide whether a point at exactly the distance is found.
_TOLERANCE = 1e-9


class Finds(NamedTuple):
    """Pairs of a detection and the point that it found.

    Attributes
    ----------
    found, true
        Index into either side, ``(k,)``, ascending by detection.
    distances
        Between them, ``(k,)``.
    """

    found: NDArray[np.int64]
    true: NDArray[np.int64]
    distances: NDArray[np.float64]


@dataclass(frozen=True)
class Detections(Tally):
    """Detections at one distance.

    Attributes
    ----------
    hits
        Points that were found, TP.
    n_true, n_pred
        Number of points and of detections.
    distance_sum
        Sum of the distances of the pairs.
    """

    SCORES: ClassVar[Mapping[str, str]] = {
        "precision": "no detection",
        "recall": "no true point",
        "f1": "neither a detection nor a true point",
        "mean_distance": "no point found",
    }

    hits: int
    n_true: int
    n_pred: int
    distance_sum: float

    @property
    def precision(self) -> float | None:
        """``TP / (TP + FP)``."""
        return ratio(self.hits, self.n_pred)

    @property
    def recall(self) -> float | None:
        """``TP / (TP + FN)``."""
        return ratio(self.hits, self.n_true)

    @property
    def f1(self) -> float | None:
        """``2 TP / (2 TP + FP + FN)``."""
        return ratio(2 * self.hits, self.n_true + self.n_pred)

    @property
    def mean_distance(self) -> float | None:
        """Mean distance between detections and the points that they found."""
        return ratio(self.distance_sum, self.hits)


def find_points(found: NDArray[Any], true: NDArray[Any], distance: float) -> Finds:
    """Match detections and points one to one: as many as possible, then the nearest together.

    Parameters
    ----------
    found, true
        Coordinates, ``(n, ndim)`` and ``(m, ndim)``.
    distance
        Farthest that a detection may lie from its point, inclusive, in the unit of the
        coordinates.

    Raises
    ------
    InputError
        If coordinates do not fit or are not finite, or the distance is not above 0.
    """
    _check(found, true, distance)
    reach = distance * (1 + _TOLERANCE)
    near = KDTree(found).query_ball_tree(KDTree(true), reach) if found.size and true.size else []
    row = np.repeat(np.arange(len(near)), [len(some) for some in near])
    column = np.array([index for some in near for index in some], np.int64)
    lengths = np.linalg.norm(found[row] - true[column], axis=1) if row.size else np.zeros(0)
    # One more pair outweighs all distances: together these lose half of a pair at most.
    gains = 1 - lengths / (reach * 2 * max(min(len(found), len(true)), 1))
    chosen = assign(row, column, gains)
    return Finds(row[chosen], column[chosen], lengths[chosen])


def detections(found: NDArray[Any], true: NDArray[Any], distance: float) -> Detections:
    """Count detections against points; parameters and errors as of `find_points`."""
    pairs = find_points(found, true, distance)
    return Detections(pairs.found.size, len(true), len(found), float(pairs.distances.sum()))


def _check(found: NDArray[Any], true: NDArray[Any], distance: float) -> None:
    for name, points in (("found", found), ("true", true)):
        if points.ndim != 2 or points.shape[1] != true.shape[-1] or not np.isfinite(points).all():
            raise InputError(
                name,
                expected="finite coordinates, (points, axes), of as many axes on both sides",
                found=f"{points.dtype} of shape {points.shape}",
                remedy="give the points in the axes and the order of the image",
            )
    if not 0 < distance < np.inf:
        raise InputError("distance", expected="a distance above 0", found=repr(distance))
