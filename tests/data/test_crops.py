"""Random crops: the same whatever the order, the threads and the cache, of any image."""

import itertools
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellulus.data import crops as module
from cellulus.data.augment import Augmentation
from cellulus.data.canonical import Canonical
from cellulus.data.crops import Crops, Part
from cellulus.data.normalise import Normalisation
from cellulus.data.volume import Volume
from cellulus.errors import InputError
from cellulus.space import Scale

PLAIN = Normalisation((0.0,), (1.0,))
AUGMENTED = Augmentation(1.0, 0.1, ((1, 0),))


def image_of(array, zoom=None):
    return Canonical(Volume.of(array), Scale(zoom or (1.0,) * array.ndim), PLAIN)


def whole(image):
    return Part(image, tuple(slice(0, n) for n in image.shape))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


def source(size=(16, 16), *, seed=3, augmentation=None, zoom=None):
    images = [image_of(noise(40, 50), zoom), image_of(noise(20, 9, seed=1), zoom)]
    return Crops([whole(i) for i in images], size, seed, augmentation)


def test_crops_do_not_depend_on_the_order():
    forward, backward = source(augmentation=AUGMENTED), source(augmentation=AUGMENTED)
    keys = list(itertools.product(range(5), range(3)))
    first = {key: forward.crop(*key).image for key in keys}
    second = {key: backward.crop(*key).image for key in reversed(keys)}
    assert all(np.array_equal(first[key], second[key]) for key in keys)
    assert len({crop.tobytes() for crop in first.values()}) == len(keys)


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_batches_come_in_order_whoever_prepares_them(workers):
    expected = source(augmentation=AUGMENTED)
    steps = range(7, 20)
    found = list(source(augmentation=AUGMENTED).prefetch(steps, range(3), workers))
    assert [step for step, _ in found] == list(steps)
    for step, batch in found:
        assert batch.image.shape == (3, 1, 16, 16)
        assert batch.image.dtype == np.float32
        assert np.array_equal(batch.image, expected.batch(step, range(3)).image)
        assert batch.labels is None
        assert batch.centres is None


def test_devices_share_a_batch_without_changing_it():
    crops = source()
    together = crops.batch(4, range(6)).image
    shares = [crops.batch(4, range(rank, 6, 2)).image for rank in range(2)]
    assert np.array_equal(together[0::2], shares[0])
    assert np.array_equal(together[1::2], shares[1])


def test_another_seed_makes_other_crops():
    one, other = (source(seed=seed).crop(0, 0).image for seed in (1, 2))
    assert not np.array_equal(one, other)


def test_preparing_ahead_is_bounded():
    """A training that waits must not fill the memory."""
    crops, prepared = source(), []
    original = crops.batch
    crops.batch = lambda step, places: (prepared.append(step), original(step, places))[1]
    batches = crops.prefetch(range(1000), range(1), 2)
    next(batches)
    batches.close()
    assert len(prepared) <= 6
    assert not [t for t in threading.enumerate() if t.name.startswith("crops")]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_fault_in_a_thread_reaches_the_caller(workers):
    array = noise(30, 30)
    array[:] = np.nan
    crops = Crops([whole(image_of(array))], (16, 16), 0)
    with pytest.raises(InputError, match="finite"):
        list(crops.prefetch(range(3), range(2), workers))


@given(
    st.one_of(
        st.tuples(st.integers(1, 40), st.integers(1, 40)),
        st.tuples(st.integers(2, 12), st.integers(1, 20), st.integers(1, 20)),
    ),
    st.integers(4, 24),
    st.floats(0.4, 2.5),
    st.integers(0, 10**6),
)
@settings(max_examples=60)
def test_images_of_any_size_make_crops_cached_or_not(shape, edge, zoom, seed):
    image = image_of(noise(*shape), (zoom,) * len(shape))
    size = (edge,) * len(shape)
    crops = Crops([whole(image)], size, seed)
    cached = [crops.crop(step, 0).image for step in range(2)]
    assert crops._cached == np.prod(image.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CACHED_VOXELS", 0)
        lazy = Crops([whole(image)], size, seed)
        read = [lazy.crop(step, 0).image for step in range(2)]
    assert lazy._cached == 0
    for a, b in zip(cached, read, strict=True):
        assert a.shape == (1, *size)
        assert np.array_equal(a, b)


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (2, 1, 1), (2, 3, 1)])
def test_a_few_voxels_are_mirrored_to_a_whole_crop(shape):
    crops = Crops([whole(image_of(noise(*shape)))], (16,) * len(shape), 0, None)
    crop = crops.crop(0, 0).image
    assert crop.shape == (1,) + (16,) * len(shape)
    assert np.isin(crop, noise(*shape)).all()


