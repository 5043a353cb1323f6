"""From files to OME-Zarr and back: the same voxels, valid, whole or not at all, little memory."""

import subprocess
import sys

import numpy as np
import pytest
import tifffile
import zarr

from cellulus.data import readers
from cellulus.errors import CellulusError, ExistsError, InputError, MissingError
from cellulus.pipeline.convert import convert
from cellulus.space import VoxelSize
from validity import judge

RNG = np.random.default_rng(0)


def _pairs(folder, shape=(5, 300, 280), masks=None):
    """Write one image with its mask in paired folders."""
    x = RNG.integers(0, 60_000, shape).astype(np.uint16)
    y = RNG.integers(0, 900, shape).astype(np.uint16) if masks is None else masks
    for name, data in (("images", x), ("masks", y)):
        (folder / "train" / name).mkdir(parents=True)
        tifffile.imwrite(folder / "train" / name / "a.tif", data, photometric="minisblack")
    return x, y


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_images_and_labels_come_back_and_are_valid(tmp_path, ngff):
    x, y = _pairs(tmp_path / "in")
    (path,) = convert([tmp_path / "in"], tmp_path / "out", ngff=ngff)
    assert path == tmp_path / "out" / "train" / "a.zarr"
    judge(path, ngff)
    (image,) = readers.open_volumes(path)
    (labels,) = readers.open_volumes(path / "labels" / "masks")
    assert np.array_equal(image.read()[0], x)
    assert np.array_equal(labels.read()[0], y)
    assert labels.dtype == np.uint32
    assert readers.levels(path) == readers.levels(path / "labels" / "masks")
    assert len(readers.levels(path)) > 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["train"]
    assert zarr.open_group(path, mode="r").attrs["cellulus"] == {"source": "a.tif"}


@pytest.mark.parametrize(
    ("axes", "shape"),
    [("YX", (40, 30)), ("ZCYX", (3, 2, 40, 30)), ("TZCYX", (2, 3, 2, 40, 30)), ("TYX", (2, 9, 8))],
)
def test_axes_are_put_in_order_and_voxel_sizes_kept(tmp_path, axes, shape):
    data = RNG.integers(0, 255, shape).astype(np.uint8)
    metadata = {"axes": axes, "spacing": 2.0, "unit": "um"}
    tifffile.imwrite(
        tmp_path / "a.tif", data, imagej=True, resolution=(2.0, 2.0), metadata=metadata
    )
    (path,) = convert([tmp_path / "a.tif"], tmp_path / "out")
    channels = (0, 1) if "C" in axes else ()
    before = readers.open_volumes(tmp_path / "a.tif", channels=channels)
    after = readers.open_volumes(path, channels=channels)
    assert len(before) == len(after) == (2 if "T" in axes else 1)
    for old, new in zip(before, after, strict=True):
        assert np.array_equal(old.read(), new.read())
        assert old.voxel_size == new.voxel_size
        assert new.voxel_size.values[-2:] == (0.5, 0.5)
    judge(path)


def test_time_series_with_sparse_truth(tmp_path):
    x = RNG.integers(0, 255, (3, 20, 30)).astype(np.uint8)
    y = RNG.integers(0, 9, (20, 30)).astype(np.uint16)
    for t in range(3):
        (tmp_path / "D" / "01").mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(tmp_path / "D" / "01" / f"t{t:03}.tif", x[t])
    (tmp_path / "D" / "01_GT" / "SEG").mkdir(parents=True)
    tifffile.imwrite(tmp_path / "D" / "01_GT" / "SEG" / "man_seg001.tif", y)
    (path,) = convert([tmp_path / "D"], tmp_path / "out")
    truth = [v.read()[0] for v in readers.open_volumes(path / "labels" / "gt_seg")]
    assert np.array_equal(truth, [y * 0, y, y * 0])
    attributes = zarr.open_group(path / "labels" / "gt_seg", mode="r").attrs["cellulus"]
    assert attributes["annotated_frames"] == [1]
    judge(path)


def test_two_channels_and_two_label_groups(tmp_path):
    x = RNG.random((2, 40, 30, 2)).astype(np.float32)
    y = RNG.integers(0, 9, (2, 40, 30, 2)).astype(np.int64)
    np.savez_compressed(tmp_path / "tn.npz", X=x, y=y)
    paths = convert([tmp_path / "tn.npz"], tmp_path / "out")
    for i, path in enumerate(paths):
        (image,) = readers.open_volumes(path, channels=("membrane", "nuclear"))
        assert np.array_equal(image.read(), x[i].transpose(2, 0, 1)[::-1])
        for channel, name in enumerate(("whole_cell", "nuclear")):
            (labels,) = readers.open_volumes(path / "labels" / name)
            assert np.array_equal(labels.read()[0], y[i, ..., channel])
        judge(path)


