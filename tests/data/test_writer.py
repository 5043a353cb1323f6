"""What is written, judged by validators and by reading it back."""

import subprocess
import sys

import numpy as np
import pytest
import zarr

from cellulus.data import readers, writer
from cellulus.data.writer import Spec
from cellulus.errors import ExistsError, InputError, MissingError, StorageError
from cellulus.space import VoxelSize
from validity import judge

UM = VoxelSize((2.0, 0.5, 0.5), "um")
BOTH = pytest.mark.parametrize("ngff", ["0.4", "0.5"])


def spec(**changes):
    fields = {
        "kind": "image",
        "axes": "zyx",
        "shape": (10, 300, 280),
        "dtype": np.uint16,
        "voxel_size": UM,
    }
    return Spec(**{**fields, **changes})


def write(path, of, data=None, **options):
    pending = writer.create(path, of, **options)
    if data is None:
        data = np.random.default_rng(0).integers(0, 1000, of.shape).astype(of.dtype)
    pending.write((slice(None),) * data.ndim, data)
    return pending.publish(), data


def levels_of(path):
    group = zarr.open_group(path, mode="r")
    return [group[k][...] for k in sorted(group.array_keys())]


@BOTH
@pytest.mark.parametrize(
    ("axes", "shape", "size"),
    [
        ("yx", (300, 40), VoxelSize((1.0, 1.0))),
        ("zyx", (10, 300, 280), UM),
        ("cyx", (2, 300, 280), VoxelSize((0.5, 0.5), "um")),
        ("tczyx", (2, 2, 5, 40, 300), UM),
    ],
)
def test_images_are_valid_and_come_back(tmp_path, ngff, axes, shape, size):
    path, data = write(
        tmp_path / "a.zarr", spec(axes=axes, shape=shape, voxel_size=size, ngff=ngff)
    )
    judge(path, ngff)
    channels = tuple(range(shape[axes.index("c")])) if "c" in axes else ()
    volumes = readers.open_volumes(path, channels=channels)
    assert volumes[0].voxel_size == size
    read = np.stack([v.read() for v in volumes])
    wanted = data if "t" in axes else data[None]
    assert np.array_equal(read, wanted if "c" in axes else wanted[:, None])
    assert len(readers.levels(path)) > 1


@BOTH
def test_a_binned_level_lies_at_the_centre_of_what_it_covers(tmp_path, ngff):
    path, _ = write(tmp_path / "a.zarr", spec(ngff=ngff, translation=(10.0, 0.0, 1.0)))
    attributes = zarr.open_group(path, mode="r").attrs.asdict()
    datasets = attributes.get("ome", attributes)["multiscales"][0]["datasets"]
    steps = [d["coordinateTransformations"] for d in datasets]
    assert steps[0][0]["scale"] == [2.0, 0.5, 0.5]
    assert steps[0][1]["translation"] == [10.0, 0.0, 1.0]
    assert steps[1][0]["scale"] == [2.0, 1.0, 1.0]
    assert steps[1][1]["translation"] == [10.0, 0.25, 1.25]


@BOTH
def test_anisotropic_label_pyramid_equals_strides(tmp_path, ngff):
    of = spec(kind="labels", dtype=np.uint32, shape=(9, 601, 530), ngff=ngff)
    data = np.random.default_rng(2).integers(0, 2**32, of.shape, dtype=np.uint32)
    path, _ = write(tmp_path / "labels.zarr", of, data)
    found = levels_of(path)
    assert [level.shape for level in found] == [(9, 601, 530), (9, 301, 265), (9, 151, 133)]
    for k, level in enumerate(found):
        assert np.array_equal(level, data[:, :: 2**k, :: 2**k])
    judge(path, ngff)


