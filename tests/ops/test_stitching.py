"""Which objects are one: against loops over voxels and sets, chains refused, any order the same."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cellulus.errors import InputError
from cellulus.ops.joining import Extents
from cellulus.ops.stitching import SAME, Links, find_links, unite

ids_of = st.integers(0, 4)
ENDLESS = 10**9


def voxels(labels, number):
    return {tuple(p) for p in np.argwhere(labels == number)}


def slowly_linked(first, second, least):
    """Sets of voxels, every pair: an object's best partner must think the same of it."""
    iou = {}
    for a, b in itertools.product(np.unique(first[first > 0]), np.unique(second[second > 0])):
        here, there = voxels(first, a), voxels(second, b)
        if here & there:
            iou[int(a), int(b)] = (len(here & there), len(here | there))
    share = {pair: both / either for pair, (both, either) in iou.items()}

    def best(side, number):
        return min((p for p in share if p[side] == number), key=lambda p: (-share[p], p[1 - side]))

    return {
        pair
        for pair, (both, either) in iou.items()
        if best(0, pair[0]) == pair == best(1, pair[1]) and 10 * both >= 10 * least * either
    }


@settings(max_examples=150)
@given(data=st.data(), least=st.sampled_from([0.1, 0.3, 0.5, 1.0]))
def test_links_are_those_of_sets_of_voxels(data, least):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=5))
    first, second = (data.draw(hnp.arrays(np.uint32, shape, elements=ids_of)) for _ in range(2))
    found = find_links(first, second, least)
    pairs = list(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert set(pairs) == slowly_linked(first, second, least)
    assert pairs == sorted(pairs)
    assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs)
    for (a, b), iou in zip(pairs, found.iou, strict=True):
        here, there = voxels(first, a), voxels(second, b)
        assert iou == len(here & there) / len(here | there)


@settings(max_examples=50)
@given(data=st.data())
def test_links_are_mutual_and_a_plane_is_an_image(data):
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=6))
    first, second = (data.draw(hnp.arrays(np.uint32, shape, elements=ids_of)) for _ in range(2))
    there, back = find_links(first, second), find_links(second, first)
    assert set(zip(*there[:2], strict=True)) == set(zip(*back[1::-1], strict=True))
    deep = find_links(first[None], second[None])
    assert all(np.array_equal(a, b) for a, b in zip(there, deep, strict=True))


def test_the_threshold_counts_and_touching_does_not():
    first, second = np.zeros((2, 1, 20), np.uint32)
    first[0, :10], first[0, 10:] = 7, 9
    second[0, :3], second[0, 10:12] = 70_000, 9  # 3 of 10 voxels, and 2 of 10
    found = find_links(first, second)
    assert SAME == 0.3
    assert (found.first.tolist(), found.second.tolist()) == ([7], [70_000])
    assert len(find_links(first, np.roll(first, 10)).iou) == 2
    assert len(find_links(first[:, :10], second[:, 10:]).iou) == 0


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InputError):
        find_links(np.zeros((2, 3), np.uint32), np.zeros((3, 2), np.uint32))
    with pytest.raises(InputError):
        find_links(np.zeros((2, 3), np.uint32), np.zeros((2, 3), np.uint32), 0.0)


def linked(pairs, iou=None):
    ends = np.array(pairs, np.int64).reshape(-1, 2)
    return Links(ends[:, 0], ends[:, 1], np.ones(len(ends)) if iou is None else np.array(iou))


def in_a_row(count, width=10):
    """Objects that lie side by side along x."""
    starts = np.stack([np.zeros(count, np.int64), np.arange(count) * width], axis=1)
    return Extents(np.full(count, width), starts, np.add(starts, (1, width)))


