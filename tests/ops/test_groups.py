"""Quantiles of groups, against sorting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cellulus.ops.groups import quantile_by_group, sizes_of


def quantiles_of(values, groups, share, count):
    return quantile_by_group(values, groups, share, sizes_of(groups, count))


def slowly(values, groups, share, count):
    result = np.full(count, np.nan, np.float32)
    for group in range(1, count):
        part = sorted(values[groups == group])
        if part:
            result[group] = part[int(share * (len(part) - 1))]
    return result


finite = st.floats(-100, 100, width=32)


@settings(max_examples=200)
@given(data=st.data(), share=st.floats(0, 1), extra=st.integers(0, 3))
def test_it_is_the_order_statistic_at_or_below(data, share, extra):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=6))
    values = data.draw(hnp.arrays(np.float32, shape, elements=finite))
    groups = data.draw(hnp.arrays(np.uint32, shape, elements=st.integers(0, 4)))
    count = int(groups.max(initial=0)) + 1 + extra
    found = quantiles_of(values, groups, share, count)
    assert found.dtype == np.float32
    assert np.array_equal(found, slowly(values, groups, share, count), equal_nan=True)


def test_groups_that_are_not_asked_for_have_none():
    rng = np.random.default_rng(3)
    values = rng.random((40, 30), np.float32)
    groups = rng.integers(0, 7, values.shape).astype(np.uint32)
    asked = np.array([True, False, True, True, False, False, True])
    sizes = sizes_of(groups, 7)
    every = quantile_by_group(values, groups, 0.4, sizes)
    some = quantile_by_group(values, groups, 0.4, np.where(asked, sizes, 0))
    assert np.array_equal(some, np.where(asked, every, np.nan), equal_nan=True)


@pytest.mark.parametrize("shape", [(0,), (1,), (50,), (6, 7, 8)])
def test_sizes_are_counts(shape):
    groups = np.random.default_rng(2).integers(0, 3, shape).astype(np.uint32)
    assert np.array_equal(sizes_of(groups, 5), np.bincount(groups.ravel(), minlength=5))


def test_many_equal_values_and_infinite_ones():
    values = np.repeat(np.array([np.inf, 2, 2, -1], np.float32), 500)
    found = [quantiles_of(values, np.ones(2000, np.uint32), q, 2)[1] for q in (0, 0.3, 0.9)]
    assert found == [-1, 2, np.inf]


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 3), (0.74, 3), (0.75, 4), (1, 5)])
def test_the_extremes_and_the_median(share, expected):
    values = np.array([9, 5, 3, 1, 4, 2], np.float32)
    groups = np.array([0, 1, 1, 1, 1, 1], np.uint32)
    found = quantiles_of(values, groups, share, 2)
    assert np.isnan(found[0])
    assert found[1] == expected


def test_it_does_not_depend_on_the_order_of_voxels_nor_change_its_input():
    rng = np.random.default_rng(0)
    values = rng.random((40, 50), np.float32)
    groups = rng.integers(0, 9, values.shape).astype(np.uint32)
    kept = values.copy(), groups.copy()
    first = quantiles_of(values, groups, 0.3, 9)
    assert np.array_equal(values, kept[0])
    assert np.array_equal(groups, kept[1])
    order = rng.permutation(values.size)
    other = quantiles_of(values.ravel()[order], groups.ravel()[order], 0.3, 9)
    assert np.array_equal(first, other, equal_nan=True)


def test_arrays_of_any_layout_are_read_alike():
    rng = np.random.default_rng(1)
    values = rng.random((7, 9), np.float32)
    groups = rng.integers(0, 3, values.shape).astype(np.uint32)
    turned = quantiles_of(np.asfortranarray(values).T, groups.T, 0.5, 3)
    assert np.array_equal(turned, quantiles_of(values, groups, 0.5, 3), equal_nan=True)
