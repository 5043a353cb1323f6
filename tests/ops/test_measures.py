"""Measures of objects against scikit-image on the whole, and against every cutting of it."""

from __future__ import annotations

from dataclasses import fields
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops

from cellulus.errors import InputError
from cellulus.ops.measures import Measures, measure_objects, merge


def blobs(shape, seed=0, count=12):
    """Cells of random seeds, some of them background, so that objects are large and touch."""
    rng = np.random.default_rng(seed)
    seeds = rng.random((count, len(shape))) * shape
    points = np.moveaxis(np.indices(shape), 0, -1)[..., None, :]
    owner = ((points - seeds) ** 2).sum(axis=-1).argmin(axis=-1)
    return np.where(owner % 4, owner, 0).astype(np.uint32)


def tiles(shape, rng):
    """Cut a grid at random planes; regions in a random order."""
    cuts = [np.unique([0, n, *rng.integers(0, n, rng.integers(0, 4))]) for n in shape]
    spans = [[slice(*pair) for pair in pairwise(c)] for c in cuts]
    index = np.stack(np.meshgrid(*[range(len(s)) for s in spans]), -1).reshape(-1, len(shape))
    rng.shuffle(index)
    return [tuple(s[i] for s, i in zip(spans, place, strict=True)) for place in index]


def tiled(labels, values, regions):
    parts = [
        measure_objects(labels[r], [v[r] for v in values], origin=tuple(s.start for s in r))
        for r in regions
    ]
    return merge(parts)


def assert_identical(one, other):
    for field in fields(Measures):
        a, b = getattr(one, field.name), getattr(other, field.name)
        assert a.dtype == b.dtype, field.name
        assert np.array_equal(a, b), field.name


@pytest.mark.parametrize("shape", [(40, 50), (14, 20, 25)])
def test_measures_are_those_of_scikit_image(shape):
    rng = np.random.default_rng(3)
    labels = blobs(shape)
    grey = rng.integers(0, 65536, shape).astype(np.uint16)
    doubt = rng.normal(2, 5, shape).astype(np.float32)
    found = measure_objects(labels, [grey, doubt])
    expected = regionprops(labels, np.stack([grey, doubt], -1).astype(float))
    assert len(expected) > 5, "test invalid: hardly any objects"
    assert found.ids.tolist() == [p.label for p in expected]
    assert found.sizes.tolist() == [p.num_pixels for p in expected]
    assert np.allclose(found.centroids, [p.centroid for p in expected], rtol=1e-12)
    assert np.hstack([found.starts, found.stops]).tolist() == [list(p.bbox) for p in expected]
    assert np.allclose(found.means, [p.intensity_mean for p in expected], rtol=1e-12)


@settings(max_examples=30)
@given(st.sampled_from([(23, 31), (9, 12, 14)]), st.integers(0, 10**6))
def test_any_cutting_gives_the_same_to_the_last_bit(shape, seed):
    rng = np.random.default_rng(seed)
    labels = blobs(shape, seed) * np.uint64(2**33 + 1)
    wild = rng.normal(size=shape) * 10.0 ** rng.integers(-12, 9, shape)
    wild[rng.random(shape) < 0.1] = np.nan
    values = [rng.integers(-500, 500, shape), wild, wild.astype(np.float32)]
    assert_identical(tiled(labels, values, tiles(shape, rng)), measure_objects(labels, values))


def test_merging_may_go_in_steps():
    rng = np.random.default_rng(4)
    labels, value = blobs((40, 40)), rng.normal(size=(40, 40))
    regions = tiles(labels.shape, rng)
    assert len(regions) > 3, "test invalid: hardly any blocks"
    stepwise = Measures.none(2, 1)
    for region in regions:
        stepwise = merge([stepwise, tiled(labels, [value], [region])])
    assert_identical(stepwise, measure_objects(labels, [value]))


