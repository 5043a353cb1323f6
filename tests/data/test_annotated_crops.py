"""Crops with masks: what is in them, how often, and that nothing depends on order or cache."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellulus.data import crops as module
from cellulus.data.annotations import Annotation
from cellulus.data.augment import Augmentation
from cellulus.data.canonical import Canonical
from cellulus.data.crops import JITTER, OBJECT_SHARE, Crops, Part
from cellulus.data.masks import IGNORED, Masks, survey
from cellulus.data.normalise import Normalisation
from cellulus.data.volume import Volume
from cellulus.space import Scale

AUGMENTED = Augmentation(0.5, 0.1, ((1, 0),))


def part_of(drawn, zoom=1.0, region=None, centre="medoid"):
    """The image is the drawing itself, so that it can be compared with the labels."""
    drawn = np.asarray(drawn, np.uint32)
    volume = Volume.of(drawn)
    scale = Scale((zoom,) * volume.ndim)
    image = Canonical(volume, scale, Normalisation((0.0,), (1.0,)))
    masks = Masks(Volume.of(drawn))
    annotation = Annotation(masks, survey(masks).objects, scale, centre)
    return Part(image, region or tuple(slice(0, n) for n in image.shape), annotation)


def squares(shape, pitch=12, edge=5):
    """Squares or cubes on a lattice, numbered from 1."""
    drawn = np.zeros(shape, np.uint32)
    corners = itertools.product(*[range(2, n - edge, pitch) for n in shape])
    for number, corner in enumerate(corners, start=1):
        drawn[tuple(slice(c, c + edge) for c in corner)] = number
    return drawn


def source(size=(16, 16), augmentation=None, seed=3):
    parts = [part_of(squares((60, 50))), part_of(squares((20, 9))), part_of(np.zeros((30, 30)))]
    return Crops(parts, size, seed, augmentation)


def same(a, b):
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b, strict=True))


def test_crops_do_not_depend_on_the_order_the_threads_or_the_cache(monkeypatch):
    keys = list(itertools.product(range(6), range(3)))
    one, other = source(augmentation=AUGMENTED), source(augmentation=AUGMENTED)
    first = {key: one.crop(*key) for key in keys}
    second = {key: other.crop(*key) for key in reversed(keys)}
    assert all(same(first[key], second[key]) for key in keys)
    batches = [source(augmentation=AUGMENTED).prefetch(range(6), range(3), n) for n in (0, 4)]
    for (_, a), (_, b) in zip(*batches, strict=True):
        assert same(a, b)
    monkeypatch.setattr(module, "CACHED_VOXELS", 0)
    lazy = source(augmentation=AUGMENTED)
    assert all(same(first[key], lazy.crop(*key)) for key in keys)
    assert lazy._cached == 0


def test_memory_counts_labels_too():
    crops = source()
    list(crops.prefetch(range(40), range(2), 2))
    assert len(crops._cache) >= 2
    kept = sum(whole.image.size + whole.labels.size for whole in crops._cache.values())
    assert crops._cached == kept


@settings(max_examples=60)
@given(
    st.one_of(
        st.tuples(st.integers(1, 40), st.integers(1, 40)),
        st.tuples(st.integers(2, 16), st.integers(1, 20), st.integers(1, 20)),
    ),
    st.integers(4, 24),
    st.sampled_from([0.6, 1.0, 1.7]),
    st.integers(0, 10**6),
)
def test_labels_are_of_the_image_and_centres_of_whole_objects(shape, edge, zoom, seed):
    drawn = squares(shape, pitch=8, edge=3)
    part = part_of(drawn, zoom)
    size = (edge,) * len(shape)
    crop = Crops([part], size, seed).crop(0, 0)
    assert crop.image.shape == (1, *size)
    assert crop.labels.shape == size
    count = len(crop.centres)
    assert crop.centres.shape == (count, len(shape))
    assert sorted(set(np.unique(crop.labels)) - {0, IGNORED}) == list(range(1, count + 1))
    if zoom == 1.0:
        ids = crop.image[0].astype(int)
        inside = crop.labels != IGNORED
        assert np.array_equal(crop.labels[inside] > 0, ids[inside] > 0)
        # The start of the crop follows from any centre: they all must agree.
        starts = set()
        for number, centre in enumerate(crop.centres, start=1):
            (found,) = np.unique(ids[crop.labels == number])
            (whole,) = part.annotation.centres(np.array([found - 1]))
            starts.add(tuple((whole - centre).tolist()))
        assert len(starts) <= 1


@pytest.mark.parametrize("shape", [(9, 30), (6, 8, 8)])
def test_what_is_mirrored_is_ignored(shape):
    drawn, size = np.zeros(shape, np.uint32), 16
    drawn[...] = 7
    crops = Crops([part_of(drawn)], (size,) * len(shape), 0)
    crop = crops.crop(0, 0)
    assert (crop.image == 7).all()
    assert (crop.labels == 1).sum() == np.prod([min(n, size) for n in shape])
    assert ((crop.labels == 1) | (crop.labels == IGNORED)).all()


def test_an_object_that_is_cut_keeps_its_centre():
    drawn = np.zeros((40, 200), np.uint32)
    drawn[10:30, 20:181] = 5
    crops, outside, seen = Crops([part_of(drawn)], (16, 16), 0), 0, 0
    for step in range(400):
        crop = crops.crop(step, 0)
        if not len(crop.centres):
            continue
        (centre,) = crop.centres
        rows, columns = np.nonzero(crop.labels == 1)
        assert crop.labels.size >= rows.size > 0
        outside += not (0 <= centre[1] < 16)
        # In the whole image it is at (19.5, 100.5), its medoid; ends that are seen tell where.
        seen += (columns.min() > 0) or (columns.max() < 15)
        if columns.min() > 0:
            assert centre[1] - columns.min() == pytest.approx(80.5)
        if columns.max() < 15:
            assert columns.max() + 1 - centre[1] == pytest.approx(80.5)
    assert outside > 200
    assert seen > 5


def test_most_crops_are_around_objects_and_some_are_anywhere():
    """A single small object in the dark: seen with the share, and where the jitter lets it be."""
    drawn = np.zeros((400, 400), np.uint32)
    drawn[200:204, 100:104] = 1
    crops, count, places = Crops([part_of(drawn)], (32, 32), 0), 2000, []
    for step in range(count):
        crop = crops.crop(step, 0)
        if len(crop.centres):
            places.append(crop.centres[0])
    anywhere = (1 - OBJECT_SHARE) * ((32 + 3) / (400 - 31)) ** 2
    expected = OBJECT_SHARE + anywhere
    assert len(places) / count == pytest.approx(
        expected, abs=5 * np.sqrt(expected * (1 - expected) / count)
    )
    away = np.abs(np.array(places) - 16)
    assert np.quantile(away, 0.98) <= 32 * JITTER + 1
    assert away.max(axis=0).min() > 0.9 * 32 * JITTER


def test_objects_of_all_images_are_equally_likely():
    """One image has nine objects, the other, of the same size, has one."""
    parts = [part_of(squares((36, 36))), part_of(squares((36, 36), pitch=40))]
    marked = [Part(p.image, p.region, p.annotation) for p in parts]
    crops = Crops(marked, (8, 8), 0)
    assert len(crops._boxes) == 10
    read = []
    original = crops._read
    crops._read = lambda which, region: (read.append(which), original(which, region))[1]
    count = 3000
    for step in range(count):
        crops.crop(step, 0)
    likely = OBJECT_SHARE * 0.9 + (1 - OBJECT_SHARE) * 0.5
    found = read.count(0) / count
    assert found == pytest.approx(likely, abs=5 * np.sqrt(likely * (1 - likely) / count))


@pytest.mark.parametrize("side", [slice(0, 58), slice(58, 120)])
def test_crops_stay_in_their_region_and_so_do_the_objects_that_they_are_around(side):
    drawn = squares((40, 120))
    region = (slice(0, 40), side)
    part = part_of(drawn, region=region)
    middles = part.boxes()[:, 0, 1]
    assert ((middles >= side.start) & (middles <= side.stop)).all()
    assert 0 < len(middles) < len(part.annotation.objects.ids)
    crops = Crops([part], (16, 16), 0)
    starts = []
    original = crops._read
    crops._read = lambda which, place: (starts.append(place), original(which, place))[1]
    for step in range(200):
        crops.crop(step, 0)
    for place in starts:
        for along, whole in zip(place, region, strict=True):
            assert whole.start <= along.start < along.stop <= whole.stop


@pytest.mark.parametrize("cached", [True, False])
def test_what_lies_at_the_border_comes_to_lie_where_the_network_answers(monkeypatch, cached):
    """A network answers for the middle of a crop alone: all of an image must get there."""
    if not cached:
        monkeypatch.setattr(module, "CACHED_VOXELS", 0)
    drawn = np.zeros((40, 44), np.uint32)
    drawn[:5, :5], drawn[20:25, 40:], drawn[37:, 20:23] = 1, 2, 3
    margin, answered = 6, np.zeros(4, int)
    for reach in (0, margin):
        crops = Crops([part_of(drawn)], (20, 20), 0, margin=reach)
        for step in range(60):
            crop = crops.crop(step, 0)
            middle = (slice(margin, -margin),) * 2
            assert crop.image.shape == (1, 20, 20)
            inside = crop.labels != IGNORED
            assert inside[middle].all()
            assert np.array_equal(crop.labels[inside] > 0, crop.image[0][inside] > 0)
            found = crop.image[0][middle].astype(int)
            answered += np.bincount(found[crop.labels[middle] > 0], minlength=4)[:4]
        assert bool(answered[1:].all()) == (reach > 0)
        assert bool(answered[1:].any()) == (reach > 0)


def test_crops_do_not_reach_over_into_what_is_kept_aside():
    drawn = squares((40, 117))
    crops = Crops([part_of(drawn, region=(slice(0, 40), slice(60, 117)))], (16, 16), 0, margin=5)
    starts = []
    original = crops._read
    crops._read = lambda which, place: (starts.append(place), original(which, place))[1]
    for step in range(300):
        crops.crop(step, 0)
    ends = [(min(p[a].start for p in starts), max(p[a].stop for p in starts)) for a in range(2)]
    assert ends == [(-5, 45), (60, 122)]


def test_the_margin_changes_nothing_without_masks():
    plain = [Part(part.image, part.region) for part in source().parts[:2]]
    one, other = (Crops(plain, (16, 16), 0, AUGMENTED, margin) for margin in (0, 7))
    for step in range(10):
        assert np.array_equal(one.crop(step, 0).image, other.crop(step, 0).image)


def test_images_without_objects_make_crops_of_background():
    crops = Crops([part_of(np.zeros((30, 40)))], (16, 16), 0, AUGMENTED)
    batch = crops.batch(0, range(3))
    assert batch.centres.shape == (3, 0, 2)
    assert set(np.unique(batch.labels)) <= {0, IGNORED}


def test_an_image_is_a_volume_of_one_plane():
    flat = Crops([part_of(squares((50, 60)))], (16, 16), 0, AUGMENTED)
    plane = Crops([part_of(squares((50, 60))[None])], (16, 16), 0, AUGMENTED)
    for step in range(10):
        assert same(flat.crop(step, 0), plane.crop(step, 0))
