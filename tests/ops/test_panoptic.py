"""Panoptic quality of cases worked out by hand, and against all permutations."""

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from drawn_pairs import drawn, pairs_of_arrays
from hypothesis import given
from hypothesis import strategies as st

from cellulus.errors import InputError
from cellulus.ops.overlap import overlap_table
from cellulus.ops.panoptic import panoptic, strict_match
from cellulus.ops.scores import evaluate_labels

# (truth, labels): PQ, SQ, RQ, mean true score, at 0.5 inclusive; then PQ of the strict definition.
CASES = {
    ("........", "........"): (None, None, None, None, None),
    ("........", "aa......"): (0, None, 0, None, 0),
    ("aa......", "........"): (0, None, 0, 0, 0),
    ("aabb....", "bbaa...."): (1, 1, 1, 1, 1),
    ("aaaabbbb", "bbbbaaaa"): (1, 1, 1, 1, 1),  # no background
    ("aaaa....", "aa......"): (0.5, 0.5, 1, 0.5, 0),  # IoU of exactly 1 / 2
    ("aaaabb..", "aaaaaccc"): (0.8 / 2, 0.8, 0.5, 0.4, 0.8 / 2),
    ("aaaa....", "aabb...."): (1 / 3, 0.5, 2 / 3, 0.5, 0),
}


@pytest.mark.parametrize("pair", CASES)
def test_hand_derived_cases(pair):
    pq, sq, rq, mean_true_score, strict = CASES[pair]
    truth, labels = map(drawn, pair)
    table = overlap_table(labels, truth)
    found = panoptic(table)
    assert (found.pq, found.sq, found.rq) == pytest.approx((pq, sq, rq))
    assert found.mean_true_score == pytest.approx(mean_true_score)
    assert panoptic(table, strict=True).pq == pytest.approx(strict)
    assert None not in found.values.values() or found.reasons
    assert set(found.reasons) == {name for name, value in found.values.items() if value is None}


@given(pairs_of_arrays, st.sampled_from([0.5, 0.6, 0.75, 1.0]))
def test_strict_matches_are_the_best_of_all_permutations(arrays, threshold):
    labels, truth = arrays
    found, true = ([side == i for i in np.unique(side[side > 0])] for side in arrays)
    exact = Fraction(threshold).limit_denominator(100)

    def iou(a, b):
        return Fraction(int((a & b).sum()), int((a | b).sum()))

    if len(found) > len(true):
        found, true = true, found
    best = max(
        sum(iou(a, true[j]) > exact for a, j in zip(found, order, strict=True))
        for order in permutations(range(len(true)), len(found))
    )
    assert strict_match(overlap_table(labels, truth), threshold).iou.size == best


@given(pairs_of_arrays, st.sampled_from([0.2, 0.5, 0.75]))
def test_it_agrees_with_the_default_scores(arrays, threshold):
    found = panoptic(overlap_table(*arrays), threshold)
    known = evaluate_labels(*arrays, [threshold]).matches[0]
    assert (found.precision, found.recall, found.rq, found.ap, found.sq) == pytest.approx(
        (known.precision, known.recall, known.f1, known.ap, known.mean_iou)
    )


def test_images_add_up_object_by_object():
    one = panoptic(overlap_table(drawn("aa.."), drawn("aa..")))
    two = panoptic(overlap_table(drawn("aa.."), drawn("abcc")))
    assert (one + two).n_true == 4
    assert (one + two).pq == pytest.approx(2 * (1 + 0.5) / (4 + 2))


def test_strict_below_a_half_is_refused():
    with pytest.raises(InputError, match=r"at least 0\.5"):
        strict_match(overlap_table(drawn("a"), drawn("a")), 0.4)
    with pytest.raises(InputError, match=r"at least 0\.5"):
        panoptic(overlap_table(drawn("a"), drawn("a")), float("nan"), strict=True)
