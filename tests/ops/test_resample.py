"""Resampling against definitions: parts of a whole, ramps, constants, mirrored indices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellulus.ops.resample import reflect, resample, source_region, taps

ZOOMS = st.floats(0.15, 5.0)


def whole(data, zoom, *, widen=True):
    shape = data.shape[1:]
    index = [np.arange(max(1, int(np.ceil(n * z)))) for n, z in zip(shape, zoom, strict=True)]
    everything = tuple(slice(0, n) for n in shape)
    return resample(data, everything, index, zoom, shape, widen=widen)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@given(st.integers(1, 30), st.integers(0, 90), st.integers(0, 90))
def test_indices_outside_are_mirrored_as_numpy_pads(size, before, after):
    found = reflect(np.arange(-before, size + after), size)
    assert np.array_equal(found, np.pad(np.arange(size), (before, after), mode="reflect"))


@given(ZOOMS, st.integers(1, 40), st.booleans())
def test_weights_sum_to_one_and_fall_inside(zoom, size, widen):
    source, weight = taps(np.arange(max(1, int(np.ceil(size * zoom)))), zoom, size, widen=widen)
    assert source.min() >= 0
    assert source.max() < size
    assert weight.min() >= 0
    assert np.allclose(weight.sum(axis=1), 1, atol=1e-6)


@given(ZOOMS, st.booleans())
def test_no_voxel_within_reach_is_forgotten(zoom, widen):
    """Against the definition: every input voxel, weighted by a triangle around the output voxel."""
    size, index = 60, np.arange(int(20 * zoom) + 1)
    source, weight = taps(index, zoom, size, widen=widen)
    reach = max(1.0, 1 / zoom) if widen else 1.0
    for i, sources, weights in zip(index, source, weight, strict=True):
        centre = (i + 0.5) / zoom - 0.5
        inputs = np.arange(-40, 120)
        triangle = np.maximum(0, 1 - np.abs(inputs - centre) / reach)
        expected = np.bincount(
            np.clip(inputs, 0, size - 1), triangle / triangle.sum(), minlength=size
        )
        found = np.bincount(sources, weights, minlength=size)
        assert np.allclose(found, expected, atol=1e-6)


@given(
    st.tuples(ZOOMS, ZOOMS),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.randoms(use_true_random=False),
    st.booleans(),
)
def test_a_part_equals_the_same_part_of_the_whole_bit_for_bit(zoom, shape, random, widen):
    data = noise(2, *shape)
    everything = whole(data, zoom, widen=widen)
    part = []
    for n in everything.shape[1:]:
        start = random.randrange(n)
        part.append(slice(start, random.randrange(start, n) + 1))
    index = [np.arange(p.start, p.stop) for p in part]
    region = source_region(index, zoom, shape)
    found = resample(data[(slice(None), *region)], region, index, zoom, shape, widen=widen)
    assert np.array_equal(found, everything[(slice(None), *part)])


def test_a_part_of_a_volume_equals_the_whole_bit_for_bit():
    data, zoom, shape = noise(1, 9, 20, 17), (2.7, 0.6, 1.0), (9, 20, 17)
    everything = whole(data, zoom)
    index = [np.arange(3, 11), np.arange(2, 9), np.arange(5, 12)]
    region = source_region(index, zoom, shape)
    found = resample(data[(slice(None), *region)], region, index, zoom, shape)
    assert np.array_equal(found, everything[:, 3:11, 2:9, 5:12])


def test_only_what_is_needed_is_asked_for():
    index = [np.arange(100, 110), np.arange(40, 44)]
    region = source_region(index, (2.0, 0.5), (200, 200))
    assert region == (slice(49, 56), slice(79, 89))


@given(ZOOMS, st.floats(-50, 50, width=32), st.integers(1, 30))
def test_constants_stay_constant(zoom, value, size):
    found = whole(np.full((1, size), value, np.float32), (zoom,))
    assert np.allclose(found, value, rtol=1e-6, atol=1e-30)


def test_zoom_one_changes_nothing():
    data = noise(2, 7, 8, 9)
    for widen in (True, False):
        assert np.array_equal(whole(data, (1.0, 1.0, 1.0), widen=widen), data)


@given(st.one_of(st.floats(1.0, 6.0), st.sampled_from([1 / 2, 1 / 3, 1 / 4, 1 / 5])))
def test_ramps_stay_ramps_inside(zoom):
    """Exact upwards, and downwards by whole factors."""
    found = whole(np.arange(80, dtype=np.float32)[None], (zoom,))[0]
    centre = (np.arange(len(found)) + 0.5) / zoom - 0.5
    inside = (centre > 6) & (centre < 73)
    assert inside.any()
    assert np.allclose(found[inside], centre[inside], atol=2e-5)


@given(st.floats(0.2, 1.0))
def test_ramps_downwards_by_any_factor_move_by_a_tenth_of_a_voxel_at_most(zoom):
    found = whole(np.arange(80, dtype=np.float32)[None], (zoom,))[0]
    centre = (np.arange(len(found)) + 0.5) / zoom - 0.5
    inside = (centre > 6) & (centre < 73)
    assert np.abs(found[inside] - centre[inside]).max() < 1 / 10


@given(st.floats(0.2, 6.0))
def test_vectors_are_interpolated_linearly_and_never_averaged(zoom):
    data = noise(1, 50)
    found = whole(data, (zoom,), widen=False)[0]
    centre = (np.arange(len(found)) + 0.5) / zoom - 0.5
    assert np.allclose(found, np.interp(centre, np.arange(50), data[0]), atol=1e-5)


def test_downsampling_averages_away_what_it_cannot_show():
    stripes = np.tile(np.array([0.0, 1.0], np.float32), 40)[None]
    assert np.ptp(whole(stripes, (1 / 4,))[0, 2:-2]) < 1e-6
    assert np.ptp(whole(stripes, (1 / 3,), widen=False)[0]) > 0.9


def test_axes_are_independent():
    data = noise(1, 12, 14)
    found = whole(data, (2.0, 0.5))
    by_rows = np.stack([whole(row[None], (0.5,))[0] for row in data[0]])
    by_columns = np.stack([whole(col[None], (2.0,))[0] for col in by_rows.T]).T
    assert np.allclose(found[0], by_columns, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2])
def test_tiny_images_can_be_resampled(size):
    for zoom in (0.2, 1.0, 7.3):
        assert np.allclose(whole(np.ones((1, size, size), np.float32), (zoom, zoom)), 1)


def slowly(data, index, zoom, shape, widen):
    """Axis by axis, tap by tap, on whole arrays: the order of additions is part of the result."""
    for axis, (i, z, n) in enumerate(zip(index, zoom, shape, strict=True), start=1):
        source, weight = taps(i, z, n, widen=widen)
        along = [1] * data.ndim
        along[axis] = -1
        result = np.zeros((*data.shape[:axis], len(i), *data.shape[axis + 1 :]), np.float32)
        for tap in range(source.shape[1]):
            result += data.take(source[:, tap], axis=axis) * weight[:, tap].reshape(along)
        data = result
    return data


@pytest.mark.parametrize("widen", [True, False])
@pytest.mark.parametrize(
    ("shape", "zoom"),
    [((17, 23), (0.4, 1.7)), ((9, 11, 10), (0.5, 1.25, 1.25)), ((1, 8, 9), (1, 3, 0.3))],
)
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint16"])
def test_it_is_what_whole_arrays_give_bit_by_bit(shape, zoom, widen, dtype):
    data = (1000 * noise(2, *shape)).astype(dtype)
    index = [np.arange(max(1, int(n * z))) for n, z in zip(shape, zoom, strict=True)]
    expected = slowly(data.astype(np.float32), index, zoom, shape, widen)
    everything = tuple(slice(0, n) for n in shape)
    assert np.array_equal(resample(data, everything, index, zoom, shape, widen=widen), expected)


def test_every_half_becomes_its_single():
    """A voxel between two equal ones is what they are, whatever that is."""
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    with np.errstate(invalid="ignore"):
        expected = every.astype(np.float32)
    data, region, between = every.repeat(2)[None], (slice(0, 2**17),), 4 * np.arange(2**16) + 1
    found = resample(data, region, [between], (2.0,), (2**17,))[0]
    assert np.array_equal(found, expected, equal_nan=True)


def test_halves_need_not_lie_in_order():
    data = noise(2, 9, 8, 7).astype(np.float16)
    expected = whole(data.astype(np.float32), (0.5, 2.0, 1.3))
    assert np.array_equal(whole(np.asfortranarray(data), (0.5, 2.0, 1.3)), expected)


@pytest.mark.parametrize("shape", [(8, 7), (5, 8, 7)])
def test_it_goes_where_it_is_told(shape):
    data, zoom = noise(2, *shape), (1.5,) * len(shape)
    expected = whole(data, zoom)
    room = np.zeros((*expected.shape[::-1],), np.float32).T  # not in order either
    index, everything = [np.arange(n) for n in room.shape[1:]], tuple(slice(0, n) for n in shape)
    assert resample(data, everything, index, zoom, shape, out=room) is room
    assert np.array_equal(room, expected)
