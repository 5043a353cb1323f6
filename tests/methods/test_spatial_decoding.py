"""From seeds to objects: drawn masks, the published procedure as oracle, any cut into blocks."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellulus.methods.decoder import Observation
from cellulus.methods.spatial_embedding.decoding import FOREGROUNDS, SEEDS, SeedDecoder
from cellulus.methods.spatial_embedding.settings import SpatialEmbedding
from cellulus.ops.labels import keep_largest, relabel
from cellulus.pipeline.decoding import open_ended
from cellulus.space import blocks
from drawn_masks import DIAMETER, Masks, draw
from published_masks_clustering import cluster

SCENES = [
    ((200, 210), (1.0, 1.0)),
    ((150, 300), (1.6, 0.5)),
    ((50, 60, 64), (1.0, 1.0, 1.0)),
    ((20, 80, 90), (2.5, 0.8, 0.8)),
]
LEAST = 20
"""Smaller objects are crumbs [voxel]."""


def decoder(scene, **changes):
    return SeedDecoder(SpatialEmbedding(**changes), scene.truth.ndim, scene.diameter)


def decode(scene, **changes):
    return decoder(scene, **changes)(scene.observe())


def survey(made, scene, core, *, shuffle=None):
    """Let a decoder learn from blocks what it wants to know of the whole."""
    shape = scene.truth.shape
    for halo in made.surveys:
        around = tuple(math.ceil(halo / s) + 1 if halo else 0 for s in scene.spacing)
        parts = [
            made.survey(scene.observe(block.outer), open_ended(block.core, shape))
            for block in blocks(shape, core, around)
        ]
        assert all(isinstance(v, np.ndarray) for part in parts for v in part.values())
        if shuffle:
            shuffle.shuffle(parts)
        made.learn(parts)
    return made


def named(objects, region=...):
    """The anchor that each voxel belongs to."""
    nowhere = np.full((1, objects.anchors.shape[1]), -1000)
    return np.vstack([nowhere, objects.anchors])[objects.labels[region]]


def check_cut(scene, core, shuffle=None, **changes):
    """Every block, decoded alone, says of its voxels what the whole says; returns the whole."""
    shape = scene.truth.shape
    whole = decode(scene, **changes)
    expected = named(whole)
    made = survey(decoder(scene, **changes), scene, core, shuffle=shuffle)
    halo = tuple(math.ceil(made.halo / s) + 1 for s in scene.spacing)
    for block in blocks(shape, core, halo):
        found = made(scene.observe(block.outer))
        check(found, tuple(s.stop - s.start for s in block.outer))
        assert np.array_equal(named(found, block.inner), expected[block.core])
    return whole


def check(found, shape):
    """What the contract of `Objects` says."""
    assert found.labels.shape == shape
    assert found.labels.dtype == np.uint32
    assert found.anchors.dtype == np.int64
    assert found.anchors.shape == (len(found.anchors), len(shape))
    assert np.array_equal(np.unique(found.anchors, axis=0), found.anchors)
    assert found.labels.max(initial=0) <= len(found.anchors)


def overlaps(truth, labels):
    """IoU of every true object with every label."""
    count = labels.max() + 1
    pairs = truth.astype(np.int64) * count + labels
    table = np.bincount(pairs.ravel(), minlength=(truth.max() + 1) * count).reshape(-1, count)
    union = table.sum(axis=1)[:, None] + table.sum(axis=0)[None] - table
    return (table / np.maximum(union, 1))[1:, 1:]


def large(labels):
    """Labels without crumbs."""
    sizes = np.bincount(labels.ravel())
    return relabel(np.where(sizes[labels] >= LEAST, labels, np.uint32(0)))


@pytest.mark.parametrize("noise", [0.5, 1.0])
@pytest.mark.parametrize(("shape", "spacing"), SCENES)
@pytest.mark.parametrize("seed", [1, 2])
def test_it_agrees_with_the_published_procedure(shape, spacing, noise, seed):
    """Every object has its partner, and there are no others."""
    scene = draw(shape, spacing, seed=seed, noise=noise)
    published = large(cluster(scene.prediction, spacing))
    found = large(decode(scene).labels)
    assert published.max() >= 38
    assert found.max() == published.max()
    assert overlaps(published, found).max(axis=1).min() >= 0.9
    assert overlaps(scene.truth, found).max(axis=1).mean() >= 0.9


@pytest.mark.parametrize(("shape", "spacing"), SCENES)
def test_where_errors_are_large_it_stays_close_to_the_published_procedure(shape, spacing):
    """Then objects claim voxels of others: these go to the last found there, the best here."""
    scene = draw(shape, spacing, seed=1, noise=2.0)
    published = large(cluster(scene.prediction, spacing))
    found = large(decode(scene).labels)
    assert abs(int(found.max()) - int(published.max())) <= 0.05 * published.max()
    assert (overlaps(published, found).max(axis=1) >= 0.9).mean() >= 0.9
    truth = [overlaps(scene.truth, labels).max(axis=1).mean() for labels in (found, published)]
    assert truth[0] >= truth[1] - 0.01


CUT = {2: (90, 110), 3: (14, 50, 44)}


@given(
    seed=st.integers(0, 30),
    ndim=st.sampled_from([2, 3]),
    zooms=st.tuples(*[st.sampled_from([0.7, 1.0, 1.5])] * 3),
    cores=st.tuples(*[st.integers(9, 50)] * 3),
    noise=st.sampled_from([0.7, 2.0, 4.0]),
    chance=st.randoms(use_true_random=False),
)
@settings(max_examples=20)
def test_blocks_give_what_the_whole_gives(seed, ndim, zooms, cores, noise, chance):
    """Any cutting; regions without a prediction; objects on faces, edges and corners of blocks."""
    shape = CUT[ndim]
    scene = draw(shape, zooms[:ndim], diameter=7.0, seed=seed, noise=noise, tries=200)
    rng = np.random.default_rng(seed)
    for _ in range(2):
        corner = rng.integers(0, shape)
        hole = tuple(slice(c, c + int(rng.integers(3, 15))) for c in corner)
        scene.prediction[(slice(None), *hole)] = np.nan
    core = tuple(min(n, c) for n, c in zip(shape, cores, strict=False))
    whole = check_cut(scene, core, shuffle=chance)
    assert len(np.unique(whole.labels)) > 20


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.8, 1.5), (1.0, 1.0, 1.0), (2.0, 0.9, 0.9)])
def test_an_object_on_each_corner_and_face_of_the_blocks_is_found_once(spacing):
    core = tuple(round(1.5 * DIAMETER / s) for s in spacing)
    shape = tuple(3 * n for n in core)
    cuts = [np.arange(1.0, 3.0, 0.5) * 1.5 * DIAMETER] * len(spacing)
    centres = np.array(list(itertools.product(*(cut[::2] for cut in cuts))))
    centres = np.concatenate([centres, centres[:1] - 0.75 * DIAMETER * np.eye(len(spacing))])
    scene = painted(shape, spacing, [(c, DIAMETER / 3) for c in centres])
    whole = check_cut(scene, core)
    assert len(np.unique(whole.labels)) == len(centres) + 1 == scene.truth.max() + 1
    assert overlaps(scene.truth, relabel(whole.labels)).max(axis=1).min() == 1


def painted(shape, spacing, balls, *, margin=0.3):
    """Balls ``(centre, radius)`` without any error, and a seediness that falls to the rim."""
    axes = [(np.arange(n) + 0.5) * s for n, s in zip(shape, spacing, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    prediction = np.zeros((2 * len(shape) + 1, *shape), np.float32)
    prediction[len(shape) : -1] = margin * DIAMETER
    truth = np.zeros(shape, np.uint32)
    for number, (centre, radius) in enumerate(balls, start=1):
        to_centre = np.reshape(centre, (-1, *[1] * len(shape))) - points
        out = np.sqrt((to_centre**2).sum(axis=0)) / radius
        inside = (out <= 1) & (truth == 0)
        truth[inside] = number
        prediction[: len(shape), inside] = to_centre[:, inside]
        prediction[-1, inside] = 1 - 0.3 * out[inside]
    return Masks(truth, prediction, spacing)


def test_a_stray_piece_is_dropped_wherever_blocks_are_cut():
    """It points to an object that lies two diameters away, and is nobody else's."""
    scene = painted((90, 90), (1.0, 1.0), [((45, 45), 8)])
    stray = (slice(43, 46), slice(73, 76))
    scene.prediction[0, *stray] = 0.5
    scene.prediction[1, *stray] = -29
    scene.prediction[-1, *stray] = 0.7
    for core in ((90, 90), (30, 33), (50, 74)):
        whole = check_cut(scene, core)
        assert np.array_equal(whole.labels > 0, scene.truth > 0)


