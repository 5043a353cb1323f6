"""Normalisation against numpy's percentiles, and images that have none."""

import numpy as np
import pytest

from cellulus.data import normalise
from cellulus.data.normalise import Normalisation, estimate, sample
from cellulus.data.volume import Volume
from cellulus.errors import InputError


def noise(*shape, seed=0, scale=100.0):
    return np.random.default_rng(seed).gamma(2.0, scale, shape).astype(np.float32)


def of(array, name="image", axes=None):
    return Volume.of(array, name=name, axes=axes)


def test_percentiles_become_zero_and_one():
    image = noise(60, 50)
    found = estimate([of(image)], (1.0, 99.8))
    low, high = np.percentile(image, (1.0, 99.8))
    assert found.low == pytest.approx((low,))
    assert found.high == pytest.approx((high,))
    mapped = found(image[None])
    assert mapped.dtype == np.float32
    assert mapped.shape == (1, 60, 50)
    assert np.allclose(np.percentile(mapped, (1.0, 99.8)), (0, 1), atol=1e-5)
    assert mapped.max() > 1
    assert mapped.min() < 0  # nothing is clipped


def test_channels_are_normalised_apart():
    image = np.stack([noise(40, 40), 50 + 3 * noise(40, 40, seed=1)])
    found = estimate([of(image, axes="cyx")], (5.0, 95.0))
    for channel in range(2):
        low, high = np.percentile(image[channel], (5.0, 95.0))
        assert (found.low[channel], found.high[channel]) == pytest.approx((low, high), rel=1e-5)


def test_a_data_set_shares_the_percentiles_of_all_its_images():
    images = [noise(30, 30), 5 * noise(20, 40, seed=1), noise(10, 10, seed=2) + 900]
    found = estimate([of(i) for i in images], (1.0, 99.0))
    low, high = np.percentile(np.concatenate([i.ravel() for i in images]), (1.0, 99.0))
    assert (found.low[0], found.high[0]) == pytest.approx((low, high), rel=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float64])
def test_any_type_is_mapped_alike(dtype):
    image = np.random.default_rng(0).integers(0, 200, (30, 30))
    expected = estimate([of(image.astype(np.float32))], (1, 99))(image[None])
    found = estimate([of(image.astype(dtype))], (1, 99))(image.astype(dtype)[None])
    assert np.allclose(found, expected, atol=1e-6)


def test_a_few_bright_voxels_are_contrast_enough():
    image = np.zeros((100, 100), np.uint8)
    image[3, 4] = 200
    found = estimate([of(image)], (1.0, 99.8))
    assert (found.low, found.high) == ((0.0,), (200.0,))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value):
    image = noise(20, 20)
    image[3, 3:6] = value
    with pytest.raises(InputError) as caught:
        estimate([of(noise(9, 9)), of(image, "broken")], (1, 99))
    assert caught.value.where == "broken"
    assert "3 NaN or infinite" in caught.value.found


def test_a_constant_image_is_refused_by_name():
    with pytest.raises(InputError) as caught:
        estimate([of(np.full((20, 20), 7, np.uint16), "dark")], (1, 99))
    assert caught.value.where == "dark"
    assert "7 everywhere in channel 0" in caught.value.found


def test_the_constant_channel_is_named():
    image = np.stack([noise(20, 20), np.zeros((20, 20), np.float32)])
    with pytest.raises(InputError) as caught:
        estimate([of(image, axes="cyx")], (1, 99))
    assert "channel 1" in caught.value.found


class Counted:
    """An array that counts the voxels read of it."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, 0

    def __getitem__(self, key):
        part = self.array[key]
        self.read += part.size
        return part


@pytest.mark.parametrize("shape", [(640, 512), (70, 200, 130)])
def test_a_large_image_is_sampled(monkeypatch, shape):
    """Bright in one half only, so that a sample of one place would be far off."""
    image = noise(*shape) * np.linspace(0.5, 2, shape[-1], dtype=np.float32)
    exact = estimate([of(image)], (1.0, 99.0))
    limit = image.size // 4
    monkeypatch.setattr(normalise, "SAMPLE_VOXELS", limit)
    counted = Counted(image)
    volume = Volume("big", counted, "zyx"[-len(shape) :], of(image).voxel_size)
    found = estimate([volume], (1.0, 99.0))
    assert 0.2 * limit < counted.read <= limit
    assert found.low[0] == pytest.approx(exact.low[0], rel=0.15)
    assert found.high[0] == pytest.approx(exact.high[0], rel=0.1)


def test_samples_are_not_all_from_one_column(monkeypatch):
    """8 x 8 blocks, of which every eighth would be a column."""
    image = np.broadcast_to(np.arange(512, dtype=np.float32), (512, 512))
    values = sample(of(image), 8 * 64**2)
    assert 0.8 * 8 * 64**2 < values.size <= 8 * 64**2
    assert len(np.unique(values // 64)) >= 3


@pytest.mark.parametrize("limit", [1, 5, 100, 5000])
def test_the_smallest_share_is_still_some(limit):
    """As in a data set of very many images."""
    values = sample(of(noise(40, 45, 50)), limit)
    assert 1 <= values.shape[1] <= limit


def test_many_volumes_share_what_may_be_sampled(monkeypatch):
    monkeypatch.setattr(normalise, "SAMPLE_VOXELS", 4000)
    volumes = [of(noise(20, 20, 20, seed=seed), str(seed)) for seed in range(40)]
    found = estimate(volumes, (1.0, 99.0))
    exact = np.percentile(np.stack([v.read() for v in volumes]), (1.0, 99.0))
    assert (found.low[0], found.high[0]) == pytest.approx(tuple(exact), rel=0.2)


def test_the_same_sample_is_drawn_every_time():
    volume = of(noise(100, 100))
    assert np.array_equal(sample(volume, 700), sample(volume, 700))


def test_the_map_is_linear():
    map_ = Normalisation((10.0, 0.0), (20.0, 4.0))
    assert map_(np.array([[[15, 30]], [[1, -4]]], np.int16)).tolist() == [[[0.5, 2]], [[0.25, -1]]]
