"""Otsu against trying every split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from skimage.filters import threshold_otsu

from cellulus.errors import InputError
from cellulus.ops.thresholds import otsu, otsu_by_group, otsu_of_histogram

values = npst.arrays(np.int16, st.integers(1, 12), elements=st.integers(-20, 20))


def between(sample, threshold):
    """Variance between the classes; what Otsu's threshold maximises."""
    low, high = sample[sample <= threshold], sample[sample > threshold]
    return low.size * high.size * (low.mean() - high.mean()) ** 2


@given(values)
def test_no_other_split_is_better(sample):
    distinct = np.unique(sample)
    threshold = otsu(sample)
    if distinct.size == 1:
        assert threshold == -np.inf
    else:
        assert threshold in distinct[:-1]
        best = max(between(sample, t) for t in distinct[:-1])
        assert between(sample, threshold) == pytest.approx(best)


def test_whole_numbers_split_where_scikit_image_splits_them():
    rng = np.random.default_rng(0)
    sample = np.concatenate([rng.normal(50, 9, 500), rng.normal(120, 20, 200)]).astype(np.uint8)
    assert np.array_equal(sample > otsu(sample), sample > threshold_otsu(sample))


@given(values)
def test_a_histogram_says_as_much_as_its_values(sample):
    centres = np.arange(-20, 21)
    counts = (sample[:, None] == centres).sum(0)
    assert otsu_of_histogram(counts, centres) == otsu(sample)


@given(values, st.floats(0.1, 10), st.floats(-100, 100))
def test_gain_and_offset_do_not_matter(sample, gain, offset):
    scaled = gain * sample + offset
    upper, expected = scaled > otsu(scaled), sample > otsu(sample)
    assert np.array_equal(upper, expected) or between(sample, otsu(sample)) == pytest.approx(
        between(sample, sample[~upper].max())
    )


def test_a_far_offset_costs_no_accuracy():
    sample = np.array([0.0, 1.0, 2.0, 10.0, 11.0]) + 1e9
    assert otsu(sample) == 1e9 + 2


@given(values)
def test_groups_are_split_each_on_its_own(sample):
    groups = np.arange(sample.size) % 3
    thresholds = otsu_by_group(sample, groups, 4)
    assert thresholds.tolist() == [*(otsu(sample[groups == g]) for g in range(3)), -np.inf]


def test_nothing_to_split():
    assert otsu(np.array([])) == -np.inf
    assert otsu_of_histogram(np.zeros(3, int), np.arange(3)) == -np.inf
    assert otsu_by_group(np.array([]), np.array([], int), 0).size == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(bad):
    with pytest.raises(InputError, match="finite"):
        otsu(np.array([1.0, bad]))