@pytest.mark.parametrize("core", [(50, 33), (17, 38), (50, 40), (50, 100)])
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.7, 1.0)])
def test_of_two_pieces_the_larger_stays_in_blocks_that_hold_the_smaller_alone(core, spacing):
    """Both lie in the object's window, as far apart as can be."""
    prediction = np.zeros((5, 50, 70), np.float32)
    prediction[2:4] = 4.0
    x = np.arange(70) + 0.5
    y = (np.arange(50) + 0.5) * spacing[0]
    pieces = (slice(20, 30), slice(15, 20)), (slice(24, 26), slice(43, 45))
    for piece, value in zip(pieces, (0.99, 0.7), strict=True):
        prediction[0, *piece] = 25 * spacing[0] - y[piece[0], None]
        prediction[1, *piece] = 30 - x[piece[1]]
        prediction[-1, *piece] = value
    truth = np.zeros((50, 70), np.uint32)
    truth[pieces[0]] = 1
    whole = check_cut(Masks(truth, prediction, spacing), core)
    assert np.array_equal(whole.labels > 0, truth > 0)


def bar(length, width=6, shape=(60, 120)):
    """An object too long to be compact, of which two voxels lie apart from the rest."""
    prediction = np.zeros((5, *shape), np.float32)
    prediction[2:4] = 0.5 * DIAMETER
    y, x = np.indices(shape) + 0.5
    inside = (abs(y - 30) <= width / 2) & (abs(x - 60) <= length / 2)
    apart = (abs(y - 44) <= 1) & (abs(x - 60) <= 1)
    for there in (inside, apart):
        prediction[0, there], prediction[1, there] = (30 - y)[there], (60 - x)[there]
        prediction[-1, there] = np.where(there is inside, 0.99 - 0.001 * abs(60 - x), 0.6)[there]
    return Masks(inside.astype(np.uint32), prediction, (1.0, 1.0))


