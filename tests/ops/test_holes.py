"""Holes, against filling each piece by itself, the smallest box first."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from cellulus.ops.holes import fill
from cellulus.ops.pieces import find_pieces


def slowly(labels):
    """The rule as it is defined: by SciPy, piece by piece; thin axes are no dimensions."""
    flat = np.atleast_1d(labels.squeeze()).copy()
    background = ndimage.label(flat == 0)[0]
    faces = [np.take(background, [0, -1], axis).ravel() for axis in range(flat.ndim)]
    inside = (background > 0) & ~np.isin(background, np.concatenate(faces))
    pieces, owner, _ = find_pieces(flat, across_corners=True)
    boxes = list(enumerate(ndimage.find_objects(pieces), start=1))
    boxes.sort(key=lambda item: np.prod([part.stop - part.start for part in item[1]]))
    for number, box in boxes:
        holes = ndimage.binary_fill_holes(pieces[box] == number) & inside[box]
        flat[box][holes] = owner[number]
        inside[box][holes] = False
    return flat.reshape(labels.shape)


shapes = st.one_of(
    st.tuples(st.just(1), st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 7), st.just(1), st.integers(1, 7)),
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6)),
)


@settings(max_examples=400)
@given(npst.arrays(np.uint32, shapes, elements=st.sampled_from([0, 1, 1, 1, 2])))
def test_they_are_those_of_each_piece(labels):
    expected = slowly(labels)
    fill(labels)
    assert np.array_equal(labels, expected)


@pytest.mark.parametrize("shape", [(1, 120, 130), (26, 30, 28)])
@pytest.mark.parametrize("share", [0.03, 0.15, 0.3, 0.4])
@pytest.mark.parametrize("seed", range(3))
def test_shells_within_shells(shape, share, seed):
    """Pockets of one, of two and of many objects, some inside of others."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), (2 if shape[0] > 1 else 0, 2, 2))
    labels = (1 + np.digitize(smooth, np.quantile(smooth, [0.3, 0.6]))).astype(np.uint32)
    labels[rng.random(shape) < share] = 0
    expected = slowly(labels)
    assert (expected != labels).any()
    fill(labels)
    assert np.array_equal(labels, expected)


def test_a_pocket_of_two_objects_stays_unless_a_third_is_around_both():
    plane = np.zeros((1, 9, 12), np.uint32)
    plane[0, 2:7, 2:6], plane[0, 2:7, 6:10] = 1, 2
    plane[0, 4, 5:7] = 0
    alone = plane.copy()
    fill(alone)
    assert np.array_equal(alone, plane)
    walled = plane.copy()
    walled[0, 0], walled[0, -1], walled[0, :, 0], walled[0, :, -1] = 3, 3, 3, 3
    expected = np.where(walled == 0, 3, walled)
    fill(walled)
    assert np.array_equal(walled, expected)