def test_crops_stay_inside_their_region_and_reach_all_of_it(monkeypatch):
    monkeypatch.setattr(module, "CANDIDATES", 1, raising=False)  # wherever the contrast is
    image = image_of(np.arange(60 * 50, dtype=np.float32).reshape(60, 50))
    crops = Crops([Part(image, (slice(10, 40), slice(5, 45)))], (8, 8), 0)
    seen = np.concatenate([crops.crop(step, 0).image.ravel() for step in range(400)]).astype(int)
    rows, columns = np.unique(seen // 50), np.unique(seen % 50)
    assert np.array_equal(rows, np.arange(10, 40))
    assert np.array_equal(columns, np.arange(5, 45))


def in_the_dark(ndim):
    """An empty image but for one bright part, and how likely a random crop is to touch it."""
    edge, bright, size = {2: 100, 3: 60}[ndim], 8, 16
    array = np.zeros((edge,) * ndim, np.float32)
    array[(slice(edge // 2, edge // 2 + bright),) * ndim] = 1
    likely = ((size + bright - 1) / (edge - size + 1)) ** ndim
    return Crops([whole(image_of(array))], (size,) * ndim, 0), likely


@pytest.mark.parametrize("ndim", [2, 3])
def test_crops_prefer_what_has_contrast(monkeypatch, ndim):
    crops, likely = in_the_dark(ndim)
    count, shares = 500, []
    for candidates in (1, module.CANDIDATES):
        monkeypatch.setattr(module, "CANDIDATES", candidates)
        shares.append(np.mean([crops.crop(step, 0).image.max() > 0 for step in range(count)]))
        expected = 1 - (1 - likely) ** candidates
        # Binomial: five standard deviations.
        assert abs(shares[-1] - expected) < 5 * np.sqrt(expected * (1 - expected) / count)
    assert shares[1] > 2 * shares[0]


@pytest.fixture
def reads(monkeypatch):
    """All that is read from any image, nothing being kept in memory."""
    found, read = [], Canonical.read
    monkeypatch.setattr(module, "CACHED_VOXELS", 0)
    monkeypatch.setattr(Canonical, "read", lambda *a: (found.append(read(*a)), found[-1])[1])
    return found


def test_the_crop_with_most_contrast_is_taken(reads):
    crops = Crops([whole(image_of(noise(60, 70)))], (9, 8), 0)
    for step in range(30):
        reads.clear()
        crop = crops.crop(step, 0).image
        assert 1 < len(reads) <= module.CANDIDATES
        assert crop.var() == max(c.var() for c in reads)
        assert any(np.array_equal(crop, c) for c in reads)


@pytest.mark.parametrize(
    ("shape", "most"), [((16, 16), 1), ((9, 16), 1), ((3, 4, 5), 1), ((17, 9), 2)]
)
def test_the_same_place_is_read_once(reads, shape, most):
    """A part no larger than a crop has one place only."""
    crops = Crops([whole(image_of(noise(*shape)))], (16,) * len(shape), 0)
    counts = []
    for step in range(20):
        reads.clear()
        crops.crop(step, 0)
        counts.append(len(reads))
    assert max(counts) == most


def test_large_images_are_drawn_more_often():
    images = [
        image_of(np.full((40, 40), 1, np.float32)),
        image_of(np.full((20, 20), 2, np.float32)),
    ]
    crops = Crops([whole(i) for i in images], (4, 4), 0)
    drawn = [int(crops.crop(step, 0).image[0, 0, 0]) for step in range(2000)]
    # Binomial with p = 0.8: five standard deviations are 0.045.
    assert abs(drawn.count(1) / 2000 - 0.8) < 0.045


def test_the_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "CACHED_TOTAL", 1000)
    images = [image_of(noise(20, 20, seed=s)) for s in range(8)]
    crops = Crops([whole(i) for i in images], (4, 4), 0)
    list(crops.prefetch(range(40), range(4), 4))
    assert 0 < sum(a.image.size for a in crops._cache.values()) <= 1000
    assert crops._cached == sum(a.image.size for a in crops._cache.values())


def test_a_crop_may_be_changed_without_changing_the_next():
    crops = Crops([whole(image_of(noise(8, 8)))], (8, 8), 0)
    first = crops.crop(0, 0).image
    kept = first.copy()
    first[:] = 0
    assert np.array_equal(crops.crop(0, 0).image, kept)
