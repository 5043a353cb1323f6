"""What every reader must do: the right voxels, axes and names, lazily, and clear errors.

Each case writes one image in some format; a reader without a case fails.
"""

import pickle
import time

import numpy as np
import PIL.Image
import pytest
import tifffile

from cellulus.data import readers, writer
from cellulus.errors import CellulusError, InputError, MissingError
from cellulus.space import VoxelSize

FLAT = np.random.default_rng(0).integers(0, 60_000, (24, 31)).astype(np.uint16)
DEEP = np.random.default_rng(1).integers(0, 60_000, (5, 24, 31)).astype(np.uint16)
UM = VoxelSize((2.0, 0.5, 0.5), "um")


def _zarr(version):
    def make(folder):
        path = folder / "a.zarr"
        of = writer.Spec("image", "zyx", DEEP.shape, DEEP.dtype, UM, ngff=version)
        pending = writer.create(path, of)
        pending.write((slice(None),) * 3, DEEP)
        return pending.publish(), DEEP, UM

    return make


def _tiff(data, size, **options):
    def make(folder):
        path = folder / "a.tif"
        tifffile.imwrite(path, data, **options)
        return path, data, size

    return make


def _png(folder):
    PIL.Image.fromarray(FLAT).save(folder / "a.png")
    return folder / "a.png", FLAT, VoxelSize((1.0, 1.0))


IMAGEJ = {"imagej": True, "resolution": (2.0, 2.0)}
CASES = {
    "ome_zarr 0.4": _zarr("0.4"),
    "ome_zarr 0.5": _zarr("0.5"),
    "tiff plain": _tiff(FLAT, VoxelSize((1.0, 1.0))),
    "tiff lzw": _tiff(FLAT, VoxelSize((1.0, 1.0)), compression="lzw"),
    "tiff imagej": _tiff(
        DEEP, UM, **IMAGEJ, metadata={"axes": "ZYX", "spacing": 2.0, "unit": "um"}
    ),
    "tiff ome deflate": _tiff(
        DEEP,
        UM,
        ome=True,
        compression="zlib",
        metadata={
            "axes": "ZYX",
            "PhysicalSizeX": 500,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": 0.5,
            "PhysicalSizeZ": 2.0,
        },
    ),
    "png": _png,
}
every = pytest.mark.parametrize("make", CASES.values(), ids=CASES)


def test_every_reader_has_a_case():
    names = {reader.__name__.rsplit(".", 1)[-1] for reader in readers.READERS}
    assert names == {case.split()[0] for case in CASES}


@every
def test_voxels_and_voxel_size_are_right(tmp_path, make):
    path, data, size = make(tmp_path)
    (volume,) = readers.open_volumes(path)
    assert volume.name == "a"
    assert volume.path == str(path)
    assert volume.shape == data.shape
    assert volume.dtype == data.dtype
    assert volume.voxel_size.unit == size.unit
    assert volume.voxel_size.values == pytest.approx(size.values)
    read = volume.read()
    assert read.dtype.isnative
    assert np.array_equal(read[0], data)


@every
def test_a_part_equals_the_part_of_the_whole(tmp_path, make):
    path, data, _ = make(tmp_path)
    (volume,) = readers.open_volumes(path)
    region = tuple(slice(n // 3, n - 1) for n in data.shape)
    assert np.array_equal(volume.read(region)[0], data[region])


@every
def test_volumes_travel_to_other_processes(tmp_path, make):
    path, data, _ = make(tmp_path)
    (volume,) = readers.open_volumes(path)
    volume.read()
    sent = pickle.dumps(volume)
    assert len(sent) < 10_000, "the data must not travel"
    assert np.array_equal(pickle.loads(sent).read()[0], data)


@every
def test_voxel_size_can_be_overridden(tmp_path, make):
    path, data, _ = make(tmp_path)
    (volume,) = readers.open_volumes(path, voxel_size=(3.0,) * data.ndim)
    assert volume.voxel_size == VoxelSize((3.0,) * data.ndim, "um")
    with pytest.raises(InputError, match=r"data\.voxel_size"):
        readers.open_volumes(path, voxel_size=(3.0,) * (data.ndim + 1))


@every
def test_levels_are_listed_and_checked(tmp_path, make):
    path, data, size = make(tmp_path)
    ((shape, found),) = readers.levels(path)
    assert shape == data.shape
    assert found.values == pytest.approx(size.values)
    with pytest.raises(InputError, match="level 3"):
        readers.open_volumes(path, level=3)


@every
def test_channels_are_checked(tmp_path, make):
    path, _, _ = make(tmp_path)
    assert readers.open_volumes(path, channels=(0,))[0].channels == (0,)
    for wrong in (1, -1, "DAPI"):
        with pytest.raises(InputError, match=str(wrong)):
            readers.open_volumes(path, channels=(wrong,))


@pytest.mark.parametrize("name", ["a.zarr", "a.tif", "a.png", "a.jpg", "folder"])
def test_what_is_missing_is_said_to_be_missing(tmp_path, name):
    with pytest.raises(MissingError, match=name):
        readers.open_volumes(tmp_path / name)


@pytest.mark.parametrize("name", ["a.zarr", "a.tif", "a.png"])
@pytest.mark.parametrize("content", [b"", b"not an image\n", b"II*\0", bytes(range(256)) * 9])
def test_a_file_that_is_something_else_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CellulusError, match=name):
        readers.open_volumes(tmp_path / name)


@pytest.mark.parametrize("case", [c for c in CASES if "zarr" not in c])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_file_that_was_cut_off_is_refused(tmp_path, case, share):
    path, _, _ = CASES[case](tmp_path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    def read():
        for volume in readers.open_volumes(path):
            volume.read()

    with pytest.raises(CellulusError, match=path.name):
        read()


def test_opening_reads_no_data(tmp_path):
    """A sparse file of 8 GB opens at once."""
    path = tmp_path / "a.tif"
    tifffile.memmap(path, shape=(2000, 2000, 1000), dtype="u2", metadata={"axes": "ZYX"})
    before = time.perf_counter()
    (volume,) = readers.open_volumes(path)
    part = volume.read((slice(1500, 1502), slice(0, 9), slice(0, 9)))
    assert part.shape == (1, 2, 9, 9)
    assert time.perf_counter() - before < 5
