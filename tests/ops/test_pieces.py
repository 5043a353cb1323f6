"""Connected pieces, against flooding each object by itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from cellulus.ops.pieces import find_pieces, keep_largest, keep_nearest
from cellulus.ops.volume import as_volume

shapes = npst.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=7)
arrays = npst.arrays(np.uint32, shapes, elements=st.sampled_from([0, 0, 1, 2, 2**32 - 1]))


def slowly(labels, across_corners):
    """The pieces of one label after the other, then numbered by their first voxels."""
    touch = ndimage.generate_binary_structure(labels.ndim, labels.ndim if across_corners else 1)
    masks = []
    for i in np.unique(labels[labels > 0]):
        found, count = ndimage.label(labels == i, touch)
        masks += [found == number for number in range(1, count + 1)]
    masks.sort(key=lambda mask: mask.ravel().argmax())
    pieces = np.zeros(labels.shape, np.uint32)
    for number, mask in enumerate(masks, start=1):
        pieces[mask] = number
    return pieces


@settings(max_examples=300)
@given(arrays, st.booleans())
def test_they_are_those_of_each_label_in_the_order_of_their_first_voxels(labels, across_corners):
    pieces, owner, sizes = find_pieces(labels, across_corners=across_corners)
    assert pieces.dtype == np.uint32
    assert np.array_equal(pieces, slowly(labels, across_corners))
    assert np.array_equal(owner[pieces], labels)
    assert np.array_equal(sizes, np.bincount(pieces.ravel()))


@settings(max_examples=200)
@given(npst.arrays(np.uint32, shapes, elements=st.sampled_from([0, 0, 1, 2, 3])))
def test_the_largest_piece_of_each_and_of_equal_ones_the_first(labels):
    pieces = slowly(labels, across_corners=True)
    sizes = np.bincount(pieces.ravel())
    expected = np.zeros_like(labels)
    for label in np.unique(labels[labels > 0]):
        its_own = np.unique(pieces[labels == label])
        best = max(its_own, key=lambda piece: (sizes[piece], -int(piece)))
        expected[pieces == best] = label
    keep_largest(as_volume(labels), 4)
    assert np.array_equal(labels, expected)


spaces = npst.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=7)


@settings(max_examples=200)
@given(
    npst.arrays(np.uint32, spaces, elements=st.sampled_from([0, 0, 1, 2, 3])),
    st.tuples(*[st.sampled_from([0.5, 1.0, 1.5, 2.0])] * 3),
    st.tuples(*[st.integers(0, 3)] * 3),
    st.integers(0, 10**6),
)
def test_the_nearest_piece_of_each_and_of_equal_ones_the_first(labels, spacing, origin, seed):
    """Points in and around a region, at quarters of a voxel: ties are ties, and there are many."""
    ndim = labels.ndim
    spacing, origin = np.array(spacing[:ndim]), np.array(origin[:ndim])
    places = np.random.default_rng(seed).integers(-8, 4 * np.max(labels.shape) + 8, (3, ndim)) / 4
    points = (places + origin) * spacing
    pieces, expected = slowly(labels, across_corners=True), np.zeros_like(labels)
    for label in np.unique(labels[labels > 0]):
        away = {}
        for piece in np.unique(pieces[labels == label]):
            middles = (np.argwhere(pieces == piece) + origin + 0.5) * spacing
            away[piece] = ((middles - points[label - 1]) ** 2).sum(axis=1).min()
        expected[pieces == min(away, key=away.get)] = label
    keep_nearest(labels, points, tuple(origin), tuple(spacing))
    assert np.array_equal(labels, expected)


def test_the_nearest_piece_is_found_in_rows_of_one_run_and_of_many():
    """What is nearest of a run may lie in its middle or at one of its ends."""
    labels = np.zeros((3, 40), np.uint32)
    labels[0, 2:30], labels[2, 31:39:2], labels[2, 5] = 1, 1, 1
    for place, kept in (((0.0, 15.0), (0, 15)), ((2.0, 33.4), (2, 33)), ((2.0, 5.2), (2, 5))):
        found = labels.copy()
        keep_nearest(found, np.array([place]) + 0.5, (0, 0), (1.0, 1.0))
        alone = find_pieces(labels, across_corners=True)[0]
        assert np.array_equal(found > 0, alone == alone[kept])


@pytest.mark.parametrize("ndim", [2, 3])
def test_labels_without_voxels_and_nothing_at_all_keep_what_there_is(ndim):
    labels = np.zeros((4,) * ndim, np.uint32)
    keep_nearest(labels, np.zeros((0, ndim)), (0,) * ndim, (1.0,) * ndim)
    assert not labels.any()
    labels[(1,) * ndim] = 2
    keep_nearest(labels, np.full((3, ndim), 50.0), (0,) * ndim, (1.0,) * ndim)
    assert labels.sum() == 2


@pytest.mark.parametrize("shape", [(90, 110), (24, 30, 34)])
@pytest.mark.parametrize("across_corners", [False, True])
def test_winding_pieces(shape, across_corners):
    labels = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint32)
    found = find_pieces(labels, across_corners=across_corners)[0]
    assert np.array_equal(found, slowly(labels, across_corners))


def test_masks_and_any_layout():
    mask = np.asfortranarray(np.random.default_rng(1).random((30, 40)) < 0.5)
    expected = slowly(mask.astype(np.uint32), False)
    assert np.array_equal(find_pieces(mask, across_corners=False)[0], expected)


@pytest.mark.parametrize("shape", [(0, 4), (3, 0, 2), (3, 4)])
def test_nothing_has_no_pieces(shape):
    pieces, owner, sizes = find_pieces(np.zeros(shape, np.uint32), across_corners=True)
    assert pieces.shape == shape
    assert owner.tolist() == [0]
    assert sizes.tolist() == [pieces.size]