def test_sums_of_floats_are_exact():
    """Cancelling values, for which every order of float additions gives another sum."""
    rng = np.random.default_rng(1)
    values = np.round(rng.normal(size=1000) * 10.0 ** rng.integers(-9, 9, 1000), 9)
    values = np.round(values * 2**40) / 2**40
    found = measure_objects(np.ones(1000, np.uint8), [values])
    exact = sum(Fraction(v) for v in values.tolist())
    assert found.wholes[0, 0] + Fraction(int(found.fractions[0, 0]), 2**44) == exact
    assert 0 <= found.fractions[0, 0] < 2**44
    assert found.means[0, 0] == pytest.approx(float(exact / 1000), rel=1e-12)


def test_a_plane_is_a_volume_of_one_plane():
    rng = np.random.default_rng(5)
    labels, value = blobs((30, 20)), rng.random((30, 20))
    flat = measure_objects(labels, [value], origin=(7, 9))
    deep = measure_objects(labels[None], [value[None]], origin=(4, 7, 9))
    assert np.array_equal(flat.centroids, deep.centroids[:, 1:])
    assert np.array_equal(flat.starts, deep.starts[:, 1:])
    assert np.array_equal(flat.stops, deep.stops[:, 1:])
    assert np.array_equal(flat.means, deep.means)
    assert (deep.centroids[:, 0] == 4).all()
    assert (deep.starts[:, 0] == 4).all()
    assert (deep.stops[:, 0] == 5).all()


def test_ids_may_be_sparse_and_large():
    ids = [5, 2**32 - 1, 2**32 + 5, 2**64 - 1]
    labels = np.array([0, ids[3], ids[0], ids[2], ids[1], ids[3]], np.uint64)
    found = measure_objects(labels)
    assert found.ids.tolist() == ids
    assert found.sizes.tolist() == [1, 1, 1, 2]
    assert found.places.ravel().tolist() == [2, 4, 3, 6]
    assert_identical(merge([found, Measures.none(1)]), found)


def test_voxels_without_a_value_do_not_count():
    labels = np.array([1, 1, 1, 2, 2], np.uint32)
    values = np.array([1.0, np.nan, 4.0, np.inf, -np.inf], np.float16)
    found = measure_objects(labels, [values])
    assert found.sizes.tolist() == [3, 2]
    assert found.counts.ravel().tolist() == [2, 0]
    assert found.means[0, 0] == 2.5
    assert np.isnan(found.means[1, 0])


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", ">u2", "int32", "uint64", ">f4", "f8"])
def test_types_and_memory_layout_do_not_matter(dtype):
    rng = np.random.default_rng(2)
    labels = blobs((20, 30))
    value = rng.integers(0, 2, (20, 30))
    other = np.asfortranarray(value.astype(dtype))
    assert_identical(
        measure_objects(np.asfortranarray(labels).astype(">i8"), [other]),
        measure_objects(labels, [value]),
    )


@pytest.mark.parametrize("shape", [(4, 5), (0, 3), (2, 0, 3)])
def test_background_alone_has_no_objects(shape):
    nothing = measure_objects(np.zeros(shape, np.uint32), [np.ones(shape)])
    assert_identical(nothing, Measures.none(len(shape), 1))
    assert_identical(merge([nothing, nothing]), nothing)
    assert nothing.centroids.shape == (0, len(shape))
    assert nothing.means.shape == (0, 1)


@pytest.mark.parametrize(
    ("labels", "values", "text"),
    [
        (np.ones((2, 3)), None, "float64"),
        (np.array([1, -1]), None, "negative"),
        (np.ones(3, int), np.ones(4), r"\(3,\)"),
        (np.ones(3, int), np.ones(3, complex), "complex128"),
        (np.ones(3, int), np.array([1, -1e13, 1]), "1e.12"),
    ],
)
def test_what_cannot_be_measured_is_refused(labels, values, text):
    with pytest.raises(InputError, match=text):
        measure_objects(labels, [] if values is None else [values])
