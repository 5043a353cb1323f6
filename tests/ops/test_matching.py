"""The matching against all permutations, and against one assignment over everything."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.optimize import linear_sum_assignment

from cellulus.errors import InputError
from cellulus.ops.matching import exact_threshold, match
from cellulus.ops.overlap import overlap_table

small = npst.arrays(
    np.uint8, st.tuples(st.integers(0, 5), st.integers(1, 5)), elements=st.integers(0, 4)
)
pairs_of_arrays = small.flatmap(
    lambda a: st.tuples(st.just(a), npst.arrays(np.uint8, a.shape, elements=st.integers(0, 4)))
)


def iou_matrix(labels, truth):
    """Exact IoU of every predicted with every true object."""
    rows = []
    for i in np.unique(labels[labels > 0]):
        a = labels == i
        row = []
        for j in np.unique(truth[truth > 0]):
            b = truth == j
            row.append(Fraction(int((a & b).sum()), int((a | b).sum())))
        rows.append(row)
    return rows


def best_count(matrix, threshold):
    """The most one-to-one matches, and their greatest total IoU, over all permutations."""
    if not matrix or not matrix[0]:
        return 0, Fraction(0)
    if len(matrix) > len(matrix[0]):
        matrix = [list(column) for column in zip(*matrix, strict=True)]
    best = (0, Fraction(0))
    for order in itertools.permutations(range(len(matrix[0])), len(matrix)):
        hits = [row[j] for row, j in zip(matrix, order, strict=True) if row[j] >= threshold]
        best = max(best, (len(hits), sum(hits, Fraction(0))))
    return best


@given(
    pairs_of_arrays,
    st.sampled_from([0.1, 0.2, 0.25, 1 / 3, 0.4, 0.5, 0.6, 2 / 3, 0.75, 0.9, 1.0]),
)
def test_matching_is_the_best_of_all_permutations(arrays, threshold):
    found = match(overlap_table(*arrays), threshold)
    exact = Fraction(threshold).limit_denominator(100)
    count, total = best_count(iou_matrix(*arrays), exact)
    assert found.overlap.size == count
    assert found.iou.sum() == pytest.approx(float(total))
    assert len(set(found.label.tolist())) == len(set(found.truth.tolist())) == count
    assert all(
        Fraction(int(o), int(u)) >= exact for o, u in zip(found.overlap, found.union, strict=True)
    )


@pytest.mark.parametrize("threshold", [0.05, 0.15, 0.3, 0.5, 0.7])
def test_counts_equal_one_assignment_over_all_objects(threshold):
    """The dense assignment that evaluation codes solve over the whole IoU matrix."""
    rng = np.random.default_rng(2)
    seeds = rng.integers(0, 64, (2, 40, 2))
    grid = np.indices((64, 64)).reshape(2, -1).T
    labels, truth = (
        (1 + np.linalg.norm(grid[:, None] - s, axis=-1).argmin(1)).reshape(64, 64) for s in seeds
    )
    iou = np.array(iou_matrix(labels, truth), float)
    cost = -(iou >= threshold).astype(float) - iou / (2 * min(iou.shape))
    rows, columns = linear_sum_assignment(cost)
    found = match(overlap_table(labels, truth), threshold)
    assert found.overlap.size == int((iou[rows, columns] >= threshold).sum())


@pytest.mark.parametrize("threshold", [*np.arange(0.05, 1, 0.05), 0.1 + 0.2])
def test_thresholds_are_the_decimals_they_were_meant_to_be(threshold):
    hundredths = round(float(threshold) * 100)
    labels, truth = np.zeros((2, 100), np.uint32)
    labels[:hundredths] = 1
    truth[:] = 1
    assert match(overlap_table(labels, truth), threshold).overlap.size == 1
    labels[hundredths - 1] = 0
    assert match(overlap_table(labels, truth), threshold).overlap.size == 0


def test_the_greatest_iou_first_would_lose_a_match():
    truth = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2])
    labels = np.array([3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 0])
    table = overlap_table(labels, truth)
    assert table.pairs.iou.argmax() == 1, "test invalid: (4, 1) must be the tempting pair"
    found = match(table, 0.3)
    assert list(zip(found.label.tolist(), found.truth.tolist(), strict=True)) == [(0, 0), (1, 1)]


def test_of_two_equal_halves_one_is_matched():
    truth = np.array([1, 1, 1, 1])
    assert match(overlap_table(np.array([1, 1, 2, 2]), truth), 0.5).overlap.size == 1
    assert match(overlap_table(truth, np.array([1, 1, 2, 2])), 0.5).overlap.size == 1


def test_nothing_matches_nothing():
    table = overlap_table(np.zeros((3, 3), int), np.zeros((3, 3), int))
    assert table.label_sizes.size == table.truth_sizes.size == 0
    assert match(table, 0.5).overlap.size == 0


@pytest.mark.parametrize("threshold", [0, -0.1, 1.01, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(InputError, match="at most 1"):
        exact_threshold(threshold)
