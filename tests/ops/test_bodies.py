"""Labels to bodies: where they are cut and joined, and that place and cutting do not matter."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from cellulus.ops.bodies import regroup

OPENNESS, BLUR = 0.88, 1.0


def ball(shape, centre, radius, spacing=None):
    spacing = spacing or (1.0,) * len(shape)
    away = sum(
        ((g - c) * s) ** 2 for g, c, s in zip(np.indices(shape), centre, spacing, strict=True)
    )
    return away <= radius**2


def bodies_of(labels, spacing=None, openness=OPENNESS):
    return regroup(labels, spacing or (1.0,) * labels.ndim, openness, BLUR)


def rugged(shape, seed):
    """Irregular labels with necks, slivers, holes and touching neighbours."""
    noise = np.random.default_rng(seed).normal(size=(2, *shape))
    smooth = [ndimage.gaussian_filter(n, sigma) for n, sigma in zip(noise, (3, 5), strict=True)]
    inside = smooth[0] > 0
    return np.where(inside, 1 + (smooth[1] > 0), 0).astype(np.uint32)


def neighbours(voxel, there, faces_only):
    for step in itertools.product((-1, 0, 1), repeat=len(voxel)):
        other = tuple(v + s for v, s in zip(voxel, step, strict=True))
        if other in there and (not faces_only or sum(map(abs, step)) == 1):
            yield other


def parents(piece, depth, openness):
    """Which deeper piece each one joins: the one it is most open to, if it is open enough."""
    deepest = {}
    for voxel, summit in piece.items():
        deepest[summit] = max(deepest.get(summit, 0), depth[voxel])
    rank = {summit: (-deepest[summit], summit) for summit in deepest}  # the deepest first
    choices = {}
    for voxel, summit in piece.items():
        for other in neighbours(voxel, piece, faces_only=True):
            deeper = piece[other]
            if rank[deeper] < rank[summit]:
                share = min(depth[voxel], depth[other]) / deepest[summit]
                choices.setdefault(summit, []).append((-share, rank[deeper], deeper))
    best = {summit: min(found) for summit, found in choices.items()}
    return {summit: deeper for summit, (share, _, deeper) in best.items() if -share > openness}


def slowly(labels, spacing, openness, blur):
    """The rule as the module states it, voxel by voxel."""
    depth = ndimage.distance_transform_edt(labels > 0, sampling=spacing).astype(np.float32)
    hill = ndimage.gaussian_filter(depth, [blur / s for s in spacing], mode="nearest")
    voxels = [tuple(v) for v in np.argwhere(labels > 0).tolist()]
    there = set(voxels)

    def climb(voxel):
        own = [v for v in neighbours(voxel, there, False) if labels[v] == labels[voxel]]
        best = min(own, key=lambda v: (-hill[v], v))
        return voxel if best == voxel else climb(best)

    piece = {voxel: climb(voxel) for voxel in voxels}
    joined = parents(piece, depth, openness)

    def root(summit):
        return root(joined[summit]) if summit in joined else summit

    summits = sorted({root(summit) for summit in piece.values()})
    bodies = np.zeros(labels.shape, np.uint32)
    for voxel in voxels:
        bodies[voxel] = 1 + summits.index(root(piece[voxel]))
    return bodies, np.array(summits)


def check(labels, bodies, summits):
    """What holds of every result."""
    assert bodies.shape == labels.shape
    assert bodies.dtype == np.uint32
    assert summits.dtype == np.int64
    assert summits.shape == (len(summits), labels.ndim)
    assert np.array_equal(bodies > 0, labels > 0)
    assert np.array_equal(np.unique(bodies[bodies > 0]), np.arange(1, len(summits) + 1))
    assert np.array_equal(bodies[tuple(summits.T)], np.arange(1, len(summits) + 1))
    assert np.array_equal(np.unique(summits, axis=0), summits), "unique and ascending"


@pytest.mark.parametrize("shape", [(70, 90), (24, 30, 34)])
@pytest.mark.parametrize("seed", range(4))
def test_summits_are_unique_ascending_and_inside_their_bodies(shape, seed):
    labels = rugged(shape, seed)
    bodies, summits = bodies_of(labels)
    assert len(summits) > 5
    check(labels, bodies, summits)


@pytest.mark.parametrize("openness", [0.1, 0.5, OPENNESS])
@pytest.mark.parametrize(
    ("shape", "spacing", "blur"),
    [
        ((40, 45), (1.0, 1.0), 0.2),
        ((40, 45), (1.0, 1.0), 1.0),
        ((24, 60), (2.5, 0.7), 0.5),
        ((9, 22, 20), (3.0, 1.0, 1.5), 0.4),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_the_rule_says(shape, spacing, blur, openness, seed):
    labels = rugged(shape, seed)
    bodies, summits = regroup(labels, spacing, openness, blur)
    expected, tops = slowly(labels, spacing, openness, blur)
    assert np.array_equal(summits, tops)
    assert np.array_equal(bodies, expected)


@pytest.mark.parametrize("ndim", [2, 3])
def test_two_balls_with_a_neck_are_cut(ndim):
    shape, middle = (30, 32, 60)[-ndim:], (15, 16)[-(ndim - 1) :]
    left, right = (ball(shape, (*middle, x), 12) for x in (16, 38))
    bodies, summits = bodies_of((left | right).astype(np.uint32))
    assert len(summits) == 2
    x = np.indices(shape)[-1]
    assert np.array_equal(bodies == 1, (left | right) & (x <= 27)) or np.array_equal(
        bodies == 1, (left | right) & (x < 27)
    )
    assert np.abs(summits - np.array([(*middle, 16), (*middle, 38)])).max() <= 1


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_convex_body_split_by_labels_is_joined(ndim):
    shape = (32, 34, 36)[-ndim:]
    body = ball(shape, (16, 17, 18)[-ndim:], 13)
    halves = np.where(np.indices(shape)[-1] < 20, 5, 9) * body
    bodies, summits = bodies_of(halves.astype(np.uint32))
    assert np.array_equal(bodies, body)
    assert len(summits) == 1


def test_how_open_is_enough_is_the_callers_choice():
    two = (ball((40, 70), (20, 20), 14) | ball((40, 70), (20, 42), 14)).astype(np.uint32)
    assert len(bodies_of(two, openness=0.99)[1]) == 2
    assert len(bodies_of(two, openness=0.3)[1]) == 1


@pytest.mark.parametrize(("sliver", "left"), [(2, 3), (3, 2)])
def test_a_sliver_between_two_bodies_does_not_join_them(sliver, left):
    """Where it is open to both, it goes to one of them."""
    labels = np.zeros((40, 90), np.uint32)
    labels[ball(labels.shape, (20, 25), 18)] = 1
    labels[ball(labels.shape, (20, 64), 18)] = 2
    labels[8:33, 44 : 44 + sliver] = 3
    bodies, summits = bodies_of(labels)
    check(labels, bodies, summits)
    assert bodies[20, 25] != bodies[20, 64]
    assert len(summits) == left


def test_labels_that_do_not_touch_stay_apart():
    labels = np.zeros((20, 40), np.uint32)
    labels[4:16, 4:16] = labels[4:16, 20:32] = 7  # one label, two pieces
    bodies, summits = bodies_of(labels)
    assert len(summits) == 2
    check(labels, bodies, summits)


@pytest.mark.parametrize("shape", [(50, 60), (18, 22, 26)])
def test_a_body_does_not_know_where_it_lies(shape):
    labels = np.pad(rugged(shape, 3), 1)
    shift = (3, 5, 8)[: len(shape)]
    moved = np.pad(labels, [(s, 2) for s in shift])
    bodies, summits = bodies_of(labels)
    there, moved_summits = bodies_of(moved)
    inner = tuple(slice(s, s + n) for s, n in zip(shift, labels.shape, strict=True))
    assert np.array_equal(there[inner], bodies)
    assert np.array_equal(moved_summits, summits + shift)


def test_an_image_is_a_volume_of_one_plane():
    labels = rugged((60, 70), 1)
    bodies, summits = bodies_of(labels)
    for axis in range(3):
        deep, deep_summits = regroup(np.expand_dims(labels, axis), (1, 1, 1), OPENNESS, BLUR)
        assert np.array_equal(deep.squeeze(axis), bodies)
        assert np.array_equal(np.delete(deep_summits, axis, axis=1), summits)


def test_what_counts_is_the_shape_in_space_not_in_voxels():
    """A ball seen through flat voxels is an ellipsoid of voxels, and still one ball."""
    spacing, shape = (3.0, 1.0, 1.0), (16, 44, 76)
    two = [ball(shape, (8, 22, x), 16, spacing) for x in (22, 52)]
    labels = (two[0] | two[1]).astype(np.uint32)
    bodies, summits = bodies_of(labels, spacing)
    assert len(summits) == 2
    assert bodies[8, 22, 22] != bodies[8, 22, 52]
    # Proportions alone decide: another unit changes nothing.
    other = regroup(labels, tuple(0.25 * s for s in spacing), OPENNESS, 0.25 * BLUR)
    assert np.array_equal(other[0], bodies)


@pytest.mark.parametrize("shape", [(1, 1), (6, 7), (3, 6, 7)])
def test_a_region_inside_an_object_is_one_body(shape):
    """There is no background to measure from, and none is invented."""
    bodies, summits = bodies_of(np.full(shape, 4, np.uint32))
    assert (bodies == 1).all()
    assert summits.tolist() == [[0] * len(shape)]
    halves = np.ones(shape, np.uint32)
    halves[..., shape[-1] // 2 :] = 2
    assert (bodies_of(halves)[0] == 1).all()


def test_the_edge_of_the_region_is_no_background():
    """Half a ball has its summit at the cut, where the ball has it."""
    whole = ball((41, 60), (20, 30), 15).astype(np.uint32)
    summits = bodies_of(whole[:, 30:])[1]
    assert len(summits) == 1
    assert summits[0].tolist() == [20, 0]


@pytest.mark.parametrize("shape", [(0, 5), (4, 5), (2, 4, 5)])
def test_nothing_gives_nothing(shape):
    bodies, summits = bodies_of(np.zeros(shape, np.uint32))
    assert bodies.shape == shape
    assert not bodies.any()
    assert summits.shape == (0, len(shape))


@pytest.mark.parametrize(("shape", "margin"), [((160, 170), 40), ((50, 54, 60), 18)])
def test_a_block_with_a_margin_gives_what_the_whole_gives(shape, margin):
    """Bodies of bounded width do not see farther than their own extent and their neighbours'."""
    rng = np.random.default_rng(5)
    labels = np.zeros(shape, np.uint32)
    for number in range(1, 90):
        centre, radius = rng.random(len(shape)) * shape, rng.uniform(2, 5)
        labels[ball(shape, centre, radius)] = number
    bodies, summits = bodies_of(labels)
    assert len(summits) > 20
    for axis in range(len(shape)):
        start = shape[axis] // 3
        stop = min(start + 2 * margin + 6, shape[axis])
        region = tuple(slice(start, stop) if a == axis else slice(None) for a in range(len(shape)))
        core = tuple(slice(margin, margin + 6) if a == axis else slice(None)
                     for a in range(len(shape)))  # fmt: skip
        part, part_summits = bodies_of(labels[region])
        shift = np.array([start if a == axis else 0 for a in range(len(shape))])
        found = np.vstack([shift * 0 - 1, part_summits + shift])[part[core]]
        expected = np.vstack([shift * 0 - 1, summits])[bodies[region][core]]
        assert np.array_equal(found, expected)


def test_twice_is_the_same():
    labels = rugged((80, 80), 2)
    first, second = bodies_of(labels), bodies_of(labels.copy())
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