@pytest.mark.parametrize(("length", "stays"), [(20, False), (28, False), (32, True), (60, True)])
@pytest.mark.parametrize("core", [(60, 40), (13, 25), (60, 120)])
def test_an_object_wider_than_its_window_keeps_its_pieces(length, stays, core):
    """Otherwise, blocks that see parts of it would disagree about its largest piece."""
    scene = bar(length)
    whole = check_cut(scene, core)
    assert (whole.labels > 0)[scene.truth > 0].all()
    assert len(np.unique(whole.labels)) == 2
    assert (whole.labels > 0)[44, 60] == stays


def test_objects_that_touch_with_the_same_seediness_are_both_found():
    """Where seediness is even, it has no maximum: a neighbour of another object decides nothing."""
    prediction = np.zeros((5, 20, 40), np.float32)
    prediction[2:4], prediction[-1] = 4, 1
    y, x = np.indices((20, 40)) + 0.5
    prediction[0], prediction[1] = 10 - y, np.where(x < 20, 10, 30) - x
    scene = Masks(np.where(x < 20, 1, 2).astype(np.uint32), prediction, (1.0, 1.0))
    found = check_cut(scene, (7, 11))
    assert np.array_equal(relabel(found.labels), scene.truth)


def test_what_was_mostly_claimed_before_is_no_object():
    """A poor seed beside an object claims a few voxels of its own, and most of the object's."""
    scene = painted((50, 50), (1.0, 1.0), [((25, 25), 8)])
    poor = (slice(25, 26), slice(36, 39))  # outside of the object
    scene.prediction[0, *poor], scene.prediction[1, *poor] = 0.0, -6.5
    scene.prediction[2:4, *poor], scene.prediction[-1, *poor] = 0.9 * DIAMETER, 0.92
    made = survey(decoder(scene), scene, (50, 50))
    assert len(made.claimants) == 1
    assert np.array_equal(made(scene.observe()).labels > 0, scene.truth > 0)
    # Were it accepted, its wide margins would win the rim of the object from it.
    assert cluster(scene.prediction, (1.0, 1.0)).max() == 1


