"""Boundary F against a search through all voxels, in blocks, and in planes."""

from itertools import product

import numpy as np
import pytest
from drawn_pairs import drawn, pairs_of_arrays, rough
from hypothesis import given
from hypothesis import strategies as st
from skimage.segmentation import find_boundaries

from cellulus.errors import InputError
from cellulus.ops.boundary import Boundary, boundary, halo, outlines


def brute(labels, truth, tolerance, spacing):
    found, true = (
        np.argwhere(find_boundaries(side, connectivity=1, mode="inner")) * spacing
        for side in (labels, truth)
    )
    counts = []
    for own, other in ((found, true), (true, found)):
        near = [
            bool(len(other)) and min(np.linalg.norm(other - place, axis=1)) <= tolerance + 1e-9
            for place in own
        ]
        counts += [len(own), sum(near)]
    return Boundary(*counts)


@given(pairs_of_arrays, st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0]))
def test_it_is_a_search_through_all_voxels(arrays, tolerance):
    assert boundary(*arrays, tolerance, (1.0, 0.5)) == brute(*arrays, tolerance, (1.0, 0.5))


@given(pairs_of_arrays)
def test_outlines_are_the_inner_ones_of_scikit_image(arrays):
    expected = find_boundaries(arrays[0], connectivity=1, mode="inner")
    assert np.array_equal(outlines(arrays[0]), expected)


@pytest.mark.parametrize("tolerance", [0.0, 1.0, 2.3])
def test_blocks_with_their_halo_add_up_to_the_whole(tolerance):
    rng = np.random.default_rng(0)
    labels, truth = (rough(rng, (8, 17, 15), 12) for _ in range(2))
    spacing = (2.0, 1.0, 0.7)
    parts = []
    around = halo(tolerance, spacing)
    for corner in product(range(0, 8, 5), range(0, 17, 6), range(0, 15, 7)):
        inner = [
            (a, min(a + s, n)) for a, s, n in zip(corner, (5, 6, 7), labels.shape, strict=True)
        ]
        outer = [
            (max(a - h, 0), min(b + h, n))
            for (a, b), h, n in zip(inner, around, labels.shape, strict=True)
        ]
        block = tuple(slice(*pair) for pair in outer)
        core = tuple(slice(a - c, b - c) for (a, b), (c, _) in zip(inner, outer, strict=True))
        parts.append(boundary(labels[block], truth[block], tolerance, spacing, core=core))
    whole = boundary(labels, truth, tolerance, spacing)
    total = parts[0]
    for part in parts[1:]:
        total += part
    assert total == whole
    assert 0 < whole.near_pred < whole.n_pred, "test invalid: everything or nothing is near"


def test_a_plane_is_a_volume_of_one():
    rng = np.random.default_rng(1)
    labels, truth = (rough(rng, (20, 20), 6) for _ in range(2))
    flat = boundary(labels, truth, 1.0, (1.0, 1.0))
    assert boundary(labels[None], truth[None], 1.0, (5.0, 1.0, 1.0)) == flat


def test_scores_of_cases_worked_out_by_hand():
    perfect = boundary(drawn(".aa.bb."), drawn(".bb.aa."), 0, (1.0,))
    assert (perfect.precision, perfect.recall, perfect.f) == (1, 1, 1)
    moved = boundary(drawn(".aaa...."), drawn("...aaa.."), 1, (1.0,))
    assert (moved.precision, moved.recall, moved.f) == (1 / 2, 1 / 2, 1 / 2)
    one = boundary(drawn(".aa."), drawn("...."), 1, (1.0,))
    assert (one.precision, one.recall, one.f) == (0, None, 0)
    nothing = boundary(drawn("aaaa"), drawn("...."), 1, (1.0,))  # fills the image: no outline
    assert nothing.f is None
    assert "no outline" in nothing.reasons["f"]


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="shape"):
        boundary(drawn("aa"), drawn("a"), 1, (1.0,))
    with pytest.raises(InputError, match="at least 0"):
        boundary(drawn("aa"), drawn("aa"), -1, (1.0,))
