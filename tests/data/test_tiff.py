"""What TIFF files say, or fail to say, about their axes, channels and voxels."""

import numpy as np
import pytest
import tifffile

from cellulus.data import readers
from cellulus.errors import InputError, StorageError
from cellulus.space import VoxelSize

RNG = np.random.default_rng(0)


def _write(folder, shape, dtype=np.uint8, **options):
    data = RNG.integers(0, 255, shape).astype(dtype)
    tifffile.imwrite(folder / "a.tif", data, **options)
    return folder / "a.tif", data


def test_time_points_become_volumes(tmp_path):
    path, data = _write(
        tmp_path,
        (4, 3, 2, 9, 8),
        imagej=True,
        metadata={"axes": "TZCYX", "spacing": 4.0, "unit": "pixel"},
    )
    volumes = readers.open_volumes(path, channels=(1,))
    assert [v.name for v in volumes] == ["a_t000", "a_t001", "a_t002", "a_t003"]
    assert np.array_equal(volumes[2].read()[0], data[2, :, 1])
    assert volumes[0].voxel_size == VoxelSize((4.0, 1.0, 1.0))


@pytest.mark.parametrize("unit", ["micron", "um", "\\u00B5m"])
def test_units_of_imagej(tmp_path, unit):
    path, _ = _write(
        tmp_path,
        (3, 9, 8),
        imagej=True,
        resolution=(4.0, 2.0),
        metadata={"axes": "ZYX", "spacing": 3.0, "unit": unit},
    )
    size = readers.open_volumes(path)[0].voxel_size
    assert size.unit == "um"
    assert size.values == pytest.approx((3.0, 0.5, 0.25))


def test_without_a_unit_only_proportions_are_known(tmp_path):
    path, _ = _write(
        tmp_path,
        (3, 9, 8),
        imagej=True,
        resolution=(2.0, 2.0),
        metadata={"axes": "ZYX", "spacing": 1.5},
    )
    assert readers.open_volumes(path)[0].voxel_size == VoxelSize((1.5, 0.5, 0.5))


def test_channels_by_name(tmp_path):
    path, data = _write(
        tmp_path,
        (2, 9, 8),
        ome=True,
        metadata={"axes": "CYX", "Channel": {"Name": ["membrane", "DAPI"]}},
    )
    (volume,) = readers.open_volumes(path, channels=("DAPI", 0))
    assert np.array_equal(volume.read(), data[::-1])
    with pytest.raises(InputError, match="0 'membrane', 1 'DAPI'"):
        readers.open_volumes(path)


def test_colours_are_channels(tmp_path):
    path, data = _write(tmp_path, (9, 8, 3), photometric="rgb")
    (volume,) = readers.open_volumes(path, channels=(2,))
    assert np.array_equal(volume.read()[0], data[..., 2])


def test_a_stack_without_axes_must_be_explained(tmp_path):
    path, data = _write(tmp_path, (3, 9, 8), photometric="minisblack")
    with pytest.raises(InputError, match="ZYX"):
        readers.open_volumes(path)
    (volume,) = readers.open_volumes(path, axes="zyx")
    assert np.array_equal(volume.read()[0], data)
    assert len(readers.open_volumes(path, axes="tyx")) == 3


def test_axes_given_do_not_overrule_the_file(tmp_path):
    path, _ = _write(tmp_path, (3, 9, 8), photometric="minisblack", metadata={"axes": "TYX"})
    assert len(readers.open_volumes(path, axes="zyx")) == 3


def test_axes_given_must_fit(tmp_path):
    path, _ = _write(tmp_path, (3, 9, 8), photometric="minisblack")
    for wrong in ("yx", "zzx", "zyq"):
        with pytest.raises(InputError):
            readers.open_volumes(path, axes=wrong)


def test_several_images_in_one_file_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.zeros((9, 8), np.uint8))
        file.write(np.zeros((5, 4), np.uint8))
    with pytest.raises(InputError, match="2 of different shapes"):
        readers.open_volumes(tmp_path / "a.tif")


def test_pyramids_inside_a_tiff(tmp_path):
    data = RNG.integers(0, 255, (64, 64)).astype(np.uint8)
    metadata = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        file.write(data, subifds=1, metadata=metadata)
        file.write(data[::2, ::2], subfiletype=1)
    assert readers.levels(tmp_path / "a.ome.tif") == [
        ((64, 64), VoxelSize((0.5, 0.5), "um")),
        ((32, 32), VoxelSize((1.0, 1.0), "um")),
    ]
    (volume,) = readers.open_volumes(tmp_path / "a.ome.tif", level=1, voxel_size=(3.0, 3.0))
    assert volume.name == "a"
    assert volume.voxel_size == VoxelSize((6.0, 6.0), "um")
    assert np.array_equal(volume.read()[0], data[::2, ::2])


def test_damaged_data_are_a_storage_error(tmp_path):
    path, _ = _write(tmp_path, (64, 64), compression="zlib")
    with tifffile.TiffFile(path) as file:
        start = file.pages.first.dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[start : start + 200] = b"\xff" * 200
    path.write_bytes(content)
    (volume,) = readers.open_volumes(path)
    with pytest.raises(StorageError, match=r"a\.tif"):
        volume.read()
