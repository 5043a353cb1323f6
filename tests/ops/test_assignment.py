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
    st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0, 2.5]),
    max_size=8,
)


@given(weighted)
def test_it_is_the_best_of_all_choices(pairs):
    where = np.array(list(pairs), np.int64).reshape(-1, 2)
    gains = np.array(list(pairs.values()), float)
    chosen = assign(where[:, 0], where[:, 1], gains)
    rows, columns = where[chosen].T.tolist()
    assert len(set(rows)) == len(rows) == len(set(columns))
    best = 0.0
    for count in range(1, 5):
        for some in combinations(range(len(where)), count):
            sides = where[list(some)].T.tolist()
            if all(len(set(side)) == count for side in sides):
                best = max(best, gains[list(some)].sum())
    assert gains[chosen].sum() == pytest.approx(best)


def test_hundreds_of_pairs_gain_as_much_as_in_a_dense_assignment():
    rng = np.random.default_rng(0)
    rows, columns = np.nonzero(rng.random((200, 150)) < 0.05)
    gains = rng.random(rows.size)
    dense = np.zeros((200, 150))
    dense[rows, columns] = gains
    wanted = dense[linear_sum_assignment(dense, maximize=True)]
    assert gains[assign(rows, columns, gains)].sum() == pytest.approx(wanted.sum())


def test_no_pair_gives_no_choice():
    none = np.zeros(0, np.int64)
    assert assign(none, none, none.astype(float)).size == 0
