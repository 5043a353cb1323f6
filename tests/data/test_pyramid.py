"""Levels and how they are made, against loops over voxels."""

import itertools

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from cellulus.data import pyramid
from cellulus.progress import Silent


def _array(data, chunks):
    return zarr.create_array(zarr.storage.MemoryStore(), data=data, chunks=chunks)


def _filled(data, factors, how, dtype=None):
    shape = tuple(-(-n // f) for n, f in zip(data.shape, factors, strict=True))
    source = _array(data, tuple(min(4, n) for n in data.shape))
    target = zarr.create_array(
        zarr.storage.MemoryStore(),
        shape=shape,
        dtype=dtype or data.dtype,
        chunks=tuple(min(3, n) for n in shape),
        shards=tuple(min(3, n) * 2 for n in shape),
    )
    pyramid.fill(source, target, tuple(map(float, factors)), how == "mean", Silent())
    return target[...]


def _mean_by_hand(data, factors):
    shape = [-(-n // f) for n, f in zip(data.shape, factors, strict=True)]
    result = np.empty(shape)
    for index in itertools.product(*map(range, shape)):
        part = data[tuple(slice(i * f, (i + 1) * f) for i, f in zip(index, factors, strict=True))]
        result[index] = part.mean()
    return result


@settings(max_examples=25)
@given(st.tuples(*[st.integers(1, 11)] * 3), st.tuples(*[st.integers(1, 2)] * 3))
def test_mean_is_the_mean_of_the_voxels_covered(shape, factors):
    data = np.random.default_rng(0).random(shape).astype(np.float32)
    np.testing.assert_allclose(
        _filled(data, factors, "mean"), _mean_by_hand(data, factors), rtol=1e-5
    )


def test_mean_of_integers_is_rounded_and_does_not_overflow():
    data = np.array([[255, 255], [255, 254]], np.uint8)
    assert _filled(data, (2, 2), "mean").tolist() == [[255]]


@settings(max_examples=25)
@given(st.tuples(*[st.integers(1, 14)] * 3), st.tuples(*[st.integers(1, 3)] * 3))
def test_labels_are_sampled_with_a_stride(shape, factors):
    data = np.random.default_rng(1).integers(0, 2**32, shape, dtype=np.uint32)
    strided = data[tuple(slice(None, None, f) for f in factors)]
    assert np.array_equal(_filled(data, factors, "nearest"), strided)


def test_nearest_copes_with_levels_that_are_no_whole_multiples():
    data = np.arange(10, dtype=np.uint32)
    target = zarr.create_array(zarr.storage.MemoryStore(), shape=(6,), dtype="u4", chunks=(4,))
    pyramid.fill(_array(data, (4,)), target, (5 / 3,), False, Silent())
    assert target[...].tolist() == [0, 1, 3, 5, 6, 8]


def test_voxels_approach_isotropy():
    grids = pyramid.plan("zyx", (100, 2000, 2000), (4.0, 0.5, 0.5))
    factors = [grid.factors for grid in grids]
    assert factors[:4] == [(1, 1, 1), (1, 2, 2), (1, 4, 4), (1, 8, 8)]
    assert max(grids[-1].shape) <= 256
    for grid in grids:
        sizes = np.array([4.0, 0.5, 0.5]) * grid.factors
        assert sizes.max() / sizes.min() <= 8


@pytest.mark.parametrize(
    ("axes", "shape"), [("yx", (1, 5000)), ("zyx", (3, 600, 600)), ("tczyx", (2, 3, 1, 300, 9))]
)
def test_every_level_keeps_its_axes_and_covers_the_image(axes, shape):
    grids = pyramid.plan(axes, shape, (1.0,) * len(shape))
    for grid in grids:
        for axis, n, part, factor in zip(axes, shape, grid.shape, grid.factors, strict=True):
            assert part * factor >= n > (part - 1) * factor
            assert factor == 1 or axis in "zyx"
    depth = [grid.shape[axes.index("z")] for grid in grids] if "z" in axes else []
    assert all((d > 1) == (depth[0] > 1) for d in depth), "a volume must not turn into a plane"


def test_a_small_image_has_one_level():
    assert len(pyramid.plan("yx", (256, 256), (1.0, 1.0))) == 1
