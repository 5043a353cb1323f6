"""Candidates and their acceptance, against loops over all voxels and all candidates."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellulus.ops.claimants import Claimants, EmbeddingMap
from cellulus.ops.proposals import accept, find_candidates, join

FARTHEST, WIDEST, SEED = 4.0, 3.0, 0.6
CASES = [((11, 13), (1.0, 1.0)), ((9, 14), (1.7, 0.6)), ((5, 7, 6), (2.0, 0.8, 1.0))]


def drawn(shape, spacing, seed):
    """Few values of seediness, so that neighbours tie; some voxels that say nothing sensible."""
    rng = np.random.default_rng(seed)
    offsets = rng.normal(0, 1.5, (len(shape), *shape)).astype(np.float32)
    seeds = (rng.integers(4, 11, shape) / 10).astype(np.float32)
    margins = rng.uniform(0.3, 4, offsets.shape).astype(np.float32)
    for values, wrong in ((offsets, np.nan), (offsets, 5.0), (seeds, np.nan), (margins, 0.0)):
        values[..., rng.random(shape) < 0.03] = wrong
    origin = tuple(rng.integers(0, 50, len(shape)).tolist())
    return EmbeddingMap(offsets, seeds, spacing, origin, FARTHEST), margins


def proposals(region, margins):
    """Place, centre and margins of all voxels that may propose something."""
    said = {}
    for place in np.ndindex(region.seeds.shape):
        offset, margin = region.offsets[(slice(None), *place)], margins[(slice(None), *place)]
        if np.all(np.abs(offset) <= FARTHEST) and (margin > 0).all():
            at = [p[i] for p, i in zip(region.positions, place, strict=True)]
            said[place] = np.add(at, offset), np.minimum(margin, WIDEST).astype(float)
    return said


def claims(centre, margin, point):
    return (((point - centre) / margin) ** 2).sum() < 1


def slow_candidates(region, margins):
    said, found = proposals(region, margins), []
    for place, (point, _) in said.items():
        if not region.seeds[place] >= np.float32(SEED):
            continue
        steps = itertools.product((-1, 0, 1), repeat=len(place))
        around = [other for step in steps if any(step)
                  and (other := tuple(np.add(place, step).tolist())) in said]  # fmt: skip
        better = [
            other
            for other in around
            if (region.seeds[other], place) > (region.seeds[place], other)
            and region.seeds[other] >= region.seeds[place]
        ]
        if not any(claims(*said[other], point) for other in better):
            found.append(place)
    return np.array(found, np.int64).reshape(-1, len(region.spacing))


def whole(region):
    return tuple(slice(0, n) for n in region.seeds.shape)


@pytest.mark.parametrize(("shape", "spacing"), CASES)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=15)
def test_candidates_are_those_of_the_definition(shape, spacing, seed):
    region, margins = drawn(shape, spacing, seed)
    found = find_candidates(region, margins, SEED, WIDEST, whole(region))
    expected = slow_candidates(region, margins)
    assert 5 < len(expected) < region.seeds.size / 2
    assert np.array_equal(found.anchors, expected + region.origin)
    said = proposals(region, margins)
    for place, centre, margin, value in zip(
        expected.tolist(), found.centres, found.margins, found.seeds, strict=True
    ):
        assert np.array_equal(centre, said[tuple(place)][0])
        assert np.array_equal(margin, said[tuple(place)][1])
        assert value == region.seeds[tuple(place)]


@pytest.mark.parametrize(("shape", "spacing"), CASES)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=15)
def test_a_part_with_what_touches_it_has_its_candidates(shape, spacing, seed):
    region, margins = drawn(shape, spacing, seed)
    rng = np.random.default_rng(seed)
    cut = [int(rng.integers(1, n)) for n in shape]
    parts = []
    for side in itertools.product((0, 1), repeat=len(shape)):
        core = [slice(c if s else 0, n if s else c)
                for s, c, n in zip(side, cut, shape, strict=True)]  # fmt: skip
        outer = tuple(slice(max(p.start - 1, 0), p.stop + 1) for p in core)
        inner = tuple(
            slice(c.start - o.start, c.stop - o.start) for c, o in zip(core, outer, strict=True)
        )
        part = margins[(slice(None), *outer)]
        parts.append(find_candidates(region.cut(outer), part, SEED, WIDEST, inner))
    expected = join([find_candidates(region, margins, SEED, WIDEST, whole(region))])
    found = join(parts[::-1])
    assert all(np.array_equal(v, vars(found)[name]) for name, v in vars(expected).items())
    order = list(zip((-found.seeds).tolist(), found.anchors.tolist(), strict=True))
    assert order == sorted(order)


@pytest.mark.parametrize("seed", range(5))
def test_an_image_is_a_volume_of_one_plane(seed):
    region, margins = drawn((11, 13), (1.7, 0.6), seed)
    still = np.zeros((1, 1, 11, 13), np.float32)
    deep = EmbeddingMap(
        np.concatenate([still, region.offsets[:, None]]), region.seeds[None], (1.0, 1.7, 0.6),
        (7, *region.origin), FARTHEST,
    )  # fmt: skip
    flat = find_candidates(region, margins, SEED, WIDEST, whole(region))
    thick = np.concatenate([still + 1, margins[:, None]])
    found = find_candidates(deep, thick, SEED, WIDEST, whole(deep))
    assert np.array_equal(found.anchors[:, 1:], flat.anchors)
    assert np.array_equal(found.centres[:, 1:], flat.centres)
    assert np.array_equal(accept(found, WIDEST), accept(flat, WIDEST))


def listed(seed, ndim, count, spread):
    rng = np.random.default_rng(seed)
    return Claimants(
        anchors=np.zeros((count, ndim), np.int64),
        centres=rng.uniform(-spread, spread, (count, ndim)),
        margins=rng.uniform(0.05, WIDEST, (count, ndim)),
        seeds=np.ones(count, np.float32),
        reach=np.full(count, np.inf),
    )


@given(seed=st.integers(0, 10**6), ndim=st.sampled_from([2, 3]), cell=st.sampled_from([0.7, 3, 50]))
@settings(max_examples=40)
def test_what_is_accepted_is_that_of_the_definition(seed, ndim, cell):
    candidates = listed(seed, ndim, 150, 12.0)
    accepted = []
    for n, point in enumerate(candidates.centres):
        if not any(claims(candidates.centres[m], candidates.margins[m], point) for m in accepted):
            accepted.append(n)
    assert 10 < len(accepted) < 150
    assert np.array_equal(np.flatnonzero(accept(candidates, cell)), accepted)


def test_a_rejected_candidate_rejects_nobody():
    """The second lies in the first, and the third in the second only."""
    row = listed(0, 2, 3, 1.0)
    row = Claimants(row.anchors, np.array([[0, 0], [0, 0.9], [0, 1.8]]), np.ones((3, 2)), row.seeds,
                    row.reach)  # fmt: skip
    assert accept(row, 1.0).tolist() == [True, False, True]


def test_nothing_proposes_nothing():
    region, margins = drawn((4, 5), (1.0, 1.0), 0)
    nothing = EmbeddingMap(region.offsets, region.seeds * np.nan, (1.0, 1.0), (0, 0), FARTHEST)
    found = find_candidates(nothing, margins, SEED, WIDEST, whole(nothing))
    assert found.anchors.shape == (0, 2)
    assert len(join([found, found])) == 0
    assert accept(join([found]), WIDEST).shape == (0,)