@BOTH
def test_labels_inside_an_image_share_its_levels(tmp_path, ngff):
    image, data = write(
        tmp_path / "a.zarr", spec(axes="tczyx", shape=(1, 2, 10, 300, 280), ngff=ngff)
    )
    for name in ("nuclei", "cells", "nuclei"):
        pending = writer.create_labels(image, name, overwrite=True, attributes={"from": name})
        pending.write((slice(None),) * 4, (data[:, 0] % 7).astype(np.uint32))
        pending.publish()
    judge(image, ngff)
    judge(image / "labels" / "nuclei", ngff)
    listed = zarr.open_group(image / "labels", mode="r").attrs.asdict()
    assert listed.get("ome", listed)["labels"] == ["cells", "nuclei"]
    of_image, of_labels = readers.levels(image), readers.levels(image / "labels" / "nuclei")
    assert of_image == of_labels
    label = zarr.open_group(image / "labels" / "nuclei", mode="r").attrs.asdict()
    assert label.get("ome", label)["image-label"]["source"] == {"image": "../../"}
    assert label["cellulus"] == {"from": "nuclei"}
    (volume,) = readers.open_volumes(image / "labels" / "nuclei")
    assert volume.dtype == np.uint32
    assert np.array_equal(volume.read()[0], data[0, 0] % 7)


def test_labels_follow_the_levels_of_a_foreign_image(tmp_path):
    group = zarr.open_group(tmp_path / "f.zarr", mode="w", zarr_format=2)
    axes = [{"name": a, "type": "space", "unit": "nanometer"} for a in "yx"]
    datasets = []
    for k, n in enumerate((101, 50, 33)):
        group.create_array(
            str(k), shape=(n, n), dtype="u1", chunks=(50, 50),
            chunk_key_encoding={"name": "v2", "separator": "/"},
        )  # fmt: skip
        scale = {"type": "scale", "scale": [100.0 * (1, 2, 3)[k]] * 2}
        datasets.append({"path": str(k), "coordinateTransformations": [scale]})
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    pending = writer.create_labels(tmp_path / "f.zarr", "nuclei")
    data = np.random.default_rng(0).integers(0, 99, (101, 101)).astype(np.uint32)
    pending.write((slice(None),) * 2, data)
    path = pending.publish()
    judge(tmp_path / "f.zarr", "0.4")
    found = levels_of(path)
    assert np.array_equal(found[1], data[::2, ::2][:50, :50])
    assert np.array_equal(found[2], data[::3, ::3][:33, :33])
    for (a, b), (c, d) in zip(
        readers.levels(tmp_path / "f.zarr"), readers.levels(path), strict=True
    ):
        assert a == c
        assert b.values == pytest.approx(d.values)


def test_a_folder_called_labels_is_no_group(tmp_path):
    of = spec(kind="labels", dtype=np.uint32)
    write(tmp_path / "labels" / "a.zarr", of)
    assert [p.name for p in (tmp_path / "labels").iterdir()] == ["a.zarr"]


def test_labels_need_an_image(tmp_path):
    with pytest.raises(MissingError):
        writer.create_labels(tmp_path / "none.zarr", "nuclei")


def test_nothing_has_the_name_before_it_is_complete(tmp_path):
    pending = writer.create(tmp_path / "a.zarr", spec())
    pending.build()
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr.partial"]
    pending.publish()
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_discard_leaves_nothing(tmp_path):
    writer.create(tmp_path / "a.zarr", spec()).discard()
    assert not list(tmp_path.iterdir())


def test_existing_output_is_kept_until_the_new_one_is_complete(tmp_path):
    path, old = write(tmp_path / "a.zarr", spec())
    with pytest.raises(ExistsError, match="overwrite"):
        writer.create(path, spec())
    pending = writer.create(path, spec(), overwrite=True)
    pending.write((slice(None),) * 3, old + 1)
    pending.build()
    assert np.array_equal(levels_of(path)[0], old)
    pending.publish()
    assert np.array_equal(levels_of(path)[0], old + 1)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_what_is_not_ours_is_never_replaced(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "thesis.tex").write_text("years of work")
    with pytest.raises(ExistsError):
        writer.create(tmp_path / "a.zarr", spec(), overwrite=True)


def test_an_interrupted_run_goes_on(tmp_path):
    first = writer.create(tmp_path / "a.zarr", spec(attributes={"run": 1}), resume=True)
    first.write((slice(0, 10),) * 3, np.full((10, 10, 10), 7, np.uint16))
    again = writer.create(tmp_path / "a.zarr", spec(attributes={"run": 1}), resume=True)
    assert (again.array[:10, :10, :10] == 7).all()
    again.publish()
    done = writer.create(tmp_path / "a.zarr", spec(attributes={"run": 1}), resume=True)
    assert done.complete
    assert done.publish() == tmp_path / "a.zarr"
    with pytest.raises(InputError):
        writer.create(tmp_path / "a.zarr", spec(attributes={"run": 2}), resume=True)
    with pytest.raises(InputError):
        writer.create(tmp_path / "a.zarr", spec(dtype=np.uint8, attributes={"run": 1}), resume=True)


