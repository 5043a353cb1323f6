"""The sparse assignment against all subsets of pairs, and against a dense one."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from cellulus.ops.assignment import assign

weighted = st.dictionaries(
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0]),
    max_size=8,
)


@given(weighted)
def test_it_is_the_best_of_all_choices(pairs):
    where = np.array(list(pairs), np.int64).reshape(-1, 2)
    costs = np.array(list(pairs.values()), float)
    chosen = assign(where[:, 0], where[:, 1], costs)
    rows, columns = where[chosen].T.tolist()
    assert len(set(rows)) == len(rows) == len(set(columns))
    best = (0, 0.0)
    for count in range(1, 5):
        for some in combinations(range(len(where)), count):
            sides = where[list(some)].T.tolist()
            if all(len(set(side)) == count for side in sides):
                best = min(best, (-count, costs[list(some)].sum()))
    assert (-len(chosen), costs[chosen].sum()) == (best[0], pytest.approx(best[1]))


def test_hundreds_of_pairs_cost_no_more_than_a_dense_assignment():
    rng = np.random.default_rng(0)
    rows, columns = np.nonzero(rng.random((200, 150)) < 0.05)
    costs = rng.random(rows.size)
    dense = np.full((200, 150), 1e3)
    dense[rows, columns] = costs
    wanted = dense[linear_sum_assignment(dense)]
    chosen = assign(rows, columns, costs)
    assert chosen.size == (wanted <= 1).sum()
    assert costs[chosen].sum() == pytest.approx(wanted[wanted <= 1].sum())


def test_no_pair_gives_no_choice():
    none = np.zeros(0, np.int64)
    assert assign(none, none, none.astype(float)).size == 0
