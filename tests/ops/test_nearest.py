"""Distances and nearest ids, against all pairs of voxels and against SciPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from cellulus.ops.nearest import distance_to, spread

shapes = npst.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=7)
arrays = npst.arrays(np.uint32, shapes, elements=st.sampled_from([0, 0, 0, 1, 2, 2**32 - 1]))
spacings = st.sampled_from([(1.0, 1.0, 1.0), (2.0, 0.8, 0.8), (3.0, 1.0, 0.7)])


def squares(array, spacing):
    """Squares of the distances between all voxels, summed in the order of the axes."""
    points = np.indices(array.shape).reshape(array.ndim, -1)
    total = 0.0
    for axis, step in zip(points, spacing, strict=True):
        total = total + (step * (axis[:, None] - axis)) ** 2
    return total


@given(arrays, spacings)
def test_distances_are_the_least_of_all(array, spacing):
    spacing = spacing[-array.ndim :]
    found = distance_to(array > 0, spacing)
    all_of = np.where(array.ravel() > 0, squares(array, spacing), np.inf)
    assert found.dtype == np.float32
    assert np.array_equal(found.ravel(), np.sqrt(all_of.min(axis=1)).astype(np.float32))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 0.8, 0.8), (0.3, 1.7, 1.1)])
@pytest.mark.parametrize("shape", [(1, 150, 170), (20, 70, 90), (70, 90, 20)])
def test_distances_are_scipys(shape, spacing):
    smooth = ndimage.gaussian_filter(np.random.default_rng(2).normal(size=shape), 4)
    marked = smooth > 0.5 * smooth.std()
    expected = ndimage.distance_transform_edt(~marked, sampling=spacing)
    assert np.array_equal(distance_to(marked, spacing), expected.astype(np.float32))
    turned = distance_to(np.asfortranarray(marked), spacing)
    assert np.array_equal(turned, distance_to(marked, spacing))


@given(arrays, spacings, st.sampled_from([0.0, 1.0, 2.3, 4.0, 100.0]))
def test_the_nearest_and_of_equally_near_ones_the_smallest_id(array, spacing, reach):
    spacing = spacing[-array.ndim :]
    far = np.where(array.ravel() > 0, squares(array, spacing), np.inf)
    far[far > reach**2] = np.inf
    least = far.min(axis=1)
    tied = (far == least[:, None]) & np.isfinite(far)
    ids = np.where(tied, array.ravel().astype(np.int64), 2**40).min(axis=1)
    expected = np.where(np.isfinite(least), ids, 0).reshape(array.shape)
    before = array.copy()
    found = spread(array, reach**2, spacing)
    assert found.dtype == np.uint32
    assert np.array_equal(found, expected)
    assert np.array_equal(array, before)
    assert not np.shares_memory(array, found)


def test_nothing_is_far_from_everything():
    assert np.isinf(distance_to(np.zeros((3, 4), bool), (1.0, 1.0))).all()
    assert not spread(np.zeros((3, 4), np.uint32), 9.0, (1.0, 1.0)).any()
    assert distance_to(np.zeros((0, 4), bool), (1.0, 1.0)).shape == (0, 4)