def test_leftovers_are_not_mixed_into_a_fresh_run(tmp_path):
    writer.create(tmp_path / "a.zarr", spec()).write((slice(0, 1),) * 3, np.ones((1, 1, 1)))
    assert not writer.create(tmp_path / "a.zarr", spec()).array[0, 0, 0]


@pytest.mark.parametrize(
    "changes",
    [
        {"axes": "xyz"},
        {"axes": "zy"},
        {"shape": (3, 4)},
        {"shape": (0, 4, 4)},
        {"voxel_size": VoxelSize((1.0, 1.0))},
        {"translation": (1.0,)},
        {"kind": "labels", "dtype": np.float32},
        {"kind": "labels", "dtype": np.uint16},
        {"kind": "labels", "dtype": np.uint32, "axes": "cyx", "voxel_size": VoxelSize((1.0, 1.0))},
        {"chunks": (8, 8, 8), "shards": (8, 12, 16)},
        {"chunks": (8, 8)},
    ],
)
def test_contradictory_specs_are_refused(changes):
    with pytest.raises(InputError):
        spec(**changes)


@pytest.mark.parametrize(
    ("of", "chunks", "shards"),
    [
        (spec(shape=(300, 300, 300)), (64, 64, 64), (256, 256, 256)),
        (spec(shape=(10, 70, 1000)), (10, 64, 64), (10, 128, 256)),
        (
            spec(axes="yx", shape=(3000, 100), voxel_size=VoxelSize((1.0, 1.0))),
            (512, 100),
            (1024, 100),
        ),
        (
            spec(shape=(300, 300, 300), chunks=(32, 64, 64), shards=(64, 128, 128)),
            (32, 64, 64),
            (64, 128, 128),
        ),
        (spec(shape=(300, 300, 300), ngff="0.4"), (64, 64, 64), (64, 64, 64)),
    ],
)
def test_shards_are_whole_chunks_and_no_larger_than_needed(tmp_path, of, chunks, shards):
    pending = writer.create(tmp_path / "a.zarr", of)
    assert pending.array.chunks == chunks
    assert pending.shards == shards


def test_empty_parts_and_nan_are_fine(tmp_path):
    of = spec(dtype=np.float32)
    data = np.full(of.shape, np.nan, np.float32)
    path, _ = write(tmp_path / "a.zarr", of, data)
    judge(path, "0.5")


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        writer.create(tmp_path / "file" / "a.zarr", spec())


_FULL = """
import resource, sys, numpy as np
from cellulus.data import writer
from cellulus.errors import StorageError
from cellulus.space import VoxelSize
pending = writer.create(sys.argv[1], writer.Spec(
    "image", "yx", (512, 512), np.uint16, VoxelSize((1.0, 1.0))))
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    pending.write((slice(None),) * 2, np.random.default_rng(0).integers(0, 2**16, (512, 512)))
except StorageError as error:
    print("refused", error)
"""


def test_a_full_disk_is_a_storage_error(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path / "a.zarr")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "refused" in done.stdout
    assert "a.zarr" in done.stdout
    assert not (tmp_path / "a.zarr").exists()


def test_a_failed_rename_keeps_the_old_one(tmp_path, monkeypatch):
    path, old = write(tmp_path / "a.zarr", spec())
    pending = writer.create(path, spec(), overwrite=True)
    pending.build()
    rename = type(path).rename

    def refuse(self, target):
        if self.name.endswith(".partial"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(type(path), "rename", refuse)
    with pytest.raises(StorageError, match="No space"):
        pending.publish()
    assert np.array_equal(levels_of(path)[0], old)


def test_a_folder_without_an_array_is_not_gone_on_with(tmp_path):
    """A process may be killed between making the folder and writing what the array is."""
    (tmp_path / "img.zarr.partial" / "0").mkdir(parents=True)
    pending = writer.create(tmp_path / "img.zarr", spec(), resume=True)
    assert pending.array.shape == spec().shape
    assert not pending.complete
    pending.publish()
    assert (tmp_path / "img.zarr").exists()
