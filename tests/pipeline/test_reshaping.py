"""Post-processing of arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from cellulus.errors import InputError
from cellulus.experiment.sections import Postprocess
from cellulus.ops import labels as ops
from cellulus.pipeline.reshaping import apply_postprocess


def ball(shape, centre, radius, spacing=None):
    spacing = spacing or (1.0,) * len(shape)
    grid = np.indices(shape)
    return (
        sum(((g - c) * s) ** 2 for g, c, s in zip(grid, centre, spacing, strict=True)) <= radius**2
    )


def apply(labels, image=None, zoom=None, object_voxels=20.0, **options):
    return apply_postprocess(
        labels,
        Postprocess(**options),
        image=image,
        spacing=zoom or (1.0,) * labels.ndim,
        object_voxels=object_voxels,
    )


def test_nothing_asked_only_makes_ids_dense():
    labels = np.array([[0, 9, 9], [3, 0, 4_000_000_000]], np.uint32)
    result = apply(labels)
    assert result.tolist() == [[0, 2, 2], [1, 0, 3]]
    assert result.dtype == np.uint32


def test_cell_grows_then_shrinks_to_the_edge_of_the_foreground():
    # Diameter 20: grown by 3, shrunk by 6, so a disc of radius 12 ends as one of radius 9.
    labels = ball((40, 40), (20, 20), 12).astype(int)
    grown = ops.grow(labels, 3.0, (1, 1))
    assert np.array_equal(apply(labels, kind="cell"), ops.shrink_foreground(grown, 6.0, (1, 1)))
    assert apply(labels, kind="cell").sum() == pytest.approx(np.pi * 9**2, rel=0.1)


def test_separate_shrinks_by_a_fixed_distance_and_opens_gaps():
    labels = np.repeat([[0, 1, 2, 0]], 20, axis=0).repeat(20, axis=1)
    together = apply(labels, kind="cell", grow=0, shrink=0.1)
    apart = apply(labels, kind="cell", grow=0, shrink=0.1, separate=True)
    assert together[10, 39] == 1, "test invalid: touching objects keep their border"
    assert together[10, 40] == 2
    assert not apart[:, 38:42].any()
    assert (apart[10, 37], apart[10, 42]) == (1, 2)


def test_distances_are_physical_so_anisotropic_sampling_gives_the_same_shape():
    fine = ball((48, 48, 48), (24, 24, 24), 12).astype(int)
    coarse = fine[::3]
    result = apply(coarse, kind="cell", zoom=(3.0, 1.0, 1.0))
    expected = ball(coarse.shape, (8, 24, 24), 9, (3.0, 1.0, 1.0))
    different = (result > 0) != expected
    assert different.sum() < 0.15 * expected.sum()
    wrong = apply(coarse, kind="cell") > 0
    assert (wrong != expected).sum() > 0.3 * expected.sum(), "test invalid: spacing has no effect"


def test_intensity_is_otsu_inside_each_object_with_holes_filled():
    labels = np.zeros((30, 60), int)
    labels[:, :30], labels[:, 30:] = 5, 6
    image = np.zeros((30, 60))
    image[8:20, 8:20] = 100  # a bright nucleus, with a dark nucleolus
    image[12:14, 12:14] = 0
    image[8:20, 40:50] = 3  # a dim one, below every threshold of the image as a whole
    expected = np.zeros((30, 60), int)
    expected[8:20, 8:20], expected[8:20, 40:50] = 1, 2
    assert np.array_equal(apply(labels, image, kind="intensity"), expected)


def test_intensity_needs_an_image():
    with pytest.raises(InputError, match="image"):
        apply(np.ones((4, 4), int), kind="intensity")


@pytest.mark.parametrize("zoom", [(1.0, 1.0), (2.0, 0.5), (2.0, 0.5, 1.0)])
def test_sizes_are_shares_of_a_ball(zoom):
    radii = {1: 4.0, 2: 7.0, 3: 10.0}  # 0.064, 0.343 and 1 ball in three, 0.16, 0.49, 1 in two
    shape = tuple(int(24 / z) for z in zoom)
    shape = (*shape[:-1], 3 * shape[-1])
    labels = np.zeros(shape, int)
    for i, radius in radii.items():
        centre = [*(12 / z for z in zoom[:-1]), (24 * i - 12) / zoom[-1]]
        labels[ball(shape, centre, radius, zoom)] = i
    sizes = {i: (r / 10) ** len(zoom) for i, r in radii.items()}
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    for i, size in sizes.items():
        kept = apply(labels, zoom=zoom, min_size=0.7 * size, max_size=1.4 * size)
        assert np.array_equal(kept > 0, labels == i)


def test_one_size_limit_alone():
    labels = np.zeros((30, 60), int)
    labels[ball((30, 60), (15, 15), 10)], labels[ball((30, 60), (15, 45), 3)] = 1, 2
    assert np.array_equal(apply(labels, min_size=0.5) > 0, labels == 1)
    assert np.array_equal(apply(labels, max_size=0.5) > 0, labels == 2)


def test_pieces_go_before_sizes_are_measured():
    labels = np.zeros((20, 20), int)
    labels[2:8, 2:8] = labels[12:16, 12:17] = 1  # 36 and 20 voxels
    limits = {"object_voxels": 8.0, "min_size": 40 / (np.pi * 16)}
    assert apply(labels, **limits).any(), "test invalid: together they are large enough"
    assert not apply(labels, keep_largest=True, **limits).any()


@given(
    npst.arrays(np.uint8, st.tuples(*[st.integers(1, 9)] * 2), elements=st.integers(0, 3)),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.floats(0, 0.5),
)
def test_cleaning_twice_is_cleaning_once(labels, largest, holes, border, size):
    options = {
        "keep_largest": largest, "fill_holes": holes, "clear_border": border, "min_size": size,
    }  # fmt: skip
    once = apply(labels, object_voxels=6.0, **options)
    assert np.array_equal(apply(once, object_voxels=6.0, **options), once)


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "cell", "grow": 0.3, "shrink": 0.4},
        {"kind": "cell", "separate": True, "shrink": 0.2},
        {"kind": "intensity", "keep_largest": True},
        {"fill_holes": True, "clear_border": True, "min_size": 0.2, "max_size": 4},
    ],
)
def test_one_plane_of_a_volume_is_an_image(options):
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 30, (6, 6)), np.ones((5, 5), int))
    image = rng.random(labels.shape)
    flat = apply(labels, image, zoom=(1.0, 1.5), object_voxels=6.0, **options)
    plane = apply(labels[None], image[None], zoom=(7.0, 1.0, 1.5), object_voxels=6.0, **options)
    assert flat.any(), "test invalid: nothing left"
    assert np.array_equal(plane, flat[None])


def test_the_hole_that_a_dropped_object_leaves_is_filled():
    labels = np.zeros((20, 20), int)
    labels[2:18, 2:18], labels[9:11, 9:11] = 1, 2
    result = apply(labels, fill_holes=True, min_size=0.1)
    assert np.array_equal(result > 0, labels > 0)
    assert result.max() == 1
