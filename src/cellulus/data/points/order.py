"""Whether points seem to have their axes in another order, told by the image below them.

Most cells are brighter than what is between them, or most are darker. Points with their axes
exchanged hit anything. Brightness itself would tell of tissue, which exchanged points may hit as
well, so each point is compared with the places halfway to its neighbours: where it is in tissue,
so are they. Knows nothing of files.
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import KDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellulus.data.points import Points

NEIGHBOURS = 6
"""Of each point. Cells that touch have a gap between some of them, if not between all."""
FEWEST = 8
"""Points that an average is worth something of."""
STANDARD_ERRORS = 3.0
"""How far from 0 the contrast in another order must be to count as seen, and"""
RATIO = 3.0
"""how many times the contrast in the order given, so that points which are seen are believed."""


def misordered(points: Points, image: NDArray[Any]) -> str | None:
    """Tell in which order the axes of points seem to be, if not in that of the image.

    Parameters
    ----------
    points
        Inside the image.
    image
        ``(*S)``, the channel that shows the cells.

    Returns
    -------
    order
        Such as ``"xyz"``: what the coordinates are that were read as ``z, y, x``. None if there
        is no reason for doubt: the points are seen as they are, or in no order.
    """
    positions = points.positions
    if len(positions) < FEWEST:
        return None
    given, best, order = contrast(positions, image)[0], 0.0, None
    names = "zyx"[-image.ndim :]
    for columns in list(permutations(range(image.ndim)))[1:]:
        exchanged = positions[:, columns]
        inside = (exchanged < np.array(image.shape) - 0.5).all(axis=1)
        if inside.sum() < max(FEWEST, 0.9 * len(positions)):
            continue
        found, error = contrast(exchanged[inside], image)
        if found > max(best, RATIO * given, STANDARD_ERRORS * error):
            best = found
            order = "".join(names[columns.index(i)] for i in range(image.ndim))
    return order


def contrast(positions: NDArray[np.float64], image: NDArray[Any]) -> tuple[float, float]:
    """Return how often points are brighter than what is between them, or darker, and its error.

    How often and not by how much: a few cells may be far brighter than all others.

    Parameters
    ----------
    positions
        ``(n, ndim)``, more than `NEIGHBOURS` [voxel].
    image
        ``(*S)``.

    Returns
    -------
    contrast, error
        From 0, as often brighter as darker, to 1, always the same; the standard error that it
        would have if it were 0.
    """
    nearest = KDTree(positions).query(positions, k=NEIGHBOURS + 1)[1][:, 1:]
    between = (positions[:, None] + positions[nearest]) / 2
    here, there = _values(positions, image), _values(between, image)
    shares = np.sign(here[:, None] - there).mean(axis=1)
    error = np.sqrt((shares**2).mean() / len(shares))
    return float(abs(shares.mean())), float(error)


def _values(positions: NDArray[np.float64], image: NDArray[Any]) -> NDArray[np.float64]:
    """Return the intensities of the voxels that points lie in."""
    index = np.floor(positions + 0.5).astype(np.int64)
    return np.asarray(image[tuple(np.moveaxis(index, -1, 0))], np.float64)
