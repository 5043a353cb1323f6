"""Connected pieces, against flooding each object by itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from cellulus.ops.pieces import find_pieces, keep_largest
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
