import numpy as np
import pytest

from cellulus.data.volume import Volume
from cellulus.errors import InputError
from cellulus.pipeline.measure import LOOKED_AT_VOXELS, measure
from cellulus.space import Length, VoxelSize


def discs(diameter, shape=(160, 160)):
    y, x = np.indices(shape)
    pitch = 2 * diameter
    away = np.hypot(y % pitch - diameter, x % pitch - diameter)
    return np.where(away < diameter / 2, 200, 20).astype(np.uint8)


def test_nan_is_refused():
    image = discs(18).astype(np.float32)
    image[80, 80] = np.nan
    with pytest.raises(InputError, match="NaN"):
        measure(Volume.of(image))


def test_a_length_does_not_depend_on_the_unit():
    image = discs(18)
    voxels = measure(Volume.of(image))
    assert voxels == pytest.approx(18, rel=0.4)
    um = measure(Volume.of(image, voxel_size=VoxelSize((0.5, 0.5), "um")))
    assert um == pytest.approx(voxels / 2)
    relative = measure(Volume.of(image, voxel_size=VoxelSize((3.0, 3.0))))
    assert relative == pytest.approx(voxels)
    assert Length(um, "um").in_voxels(VoxelSize((0.5, 0.5), "um")) == pytest.approx((voxels,) * 2)


def test_nothing_stands_out():
    assert measure(Volume.of(np.full((64, 64), 7, np.uint8))) == 0


def test_only_the_middle_is_read():
    class Watched:
        def __init__(self, array):
            self.array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, 0

        def __getitem__(self, key):
            part = self.array[key]
            self.read += part.size
            return part

    watched = Watched(discs(20, (900, 3000)))
    volume = Volume("a", watched, "yx", VoxelSize((1.0, 1.0)))
    assert measure(volume) == pytest.approx(20, rel=0.4)
    assert 0 < watched.read <= LOOKED_AT_VOXELS
