"""The best one-to-one choice among weighted pairs: as many as possible, then the cheapest.

Sparse: time and memory follow the pairs, not the product of the sides. Knows nothing of objects;
`matching` settles pairs by IoU, which are nearly all beyond dispute, in a shorter way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

if TYPE_CHECKING:
    from numpy.typing import NDArray


def assign(
    rows: NDArray[np.int64], columns: NDArray[np.int64], costs: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Choose pairs so that no row and no column is chosen twice.

    Parameters
    ----------
    rows, columns
        The pairs, ``(k,)``, each at most once.
    costs
        Of each pair, ``(k,)``, from 0 to 1.

    Returns
    -------
    chosen
        Positions of the chosen pairs, ascending.
    """
    if not rows.size:
        return np.zeros(0, np.intp)
    row, column = (np.unique(side, return_inverse=True)[1] for side in (rows, columns))
    n, m = int(row.max()) + 1, int(column.max()) + 1
    # Each row may also take a column of its own, at the price of a match: all rows are then served,
    # as the algorithm wants. All real costs together stay below that price.
    own = np.arange(n)
    weights = np.concatenate([1 + costs / (2 * min(n, m)), np.full(n, 2.0)])
    where = (np.concatenate([row, own]), np.concatenate([column, m + own]))
    graph = csr_array((weights, where), shape=(n, m + n))
    served, taken = min_weight_full_bipartite_matching(graph)
    partner = np.zeros(n, np.int64)
    partner[served] = taken
    return np.flatnonzero(partner[row] == column)
