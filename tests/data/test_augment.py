"""Augmentation: what it may change, and what it must leave."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellulus.data import augment
from cellulus.data.augment import Augmentation, relight
from cellulus.data.batches import Crop

SHAPES = st.lists(st.integers(1, 40), min_size=2, max_size=3).map(tuple)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


def turn(image, turns, rng):
    return augment.turn(Crop(image), turns, rng).image


def warp(image, deviation, rng):
    field = augment.displacement(image.shape[1:], deviation, rng)
    return augment.warp(Crop(image), field).image


def every_pair(ndim):
    return tuple((a, b) for a in range(ndim) for b in range(a))


@given(SHAPES, st.integers(1, 3), st.integers(0, 10**6))
@settings(max_examples=60)
def test_any_crop_keeps_its_shape_and_stays_finite(shape, channels, seed):
    image = noise(channels, *shape)
    before = image.copy()
    change = Augmentation(2.0, 0.3, every_pair(len(shape)))
    found = change(Crop(image), np.random.default_rng(seed)).image
    assert found.shape == image.shape
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert np.isfinite(found).all()
    assert np.array_equal(image, before)
    again = change(Crop(image), np.random.default_rng(seed)).image
    assert np.array_equal(found, again)


@given(SHAPES, st.integers(0, 10**6))
@settings(max_examples=60)
def test_a_turn_moves_voxels_and_changes_none(shape, seed):
    image = np.arange(2 * np.prod(shape), dtype=np.float32).reshape(2, *shape)
    found = turn(image, every_pair(len(shape)), np.random.default_rng(seed))
    assert found.shape == image.shape
    for channel in range(2):
        assert np.array_equal(np.sort(found[channel].ravel()), image[channel].ravel())
    # Channels move together.
    assert np.array_equal(found[1] - found[0], np.full(shape, np.prod(shape), np.float32))


def test_every_turn_and_flip_occurs():
    image = np.arange(9, dtype=np.float32).reshape(1, 3, 3)
    found = {turn(image, ((1, 0),), np.random.default_rng(s)).tobytes() for s in range(200)}
    expected = set()
    for swapped, axes in itertools.product((image, image.swapaxes(1, 2)), ((), 1, 2, (1, 2))):
        expected.add(np.ascontiguousarray(np.flip(swapped, axes)).tobytes())
    assert found == expected
    assert len(found) == 8


def test_all_48_turns_of_a_cube_occur():
    image = np.arange(27, dtype=np.float32).reshape(1, 3, 3, 3)
    rng = np.random.default_rng(0)
    assert len({turn(image, every_pair(3), rng).tobytes() for _ in range(2000)}) == 48


def test_axes_that_the_microscope_samples_otherwise_are_never_exchanged():
    along_z = np.broadcast_to(np.arange(6, dtype=np.float32)[:, None, None], (6, 6, 6))[None]
    for seed in range(100):
        found = turn(along_z, ((2, 1),), np.random.default_rng(seed))
        assert found[0, :, 0, 0].tolist() in ([0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0])
        assert np.ptp(found, axis=(2, 3)).max() == 0


def test_axes_of_unequal_extent_are_not_exchanged():
    image = noise(1, 5, 7)
    assert all(
        turn(image, ((1, 0),), np.random.default_rng(s)).shape == image.shape for s in range(20)
    )


@given(SHAPES)
@settings(max_examples=30)
def test_no_deviation_is_no_warp(shape):
    image = noise(2, *shape)
    assert np.allclose(warp(image, 0.0, np.random.default_rng(0)), image, atol=1e-6)


def displacement(shape, deviation, seed):
    """Where the voxels of a warped ramp come from: the ramp's value is the place."""
    ramps = np.stack(np.indices(shape)).astype(np.float32)
    return warp(ramps, deviation, np.random.default_rng(seed)) - ramps


@pytest.mark.parametrize(("shape", "count"), [((96, 96), 30), ((48, 48, 48), 15)])
def test_a_warp_deviates_as_it_says(shape, count):
    """Away from the border, where the ramp that shows the displacement is mirrored."""
    inner = (slice(None), *[slice(8, -8)] * len(shape))
    moved = np.stack([displacement(shape, 0.5, seed)[inner] for seed in range(count)])
    assert moved.std() == pytest.approx(0.5, rel=0.15)
    for axis in range(len(shape)):
        assert moved[:, axis].std() == pytest.approx(0.5, rel=0.25)


@pytest.mark.parametrize("shape", [(96, 96), (40, 40, 40)])
def test_a_warp_is_smooth_and_mild(shape):
    inner = (slice(None), *[slice(8, -8)] * len(shape))
    moved = displacement(shape, 0.5, 0)[inner]
    steps = [np.abs(np.diff(moved, axis=axis)).max() for axis in range(1, moved.ndim)]
    assert max(steps) < 0.2  # no fold: neighbours stay neighbours
    twice = displacement(shape, 1.0, 0)[inner]
    assert np.allclose(twice, 2 * moved, atol=1e-3)


def test_a_warp_moves_all_channels_alike():
    image = noise(1, 30, 30)
    found = warp(np.concatenate([image, image]), 2.0, np.random.default_rng(0))
    assert np.array_equal(found[0], found[1])
    assert not np.allclose(found[0], image[0], atol=0.05)


def test_a_warp_invents_no_intensities():
    image = noise(1, 50, 50)
    found = warp(image, 3.0, np.random.default_rng(1))
    assert found.min() >= image.min()
    assert found.max() <= image.max() + 1e-6


def test_a_new_light_keeps_the_order_of_intensities():
    image = np.linspace(-0.5, 1.5, 101, dtype=np.float32).reshape(1, 1, 101)
    for seed in range(30):
        found = relight(image, 0.3, np.random.default_rng(seed))
        assert (np.diff(found[0, 0]) > 0).all()


def test_a_new_light_is_drawn_for_each_channel():
    image = np.repeat(noise(1, 9, 9), 2, axis=0)
    found = relight(image, 0.2, np.random.default_rng(0))
    assert not np.allclose(found[0], found[1])


def test_no_spread_is_the_same_light():
    image = noise(2, 9, 9)
    assert np.allclose(relight(image, 0.0, np.random.default_rng(0)), image, atol=1e-6)


def test_everything_off_gives_the_image_itself():
    image = noise(1, 8, 9)
    change, crop = Augmentation(0.0, 0.0, ()), Crop(image)
    found = {change(crop, np.random.default_rng(s)).image.tobytes() for s in range(50)}
    assert found == {
        np.ascontiguousarray(np.flip(image, axes)).tobytes() for axes in ((), 1, 2, (1, 2))
    }