def test_a_sweep_of_thresholds_finds_what_each_choice_finds():
    scene = draw((120, 130), seed=3, noise=2.5)
    counts = set()
    swept = list(decoder(scene).sweep(scene.observe()))
    assert [tuple(choice.values()) for choice, _ in swept] == list(
        itertools.product(FOREGROUNDS, SEEDS)
    )
    for choice, objects in swept:
        alone = decode(scene, **choice)
        assert np.array_equal(named(objects), named(alone))
        counts.add(len(np.unique(alone.labels)))
    assert len(counts) > 5


def test_a_threshold_that_is_set_is_not_tuned():
    scene = draw((60, 60), seed=3)
    swept = decoder(scene, foreground=0.55).sweep(scene.observe())
    assert [choice for choice, _ in swept] == [{"foreground": 0.55, "seed": seed} for seed in SEEDS]
    (only,) = decoder(scene, foreground=0.55, seed=0.45).sweep(scene.observe())
    assert only[0] == {"foreground": 0.55, "seed": 0.45}
    assert np.array_equal(only[1].labels, decode(scene, foreground=0.55, seed=0.45).labels)


@pytest.mark.parametrize("ndim", [2, 3])
def test_nothing_is_found_in_nothing(ndim):
    shape = (12,) * ndim
    for value in (np.nan, 0.0):
        prediction = np.full((2 * ndim + 1, *shape), value, np.float32)
        scene = Masks(np.zeros(shape, np.uint32), prediction, (1.0,) * ndim)
        assert not check_cut(scene, (5,) * ndim).labels.any()
    one = Masks(np.zeros((1,) * ndim, np.uint32), np.ones((2 * ndim + 1, *(1,) * ndim), np.float32),
                (1.0,) * ndim)  # fmt: skip
    assert check_cut(one, (1,) * ndim).labels.all()


def test_voxels_without_a_prediction_do_not_spoil_their_neighbours():
    scene = painted((40, 40), (1.0, 1.0), [((20, 20), 8)])
    gap = (slice(None), slice(14, 26), slice(0, 16))
    scene.prediction[gap] = np.nan
    found = check_cut(scene, (11, 40)).labels > 0
    expected = scene.truth > 0
    expected[gap[1:]] = False
    assert np.array_equal(found, expected)


def test_the_origin_shifts_anchors_and_nothing_else():
    """By whole canonical voxels."""
    scene = draw((80, 90), seed=4)
    here, made = scene.observe(), decoder(scene)
    there = Observation(here.prediction, here.image, here.spacing, (400, 10_000))
    first, second = made(here), made(there)
    assert first.labels.any()
    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(first.anchors + np.array(there.origin), second.anchors)


def test_twice_is_the_same_and_nothing_is_changed():
    scene = draw((90, 80), seed=5, noise=2.0)
    kept, made = scene.prediction.copy(), decoder(scene)
    first, second = made(scene.observe()), made(scene.observe())
    assert np.array_equal(named(first), named(second))
    assert np.array_equal(scene.prediction, kept)
    survey(made, scene, (40, 40))
    assert np.array_equal(named(made(scene.observe())), named(first))


def test_compact_objects_are_of_one_piece():
    scene = draw((150, 160), seed=6, noise=3.0)
    labels = relabel(decode(scene).labels)
    assert (keep_largest(labels) == labels).mean() > 0.995


def test_it_says_beforehand_how_far_it_looks():
    made = SeedDecoder(SpatialEmbedding(), 3, DIAMETER)
    reach = SpatialEmbedding().reach(DIAMETER)
    assert (made.surveys, made.halo) == (reach.surveys, reach.halo) == ((1.0, 0.0), 2 * DIAMETER)
    assert math.isinf(reach.recall)
