"""Minimum cuts, against all choices that there are."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellulus.errors import InputError
from cellulus.ops.minimum_cut import LARGEST, choose


def shorter(shape, axis):
    return tuple(n - (i == axis) for i, n in enumerate(shape))


def problem(rng, shape, strength):
    gain = rng.integers(-6, 7, shape, dtype=np.int32)
    ties = [rng.integers(0, strength + 1, shorter(shape, a), dtype=np.int32)
            for a in range(len(shape))]  # fmt: skip
    return gain, ties


def worth(chosen, gain, ties):
    lost = sum((tie * np.diff(chosen.astype(int), axis=a).__abs__()).sum()
               for a, tie in enumerate(ties))  # fmt: skip
    return int((gain * chosen).sum() - lost)


def slowly(gain, ties):
    """The best of all choices; of several, what is in all of them."""
    every = [np.reshape(bits, gain.shape)
             for bits in itertools.product([False, True], repeat=gain.size)]  # fmt: skip
    values = [worth(chosen, gain, ties) for chosen in every]
    best = [chosen for chosen, value in zip(every, values, strict=True) if value == max(values)]
    return np.logical_and.reduce(best)


@pytest.mark.parametrize("shape", [(8,), (3, 3), (1, 7), (2, 2, 2), (3, 1, 3), (1, 1, 1)])
@given(seed=st.integers(0, 10**6), strength=st.sampled_from([0, 1, 3, 8, 30]))
@settings(max_examples=15, deadline=None)
def test_the_smallest_of_the_best_choices_is_found(shape, seed, strength):
    gain, ties = problem(np.random.default_rng(seed), shape, strength)
    assert np.array_equal(choose(gain, ties), slowly(gain, ties))


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_more_gain_never_makes_it_smaller(seed):
    rng = np.random.default_rng(seed)
    gain, ties = problem(rng, (12, 13), 5)
    more = gain + rng.integers(0, 4, gain.shape, dtype=np.int32)
    assert not (choose(gain, ties) & ~choose(more, ties)).any()


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_a_plane_is_a_volume_of_one_plane(seed):
    gain, ties = problem(np.random.default_rng(seed), (11, 14), 4)
    none = np.zeros((0, 11, 14), np.int32)
    flat = choose(gain, ties)
    assert np.array_equal(choose(gain[None], [none, *(tie[None] for tie in ties)])[0], flat)
    turned = choose(gain.T.copy(), [tie.T.copy() for tie in ties[::-1]])
    assert np.array_equal(turned.T, flat)


def test_nothing_wraps_at_the_edge():
    gain = np.full((6, 6), -1, np.int32)
    gain[:, -1] = 5
    ties = [np.full(shorter(gain.shape, axis), 2, np.int32) for axis in range(2)]
    expected = np.zeros((6, 6), bool)
    expected[:, -1] = True
    assert np.array_equal(choose(gain, ties), expected)


def test_ties_fill_holes_and_take_specks_away():
    gain = np.full((20, 20), -3, np.int32)
    gain[5:15, 5:15] = 3
    clean = gain > 0
    gain[9, 9], gain[2, 2] = -4, 4
    ties = [np.full(shorter(gain.shape, axis), 2, np.int32) for axis in range(2)]
    assert np.array_equal(choose(gain, ties), clean)


def test_large_numbers_are_added_exactly():
    gain = np.array([LARGEST, -LARGEST, LARGEST - 1], np.int32)
    assert choose(gain, [np.full(2, LARGEST, np.int32)]).tolist() == [True, True, True]
    assert choose(gain, [np.zeros(2, np.int32)]).tolist() == [True, False, True]


def test_nothing_is_chosen_of_nothing():
    assert choose(np.zeros((0, 3), np.int32), [np.zeros((0, 3)), np.zeros((0, 2))]).shape == (0, 3)


def test_ties_that_cannot_be_solved_are_refused():
    with pytest.raises(InputError, match="negative"):
        choose(np.zeros(2, np.int32), [np.array([-1], np.int32)])
    with pytest.raises(InputError, match=str(LARGEST)):
        choose(np.zeros(2, np.int64), [np.array([LARGEST + 1])])
