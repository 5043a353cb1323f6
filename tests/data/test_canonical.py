"""The network's view of an image: parts of a whole, mirrored borders, one scale for all objects."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellulus.data.canonical import Canonical
from cellulus.data.normalise import Normalisation
from cellulus.data.volume import Volume
from cellulus.errors import InputError
from cellulus.space import Length, Scale, VoxelSize

PLAIN = Normalisation((0.0,), (1.0,))


def view(array, zoom, normalisation=PLAIN, **kind):
    return Canonical(Volume.of(array, **kind), Scale(zoom), normalisation)


def everything(image):
    return image.read(tuple(slice(0, n) for n in image.shape))


def noise(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


@given(
    st.tuples(st.integers(1, 25), st.integers(1, 25)),
    st.tuples(st.floats(0.3, 3), st.floats(0.3, 3)),
    st.tuples(st.integers(-40, 60), st.integers(-40, 60)),
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
)
def test_any_region_equals_the_mirrored_whole_bit_for_bit(shape, zoom, start, extent):
    image = view(noise(*shape), zoom)
    whole = everything(image)
    assert whole.shape == (1, *image.shape)
    region = tuple(slice(a, a + n) for a, n in zip(start, extent, strict=True))
    margins = [
        (max(0, -r.start), max(0, r.stop - n)) for r, n in zip(region, image.shape, strict=True)
    ]
    padded = np.pad(whole, [(0, 0), *margins], mode="reflect")
    inside = tuple(
        slice(r.start + m, r.stop + m) for r, (m, _) in zip(region, margins, strict=True)
    )
    assert np.array_equal(image.read(region), padded[(slice(None), *inside)])


def test_all_channels_are_normalised_and_resampled():
    array = np.stack([noise(12, 10), 7 + noise(12, 10)])
    image = view(array, (1.0, 1.0), Normalisation((0.0, 7.0), (2.0, 8.0)), axes="cyx")
    assert np.allclose(everything(image), [array[0] / 2, array[1] - 7], atol=1e-6)


def ball(spacing, extent, diameter):
    """A soft ball in the middle of a physical box, each voxel the mean over its own extent."""
    fine = 4
    axes = []
    for n, s in zip(extent, spacing, strict=True):
        count = round(n / s)
        inner = (np.arange(count * fine) + 0.5) / fine * s
        axes.append(inner - n / 2)
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    away = np.sqrt((grid**2).sum(axis=0))
    soft = 1 / (1 + np.exp((away - diameter / 2) / 1.0))
    for axis in range(soft.ndim):
        shape = (*soft.shape[:axis], -1, fine, *soft.shape[axis + 1 :])
        soft = soft.reshape(shape).mean(axis=axis + 1)
    return soft.astype(np.float32)


@pytest.mark.parametrize("object_voxels", [8.0, 12.0])
def test_one_object_looks_alike_however_far_the_planes_lie_apart(object_voxels):
    """The same ball, sampled at 1:1:1 and at 1:3 along z, in um."""
    extent, diameter = (36.0, 36.0, 36.0), 16.0
    seen = []
    for spacing in ((1.0, 1.0, 1.0), (3.0, 1.0, 1.0)):
        volume = Volume.of(ball(spacing, extent, diameter), voxel_size=VoxelSize(spacing, "um"))
        scale = Scale.of(Length(diameter, "um"), volume.voxel_size, object_voxels)
        seen.append(everything(Canonical(volume, scale, PLAIN)))
    cubic, apart = seen
    assert cubic.shape == apart.shape
    assert np.sqrt(np.mean((cubic - apart) ** 2)) < 0.03
    assert np.abs(cubic - apart).max() < 0.2
    for axis in range(1, 4):  # neither is moved against the other
        others = tuple(a for a in range(1, 4) if a != axis)
        lines = [s.sum(axis=(0, *others)) for s in (cubic, apart)]
        middles = [(line * np.arange(len(line))).sum() / line.sum() for line in lines]
        assert middles[0] == pytest.approx(middles[1], abs=0.05)


def test_the_object_is_as_wide_as_the_network_expects():
    spacing, diameter = (2.0, 0.5, 0.5), 16.0
    volume = Volume.of(ball(spacing, (40.0,) * 3, diameter), voxel_size=VoxelSize(spacing, "um"))
    image = everything(
        Canonical(volume, Scale.of(Length(diameter, "um"), volume.voxel_size, 10.0), PLAIN)
    )
    middle = [n // 2 for n in image.shape[1:]]
    for axis in range(3):
        line = image[0][tuple(slice(None) if a == axis else m for a, m in enumerate(middle))]
        assert (line > 0.5).sum() == pytest.approx(10, abs=1)


def test_only_what_is_needed_is_read():
    class Watched:
        def __init__(self, array):
            self.array, self.shape, self.dtype, self.keys = array, array.shape, array.dtype, []

        def __getitem__(self, key):
            self.keys.append(key)
            return self.array[key]

    watched = Watched(noise(200, 200))
    volume = Volume("w", watched, "yx", VoxelSize((1.0, 1.0)))
    Canonical(volume, Scale((1.0, 2.0)), PLAIN).read((slice(50, 60), slice(100, 120)))
    (key,) = watched.keys
    assert [(k.start, k.stop) for k in key] == [(50, 61), (49, 61)]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_found_when_they_are_read(value):
    array = noise(40, 40)
    array[30, 5] = value
    image = view(array, (1.0, 1.0), name="holed")
    image.read((slice(0, 20), slice(0, 20)))
    with pytest.raises(InputError) as caught:
        image.read((slice(20, 40), slice(0, 20)))
    assert caught.value.where == "holed"
    assert "[20:40, 0:21]" in caught.value.found or "[20:40, 0:20]" in caught.value.found


def test_a_single_voxel_fills_any_region():
    image = view(np.full((1, 1), 0.25, np.float32), (1.7, 0.4))
    assert np.allclose(image.read((slice(-5, 9), slice(-3, 4))), 0.25)
