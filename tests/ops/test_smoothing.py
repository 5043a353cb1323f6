"""Smoothing against SciPy and against its definition; no cut changes it."""

import numpy as np
import pytest
from scipy import ndimage

from cellulus.ops.smoothing import CUT, smooth, stands_out

SHAPES = [(1, 1), (3, 40), (50, 37), (7, 20, 31), (1, 20, 30), (12, 1, 9)]


def values_of(shape, seed=0):
    rng = np.random.default_rng(seed)
    return (ndimage.gaussian_filter(rng.normal(size=shape), 1.0) + 1).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigma", [(0.0, 0.0, 0.0), (0.5, 1.25, 1.25), (3.0, 0.2, 2.0)])
def test_it_is_scipys_gaussian_bit_by_bit(shape, sigma):
    values, sigma = values_of(shape), sigma[-len(shape) :]
    expected = ndimage.gaussian_filter(values, sigma, mode="nearest", truncate=CUT)
    found = smooth(values, sigma)
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)
    assert np.array_equal(smooth(np.asfortranarray(values), sigma), expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", [(1, 1, 1), (3, 5, 7), (21, 51, 51)])
@pytest.mark.parametrize("factor", [0.9, 1.0, 1.25])
def test_what_stands_out_is_brighter_than_the_mean_around_it(shape, window, factor):
    """But for what is so close to it that rounding decides."""
    values, window = values_of(shape), window[-len(shape) :]
    around = ndimage.uniform_filter(values.astype(np.float64), window, mode="reflect")
    is_clear = np.abs(values - factor * around) > 1e-5
    found = stands_out(values, window, factor)
    assert found.dtype == bool
    assert np.array_equal(found[is_clear], (values > factor * around)[is_clear])


@pytest.mark.parametrize("cut", [5, 8])
def test_cuts_change_nothing_beyond_the_window(cut):
    values = values_of((30, 25, 40), seed=1)
    whole = smooth(values, (0.5, 1, 1)), stands_out(values, (5, 9, 9), 1.0)
    part = smooth(values[cut:], (0.5, 1, 1)), stands_out(values[cut:], (5, 9, 9), 1.0)
    for all_of, some in zip(whole, part, strict=True):
        assert np.array_equal(all_of[cut + 2 :], some[2:])


def test_values_far_beyond_the_range_do_not_overflow():
    values = np.full((9, 9), 1e30, np.float32)
    values[4, 4] = 2.0
    found = stands_out(values, (3, 3), 1.5)
    assert not found[4, 4]
    assert found[0, 0]
