"""How well points, one per cell, and a rough foreground go together: counts, and distances.

Nobody knows the truth, but what does not go together is wrong in one of the two. Positions are as
in crops: voxel ``i`` has its middle at ``i + 0.5``. Knows nothing of files, and judges nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import KDTree

from cellulus.errors import InputError
from cellulus.ops.pieces import find_pieces
from cellulus.space import ball_volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NEAR = 0.5
"""Points that are closer to each other mark one cell, most likely [object diameter]."""
LARGE = 0.1
"""Pieces of foreground that are smaller are no cell [volume of a ball of the diameter]."""


@dataclass(frozen=True, eq=False)
class Fit:
    """What is there, and what does not go together.

    Attributes
    ----------
    markers
        Number of points.
    in_background
        Points that do not lie in the foreground.
    doubled
        Points with another one closer than `NEAR`.
    pieces, unmarked
        Connected pieces of foreground large enough to be a cell, and those of them without a point.
    known, foreground, missed
        What is known to be foreground or not; what is foreground; what of that is in pieces
        without a point [voxel].
    away
        From points in the foreground to the middle of what is nearest to them of their piece, up
        to a diameter away, ``(n, ndim)`` [object diameter].
    """

    markers: int
    in_background: int
    doubled: int
    pieces: int
    unmarked: int
    known: int
    foreground: int
    missed: int
    away: NDArray[np.float64]

    @property
    def covered(self) -> float:
        """Share of the foreground in what is known; 0 if nothing is."""
        return self.foreground / self.known if self.known else 0.0

    @property
    def off_centre(self) -> float:
        """Median distance of points from middles [object diameter]; 0 without points."""
        return float(np.median(np.linalg.norm(self.away, axis=1))) if len(self.away) else 0.0

    @property
    def shift(self) -> tuple[float, ...]:
        """Where points lie, seen from the middles: medians along the axes [object diameter]."""
        middle = np.median(self.away, axis=0) if len(self.away) else np.zeros(self.away.shape[1])
        return tuple(0.0 - float(value) for value in middle)


def merge(fits: Sequence[Fit]) -> Fit:
    """Return one for several images of a kind, at least one."""
    counts = [name for name in Fit.__dataclass_fields__ if name != "away"]
    return Fit(
        **{name: sum(getattr(fit, name) for fit in fits) for name in counts},
        away=np.concatenate([fit.away for fit in fits]),
    )


def measure_fit(
    positions: NDArray[np.float64],
    foreground: NDArray[Any],
    object_voxels: float,
    *,
    is_cut: bool = False,
) -> Fit:
    """Compare points with a foreground.

    Parameters
    ----------
    positions
        ``(n, ndim)``, inside [voxel].
    foreground
        ``(*S)``: above 0 where there may be a cell, 0 in the background, below where nobody knows.
    object_voxels
        Object diameter [voxel].
    is_cut
        Whether the image goes on beyond. Pieces at the border may have their points there, and do
        not count as unmarked.

    Raises
    ------
    InputError
        If the diameter is not above 0, or the points are of another dimension.
    """
    if not object_voxels > 0:
        raise InputError(
            "object_voxels", expected="a diameter above 0", found=repr(float(object_voxels))
        )
    if positions.ndim != 2 or positions.shape[1] != foreground.ndim:
        raise InputError(
            "positions",
            expected=f"points along {foreground.ndim} axes",
            found=f"shape {positions.shape}",
        )
    voxels = _voxels(positions, foreground.shape)
    inside = np.ascontiguousarray(foreground > 0)
    pieces, _, sizes = find_pieces(inside, across_corners=True)
    is_marked = np.zeros(len(sizes), np.bool_)
    is_marked[pieces[voxels]] = True
    may_be = is_marked | (_touching(pieces, len(sizes)) if is_cut else False)
    is_large = sizes > LARGE * ball_volume(object_voxels, foreground.ndim)
    is_large[0] = False
    is_missed = is_large & ~may_be
    return Fit(
        markers=len(positions),
        in_background=count_in_background(positions, foreground),
        doubled=_doubled(positions, object_voxels),
        pieces=int(is_large.sum()),
        unmarked=int(is_missed.sum()),
        known=int((foreground >= 0).sum()),
        foreground=int(inside.sum()),
        missed=int(sizes[is_missed].sum()),
        away=_away(positions, pieces, pieces[voxels], object_voxels),
    )


def count_in_background(positions: NDArray[np.float64], foreground: NDArray[Any]) -> int:
    """Return how many points do not lie in the foreground; see `measure_fit`."""
    return int((foreground[_voxels(positions, foreground.shape)] == 0).sum())


def _voxels(
    positions: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], ...]:
    """Return the voxels that points lie in; on the last face it is the last."""
    return tuple(np.clip(np.floor(positions).astype(np.int64), 0, np.array(shape) - 1).T)


def _touching(pieces: NDArray[np.uint32], count: int) -> NDArray[np.bool_]:
    """Return which pieces lie at the border."""
    found = np.zeros(count, np.bool_)
    for axis in range(pieces.ndim):
        for end in (0, -1):
            found[pieces.take(end, axis)] = True
    return found


def _doubled(positions: NDArray[np.float64], object_voxels: float) -> int:
    if len(positions) < 2:
        return 0
    nearest = KDTree(positions).query(positions, k=2)[0][:, 1]
    return int((nearest < NEAR * object_voxels).sum())


def _away(
    positions: NDArray[np.float64],
    pieces: NDArray[np.uint32],
    owners: NDArray[np.uint32],
    object_voxels: float,
) -> NDArray[np.float64]:
    """Return the way from each point in the foreground to the middle of what it is nearest to."""
    count, ndim = positions.shape
    sums = np.zeros((count, ndim + 1))
    if count:
        # Piece 0, the background, is nobody's.
        places = np.argwhere(np.isin(pieces, owners[owners > 0])) + 0.5
        away, nearest = KDTree(positions).query(places, distance_upper_bound=object_voxels)
        places, nearest = places[np.isfinite(away)], nearest[np.isfinite(away)]
        is_own = pieces[tuple(places.astype(np.int64).T)] == owners[nearest]
        rows = np.column_stack([places, np.ones(len(places))])[is_own]
        for column, values in enumerate(rows.T):
            sums[:, column] = np.bincount(nearest[is_own], values, minlength=count)
    has_some = sums[:, -1] > 0
    middles = sums[has_some, :-1] / sums[has_some, -1:]
    return np.asarray((middles - positions[has_some]) / object_voxels)
