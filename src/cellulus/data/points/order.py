"""Whether points seem to have their axes in another order, told by the image below them.

Most cells are brighter than what is around them, or most are darker. Points with their axes
exchanged hit anything. Brightness itself would tell of tissue, which exchanged points may hit as
well, so each point is compared with places a little away. Knows nothing of files.
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import KDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellulus.data.points import Points

REACH = 0.75
"""How far away that is, in distances between neighbours: at cells that touch half a distance is
still inside of them, and a whole one is inside of the next."""
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
    apart = np.median(KDTree(positions).query(positions, k=2)[0][:, 1])
    reach = max(2.0, REACH * float(apart))
    given, best, order = contrast(positions, image, reach)[0], 0.0, None
    names = "zyx"[-image.ndim :]
    for columns in list(permutations(range(image.ndim)))[1:]:
        exchanged = positions[:, columns]
        inside = (exchanged < np.array(image.shape) - 0.5).all(axis=1)
        if inside.mean() < 0.9:
            continue
        found, error = contrast(exchanged[inside], image, reach)
        if found > max(best, RATIO * given, STANDARD_ERRORS * error):
            best = found
            order = "".join(names[columns.index(i)] for i in range(image.ndim))
    return order


def contrast(
    positions: NDArray[np.float64], image: NDArray[Any], reach: float
) -> tuple[float, float]:
    """Return how often points are brighter than their surroundings, or darker, and its error.

    How often and not by how much: a few cells may be far brighter than all others. Each point is
    compared with four places, so that points which hit anything come out as often one way as the
    other, in whatever image.

    Parameters
    ----------
    positions
        ``(n, ndim)`` [voxel].
    image
        ``(*S)``.
    reach
        How far away the surroundings are, along y and x [voxel].

    Returns
    -------
    contrast, error
        From 0, as often brighter as darker, to 1, always the same; the standard error that it
        would have if it were 0.
    """
    last = np.array(image.shape) - 1
    steps = np.zeros((4, image.ndim))
    steps[:, -2:] = reach * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
    here = _values(positions, image, last)
    signs = [np.sign(here - _values(positions + step, image, last)) for step in steps]
    shares = np.mean(signs, axis=0)
    error = np.sqrt((shares**2).mean() / len(shares))
    return float(abs(shares.mean())), float(error)


def _values(
    positions: NDArray[np.float64], image: NDArray[Any], last: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the intensities of the voxels that points lie in, or of the nearest at the edge."""
    index = np.clip(np.floor(positions + 0.5).astype(np.int64), 0, last)
    return np.asarray(image[tuple(index.T)], np.float64)