@pytest.mark.parametrize(
    ("largest", "kind", "stored"),
    [
        (2**32 - 1, np.uint64, np.uint32),
        (2**32, np.uint64, np.uint64),
        (2**40, np.int64, np.uint64),
        (9, np.float32, np.uint32),
        (1, np.bool_, np.uint32),
    ],
)
def test_labels_get_the_type_they_need(tmp_path, largest, kind, stored):
    y = np.zeros((20, 30), kind)
    y[3, 4] = largest
    np.savez(tmp_path / "a.npz", image=np.ones((20, 30)), labels=y)
    (path,) = convert([tmp_path / "a.npz"], tmp_path / "out")
    (labels,) = readers.open_volumes(path / "labels" / "labels")
    assert labels.dtype == stored
    assert int(labels.read()[0, 3, 4]) == largest


@pytest.mark.parametrize("wrong", [-1, 0.5, np.nan])
def test_impossible_labels_leave_nothing_behind(tmp_path, wrong):
    np.savez(tmp_path / "a.npz", image=np.ones((20, 30)), labels=np.full((20, 30), wrong))
    with pytest.raises(InputError, match=r"a\.npz"):
        convert([tmp_path / "a.npz"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_of_another_shape_name_both_files(tmp_path):
    _pairs(tmp_path / "in", masks=np.zeros((5, 300, 281), np.uint8))
    with pytest.raises(InputError, match=r"masks/a\.tif.*images/a\.tif") as caught:
        convert([tmp_path / "in"], tmp_path / "out")
    assert "x=281" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_existing_images_are_kept_unless_told_otherwise(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((9, 8), 1, np.uint8))
    (path,) = convert([tmp_path / "a.tif"], tmp_path / "out")
    tifffile.imwrite(tmp_path / "a.tif", np.full((9, 8), 2, np.uint8))
    tifffile.imwrite(tmp_path / "0.tif", np.full((9, 8), 3, np.uint8))
    with pytest.raises(ExistsError, match=r"a\.zarr"):
        convert([tmp_path / "0.tif", tmp_path / "a.tif"], tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.zarr"], "nothing half done"
    assert readers.open_volumes(path)[0].read().max() == 1
    convert([tmp_path / "a.tif"], tmp_path / "out", overwrite=True)
    assert readers.open_volumes(path)[0].read().max() == 2


def test_two_images_of_one_name_are_refused(tmp_path):
    for folder in ("p", "q"):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "a.tif", np.zeros((9, 8), np.uint8))
    with pytest.raises(InputError, match=r"q/a\.tif.*p/a\.tif"):
        convert([tmp_path / "p", tmp_path / "q"], tmp_path / "out")


def test_damage_halfway_leaves_nothing_half_written(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", RNG.integers(0, 9, (64, 64)).astype(np.uint8), compression="zlib"
    )
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        start = file.pages.first.dataoffsets[0]
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[start : start + 99] = b"\xff" * 99
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(CellulusError, match=r"a\.tif"):
        convert([tmp_path / "a.tif"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_missing_or_ambiguous_is_said(tmp_path):
    with pytest.raises(MissingError, match="none"):
        convert([tmp_path / "none"], tmp_path / "out")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 9, 8), np.uint8), photometric="minisblack")
    with pytest.raises(InputError, match=r"a\.tif"):
        convert([tmp_path / "a.tif"], tmp_path / "out")
    (path,) = convert([tmp_path / "a.tif"], tmp_path / "out", axes="zyx")
    assert readers.open_volumes(path)[0].voxel_size == VoxelSize((1.0, 1.0, 1.0))


def test_progress_covers_all_work(tmp_path):
    class Count:
        def __init__(self):
            self.open, self.steps = None, []

        def start(self, what, total):
            assert self.open is None
            self.open, self.left = what, total

        def advance(self, amount=1, **values):
            self.left -= amount

        def finish(self):
            assert self.left == 0
            self.steps.append(self.open)
            self.open = None

    _pairs(tmp_path / "in")
    count = Count()
    convert([tmp_path / "in"], tmp_path / "out", progress=count)
    assert count.open is None
    assert count.steps[0] == "convert train/a"
    assert any("masks" in step for step in count.steps)


_MEASURE = """
import sys, tracemalloc
from cellulus.pipeline.convert import convert
tracemalloc.start()
convert([sys.argv[1]], sys.argv[2], axes="zyx")
print(tracemalloc.get_traced_memory()[1] >> 20)
"""


@pytest.mark.parametrize("form", ["npz", "tif"])
def test_memory_is_bounded_by_regions_not_by_the_file(tmp_path, form):
    """A volume of 512 MiB (nearly empty, so that it is quick) takes well under half of that."""
    shape = (1024, 512, 512)
    path = tmp_path / f"v.{form}"
    raw = np.lib.format.open_memmap(tmp_path / "raw.npy", "w+", np.uint16, shape)
    raw[::100, 7, 9] = 1
    if form == "npz":
        np.savez_compressed(path, image=raw)
    else:
        tifffile.imwrite(
            path,
            (raw[z] for z in range(shape[0])),
            shape=shape,
            dtype=raw.dtype,
            compression="zlib",
            photometric="minisblack",
        )
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(path), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 220
    (volume,) = readers.open_volumes(tmp_path / "out" / "v.zarr")
    part = volume.read((slice(895, 905), slice(0, 20), slice(0, 20)))[0]
    assert np.argwhere(part).tolist() == [[5, 7, 9]]
