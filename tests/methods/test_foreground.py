"""Which voxels of a cluster are object: outlines by contrast, and what is no object at all."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from cellulus.methods import ObjectCentric
from cellulus.methods.decoder import Observation
from cellulus.methods.object_centric.foreground import Rule, objects_of

DIAMETER = 20.0


def rule(ndim=2, **changes):
    return Rule.of(ObjectCentric(**changes), ndim, DIAMETER)


def disc(shape, centre, radius):
    away = sum((g - c) ** 2 for g, c in zip(np.indices(shape), centre, strict=True))
    return away <= radius**2


def seen(image, centre=None, uncertainty=1.0, spacing=None):
    """One object, whose voxels all point to its centre."""
    shape = image.shape
    centre = centre or tuple(n // 2 for n in shape)
    offsets = np.stack([c - g for g, c in zip(np.indices(shape), centre, strict=True)])
    doubt = np.broadcast_to(np.float32(uncertainty), shape)
    prediction = np.concatenate([offsets, doubt[None]]).astype(np.float32)
    ones = (1.0,) * len(shape)
    return Observation(
        prediction, image[None].astype(np.float32), spacing or ones, (0,) * len(shape)
    )


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def wide(shape, centre, radius=16):
    """A cluster as the modes give it: the object and what lies around it."""
    return disc(shape, centre, radius).astype(np.uint32)


@pytest.mark.parametrize("level", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("floor", [-0.2, 0.0, 0.5])
def test_the_outline_lies_between_background_and_object_whatever_their_level(level, floor):
    shape, centre = (60, 60), (30, 30)
    truth = disc(shape, centre, 10)
    image = ndimage.gaussian_filter(np.where(truth, floor + level, floor), 1.0)
    labels, summits = objects_of(wide(shape, centre), seen(image), rule())
    assert iou(labels > 0, truth) > 0.9
    assert np.abs(summits - centre).max() <= 1


def test_a_dim_object_beside_a_bright_one_keeps_its_outline():
    shape = (60, 90)
    dim, bright = disc(shape, (30, 28), 10), disc(shape, (30, 62), 10)
    image = ndimage.gaussian_filter(0.05 + 0.25 * dim + 3.0 * bright, 1.0)
    clusters = np.where(disc(shape, (30, 28), 15), 1, 0) + np.where(disc(shape, (30, 62), 15), 2, 0)
    observation = seen(image)
    observation.prediction[:2] = 0
    labels, _ = objects_of(clusters.astype(np.uint32), observation, rule())
    assert labels.max() == 2
    assert iou(labels == labels[30, 28], dim) > 0.85
    assert iou(labels == labels[30, 62], bright) > 0.85


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("level", [0.0, 0.7])
def test_what_has_no_contrast_is_no_object(ndim, level):
    shape = (30, 34, 36)[:ndim]
    image = np.full(shape, level, np.float32)
    labels, summits = objects_of(np.ones(shape, np.uint32), seen(image), rule(ndim))
    assert not labels.any()
    assert summits.shape == (0, ndim)


def test_noise_around_a_constant_is_no_object():
    image = 0.02 * np.random.default_rng(0).normal(size=(60, 60))
    labels, _ = objects_of(wide(image.shape, (30, 30)), seen(image), rule())
    assert not labels.any()


def test_what_is_uncertain_throughout_is_no_object():
    shape = (60, 60)
    image = 1.0 * disc(shape, (30, 30), 10)
    clusters = wide(shape, (30, 30))
    assert objects_of(clusters, seen(image, uncertainty=1.0), rule())[0].any()
    assert not objects_of(clusters, seen(image, uncertainty=7.0), rule())[0].any()


def test_an_object_most_of_which_is_uncertain_is_none_and_numbers_stay_dense():
    shape = (60, 100)
    sure, doubtful = disc(shape, (30, 70), 10), disc(shape, (30, 28), 10)
    observation = seen(1.0 * (sure | doubtful))
    observation.prediction[:2] = 0
    observation.prediction[2, :, :50] = 6.5
    observation.prediction[2, 28:33, 26:31] = 1.0  # enough to start one
    clusters = disc(shape, (30, 28), 14) * 1 + disc(shape, (30, 70), 14) * 2
    labels, summits = objects_of(clusters.astype(np.uint32), observation, rule())
    assert np.unique(labels).tolist() == [0, 1]
    assert summits.shape == (1, 2)
    assert labels[tuple(summits[0])] == 1
    assert not labels[30, 28]


def test_no_cluster_gives_no_object():
    image = np.random.default_rng(0).random((40, 40))
    labels, summits = objects_of(np.zeros((40, 40), np.uint32), seen(image), rule())
    assert not labels.any()
    assert summits.shape == (0, 2)


def test_two_objects_in_one_cluster_are_cut_at_the_neck():
    shape = (60, 80)
    left, right = disc(shape, (30, 31), 9), disc(shape, (30, 47), 9)
    image = ndimage.gaussian_filter(1.0 * (left | right), 0.7)
    cluster = ndimage.binary_dilation(left | right, iterations=4).astype(np.uint32)
    observation = seen(image)
    observation.prediction[:2] = 0
    labels, summits = objects_of(cluster, observation, rule())
    assert labels.max() == 2
    assert summits[:, 1].tolist() == pytest.approx([31, 47], abs=2)
    assert iou(labels == 1, left) > 0.8


def test_one_object_in_two_clusters_is_joined():
    shape = (60, 60)
    truth = disc(shape, (30, 30), 12)
    image = ndimage.gaussian_filter(1.0 * truth, 0.7)
    clusters = wide(shape, (30, 30)) * np.where(np.indices(shape)[1] < 28, 1, 2)
    labels, _ = objects_of(clusters.astype(np.uint32), seen(image), rule())
    assert labels.max() == 1
    assert iou(labels > 0, truth) > 0.9


@pytest.mark.parametrize("hole", [1, 1.5, 2, 3])
def test_a_dark_speck_in_an_object_is_its_own_and_cuts_nothing(hole):
    shape = (60, 60)
    truth = disc(shape, (30, 30), 11)
    hollow = truth & ~disc(shape, (32, 28), hole)
    observation = seen(1.0 * hollow)
    observation.prediction[:2] = 0
    labels, _ = objects_of(wide(shape, (30, 30)), observation, rule(smoothing=0.0))
    assert labels.max() == 1
    assert np.array_equal(labels > 0, truth)


def test_channels_are_averaged():
    shape = (60, 60)
    image = 1.0 * disc(shape, (30, 30), 10)
    one = seen(image)
    two = Observation(
        one.prediction, np.stack([2 * image, 0 * image]).astype(np.float32), one.spacing, one.origin
    )
    clusters = wide(shape, (30, 30))
    assert np.array_equal(
        objects_of(clusters, one, rule())[0], objects_of(clusters, two, rule())[0]
    )


def test_glare_in_a_volume_is_no_object():
    """A broad glow is brighter than its rim, but not than what is around each of its voxels."""
    shape = (50, 50, 50)
    glow = 3.0 * np.exp(-sum((g - 25.0) ** 2 for g in np.indices(shape)) / (2 * 40.0**2))
    clusters = wide(shape, (25, 25, 25))
    observation = seen(glow, (25, 25, 25))
    assert objects_of(clusters, observation, rule(3, surround=0.0))[0].any()
    assert not objects_of(clusters, observation, rule(3, surround=1.25))[0].any()
    nucleus = glow + 3.0 * disc(shape, (25, 25, 25), 9)
    labels, _ = objects_of(clusters, seen(nucleus, (25, 25, 25)), rule(3))
    assert iou(labels > 0, disc(shape, (25, 25, 25), 9)) > 0.7


def test_auto_is_what_the_settings_say_it_is():
    assert (rule(2).outline, rule(2).smoothing, rule(2).surround) == (0.4, 0.025, 0.0)
    assert (rule(3).outline, rule(3).smoothing, rule(3).surround) == (0.35, 0.075, 1.25)
    asked = rule(3, outline=0.5, smoothing=0.0, surround=0.0)
    assert (asked.outline, asked.smoothing, asked.surround) == (0.5, 0.0, 0.0)


def test_a_higher_outline_gives_smaller_objects():
    shape = (60, 60)
    image = ndimage.gaussian_filter(1.0 * disc(shape, (30, 30), 10), 2.0)
    clusters = wide(shape, (30, 30))
    sizes = [
        (objects_of(clusters, seen(image), rule(outline=share))[0] > 0).sum()
        for share in (0.2, 0.4, 0.6, 0.8)
    ]
    assert all(a > b for a, b in itertools.pairwise(sizes))
    assert sizes[-1] > 0


@pytest.mark.parametrize("ndim", [2, 3])
def test_lengths_are_physical(ndim):
    """Every second plane of a scene gives every second plane of its objects, nearly."""
    shape, centre = (41, 60, 60)[-ndim:], (20, 30, 30)[-ndim:]
    truth = disc(shape, centre, 10)
    image = ndimage.gaussian_filter(1.0 * truth, 1.0)
    clusters = disc(shape, centre, 15).astype(np.uint32)
    whole, _ = objects_of(clusters, seen(image, centre), rule(ndim))
    fine = seen(image, centre)
    coarse = Observation(
        fine.prediction[:, ::2], fine.image[:, ::2], (2.0, *fine.spacing[1:]), fine.origin
    )
    thin, _ = objects_of(clusters[::2], coarse, rule(ndim))
    assert iou(whole > 0, truth) > 0.7
    assert iou(thin > 0, whole[::2] > 0) > 0.95