def slowly_united(links, ids, extents, widest):
    """Sets of ids that grow link by link, the strongest first."""
    boxes = {int(i): (tuple(a), tuple(b))
             for i, a, b in zip(ids, extents.starts, extents.stops, strict=True)}  # fmt: skip
    groups = {i: frozenset([i]) for i in boxes}
    refused = 0
    ranked = sorted(zip(*links, strict=True), key=lambda k: (-k[2], min(k[:2]), max(k[:2])))
    for a, b, _ in ranked:
        if a not in groups or b not in groups or groups[a] == groups[b]:
            continue
        both = groups[a] | groups[b]
        start = np.min([boxes[i][0] for i in both], axis=0)
        stop = np.max([boxes[i][1] for i in both], axis=0)
        if (stop - start > widest).any():
            refused += 1
            continue
        groups.update(dict.fromkeys(both, both))
    return [min(groups[int(i)]) for i in ids], refused


@settings(max_examples=200)
@given(data=st.data(), widest=st.sampled_from([(3, 3), (6, 4), (12, 12), (ENDLESS, ENDLESS)]))
def test_what_is_united_is_what_sets_say(data, widest):
    count = data.draw(st.integers(0, 12))
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    ids = np.array(sorted(rng.sample(range(1, 2**40), count)), np.int64)
    starts = np.array([[rng.randrange(8), rng.randrange(8)] for _ in ids]).reshape(-1, 2)
    stops = starts + np.array([[rng.randrange(1, 4)] * 2 for _ in ids]).reshape(-1, 2)
    extents = Extents(np.ones(count, np.int64), starts, stops)
    some = [*ids.tolist(), 5, 2**50]  # two that are not there
    pairs = [rng.sample(some, 2) for _ in range(data.draw(st.integers(0, 20)))]
    links = linked(pairs, [rng.choice([0.3, 0.5, 0.9]) for _ in pairs])
    inputs = (*links, ids, starts, stops)
    kept = [a.copy() for a in inputs]
    found = unite(links, ids, extents, widest)
    names, refused = slowly_united(links, ids, extents, widest)
    assert found.names.tolist() == names
    assert len(found.refused) == refused
    assert all(found.names[a] != found.names[b] for a, b in found.refused)
    assert all(np.array_equal(a, b) for a, b in zip(kept, inputs, strict=True))
    order = rng.sample(range(len(pairs)), len(pairs))
    again = unite(Links(*(column[order] for column in links)), ids, extents, widest)
    assert np.array_equal(again.names, found.names)


def test_objects_over_many_arrays_are_one():
    """Each array knows but its neighbour; the smallest id names all of them."""
    ids = np.arange(100, 200)
    pairs = [(i + 1, i) for i in ids[:-1]]
    random.Random(0).shuffle(pairs)
    found = unite(linked(pairs), ids, in_a_row(100), (1, 1000))
    assert (found.names == 100).all()
    assert len(found.refused) == 0


def test_chains_are_cut_at_their_weakest_links():
    ids = np.arange(6)
    pairs, iou = [(i, i + 1) for i in range(5)], [0.9, 0.8, 0.3, 0.8, 0.9]
    found = unite(linked(pairs, iou), ids, in_a_row(6), (1, 30))
    assert found.names.tolist() == [0, 0, 0, 3, 3, 3]
    assert found.refused.tolist() == [[2, 3]]


def test_the_largest_ids_that_there_can_be():
    ids = np.array([1, 2**63 - 2, 2**63 - 1])
    found = unite(linked([ids[1:]]), ids, in_a_row(3), (1, 100))
    assert found.names.tolist() == [1, 2**63 - 2, 2**63 - 2]


def test_without_links_or_objects_nothing_happens():
    found = unite(Links.of([]), np.arange(3), in_a_row(3), (1, 1))
    assert found.names.tolist() == [0, 1, 2]
    found = unite(linked([(1, 2)]), np.zeros(0, np.int64), in_a_row(0), (1, 1))
    assert len(found.names) == len(found.refused) == 0


def test_links_are_put_together():
    parts = [linked([(1, 2)], [0.5]), Links.of([]), linked([(3, 4), (5, 6)])]
    found = Links.of(parts)
    assert found.first.tolist() == [1, 3, 5]
    assert found.second.tolist() == [2, 4, 6]
    assert found.iou.tolist() == [0.5, 1, 1]
    assert found.first.dtype == np.int64
