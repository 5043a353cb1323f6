"""What is annotated moves with the image: labels, centres inside of the crop and outside."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cellulus.data.augment import Augmentation, displacement, follow, turn, warp
from cellulus.data.batches import Crop
from cellulus.data.masks import IGNORED

SHAPES = st.lists(st.integers(1, 40), min_size=2, max_size=3).map(tuple)


def every_pair(ndim):
    return tuple((a, b) for a in range(ndim) for b in range(a))


def crop_of_balls(shape, seed, count=6, radius=5.0):
    """Balls with their middles, and an image that shows where each voxel came from."""
    rng, labels = np.random.default_rng(seed), np.zeros(shape, np.int32)
    centres = rng.uniform(-radius / 2, np.array(shape) + radius / 2, (count, len(shape)))
    middles = np.stack(np.indices(shape)) + 0.5
    for number, centre in enumerate(centres, start=1):
        away = ((middles - centre.reshape(-1, *[1] * len(shape))) ** 2).sum(axis=0)
        labels[(away <= radius**2) & (labels == 0)] = number
    labels[rng.random(shape) < 0.02] = IGNORED
    return Crop(middles.astype(np.float32), labels, centres.astype(np.float32))


@given(SHAPES, st.integers(0, 10**6))
@settings(max_examples=60)
def test_a_turn_moves_centres_with_the_voxels(shape, seed):
    crop = crop_of_balls(shape, seed)
    turned = turn(crop, every_pair(len(shape)), np.random.default_rng(seed))
    # The image tells where each voxel was; there the labels must be found, and centres likewise.
    before = tuple(turned.image.astype(int))
    assert np.array_equal(turned.labels, crop.labels[before])
    for was, now in zip(crop.centres, turned.centres, strict=True):
        away = [
            np.sort(np.abs(c - np.array(n) / 2))
            for c, n in ((was, shape), (now, turned.labels.shape))
        ]
        assert np.allclose(*away, atol=1e-4)
        voxel = tuple(np.floor(now).astype(int))
        if all(0 <= v < n for v, n in zip(voxel, turned.labels.shape, strict=True)):
            found = turned.image[(slice(None), *voxel)]
            offset = np.sort(np.abs(found - was))
            assert np.allclose(offset, np.sort(np.abs(np.array(voxel) + 0.5 - now)), atol=1e-4)


@pytest.mark.parametrize("ndim", [2, 3])
def test_every_turn_takes_a_centre_along(ndim):
    """All turns of a cube: a centre in the middle of a voxel stays in that voxel."""
    labels = np.arange(1, 3**ndim + 1, dtype=np.int32).reshape((3,) * ndim)
    centres = (np.argwhere(labels) + 0.5).astype(np.float32)
    crop, rng = Crop(labels[None].astype(np.float32), labels, centres), np.random.default_rng(0)
    seen = set()
    for _ in range(1500):
        found = turn(crop, every_pair(ndim), rng)
        at = tuple(np.floor(found.centres).astype(int).T)
        assert np.array_equal(found.labels[at], np.arange(1, 3**ndim + 1))
        assert np.array_equal(found.image[0], found.labels)
        seen.add(found.labels.tobytes())
    assert len(seen) == {2: 8, 3: 48}[ndim]


def brute(field, place):
    """Where a place is shown: the fixed point, looked for on a fine grid around each voxel."""
    axes = [np.arange(-9, n + 9, 0.05) for n in field.shape[1:]]
    grid = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(len(axes), -1)
    near = np.abs(grid - place[:, None]).max(axis=0) < 4
    grid = grid[:, near]
    shown = grid + [ndimage.map_coordinates(u, grid, order=1, mode="nearest") for u in field]
    return grid[:, ((shown - place[:, None]) ** 2).sum(axis=0).argmin()]


@pytest.mark.parametrize("deviation", [0.5, 1.5])
def test_places_are_followed_through_a_warp_as_brute_force_says(deviation):
    """Also beyond the edge, where the field goes on as it is there."""
    field = displacement((30, 33), deviation, np.random.default_rng(1))
    places = np.random.default_rng(2).uniform(-1, 32, (40, 2)).astype(np.float32)
    found = follow(places, field) - 0.5
    for place, at in zip(places - 0.5, found, strict=True):
        assert np.abs(brute(field, place.astype(float)) - at).max() < 0.06  # the grid's own 0.05


@given(SHAPES, st.sampled_from([0.3, 0.5, 1.0]), st.integers(0, 10**6))
@settings(max_examples=60)
def test_what_is_followed_is_what_is_shown_there(shape, deviation, seed):
    """Independent of how it is found: at ``x`` is shown what was at ``x + u(x)``."""
    rng = np.random.default_rng(seed)
    field = displacement(shape, deviation, rng)
    places = rng.uniform(-20, np.array(shape) + 20, (9, len(shape))).astype(np.float32)
    at = follow(places, field) - 0.5
    inside = np.clip(at, 0, np.array(shape) - 1)
    off = [ndimage.map_coordinates(u, inside.T, order=1, mode="nearest") for u in field]
    assert np.abs(at + np.stack(off, axis=1) - (places - 0.5)).max() < 0.05


def test_outside_a_field_goes_on_as_at_its_edge():
    field = np.zeros((2, 8, 9))
    field[0, 0] = 2.0
    far = np.array([[-10.0, 4.5], [30.0, 4.5]], np.float32)
    assert np.allclose(follow(far, field), [[-12.0, 4.5], [30.0, 4.5]])


@pytest.mark.parametrize("shape", [(64, 64), (32, 32, 32)])
def test_the_voxel_under_a_moved_centre_is_of_the_object(shape):
    """Warped and turned; with the centre of a ball that is well inside of the crop."""
    change, seen = Augmentation(0.5, 0.2, every_pair(len(shape))), 0
    for seed in range(25):
        labels, centres = np.zeros(shape, np.int32), []
        middles = np.stack(np.indices(shape)) + 0.5
        lattice = itertools.product(*[range(8, n - 4, 16) for n in shape])
        for number, corner in enumerate(lattice, start=1):
            centre = np.array(corner) + np.random.default_rng(seed + number).uniform(
                0, 1, len(shape)
            )
            away = ((middles - centre.reshape(-1, *[1] * len(shape))) ** 2).sum(axis=0)
            labels[away <= 5**2] = number
            centres.append(centre)
        crop = Crop(labels[None].astype(np.float32), labels, np.array(centres, np.float32))
        found = change(crop, np.random.default_rng(seed))
        assert len(found.centres) == len(centres)
        for number, centre in enumerate(found.centres, start=1):
            assert found.labels[tuple(np.floor(centre).astype(int))] == number
            mean = np.argwhere(found.labels == number).mean(axis=0) + 0.5
            assert np.abs(mean - centre).max() < 1.0
            seen += 1
    assert seen >= 200


@given(SHAPES, st.integers(0, 10**6))
@settings(max_examples=40)
def test_labels_are_never_mixed_and_follow_the_image(shape, seed):
    """Warped coordinates tell which voxel is shown: that one's label, or its neighbour's."""
    crop = crop_of_balls(shape, seed)
    field = displacement(shape, 1.0, np.random.default_rng(seed))
    found = warp(crop, field)
    assert found.labels.dtype == np.int32
    where = np.stack(np.indices(shape)) + field
    nearest = np.rint(where).astype(int)
    last = np.reshape(shape, (-1, *[1] * len(shape))) - 1
    inside = ((nearest >= 0) & (nearest <= last)).all(axis=0)
    assert (found.labels[~inside] == IGNORED).all()
    at = tuple(np.clip(nearest, 0, last))
    assert np.array_equal(found.labels[inside], crop.labels[at][inside])


def test_what_is_annotated_does_not_change_what_is_drawn():
    """The same crop with masks and without: the same image."""
    crop = crop_of_balls((40, 40), 0)
    change = Augmentation(1.0, 0.2, ((1, 0),))
    with_masks = change(crop, np.random.default_rng(5)).image
    assert np.array_equal(with_masks, change(Crop(crop.image), np.random.default_rng(5)).image)


def test_an_object_that_is_pushed_out_of_the_crop_leaves_its_centre_behind():
    labels = np.zeros((20, 20), np.int32)
    labels[0, 3], labels[10:14, 10:14] = 1, 2
    centres = np.array([[-3.0, 3.5], [12.0, 12.0]], np.float32)
    field = np.zeros((2, 20, 20))
    field[0] = 2.0
    found = warp(Crop(labels[None].astype(np.float32), labels, centres), field)
    assert not (found.labels == 1).any()
    assert (found.labels == 2).sum() == 16
    assert np.allclose(found.centres, [[-5.0, 3.5], [10.0, 12.0]])
    assert (found.labels[-2:] == IGNORED).all()


def test_numbers_are_those_of_the_centres_whether_objects_are_left_or_not():
    labels = np.arange(1, 401, dtype=np.int32).reshape(20, 20)
    centres = (np.argwhere(labels) + 0.5).astype(np.float32)
    crop = Crop(labels[None].astype(np.float32), labels, centres)
    for seed in range(5):
        found = Augmentation(1.0, 0.0, ())(crop, np.random.default_rng(seed))
        there = np.unique(found.labels[found.labels > 0])
        assert 200 < len(there) < len(found.centres) == 400
        for label in there:  # each is one voxel, stretched a little
            middle = np.argwhere(found.labels == label).mean(axis=0) + 0.5
            assert np.abs(middle - found.centres[label - 1]).max() < 1.2


@pytest.mark.parametrize("shape", [(40, 44), (16, 18, 20)])
def test_points_move_with_the_image_inside_of_the_crop_and_outside(shape):
    """All labels are one, so that no number tells a point from another: their order does."""
    rng, labels = np.random.default_rng(0), np.ones(shape, np.int32)
    labels[0], labels[-1] = 0, IGNORED
    centres = rng.uniform(-8, np.array(shape) + 8, (20, len(shape))).astype(np.float32)
    inside = ((centres > 2) & (centres < np.array(shape) - 2)).all(axis=1)
    places = (np.stack(np.indices(shape)) + 0.5).astype(np.float32)  # where a voxel came from
    change = Augmentation(0.5, 0.0, every_pair(len(shape)))
    for seed in range(5):
        found = change(Crop(places, labels, centres), np.random.default_rng(seed))
        assert found.centres.dtype == np.float32
        assert found.centres.shape == centres.shape
        for was, now in zip(centres[inside], found.centres[inside], strict=True):
            came = found.image[(slice(None), *np.floor(now).astype(int))]
            assert np.abs(came - was).max() < 1.5
        # What is outside stays outside, about as far.
        extent = np.array(found.labels.shape)
        out = np.maximum(-found.centres, found.centres - extent).max(axis=1)
        before = np.maximum(-centres, centres - np.array(shape)).max(axis=1)
        assert np.abs(out - before)[before > 0].max() < 2.5


def test_a_crop_without_objects_is_augmented_too():
    labels = np.zeros((20, 20), np.int32)
    crop = Crop(np.ones((1, 20, 20), np.float32), labels, np.zeros((0, 2), np.float32))
    found = Augmentation(0.5, 0.2, ((1, 0),))(crop, np.random.default_rng(0))
    assert found.centres.shape == (0, 2)
    assert (found.labels <= 0).all()
