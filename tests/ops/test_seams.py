"""What crosses planes, against a count voxel by voxel; and when a difference is beyond chance."""

import math
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cellulus.ops.overlap import overlap_table
from cellulus.ops.seams import Crossing, find_cut, find_emptied, find_merged

slabs = arrays(np.uint32, st.tuples(st.just(2), st.integers(1, 6), st.integers(1, 6)),
               elements=st.integers(0, 4))  # fmt: skip


def crossing(slab):
    return Crossing.of(overlap_table(slab[0], slab[1]))


def brute(slab):
    """Pair by pair, object by object."""
    pairs = [(int(a), int(b)) for a, b in zip(*slab.reshape(2, -1), strict=True) if a or b]
    of = {}
    for a, b in pairs:
        of.setdefault(a or b, []).append((a, b))
    n = [len(own) for own in of.values()]
    d = [sum(a != b for a, b in own) for own in of.values()]
    return Crossing(
        planes=1,
        pairs=len(pairs),
        meetings=sum(a != b and a > 0 and b > 0 for a, b in pairs),
        ends=sum(a == 0 or b == 0 for a, b in pairs),
        objects=len(of),
        neighbours=sum(any(a != b and a and b for a, b in own) for own in of.values()),
        squares=sum(x * x for x in n),
        products=sum(x * y for x, y in zip(n, d, strict=True)),
        differing_squares=sum(y * y for y in d),
    )


@given(slabs)
def test_every_pair_and_object_is_counted(slab):
    assert crossing(slab) == brute(slab)


@given(slabs, st.integers(0, 6))
def test_parts_of_a_plane_add_up(slab, cut):
    parts = [overlap_table(*half) for half in (slab[:, :cut], slab[:, cut:])]
    assert Crossing.of(reduce(add, parts)) == crossing(slab)


def test_planes_add_up():
    one = crossing(np.array([[1, 1, 0, 2], [1, 2, 3, 0]]))
    two = crossing(np.array([[1, 0], [1, 0]]))
    assert (one.pairs, one.meetings, one.ends, one.differing) == (4, 1, 2, 3)
    assert one + two == Crossing(2, 5, 1, 2, 4, 1, 4 + 1 + 1 + 1, 2 + 1 + 1, 1 + 1 + 1)
    assert one + Crossing() == one


def test_equal_objects_are_as_many_as_they_are_if_they_are_equal():
    assert crossing(np.repeat([[1, 2, 3, 4]], 2, axis=0)).equal_objects == 4
    assert crossing(np.array([[1] * 98 + [2, 3]] * 2)).equal_objects == pytest.approx(
        1.04, abs=0.01
    )


def rows(rng, objects, rate, size=20):
    """Objects of `size` pairs, of which a share ends at the plane, object by object."""
    below = np.repeat(np.arange(1, objects + 1), size)
    ends = rng.random((objects, size)) < rng.beta(20 * rate, 20 * (1 - rate), (objects, 1))
    return crossing(np.stack([below, np.where(ends.ravel(), 0, below)]))


def test_the_chance_is_a_bound():
    """Of labels without seams, no larger share falls below a chance than the chance."""
    rng = np.random.default_rng(0)
    for objects in (3, 10, 50, 200):
        chances = [
            find_cut(rows(rng, objects, 0.2), rows(rng, 2 * objects, 0.2)).chance
            for _ in range(400)
        ]
        for level in (0.5, 0.1, 0.01):
            assert np.mean(np.array(chances) < level) <= level


def test_a_bound_that_is_not_useless():
    rng = np.random.default_rng(0)
    assert find_cut(rows(rng, 12, 0.9), rows(rng, 24, 0.15)).chance < 1e-4
    assert find_cut(rows(rng, 500, 0.3), rows(rng, 1000, 0.2)).chance < 1e-4
    assert find_cut(rows(rng, 1, 0.9), rows(rng, 24, 0.15)).chance > 0.01


def test_better_than_the_control_planes_is_no_fault():
    rng = np.random.default_rng(0)
    found = find_cut(rows(rng, 100, 0.1), rows(rng, 100, 0.5))
    assert found.ratio < 1
    assert found.chance == 1


def test_the_ratio_is_that_of_the_rates():
    found = find_cut(Crossing(1, 100, 20, 10, 10, 5, 1000), Crossing(2, 200, 10, 20, 20, 5, 2000))
    assert (found.block, found.control) == (0.3, 0.15)
    assert found.ratio == pytest.approx(2)
    assert (found.objects, found.counted) == (10, 100)


def test_nothing_to_compare_is_no_result():
    some, none = crossing(np.ones((2, 3), int)), crossing(np.zeros((2, 3), int))
    for one, other in ((some, none), (none, some), (none, none)):
        assert find_cut(one, other) is None
        assert find_merged(one, other) is None
    assert find_emptied(some, none) is None
    assert find_emptied(Crossing(), some) is None


def test_control_planes_on_which_nothing_ends_leave_a_finite_ratio():
    whole = crossing(np.repeat([np.arange(1, 31)], 2, axis=0))
    cut = crossing(np.stack([np.arange(1, 31), np.arange(31, 61)]))
    found = find_cut(cut, whole)
    assert found.ratio == 60
    assert found.chance < 1e-6
    assert find_cut(whole, whole).chance == 1


def test_objects_that_no_longer_meet_across_a_plane_were_merged():
    apart = crossing(np.stack([np.repeat(np.arange(1, 101), 4), np.repeat(np.arange(1, 101), 4)]))
    touching = np.stack([np.repeat(np.arange(1, 101), 4)] * 2)
    touching[1, ::8] = 200  # every second object meets another
    found = find_merged(apart, crossing(touching))
    assert (found.block, found.control, found.ratio) == (0, 0.5, 100)
    assert found.chance < 1e-6
    assert find_merged(crossing(touching), apart).chance == 1


def test_planes_that_fewer_objects_reach_are_emptied():
    full = reduce(add, [crossing(np.stack([np.arange(1, 21)] * 2))] * 4)
    empty = reduce(add, [crossing(np.zeros((2, 20), int))] * 2)
    found = find_emptied(empty, full)
    assert (found.block, found.control) == (0, 20)
    assert found.ratio == 80  # none is taken as half an object on two planes
    assert found.chance == pytest.approx((4 / 6) ** 80)
    assert find_emptied(full, full).chance == 1


def test_chances_are_probabilities():
    rng = np.random.default_rng(1)
    for _ in range(300):
        one, other = (
            crossing(rng.integers(0, rng.integers(2, 9), (2, rng.integers(1, 40))))
            for _ in range(2)
        )
        for find in (find_cut, find_merged, find_emptied):
            if found := find(one, other):
                assert 0 <= found.chance <= 1
                assert math.isfinite(found.ratio)
