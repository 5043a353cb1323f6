"""Every operation against its definition, voxel by voxel."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from cellulus.errors import InputError
from cellulus.ops import labels as ops
from cellulus.ops.thresholds import otsu

FAR = 2**32 - 1  # the largest id; a table by id would need 16 GiB

shapes = st.one_of(
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
)
arrays = npst.arrays(np.uint32, shapes, elements=st.sampled_from([0, 0, 1, 2, 7, FAR]))
# Mostly one object with gaps: this is where holes are.
holed = npst.arrays(np.uint32, shapes, elements=st.sampled_from([0, 3, 3, 3, FAR]))
distances = st.sampled_from([0.0, 0.7, 1.0, 1.5, 2.0, 3.0])
EVERY = {
    "relabel": ops.relabel,
    "grow": lambda a: ops.grow(a, 1.5, (1.0,) * a.ndim),
    "shrink": lambda a: ops.shrink(a, 1.0, (1.0,) * a.ndim),
    "shrink_foreground": lambda a: ops.shrink_foreground(a, 1.0, (1.0,) * a.ndim),
    "keep_largest": ops.keep_largest,
    "fill_holes": ops.fill_holes,
    "keep_sizes": partial(ops.keep_sizes, smallest=2, largest=6),
    "clear_border": ops.clear_border,
    "brighter_part": lambda a: ops.brighter_part(a, np.arange(a.size).reshape(a.shape) % 7),
}
IDEMPOTENT = ["relabel", "keep_largest", "fill_holes", "keep_sizes", "clear_border"]


def spaced(array):
    return (2.5, 1.0, 0.8)[-array.ndim :]


def between_voxels(array, mask):
    """Return the distance of every voxel to every voxel of a mask, ``(voxels, masked)``."""
    points = np.indices(array.shape).reshape(array.ndim, -1).T * spaced(array)
    targets = np.argwhere(mask) * spaced(array)
    return np.linalg.norm(points[:, None] - targets[None], axis=-1)


def ids_of(array):
    return [int(i) for i in np.unique(array) if i]


@given(arrays)
@pytest.mark.parametrize("name", EVERY)
def test_uint32_of_the_same_shape_and_the_input_left_alone(name, array):
    before = array.copy()
    result = EVERY[name](array)
    assert result.dtype == np.uint32
    assert result.shape == array.shape
    assert np.array_equal(array, before)
    assert not np.shares_memory(result, array)


@given(arrays)
@pytest.mark.parametrize("name", IDEMPOTENT)
def test_twice_is_once(name, array):
    once = EVERY[name](array)
    assert np.array_equal(EVERY[name](once), once)


@given(holed.filter(lambda a: a.ndim == 2))
@pytest.mark.parametrize("name", EVERY)
def test_one_plane_is_an_image(name, array):
    for axis in range(3):
        plane = np.expand_dims(array, axis)
        assert np.array_equal(EVERY[name](plane), np.expand_dims(EVERY[name](array), axis))


@given(arrays)
@pytest.mark.parametrize("name", EVERY)
def test_empty_stays_empty(name, array):
    assert not EVERY[name](np.zeros_like(array)).any()


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((2, 2)), "float64"),
        (np.array([[1, -1]]), "-1"),
        (np.array([[2**32]], np.uint64), "4294967296"),
    ],
)
def test_what_is_not_labels_is_refused(name, array, text):
    with pytest.raises(InputError, match=text):
        EVERY[name](array)


@given(arrays)
def test_relabel_numbers_in_order(array):
    expected = np.zeros_like(array)
    for number, i in enumerate(ids_of(array), start=1):
        expected[array == i] = number
    assert np.array_equal(ops.relabel(array), expected)


@pytest.mark.parametrize("dtype", ["bool", "int8", ">u2", "int64", "uint64"])
def test_relabel_takes_any_integers(dtype):
    array = np.array([[0, 1], [1, 0]]).astype(dtype)
    assert np.array_equal(ops.relabel(array), [[0, 1], [1, 0]])


def test_relabel_of_no_voxels():
    assert ops.relabel(np.zeros((0, 4), int)).shape == (0, 4)


@given(arrays, distances)
def test_grow_gives_voxels_to_the_nearest_object(array, distance):
    result = ops.grow(array, distance, spaced(array)).ravel()
    flat = array.ravel()
    if not flat.any():
        return
    each = np.array([between_voxels(array, array == i).min(1) for i in ids_of(array)])
    nearest = each.min(0)
    for voxel in range(flat.size):
        if flat[voxel] or nearest[voxel] > distance + 1e-6:
            assert result[voxel] == flat[voxel]
        elif nearest[voxel] < distance - 1e-6:
            tied = np.isclose(each[:, voxel], nearest[voxel], rtol=1e-12, atol=0)
            assert result[voxel] in np.array(ids_of(array))[tied]


def test_grow_reaches_voxels_at_exactly_the_distance_and_ties_go_to_the_smaller_id():
    row = np.array([[0, 0, 0, 9, 0, 0, 0, 4, 0, 0]])
    assert ops.grow(row, 2, (1, 1)).tolist() == [[0, 9, 9, 9, 9, 4, 4, 4, 4, 4]]
    assert ops.grow(row[:, ::-1], 2, (1, 1)).tolist() == [[4, 4, 4, 4, 4, 9, 9, 9, 9, 0]]
    assert ops.grow(row, 0.6, (0.1, 0.3)).tolist() == [[0, 9, 9, 9, 9, 4, 4, 4, 4, 4]]


@given(arrays.filter(lambda a: min(a.shape) > 1), distances)
def test_grow_does_not_depend_on_the_order_of_axes_nor_on_flips(array, distance):
    grown = ops.grow(array, distance, (1.0,) * array.ndim)
    flipped = np.flip(array).T
    assert np.array_equal(ops.grow(flipped, distance, (1.0,) * array.ndim), np.flip(grown).T)


@given(arrays, distances, st.integers(0, 3))
def test_grow_of_a_block_with_its_halo_is_that_of_the_whole(array, distance, cut):
    reach = int(np.ceil(distance / spaced(array)[0]))
    outer = slice(max(cut - reach, 0), cut + 1 + reach)
    whole = ops.grow(array, distance, spaced(array))[cut : cut + 1]
    part = ops.grow(array[outer], distance, spaced(array))
    assert np.array_equal(part[cut - outer.start : cut - outer.start + 1], whole)


@given(holed, distances)
def test_shrink_keeps_what_is_far_from_everything_else(array, distance):
    expected = array.copy()
    for i in ids_of(array):
        outside = array != i
        if outside.any():
            near = between_voxels(array, outside).min(1).reshape(array.shape) <= distance + 1e-6
            expected[(array == i) & near] = 0
    assert np.array_equal(ops.shrink(array, distance, spaced(array)), expected)


@given(holed, distances)
def test_shrink_foreground_keeps_what_is_far_from_background(array, distance):
    expected = array.copy()
    if (array == 0).any():
        near = between_voxels(array, array == 0).min(1).reshape(array.shape) <= distance + 1e-6
        expected[near] = 0
    assert np.array_equal(ops.shrink_foreground(array, distance, spaced(array)), expected)


@given(arrays, distances)
def test_growing_then_shrinking_is_a_closing(array, distance):
    def close(a):
        grown = ops.grow(a, distance, spaced(a))
        return ops.shrink_foreground(grown, distance, spaced(a))

    once = close(array)
    assert (once[array > 0] == array[array > 0]).all()
    assert np.array_equal(close(once) > 0, once > 0)


def test_only_shrink_opens_a_gap_between_touching_objects():
    row = np.array([[0, 0, 5, 5, 5, 2, 2, 2, 0]])
    assert ops.shrink(row, 1, (1, 1)).tolist() == [[0, 0, 0, 5, 0, 0, 2, 0, 0]]
    assert ops.shrink_foreground(row, 1, (1, 1)).tolist() == [[0, 0, 0, 5, 5, 2, 2, 0, 0]]


def test_the_edge_of_the_image_is_no_edge_of_an_object():
    full = np.ones((4, 4), int)
    assert ops.shrink(full, 3, (1, 1)).all()
    assert ops.shrink_foreground(full, 3, (1, 1)).all()


@given(arrays)
def test_keep_largest_keeps_one_piece_of_each(array):
    expected = np.zeros_like(array)
    for i in ids_of(array):
        pieces, _ = ndimage.label(array == i, np.ones((3,) * array.ndim))
        sizes = np.bincount(pieces.ravel())[1:]
        expected[pieces == 1 + sizes.argmax()] = i
    assert np.array_equal(ops.keep_largest(array), expected)


@given(holed)
def test_fill_holes_gives_enclosed_background_to_an_object_around_it(array):
    thick = array.squeeze()
    if thick.ndim < 2:  # nothing encloses anything on a line
        assert np.array_equal(ops.fill_holes(array), array)
        return
    result = ops.fill_holes(thick)
    around = {i: ndimage.binary_fill_holes(thick == i) for i in ids_of(thick)}
    for voxel in np.ndindex(thick.shape):
        owners = [i for i in around if around[i][voxel]]
        if thick[voxel] or not owners:
            assert result[voxel] == thick[voxel]
        else:
            assert result[voxel] in owners


def test_fill_holes_within_holes():
    array = np.zeros((11, 11), int)
    array[1:10, 1:10], array[2:9, 2:9] = 1, 0
    array[3:8, 3:8], array[4:7, 4:7] = 2, 0
    expected = np.zeros((11, 11), int)
    expected[1:10, 1:10] = 1
    expected[3:8, 3:8] = 2
    assert np.array_equal(ops.fill_holes(array), expected)
    swapped = np.select([array == 1, array == 2], [2, 1])
    assert np.array_equal(
        ops.fill_holes(swapped), np.select([expected == 1, expected == 2], [2, 1])
    )


def test_a_tunnel_is_no_cavity():
    cube = np.ones((5, 5, 5), int)
    cube[2, 2, 2] = 0
    assert ops.fill_holes(cube).all()
    cube[:, 2, 2] = 0
    assert np.array_equal(ops.fill_holes(cube), cube)


@given(arrays, st.integers(0, 8), st.integers(0, 8))
def test_keep_sizes_counts_voxels(array, smallest, largest):
    expected = array.copy()
    for i in ids_of(array):
        if not smallest <= (array == i).sum() <= largest:
            expected[array == i] = 0
    assert np.array_equal(ops.keep_sizes(array, smallest, largest), expected)


@given(arrays)
def test_clear_border_drops_what_touches_it(array):
    thick = array.squeeze()
    inner = np.zeros(thick.shape, bool)
    inner[(slice(1, -1),) * thick.ndim] = True
    expected = array.copy()
    for i in ids_of(array) if thick.ndim else []:
        if ((thick == i) & ~inner).any():
            expected[array == i] = 0
    if thick.ndim:
        assert np.array_equal(ops.clear_border(array), expected)


@given(arrays, st.integers(0, 2**32 - 1))
def test_brighter_part_is_otsu_inside_each_object(array, seed):
    image = np.random.default_rng(seed).integers(0, 9, array.shape).astype(np.float32)
    expected = array.copy()
    for i in ids_of(array):
        mask = array == i
        expected[mask & (image <= otsu(image[mask]))] = 0
    assert np.array_equal(ops.brighter_part(array, image), expected)


def test_an_object_of_one_intensity_stays_whole():
    array = np.array([[1, 1, 2, 2]])
    assert ops.brighter_part(array, np.array([[5, 5, 1, 2]])).tolist() == [[1, 1, 0, 2]]


def test_brighter_part_refuses_an_image_that_does_not_fit():
    with pytest.raises(InputError, match=r"\(1, 3\)"):
        ops.brighter_part(np.ones((1, 2), int), np.ones((1, 3)))
    with pytest.raises(InputError, match="finite"):
        ops.brighter_part(np.ones((1, 2), int), np.array([[1, np.nan]]))


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 0.0), (1.0, np.nan)])
@pytest.mark.parametrize("operation", [ops.grow, ops.shrink, ops.shrink_foreground])
def test_spacing_must_fit(operation, spacing):
    with pytest.raises(InputError, match="spacing"):
        operation(np.ones((2, 2), int), 1, spacing)
