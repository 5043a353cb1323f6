"""Modes and their embeddings, against loops; and that no cut through the lattice changes them."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellulus.ops import clustering
from cellulus.ops.clustering import (
    Embeddings,
    count_votes,
    find_modes,
    kernel,
    look_up,
    mode_reach,
    territories,
)

BANDWIDTHS = st.sampled_from([1.0, 2.0, 2.5, 3.7, 5.0])


def drawn(seed, shape, count, *, blobs=5, outside=2):
    """Embeddings around a few places, some of them outside the lattice."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, shape, (blobs, len(shape)))
    points = centres[rng.integers(0, blobs, count)] + rng.normal(0, 1.5, (count, len(shape)))
    far = rng.integers(-outside, np.array(shape) + outside, (count // 4, len(shape)))
    bins = np.concatenate([np.floor(points).astype(np.int32), far.astype(np.int32)]).T
    return bins, rng.random(bins.shape[1]) < 0.8


def embedded(bins, farthest=1e6):
    """Embeddings in the middles of bins, of voxels in one row."""
    ndim = len(bins)
    positions = [np.full(1, 0.5)] * (ndim - 1) + [np.arange(bins.shape[1]) + 0.5]
    offsets = bins.astype(np.float32).reshape(ndim, *[1] * (ndim - 1), -1)
    offsets[-1] -= np.arange(bins.shape[1])
    return Embeddings(tuple(positions), offsets, farthest)


def vote(bins, votes, counts):
    doubt = np.where(votes, 1, 3).astype(np.float32).reshape(*[1] * (counts.ndim - 1), -1)
    count_votes(embedded(bins), doubt, 2.0, np.zeros(counts.ndim, np.int64), counts)


def histogram(bins, votes, shape):
    counts = np.zeros(shape, np.int32)
    vote(bins, votes, counts)
    return counts


def assign(bins, modes, bandwidth, shape):
    corner = np.zeros(len(shape), np.int64)
    return look_up(embedded(bins), territories(modes, bandwidth, shape), corner).ravel()


def slow_density(counts, bandwidth):
    """Every bin from all others."""
    weights = kernel(bandwidth)
    half = len(weights) // 2
    filled = np.argwhere(counts)
    density = np.zeros(counts.shape)
    for where in np.ndindex(counts.shape):
        for other in filled:
            away = other - where
            if np.abs(away).max() <= half:
                density[where] += counts[tuple(other)] * np.prod(weights[away + half])
    return density


def slow_modes(counts, bandwidth):
    """Peaks that no higher peak within the bandwidth suppresses; of equals the first is higher."""
    density = slow_density(counts, bandwidth)

    def beats(a, b):
        return density[a] > density[b] or (density[a] == density[b] and a < b)

    peaks = []
    for where in np.ndindex(counts.shape):
        steps = itertools.product((-1, 0, 1), repeat=counts.ndim)
        around = [tuple(np.add(where, step)) for step in steps if any(step)]
        around = [
            a for a in around if all(0 <= i < n for i, n in zip(a, counts.shape, strict=True))
        ]
        if density[where] > 0 and not any(beats(a, where) for a in around):
            peaks.append(where)
    kept = [
        p
        for p in peaks
        if not any(
            q != p and np.sum(np.subtract(p, q) ** 2) <= bandwidth**2 and beats(q, p) for q in peaks
        )
    ]
    return np.array(kept, np.int64).reshape(-1, counts.ndim)


def slow_assign(bins, modes, bandwidth, shape):
    labels = []
    for point in bins.T:
        squared = ((modes - point) ** 2).sum(axis=1)
        inside = all(0 <= b < n for b, n in zip(point, shape, strict=True))
        near = inside and len(modes) > 0 and squared.min() <= bandwidth**2
        labels.append(squared.argmin() + 1 if near else 0)
    return np.array(labels, np.uint32)


@pytest.mark.parametrize("shape", [(9, 11), (4, 5, 6)])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_the_histogram_counts_the_votes_inside(shape, seed):
    bins, votes = drawn(seed, shape, 60)
    expected = np.zeros(shape, np.int32)
    for point, does_vote in zip(bins.T, votes, strict=True):
        if does_vote and all(0 <= b < n for b, n in zip(point, shape, strict=True)):
            expected[tuple(point)] += 1
    found = histogram(bins, votes, shape)
    assert found.dtype == np.int32
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("shape", [(13, 12), (6, 7, 5)])
@given(seed=st.integers(0, 10**6), bandwidth=BANDWIDTHS)
@settings(max_examples=15)
def test_modes_are_those_of_the_definition(shape, seed, bandwidth):
    bins, votes = drawn(seed, shape, 40)
    counts = histogram(bins, votes, shape)
    assert np.array_equal(find_modes(counts, bandwidth), slow_modes(counts, bandwidth))


@given(seed=st.integers(0, 10**6), bandwidth=BANDWIDTHS)
@settings(max_examples=15)
def test_modes_of_a_few_equal_counts_are_those_of_the_definition(seed, bandwidth):
    """Full of ties: plateaus, and peaks of one height."""
    rng = np.random.default_rng(seed)
    counts = (rng.random((11, 12)) < 0.08).astype(np.int32)
    assert np.array_equal(find_modes(counts, bandwidth), slow_modes(counts, bandwidth))


@pytest.mark.parametrize("shape", [(13, 12), (6, 7, 5)])
@given(seed=st.integers(0, 10**6), bandwidth=BANDWIDTHS)
@settings(max_examples=20)
def test_embeddings_go_to_the_nearest_mode_within_the_bandwidth(shape, seed, bandwidth):
    bins, _ = drawn(seed, shape, 50)
    rng = np.random.default_rng(seed)
    modes = np.unique(rng.integers(0, shape, (6, len(shape))), axis=0)
    found = assign(bins, modes, bandwidth, shape)
    assert found.dtype == np.uint32
    assert np.array_equal(found, slow_assign(bins, modes, bandwidth, shape))


def clusters_of(bins, votes, bandwidth, shape):
    modes = find_modes(histogram(bins, votes, shape), bandwidth)
    return modes, assign(bins, modes, bandwidth, shape)


@pytest.mark.parametrize("shape", [(70, 64), (30, 34, 28)])
@given(seed=st.integers(0, 10**6), bandwidth=BANDWIDTHS, blobs=st.integers(3, 60))
@settings(max_examples=25)
def test_cuts_through_the_lattice_change_nothing_beyond_the_reach(shape, seed, bandwidth, blobs):
    """Each embedding deep inside a cut finds the mode it finds in the whole, at the same place."""
    rng = np.random.default_rng(seed)
    bins, votes = drawn(seed, shape, 1500, blobs=blobs)
    modes, labels = clusters_of(bins, votes, bandwidth, shape)
    # An embedding depends on what its mode does, which lies within the bandwidth.
    margin = int(np.ceil(bandwidth + mode_reach(bandwidth)))
    for _ in range(6):
        extent = np.minimum(2 * margin + rng.integers(1, 12, len(shape)), shape)
        corner = rng.integers(0, np.array(shape) - extent + 1)
        part_modes, part_labels = clusters_of(
            bins - corner[:, None].astype(np.int32), votes, bandwidth, tuple(extent.tolist())
        )
        low = np.where(corner == 0, 0, corner + margin)
        high = np.where(corner + extent == shape, shape, corner + extent - margin)
        deep = ((low <= bins.T) & (high > bins.T)).all(axis=1)
        everywhere = np.concatenate([np.full((1, len(shape)), -1), modes])
        here = np.concatenate([np.full((1, len(shape)), -1) - corner, part_modes]) + corner
        assert np.array_equal(everywhere[labels[deep]], here[part_labels[deep]])
        closer = int(np.ceil(mode_reach(bandwidth)))
        low = np.where(corner == 0, 0, corner + closer)
        high = np.where(corner + extent == shape, shape, corner + extent - closer)
        inner = ((modes >= low) & (modes < high)).all(axis=1)
        part_inner = ((part_modes + corner >= low) & (part_modes + corner < high)).all(axis=1)
        assert np.array_equal(modes[inner], part_modes[part_inner] + corner)


def test_a_smaller_margin_would_change_something():
    """The reach is not padded beyond reason: two thirds of it are not enough."""
    bandwidth, shape = 5.0, (60, 20)
    half = len(kernel(bandwidth)) // 2
    # What suppresses the mode lies a bandwidth beyond it, and rests on votes still farther out.
    bins = np.array([[20] * 3 + [25] * 2 + [25 + half] * 4, [10] * 9], np.int32)
    votes = np.ones(bins.shape[1], bool)
    whole, _ = clusters_of(bins, votes, bandwidth, shape)
    cut, _ = clusters_of(bins, votes, bandwidth, (24, 20))
    assert not np.array_equal(whole[:1], cut[:1])


@given(seed=st.integers(0, 10**6), bandwidth=BANDWIDTHS)
@settings(max_examples=20)
def test_a_single_plane_clusters_as_its_image(seed, bandwidth):
    bins, votes = drawn(seed, (30, 25), 200)
    flat_modes, flat = clusters_of(bins, votes, bandwidth, (30, 25))
    deep_bins = np.concatenate([np.zeros((1, bins.shape[1]), np.int32), bins])
    modes, labels = clusters_of(deep_bins, votes, bandwidth, (1, 30, 25))
    assert np.array_equal(modes[:, 1:], flat_modes)
    assert np.array_equal(labels, flat)


def test_equal_peaks_go_to_the_first():
    counts = np.zeros((20, 20), np.int32)
    counts[5, 12] = counts[6, 11] = 4
    assert find_modes(counts, 1.5).tolist() == [[5, 12]]
    counts[6, 11] = 5
    assert find_modes(counts, 1.5).tolist() == [[6, 11]]


def test_votes_are_added_to_those_before():
    counts = np.ones((3, 3), np.int32)
    vote(np.array([[0, 0, 2], [1, 1, 2]], np.int32), np.array([True, True, False]), counts)
    assert counts.tolist() == [[1, 3, 1], [1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 0.8), (1.3, 2.0, 0.7)])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_embeddings_are_binned_where_they_lie_and_far_ones_are_none(spacing, seed):
    """Voxel by voxel, with gaps in the prediction; the lattice shows a part of the bins."""
    rng = np.random.default_rng(seed)
    shape, ndim, far = (4, 6, 5)[-len(spacing) :], len(spacing), 3.0
    positions = tuple((7 + np.arange(n) + 0.5) * s for n, s in zip(shape, spacing, strict=True))
    offsets = rng.normal(0, 1.5, (ndim, *shape)).astype(np.float32)
    doubt = rng.random(shape).astype(np.float32)
    gap = rng.random(shape) < 0.1
    offsets[:, gap], doubt[gap] = np.nan, np.nan
    corner, lattice = np.full(ndim, 6), (9, 11, 8)[-ndim:]
    counts, owner = np.zeros(lattice, np.int32), rng.integers(0, 9, lattice).astype(np.uint32)
    votes, found = np.zeros(lattice, np.int32), np.zeros(shape, np.uint32)
    for voxel in np.ndindex(shape):
        offset = offsets[(slice(None), *voxel)]
        place = [p[i] for p, i in zip(positions, voxel, strict=True)]
        where = tuple((np.floor(place + offset.astype(np.float64)) - corner).tolist())
        is_inside = all(0 <= b < n for b, n in zip(where, lattice, strict=True))
        if is_inside and (offset**2).sum() <= far**2:
            where = tuple(int(b) for b in where)
            votes[where] += doubt[voxel] < 0.5
            found[voxel] = owner[where]
    given_ = Embeddings(positions, offsets, far)
    count_votes(given_, doubt, 0.5, corner, counts)
    assert np.array_equal(counts, votes)
    assert np.array_equal(look_up(given_, owner, corner), found)


@pytest.mark.parametrize("ndim", [2, 3])
def test_modes_outside_of_the_lattice_keep_their_territory(ndim):
    """A lattice is a window: what is seen through it is what the whole would show there."""
    rng = np.random.default_rng(ndim)
    modes = np.unique(rng.integers(0, 30, (12, ndim)), axis=0)
    whole = territories(modes, 6.0, (30,) * ndim)
    window = territories(modes - 9, 6.0, (13,) * ndim)
    assert np.array_equal(window, whole[(slice(9, 22),) * ndim])


def test_equally_near_modes_go_to_the_first():
    modes = np.array([[4, 2], [4, 6]])
    middle = np.array([[4], [4]], np.int32)
    assert assign(middle, modes, 3.0, (9, 9)).tolist() == [1]


def test_the_bandwidth_itself_is_still_near():
    bins = np.array([[0, 3, 0], [5, 4, 6]], np.int32)
    assert assign(bins, np.array([[0, 0]]), 5.0, (9, 9)).tolist() == [1, 1, 0]


def test_no_vote_has_no_mode():
    bins = np.zeros((2, 3), np.int32)
    counts = histogram(bins, np.zeros(3, bool), (8, 8))
    modes = find_modes(counts, 3.0)
    assert modes.shape == (0, 2)
    assert modes.dtype == np.int64
    assert assign(bins, modes, 3.0, (8, 8)).tolist() == [0, 0, 0]
    assert assign(bins[:, :0], modes, 3.0, (8, 8)).shape == (0,)


@given(st.floats(0.1, 40))
def test_smoothing_weights_are_integers_and_even(bandwidth):
    weights = kernel(bandwidth)
    assert np.array_equal(weights, np.rint(weights))
    assert np.array_equal(weights, weights[::-1])
    assert weights.max() == clustering.WEIGHT_UNIT == weights[len(weights) // 2]
    assert weights.min() >= 1  # cut where it rounds to nothing, neither before nor after
    sigma = clustering.KERNEL_SHARE * bandwidth
    beyond = len(weights) // 2 + 1
    assert np.rint(clustering.WEIGHT_UNIT * np.exp(-0.5 * (beyond / sigma) ** 2)) == 0


def test_two_crowds_are_two_clusters():
    rng = np.random.default_rng(0)
    points = np.concatenate(
        [rng.normal((12, 12), 1.5, (300, 2)), rng.normal((12, 28), 1.5, (300, 2))]
    )
    bins = np.floor(points.T).astype(np.int32)
    modes, labels = clusters_of(bins, np.ones(600, bool), 8.0, (40, 40))
    assert np.abs(modes - [[12, 12], [12, 28]]).max() <= 1
    assert (labels[:300] == 1).all()
    assert (labels[300:] == 2).all()
