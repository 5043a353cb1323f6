"""Climbing, against a search voxel by voxel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cellulus.ops.summits import climb


def slowly(relief, stride, strides):
    places = np.argwhere(np.ones(relief.shape, bool))

    def step(place):
        squared = ((places - place) ** 2).sum(axis=1)
        near = places[squared <= stride**2]
        squared = squared[squared <= stride**2]
        heights = relief[tuple(near.T)]
        order = np.lexsort((*near.T[::-1], squared, -heights))
        return near[order[0]]

    found = np.empty(relief.shape, np.int64)
    for place in places:
        here = place
        for _ in range(strides):
            here = step(here)
        found[tuple(place)] = np.ravel_multi_index(here, relief.shape)
    return found


@pytest.mark.parametrize("shape", [(9,), (7, 8), (4, 5, 6), (1, 6, 7)])
@given(seed=st.integers(0, 10**6), stride=st.sampled_from([0.5, 1.0, 1.5, 2.3]),
       strides=st.integers(1, 4))  # fmt: skip
@settings(max_examples=8, deadline=None)
def test_each_voxel_reaches_the_highest_near(shape, seed, stride, strides):
    relief = np.random.default_rng(seed).integers(0, 6, shape).astype(np.float32)
    assert np.array_equal(climb(relief, stride, strides), slowly(relief, stride, strides))


def test_enough_strides_lead_to_local_maxima():
    relief = ndimage.gaussian_filter(np.random.default_rng(1).random((60, 50)), 3)
    summits = np.unique(climb(relief.astype(np.float32), 4.0, 30))
    near = np.hypot(*(np.indices((9, 9)) - 4)) <= 4
    highest = ndimage.maximum_filter(relief, footprint=near)
    assert np.array_equal(summits, np.flatnonzero(relief == highest))


def test_a_part_gives_what_the_whole_gives():
    relief = np.random.default_rng(2).random((50, 60)).astype(np.float32)
    whole = np.stack(np.unravel_index(climb(relief, 2.0, 3)[10:40, 10:50], relief.shape))
    part = relief[4:46, 4:56]
    inside = np.stack(np.unravel_index(climb(part, 2.0, 3)[6:36, 6:46], part.shape)) + 4
    assert np.array_equal(inside, whole)
