"""Claims on voxels, against loops over all voxels and all claimants."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellulus.ops.claimants import Claimants, EmbeddingMap
from cellulus.ops.claims import assign, count_claims

FARTHEST, WINDOW, FOREGROUND = 5.0, 3.0, 0.3
CASES = [((12, 13), (1.0, 1.0)), ((9, 16), (1.7, 0.6)), ((5, 8, 7), (2.0, 0.8, 1.0))]


def drawn(shape, spacing, seed, count=40):
    """Claimants everywhere around a region, of all sizes, some of them twice; strange voxels."""
    rng = np.random.default_rng(seed)
    ndim, origin = len(shape), rng.integers(0, 50, len(shape))
    offsets = rng.normal(0, 1.8, (ndim, *shape)).astype(np.float32)
    seeds = rng.random(shape).astype(np.float32)
    for values, wrong in ((offsets, np.nan), (offsets, 5.1), (offsets, -5.0), (seeds, np.nan)):
        values[..., rng.random(shape) < 0.05] = wrong
    low, high = origin * spacing, (origin + shape) * spacing
    which = rng.integers(0, count, count)
    claimants = Claimants(
        anchors=rng.integers(0, 50, (count, ndim)),
        centres=rng.uniform(low - 3, high + 3, (count, ndim))[which],
        margins=np.exp(rng.uniform(-1, 1.5, (count, ndim)))[which],
        seeds=np.ones(count, np.float32),
        reach=np.where(rng.random(count) < 0.5, 2.5, np.inf),
    )
    return EmbeddingMap(offsets, seeds, spacing, tuple(origin.tolist()), FARTHEST), claimants


def seen(region):
    """Place, middle and embedding of all voxels that can be claimed."""
    for place in np.ndindex(region.seeds.shape):
        offset = region.offsets[(slice(None), *place)]
        if region.seeds[place] > np.float32(FOREGROUND) and np.all(np.abs(offset) <= FARTHEST):
            middle = np.array([p[i] for p, i in zip(region.positions, place, strict=True)])
            yield place, middle, middle + offset


def squares(claimants, point):
    return (((point - claimants.centres) / claimants.margins) ** 2).sum(axis=1)


@pytest.mark.parametrize(("shape", "spacing"), CASES)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_a_voxel_goes_to_the_most_probable_claimant(shape, spacing, seed):
    region, claimants = drawn(shape, spacing, seed)
    expected = np.zeros(shape, np.uint32)
    for place, middle, point in seen(region):
        near = np.abs(middle - claimants.centres).max(axis=1) <= claimants.reach
        squared = np.where(near, squares(claimants, point), np.inf)
        if squared.min() < 1:
            expected[place] = squared.argmin() + 1
    found = assign(region, claimants, FOREGROUND)
    assert found.dtype == np.uint32
    assert len(np.unique(expected)) > 3
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(("shape", "spacing"), CASES)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_claims_are_counted(shape, spacing, seed):
    region, claimants = drawn(shape, spacing, seed)
    expected = np.zeros((len(claimants), 4), np.int64)
    for _, middle, point in seen(region):
        claiming = np.flatnonzero(squares(claimants, point) < 1)
        expected[claiming, 0] += 1
        expected[claiming[:1], 1] += 1
        away = np.abs(middle - claimants.centres[claiming])
        inside = (away <= WINDOW).all(axis=1)
        expected[claiming, 2] += inside
        expected[claiming, 3] += inside & (away > WINDOW - np.array(spacing)).any(axis=1)
    assert expected[:, 3].any()
    assert np.array_equal(count_claims(region, claimants, FOREGROUND, WINDOW), expected)


@pytest.mark.parametrize(("shape", "spacing"), CASES)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_a_part_says_of_its_voxels_what_the_whole_says(shape, spacing, seed):
    """With those claimants only that may claim one of them; and its counts add up."""
    region, claimants = drawn(shape, spacing, seed)
    rng = np.random.default_rng(seed)
    axis = int(rng.integers(len(shape)))
    cut = int(rng.integers(1, shape[axis]))
    names = np.append(0, np.arange(len(claimants)) + 1)
    labels = assign(region, claimants, FOREGROUND)
    counts = count_claims(region, claimants, FOREGROUND, WINDOW)
    for ends in ((0, cut), (cut, shape[axis])):
        part = tuple(slice(*ends) if a == axis else slice(0, n) for a, n in enumerate(shape))
        here = region.cut(part)
        near = np.flatnonzero(claimants.may_claim(here))
        found = assign(here, claimants[near], FOREGROUND)
        assert np.array_equal(names[np.append(0, near + 1)][found], labels[part])
        counts[near] -= count_claims(here, claimants[near], FOREGROUND, WINDOW)
    assert not counts.any()


@pytest.mark.parametrize("seed", range(5))
def test_an_image_is_a_volume_of_one_plane(seed):
    region, claimants = drawn((12, 13), (1.7, 0.6), seed)
    deep = EmbeddingMap(
        np.concatenate([np.zeros((1, 1, 12, 13), np.float32), region.offsets[:, None]]),
        region.seeds[None], (1.0, 1.7, 0.6), (7, *region.origin), FARTHEST,
    )  # fmt: skip
    thick = Claimants(
        np.insert(claimants.anchors, 0, 7, axis=1), np.insert(claimants.centres, 0, 7.5, axis=1),
        np.insert(claimants.margins, 0, 1.0, axis=1), claimants.seeds, claimants.reach,
    )  # fmt: skip
    flat = assign(region, claimants, FOREGROUND)
    assert flat.any()
    assert np.array_equal(assign(deep, thick, FOREGROUND)[0], flat)
    found, expected = (count_claims(*one, FOREGROUND, WINDOW)
                       for one in ((deep, thick), (region, claimants)))  # fmt: skip
    assert np.array_equal(found, expected)


def test_nobody_claims_nothing():
    region, claimants = drawn((6, 7), (1.0, 1.0), 0)
    nobody = claimants[:0]
    assert not assign(region, nobody, FOREGROUND).any()
    assert count_claims(region, nobody, FOREGROUND, WINDOW).shape == (0, 4)
    nothing = EmbeddingMap(region.offsets * np.nan, region.seeds, (1.0, 1.0), (0, 0), FARTHEST)
    assert not assign(nothing, claimants, FOREGROUND).any()
    assert not count_claims(nothing, claimants, FOREGROUND, WINDOW).any()


def test_many_claimants_of_one_place_are_told_apart():
    """More of them than uint16 can number."""
    count = 70_000
    offsets = np.zeros((2, 1, count), np.float32)
    region = EmbeddingMap(offsets, np.ones((1, count), np.float32), (1.0, 1.0), (0, 0), FARTHEST)
    middles = np.stack([np.full(count, 0.5), np.arange(count) + 0.5], axis=1)
    claimants = Claimants(
        np.zeros((count, 2), np.int64), middles, np.full((count, 2), 0.4),
        np.ones(count, np.float32), np.full(count, np.inf),
    )  # fmt: skip
    assert np.array_equal(assign(region, claimants, FOREGROUND)[0], np.arange(count) + 1)
