"""Parts of objects in several arrays, against looking at each object by itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from cellulus.ops.joining import compact, extents_of, together

shapes = npst.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6)
arrays = npst.arrays(np.uint32, shapes, elements=st.integers(0, 5))


@given(arrays, st.integers(0, 3))
def test_names_without_voxels_are_left_out_and_the_others_keep_theirs(labels, extra):
    names = np.arange(2 * (5 + extra)).reshape(-1, 2) * 10
    before = labels.copy()
    found, kept = compact(labels, names)
    assert found.dtype == np.uint32
    assert np.array_equal(np.unique(found[found > 0]), np.arange(1, len(kept) + 1))
    assert np.array_equal(found > 0, labels > 0)
    assert np.array_equal(kept[found[found > 0] - 1], names[labels[labels > 0] - 1])
    assert np.array_equal(labels, before)


@given(arrays, st.integers(-4, 4))
def test_extents_are_those_of_the_voxels(labels, first):
    dense, names = compact(labels, np.arange(5)[:, None])
    origin = [first] * labels.ndim
    found = extents_of(dense, len(names), origin)
    for row in range(len(names)):
        voxels = np.argwhere(dense == row + 1) + origin
        assert found.sizes[row] == len(voxels)
        assert np.array_equal(found.starts[row], voxels.min(axis=0))
        assert np.array_equal(found.stops[row], voxels.max(axis=0) + 1)


@pytest.mark.parametrize("cut", [1, 4, 7])
def test_parts_come_to_the_whole(cut):
    labels = np.random.default_rng(0).integers(1, 5, (8, 9)).astype(np.uint32)
    whole = extents_of(labels, 4, (0, 0))
    parts, which = [], []
    for part, start in ((labels[:cut], 0), (labels[cut:], cut)):
        dense, names = compact(part, np.arange(4)[:, None])
        parts.append(extents_of(dense, len(names), (start, 0)))
        which.append(names[:, 0])
    found = together(parts, np.concatenate(which))
    for column in ("sizes", "starts", "stops"):
        assert np.array_equal(getattr(found, column), getattr(whole, column))
