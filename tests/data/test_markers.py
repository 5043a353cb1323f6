"""Points and a rough foreground on the canonical grid, and crops of them, against brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellulus.data import crops as module
from cellulus.data.annotations import Markers
from cellulus.data.augment import Augmentation
from cellulus.data.canonical import Canonical
from cellulus.data.crops import OBJECT_SHARE, Crops, Part
from cellulus.data.masks import IGNORED, Masks
from cellulus.data.normalise import Normalisation
from cellulus.data.volume import Volume
from cellulus.space import Scale

SHAPES = st.one_of(
    st.tuples(st.integers(1, 25), st.integers(1, 25)),
    st.tuples(st.integers(2, 9), st.integers(1, 9), st.integers(1, 9)),
)
ZOOMS = st.lists(st.sampled_from([0.4, 0.5, 1.0, 1.3, 2.0, 2.6]), min_size=3, max_size=3)
REACH, WIDTH = 6.0, 5.0


def markers(foreground, points, zoom=1.0, unknown=None):
    """Points are given on the grid of the image, where voxel i has its middle at i."""
    zoom = np.broadcast_to(zoom, foreground.ndim)
    masks = Masks(Volume.of(foreground), None, unknown)
    return Markers((points + 0.5) * zoom, masks, Scale(tuple(zoom.tolist())), REACH, WIDTH)


def spots(shape, seed=0, count=12):
    """Points at voxels of an image, each with a brightness of its own, in a rough foreground."""
    rng = np.random.default_rng(seed)
    image = np.zeros(shape, np.uint32)
    drawn = rng.choice(image.size, min(count, image.size), replace=False)
    image.flat[drawn] = np.arange(1, len(drawn) + 1)
    foreground = (rng.random(shape) < 0.7).astype(np.uint8) * rng.integers(1, 250, shape)
    return image, foreground.astype(np.uint8), np.stack(np.unravel_index(drawn, shape), axis=1)


def part_of(shape, seed=0, region=None, count=12):
    image, foreground, points = spots(shape, seed, count)
    volume = Volume.of(image)
    canonical = Canonical(volume, Scale((1.0,) * volume.ndim), Normalisation((0.0,), (1.0,)))
    region = region or tuple(slice(0, n) for n in canonical.shape)
    return Part(canonical, region, markers(foreground, points))


@settings(max_examples=60)
@given(SHAPES, ZOOMS, st.integers(0, 10**6))
def test_a_canonical_voxel_may_be_of_a_cell_as_what_is_under_its_middle(shape, zoom, seed):
    rng = np.random.default_rng(seed)
    foreground = rng.choice([0, 3, 250, 255], shape).astype(np.uint8)
    made = markers(foreground, np.zeros((0, len(shape))), zoom[-len(shape) :], unknown=255)
    starts = [int(rng.integers(-6, n)) for n in made.shape]
    region = tuple(slice(s, s + int(rng.integers(1, 9))) for s in starts)
    found = made.read(region)
    assert found.dtype == np.int32
    for place in np.ndindex(*found.shape):
        at = [p + part.start for p, part in zip(place, region, strict=True)]
        if not all(0 <= a < n for a, n in zip(at, made.shape, strict=True)):
            assert found[place] == IGNORED
            continue
        under = tuple(
            min(int(np.floor((a + 0.5) / z)), n - 1)
            for a, z, n in zip(at, made.scale.zoom, shape, strict=True)
        )
        assert found[place] == {0: 0, 3: 1, 250: 1, 255: IGNORED}[int(foreground[under])]


@settings(max_examples=60)
@given(SHAPES, st.integers(0, 10**6))
def test_a_crop_has_the_points_that_reach_into_it_and_no_others(shape, seed):
    rng, ndim = np.random.default_rng(seed), len(shape)
    points = rng.uniform(-0.5, np.array(shape) - 0.5, (20, ndim))
    made = markers(np.ones(shape, np.uint8), points)
    start = rng.integers(-8, np.array(shape))
    stop = start + rng.integers(1, 9, ndim)
    region = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    image = np.zeros((1, *(stop - start)), np.float32)
    crop = made.crop(image, made.read(region), region)
    assert crop.image is image
    assert crop.centres.dtype == np.float32
    assert crop.centres.shape == (len(crop.centres), ndim)
    reaching = [
        point
        for point in points + 0.5
        if all(a - REACH <= p <= b + REACH for p, a, b in zip(point, start, stop, strict=True))
    ]
    assert np.allclose(crop.centres, np.reshape(reaching, (-1, ndim)) - start, atol=1e-5)
    # Nobody is missing of whose patch there is a voxel.
    voxels = np.indices(tuple(stop - start)).reshape(ndim, -1).T + 0.5 + start
    near = (np.abs(voxels[:, None] - (points + 0.5)) <= REACH).all(axis=2).any(axis=0)
    assert len(crop.centres) >= near.sum()


@pytest.mark.parametrize("shape", [(40, 44), (16, 18, 20)])
def test_points_lie_where_the_image_has_them(shape):
    size, seen, outside = (12,) * len(shape), 0, 0
    crops = Crops([part_of(shape)], size, 0, margin=3)
    for step in range(40):
        crop = crops.crop(step, 0)
        assert set(np.unique(crop.labels)) <= {IGNORED, 0, 1}
        places = np.floor(crop.centres).astype(int)
        inside = ((places >= 0) & (places < size)).all(axis=1)
        at = (0, *places[inside].T)
        known = crop.labels[at[1:]] != IGNORED
        assert (crop.image[at] > 0).all()
        assert known.all()
        shown = crop.image[0][crop.labels != IGNORED]
        assert np.array_equal(np.sort(crop.image[at]), np.sort(shown[shown > 0]))
        seen, outside = seen + inside.sum(), outside + (~inside).sum()
    assert seen > 20
    assert outside > 20


@pytest.mark.parametrize("zoom", [(1.0, 1.0), (1.3, 0.8)])
def test_a_foreground_found_on_the_canonical_grid_is_read_as_it_is(zoom):
    """Whether it is given on the grid of the image or found on this one, points lie as they do."""
    _, foreground, points = spots((20, 24))
    given_ = markers(foreground, points, zoom)
    everything = tuple(slice(0, n) for n in given_.shape)
    found = Masks(Volume.of(given_.read(everything).astype(np.uint8)))
    made = Markers(given_.middles, found, Scale((1.0, 1.0)), REACH, WIDTH)
    assert made.shape == given_.shape
    for region in (everything, (slice(-3, 9), slice(5, 14))):
        assert np.array_equal(made.read(region), given_.read(region))
    assert np.array_equal(made.extents, np.full((len(points), 2), WIDTH))


def test_crops_do_not_depend_on_the_order_the_threads_or_the_cache(monkeypatch):
    def source():
        parts = [part_of((60, 50)), part_of((20, 9), seed=1), part_of((30, 30), seed=2, count=0)]
        return Crops(parts, (16, 16), 3, Augmentation(0.5, 0.1, ((1, 0),)), margin=4)

    def same(a, b):
        return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b, strict=True))

    keys = list(itertools.product(range(6), range(3)))
    one, other = source(), source()
    first = {key: one.crop(*key) for key in keys}
    second = {key: other.crop(*key) for key in reversed(keys)}
    assert all(same(first[key], second[key]) for key in keys)
    for (_, a), (_, b) in zip(
        *(source().prefetch(range(6), range(3), n) for n in (0, 3)), strict=True
    ):
        assert same(a, b)
    monkeypatch.setattr(module, "CACHED_VOXELS", 0)
    lazy = source()
    assert all(same(first[key], lazy.crop(*key)) for key in keys)
    assert lazy._cached == 0


def test_most_crops_are_around_a_point():
    """A single one in a large image."""
    crops, count = Crops([part_of((400, 400), count=1)], (32, 32), 0), 1000
    with_point = sum(
        any(((c >= 0) & (c <= 32)).all() for c in crops.crop(step, 0).centres)
        for step in range(count)
    )
    assert OBJECT_SHARE - 0.05 < with_point / count < OBJECT_SHARE + 0.05


def test_crops_are_around_the_points_of_their_region():
    region = (slice(0, 40), slice(58, 120))
    part = part_of((40, 120), region=region, count=30)
    middles = part.boxes()[:, 0, 1]
    assert 0 < len(middles) < 30
    assert ((middles >= 58) & (middles <= 120)).all()
    crops, starts = Crops([part], (16, 16), 0), []
    original = crops._read
    crops._read = lambda which, place: (starts.append(place), original(which, place))[1]
    for step in range(100):
        crops.crop(step, 0)
    assert min(place[1].start for place in starts) == 58
    # Those behind its end are rivals there all the same.
    crop = original(0, (slice(0, 40), slice(58, 74)))
    everyone = part.annotation.middles[:, 1]
    assert len(crop.centres) == ((everyone >= 52) & (everyone <= 80)).sum()


def test_batches_hold_as_many_points_as_the_fullest_crop():
    batch = Crops([part_of((60, 50))], (16, 16), 0).batch(0, range(5))
    counts = (~np.isnan(batch.centres).any(axis=2)).sum(axis=1)
    assert counts.max() == batch.centres.shape[1] > counts.min()


def test_images_without_points_make_crops_of_what_may_be_cells_all_the_same():
    batch = Crops([part_of((30, 40), count=0)], (16, 16), 0).batch(0, range(3))
    assert batch.centres.shape == (3, 0, 2)
    assert set(np.unique(batch.labels)) == {0, 1}


def test_a_foreground_of_one_plane_may_be_that_of_a_volume():
    """A stack of two planes has one on a coarser grid, and one plane has no z axis."""
    _, foreground, points = spots((50, 60))
    flat = markers(foreground, points)
    masks, deep = Masks(Volume.of(foreground[None])), np.pad(flat.middles, ((0, 0), (1, 0)))
    volume = Markers(deep, masks, Scale((1.0,) * 3), REACH, WIDTH)
    assert volume.shape == (1, 50, 60)
    region = (slice(-3, 12), slice(20, 40))
    found = volume.read((slice(-1, 3), *region))
    assert np.array_equal(found[1], flat.read(region))
    assert (found[[0, 2, 3]] == IGNORED).all()
