"""The one-to-one choice among weighted pairs that gains most.

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
    rows: NDArray[np.int64], columns: NDArray[np.int64], gains: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Choose pairs of the greatest total gain, so that no row and no column is chosen twice.

    Parameters
    ----------
    rows, columns
        The pairs, ``(k,)``, each at most once.
    gains
        Of each pair, ``(k,)``, at least 0.

    Returns
    -------
    chosen
        Positions of the chosen pairs, ascending.
    """
    if not rows.size:
        return np.zeros(0, np.intp)
    row, column = (np.unique(side, return_inverse=True)[1] for side in (rows, columns))
    n, m = int(row.max()) + 1, int(column.max()) + 1
    # Each row may also take a column of its own, which gains nothing: all rows can then be served,
    # as the algorithm wants. It wants costs, and none of 0, which would be no entry.
    own, most = np.arange(n), float(gains.max()) + 1
    weights = np.concatenate([most - gains, np.full(n, most)])
    where = (np.concatenate([row, own]), np.concatenate([column, m + own]))
    graph = csr_array((weights, where), shape=(n, m + n))
    served, taken = min_weight_full_bipartite_matching(graph)
    partner = np.zeros(n, np.int64)
    partner[served] = taken
    return np.flatnonzero(partner[row] == column)
