"""Entropies and pairs against sums over all voxels, and against scikit-image."""

import math
import warnings
from itertools import permutations

import numpy as np
import pytest
from drawn_pairs import drawn, pairs_of_arrays, rough
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import adapted_rand_error, variation_of_information

from cellulus.ops.overlap import overlap_table
from cellulus.ops.partition import information, rand_pairs


def compared(labels, truth, background):
    """The voxels that count, as pairs of ids."""
    pairs = zip(labels.ravel().tolist(), truth.ravel().tolist(), strict=True)
    return [pair for pair in pairs if background or pair[1]]


def entropy(values):
    counts = [values.count(value) for value in set(values)]
    return sum(n * math.log2(len(values) / n) for n in counts) / max(len(values), 1)


@given(pairs_of_arrays, st.booleans())
def test_information_is_that_of_entropies(arrays, background):
    voxels = compared(*arrays, background)
    found = information(overlap_table(*arrays), background=background)
    if not voxels:
        assert found.split is found.merge is found.total is None
        assert set(found.reasons) == {"split", "merge", "total"}
        return
    labels, truth = (list(side) for side in zip(*voxels, strict=True))
    assert found.split == pytest.approx(entropy(voxels) - entropy(truth), abs=1e-12)
    assert found.merge == pytest.approx(entropy(voxels) - entropy(labels), abs=1e-12)
    assert found.total == pytest.approx(found.split + found.merge)


@given(pairs_of_arrays, st.booleans())
def test_pairs_are_those_of_all_voxels(arrays, background):
    voxels = compared(*arrays, background)
    two = list(permutations(voxels, 2))
    found = rand_pairs(overlap_table(*arrays), background=background)
    assert found.both == sum(a == b for a, b in two)
    assert found.found == sum(a[0] == b[0] for a, b in two)
    assert found.true == sum(a[1] == b[1] for a, b in two)


@given(pairs_of_arrays)
def test_scikit_image_agrees(arrays):
    """It gives recall the name of precision, and the other way round: see the next test."""
    labels, truth = arrays
    table = overlap_table(labels, truth)
    split, merge = variation_of_information(truth, labels)
    found = information(table)
    assert (found.split, found.merge) == pytest.approx((split, merge), abs=1e-12)
    if not truth.any():
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        error, theirs, others = adapted_rand_error(truth, labels)
    pairs = rand_pairs(table)
    for ours, value in ((pairs.error, error), (pairs.recall, theirs), (pairs.precision, others)):
        assert ours == pytest.approx(value) if ours is not None else np.isnan(value)


@pytest.mark.parametrize("background", [True, False])
def test_scikit_image_agrees_on_larger_labels(background):
    rng = np.random.default_rng(0)
    labels, truth = (rough(rng, (12, 20, 20), 30, noise=0.1) for _ in range(2))
    table = overlap_table(labels, truth)
    ignore = () if background else (0,)
    expected = variation_of_information(truth, labels, ignore_labels=ignore)
    found = information(table, background=background)
    if background:
        assert (found.split, found.merge) == pytest.approx(tuple(expected))
    error, recall, precision = adapted_rand_error(truth, labels, ignore_labels=ignore)
    pairs = rand_pairs(table, background=background)
    assert (pairs.error, pairs.precision, pairs.recall) == pytest.approx((error, precision, recall))


def test_splits_and_merges_are_told_apart():
    split = overlap_table(drawn("aabb"), drawn("aaaa"))
    merged = overlap_table(drawn("aaaa"), drawn("aabb"))
    assert (information(split).split, information(split).merge) == (1, 0)
    assert (information(merged).split, information(merged).merge) == (0, 1)
    assert (rand_pairs(split).precision, rand_pairs(split).recall) == (1, 1 / 3)
    assert (rand_pairs(merged).precision, rand_pairs(merged).recall) == (1 / 3, 1)


def test_images_are_regions_without_common_objects():
    one, two = (drawn("aabb.."), drawn("aaaa..")), (drawn("ab.cc."), drawn("abbc.."))
    shifted = [np.where(side > 0, side + 10, 99) for side in two]  # their background too
    whole = overlap_table(*(np.concatenate(sides) for sides in zip(one, shifted, strict=True)))
    parts = [information(overlap_table(*pair)) for pair in (one, two)]
    assert (parts[0] + parts[1]).total == pytest.approx(information(whole).total)
    found = [rand_pairs(overlap_table(*pair), background=True) for pair in (one, two)]
    assert found[0] + found[1] == rand_pairs(whole, background=True)


def test_counts_of_a_teravoxel_do_not_overflow():
    table = overlap_table(drawn("ab"), drawn("aa"))
    table.counts[:] = 10**12
    assert rand_pairs(table).recall == pytest.approx(0.5)
    assert information(table).split == pytest.approx(1)
