"""Peaks of a smoothed histogram, against SciPy on the whole of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cellulus.ops.density import kernel
from cellulus.ops.peaks import find_peaks


def slowly(counts, weights):
    """The density of the whole lattice, and its local maxima."""
    density = counts.astype(np.float64)
    for axis in range(3):
        density = ndimage.correlate1d(density, weights, axis, mode="constant")
    before = np.arange(27).reshape(3, 3, 3) < 13
    after = before[::-1, ::-1, ::-1]
    higher = [ndimage.maximum_filter(density, footprint=f, mode="constant", cval=-1.0)
              for f in (before, after)]  # fmt: skip
    is_peak = (density > 0) & (density > higher[0]) & (density >= higher[1])
    return np.argwhere(is_peak), density[is_peak]


@pytest.mark.parametrize("shape", [(1, 15, 18), (20, 1, 19), (13, 12, 14), (40, 9, 11), (2, 2, 2)])
@given(seed=st.integers(0, 10**6), bandwidth=st.sampled_from([0.5, 1.0, 3.7, 10.0]),
       share=st.sampled_from([0.002, 0.02, 0.5]))  # fmt: skip
@settings(max_examples=12)
def test_they_are_the_local_maxima_of_the_density(shape, seed, bandwidth, share):
    rng = np.random.default_rng(seed)
    counts = np.where(rng.random(shape) < share, rng.integers(1, 4, shape), 0).astype(np.int32)
    peaks, height = find_peaks(counts, kernel(bandwidth))
    expected, heights = slowly(counts, kernel(bandwidth))
    assert np.array_equal(peaks, expected)
    assert np.array_equal(height, heights)


def test_counts_as_large_as_can_be_are_added_exactly():
    counts = np.zeros((5, 5, 5), np.int32)
    counts[2, 2, 1:4] = 2**31 - 1, 2**31 - 2, 2**31 - 1
    peaks, height = find_peaks(counts, kernel(2.0))
    expected, heights = slowly(counts, kernel(2.0))
    assert np.array_equal(peaks, expected)
    assert np.array_equal(height, heights)


def test_nothing_has_no_peaks():
    peaks, height = find_peaks(np.zeros((3, 4, 5), np.int32), kernel(2.0))
    assert peaks.shape == (0, 3)
    assert height.shape == (0,)
