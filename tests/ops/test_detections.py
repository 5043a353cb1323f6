"""Detections against all permutations, and cases worked out by hand."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from cellulus.errors import InputError
from cellulus.ops.detections import detections, find_points

places = npst.arrays(
    float, st.tuples(st.integers(0, 5), st.just(2)), elements=st.integers(0, 6).map(float)
)


@given(places, places, st.sampled_from([1.0, 2.0, 5.0]))
def test_it_is_the_best_of_all_permutations(found, true, distance):
    few, many = sorted((found, true), key=len)
    best = (0, 0.0)
    for order in permutations(range(len(many)), len(few)):
        steps = np.linalg.norm(few - many[list(order)], axis=1) if len(few) else np.zeros(0)
        near = steps[steps <= distance]
        best = min(best, (-near.size, float(near.sum())))
    score = detections(found, true, distance)
    assert (-score.hits, score.distance_sum) == (best[0], pytest.approx(best[1]))
    assert (score.n_pred, score.n_true) == (len(found), len(true))


def test_a_point_is_found_once_and_at_the_distance_still():
    true = np.array([[0.0, 0.0, 0.0], [5.0, 0.0, 0.0]])
    found = np.array([[0.0, 0.3, 0.4], [0.0, 0.0, 0.1], [5.0, 0.6, 0.8]])
    score = detections(found, true, 1.0)
    assert (score.hits, score.precision, score.recall) == (2, 2 / 3, 1)
    assert score.f1 == pytest.approx(4 / 5)
    assert score.mean_distance == pytest.approx((0.1 + 1) / 2)
    assert find_points(found, true, 1.0).found.tolist() == [1, 2]


def test_nothing_is_undefined_and_says_so():
    none, one = np.zeros((0, 2)), np.zeros((1, 2))
    assert detections(none, none, 1.0).f1 is None
    assert set(detections(none, none, 1.0).reasons) == {
        "precision",
        "recall",
        "f1",
        "mean_distance",
    }
    assert detections(one, none, 1.0).values == {
        "precision": 0,
        "recall": None,
        "f1": 0,
        "mean_distance": None,
    }
    assert detections(none, one, 1.0).recall == 0


@pytest.mark.parametrize(
    ("found", "true", "distance"),
    [
        (np.zeros((1, 3)), np.zeros((1, 2)), 1.0),
        (np.zeros(3), np.zeros((1, 3)), 1.0),
        (np.full((1, 2), np.nan), np.zeros((1, 2)), 1.0),
        (np.zeros((1, 2)), np.zeros((1, 2)), 0.0),
        (np.zeros((1, 2)), np.zeros((1, 2)), float("nan")),
    ],
)
def test_bad_points_are_refused(found, true, distance):
    with pytest.raises(InputError):
        detections(found, true, distance)
