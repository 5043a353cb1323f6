"""The object table: columns and units, the same bytes from any cutting, whole or not at all."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from skimage.measure import regionprops

from cellulus.data import writer
from cellulus.data.volume import Volume
from cellulus.errors import StorageError
from cellulus.ops.measures import merge
from cellulus.pipeline.objects import ObjectTable, load, save
from cellulus.pipeline.prediction import Facts, Prediction
from cellulus.space import VoxelSize, blocks


def scene(shape, seed=0):
    """Boxes of sparse ids, with an image of two channels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint64)
    for number in range(12):
        start = [int(rng.integers(0, n)) for n in shape]
        box = tuple(slice(a, a + int(rng.integers(1, 9))) for a in start)
        labels[box] = 2**32 + 7 * number
    return labels, rng.integers(0, 4096, (2, *shape)).astype(np.uint16)


def store(path, array, axes, size, **more):
    spec = writer.Spec(
        kind="image", axes=axes, shape=array.shape, dtype=array.dtype, voxel_size=size, **more
    )
    pending = writer.create(path, spec)
    pending.write((slice(None),) * array.ndim, array)
    return pending.publish()


def predict(folder, image, size, zoom, names=None, *, gap=None):
    """Store an image and a drawn prediction of it, and open them."""
    shape, space = image.shape[1:], "zyx"[1 - image.ndim :]
    names = names or (*(f"offset_{a}" for a in space), "uncertainty")
    canonical = tuple(int(np.ceil(n * z - 1e-6)) for n, z in zip(shape, zoom, strict=True))
    said = np.random.default_rng(9).uniform(0, 8, (len(names), *canonical)).astype(np.float16)
    if gap:
        said[(slice(None), *gap)] = np.nan
    path = store(folder / "image.zarr", image, f"c{space}", size)
    facts = Facts(
        image=str(path), time=0, channels=(0, 1), level=0, shape=shape, voxel_size=size.values,
        unit=size.unit, zoom=zoom, object_voxels=20.0, low=(0.0, 0.0), high=(1.0, 1.0),
        method="object_centric", model="drawn",
    )  # fmt: skip
    canonical_size = VoxelSize(
        tuple(v / z for v, z in zip(size.values, zoom, strict=True)), size.unit
    )
    notes = {"channel_names": names, "attributes": facts.model_dump(mode="json")}
    store(folder / "said.zarr", said, f"c{space}", canonical_size, **notes)
    return Prediction.open(folder / "said.zarr")


def whole(shape):
    return tuple(slice(0, n) for n in shape)


def read(path):
    """Columns by name; ids as integers, the rest as floats, NaN where nothing stands."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    return {
        name: [int(c) if name == "id" else float(c or "nan") for c in column]
        for name, column in zip(header, columns, strict=True)
    }


CASES = [
    ((30, 40), (0.65, 0.65), (1.0, 1.0)),
    ((30, 40), (0.5, 0.25), (0.9, 0.45)),
    ((12, 25, 28), (2.0, 0.8, 0.8), (1.5, 0.6, 0.6)),
]


@pytest.mark.parametrize(("shape", "size", "zoom"), CASES)
def test_the_table_is_that_of_scikit_image_in_micrometres(tmp_path, shape, size, zoom):
    labels, image = scene(shape)
    prediction = predict(tmp_path, image, VoxelSize(size, "um"), zoom)
    table = ObjectTable.of(prediction)
    table.write(tmp_path / "objects.csv", table.measure(labels, whole(shape)))
    found = read(tmp_path / "objects.csv")

    ids, dense = np.unique(labels, return_inverse=True)
    doubt = prediction.read(whole(shape))[-1] * (size[0] / zoom[0])
    values = np.stack([*image, doubt], -1).astype(float)
    objects = regionprops(dense.reshape(shape), values)
    assert found["id"] == ids[1:].tolist()
    assert found["id"][-1] > 2**32
    axes = "zyx"[-len(shape) :]
    for k, (axis, extent) in enumerate(zip(axes, size, strict=True)):
        centroid = [p.centroid[k] * extent for p in objects]
        assert found[f"centroid_{axis}_um"] == pytest.approx(centroid, rel=1e-9)
        start = [(p.bbox[k] - 0.5) * extent for p in objects]
        assert found[f"start_{axis}_um"] == pytest.approx(start, rel=1e-9)
        stop = [(p.bbox[k + len(shape)] - 0.5) * extent for p in objects]
        assert found[f"stop_{axis}_um"] == pytest.approx(stop, rel=1e-9)
    name = {2: "area_um2", 3: "volume_um3"}[len(shape)]
    volumes = [p.num_pixels * np.prod(size) for p in objects]
    assert found[name] == pytest.approx(volumes, rel=1e-9)
    for k, name in enumerate(["mean_intensity_c0", "mean_intensity_c1", "mean_uncertainty_um"]):
        assert found[name] == pytest.approx([p.intensity_mean[k] for p in objects], rel=1e-6), name
    assert len(found) == 1 + 3 * len(shape) + 1 + 3


def test_without_a_voxel_size_the_table_counts_voxels(tmp_path):
    labels, image = scene((10, 20, 30))
    prediction = predict(tmp_path, image, VoxelSize((4.0, 2.0, 2.0)), (2.0, 1.0, 1.0))
    table = ObjectTable.of(prediction)
    measures = table.measure(labels, whole(labels.shape))
    table.write(tmp_path / "objects.csv", measures)
    lines = (tmp_path / "objects.csv").read_text().splitlines()
    assert lines[0] == (
        "id,centroid_z_voxel,centroid_y_voxel,centroid_x_voxel,start_z_voxel,start_y_voxel,"
        "start_x_voxel,stop_z_voxel,stop_y_voxel,stop_x_voxel,volume_voxel,mean_intensity_c0,"
        "mean_intensity_c1,mean_uncertainty_voxel"
    )
    found = read(tmp_path / "objects.csv")
    for row, line in enumerate(lines[1:]):
        cells = line.split(",")
        starts, stops = [list(map(int, cells[k : k + 3])) for k in (4, 7)]
        box = tuple(slice(a, b) for a, b in zip(starts, stops, strict=True))
        assert (labels[box] == int(cells[0])).sum() == int(cells[10])
        inside = prediction.read(box)[-1][labels[box] == int(cells[0])]
        # A canonical voxel is 2 wide, and so is a voxel along the finest axes.
        assert found["mean_uncertainty_voxel"][row] == pytest.approx(inside.mean(), rel=1e-5)


@pytest.mark.parametrize(("shape", "size", "zoom"), CASES)
@pytest.mark.parametrize("edge", [7, 16])
def test_any_blocks_in_any_order_give_the_same_bytes(tmp_path, shape, size, zoom, edge):
    labels, image = scene(shape, seed=4)
    table = ObjectTable.of(predict(tmp_path, image, VoxelSize(size, "um"), zoom))
    grid = blocks(shape, (edge,) * len(shape), (0,) * len(shape))
    for index in np.random.default_rng(edge).permutation(len(grid)):
        core = grid[index].core
        save(tmp_path / "parts" / f"{index}.npz", table.measure(labels[core], core))
    parts = [load(path) for path in (tmp_path / "parts").iterdir()]
    assert len(parts) > 3, "test invalid: hardly any blocks"
    table.write(tmp_path / "blocks.csv", merge([table.none, *parts]))
    table.write(tmp_path / "whole.csv", table.measure(labels, whole(shape)))
    assert (tmp_path / "blocks.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_plane_is_a_volume_of_one_plane(tmp_path):
    labels, image = scene((30, 40))
    size = VoxelSize((0.5, 0.25), "um")
    ObjectTable(size, Volume.of(image, axes="cyx")).write(
        tmp_path / "plane.csv",
        ObjectTable(size, Volume.of(image, axes="cyx")).measure(labels, whole(labels.shape)),
    )
    deep = ObjectTable(size, Volume.of(image[:, None], axes="czyx"))
    deep.write(tmp_path / "deep.csv", deep.measure(labels, whole(labels.shape)))
    assert (tmp_path / "deep.csv").read_bytes() == (tmp_path / "plane.csv").read_bytes()


def test_saved_measures_come_back_unchanged(tmp_path):
    labels, image = scene((30, 40))
    table = ObjectTable(VoxelSize((1.0, 1.0)), Volume.of(image / 3, axes="cyx"))
    for name in ("a.npz", "b.npz"):
        save(tmp_path / name, table.measure(labels, whole(labels.shape)))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    table.write(tmp_path / "loaded.csv", load(tmp_path / "a.npz"))
    table.write(tmp_path / "direct.csv", table.measure(labels, whole(labels.shape)))
    assert (tmp_path / "loaded.csv").read_bytes() == (tmp_path / "direct.csv").read_bytes()


def test_without_objects_there_is_a_header_alone(tmp_path):
    _, image = scene((30, 40))
    table = ObjectTable.of(predict(tmp_path, image, VoxelSize((1.0, 1.0), "um"), (1.0, 1.0)))
    nothing = table.measure(np.zeros((30, 40), np.uint32), whole((30, 40)))
    save(tmp_path / "nothing.npz", nothing)
    table.write(tmp_path / "objects.csv", merge([table.none, load(tmp_path / "nothing.npz")]))
    assert (tmp_path / "objects.csv").read_text() == (
        "id,centroid_y_um,centroid_x_um,start_y_um,start_x_um,stop_y_um,stop_x_um,area_um2,"
        "mean_intensity_c0,mean_intensity_c1,mean_uncertainty_um\n"
    )


class Unreadable:
    """Stands for data that must not be touched."""

    shape = (30, 40)
    dtype = np.dtype(np.uint8)

    def __getitem__(self, key):
        raise OSError("damaged")


def test_empty_blocks_read_nothing():
    image = replace(Volume.of(np.zeros((30, 40))), array=Unreadable())
    table = ObjectTable(VoxelSize((1.0, 1.0)), image)
    assert table.measure(np.zeros((5, 5), np.uint32), whole((5, 5))).ids.size == 0
    with pytest.raises(StorageError, match="damaged"):
        table.measure(np.ones((5, 5), np.uint32), whole((5, 5)))


def test_labels_alone_have_places_and_sizes(tmp_path):
    labels, _ = scene((30, 40))
    table = ObjectTable(VoxelSize((1.0, 1.0)))
    table.write(tmp_path / "objects.csv", table.measure(labels, whole(labels.shape)))
    assert [name for name in read(tmp_path / "objects.csv") if name.startswith("mean")] == []


def test_what_tells_no_confidence_has_no_such_column(tmp_path):
    _, image = scene((30, 40))
    names = ("one", "offset_y", "offset_x")
    prediction = predict(tmp_path, image, VoxelSize((1.0, 1.0)), (1.0, 1.0), names)
    table = ObjectTable.of(prediction)
    assert table.confidence is None
    assert table.none.counts.shape == (0, 2)


def test_seediness_is_no_length(tmp_path):
    labels, image = scene((30, 40))
    names = ("offset_y", "offset_x", "seediness")
    prediction = predict(tmp_path, image, VoxelSize((0.5, 0.5), "um"), (2.0, 2.0), names)
    table = ObjectTable.of(prediction)
    found = table.measure(labels, whole(labels.shape))
    table.write(tmp_path / "objects.csv", found)
    columns = read(tmp_path / "objects.csv")
    assert [name for name in columns if name.startswith("mean")][-1] == "mean_seediness"
    seediness = prediction.read(whole(labels.shape))[-1]
    expected = [seediness[labels == number].mean() for number in found.ids]
    assert np.asarray(columns["mean_seediness"], float) == pytest.approx(expected, rel=1e-5)


def test_what_was_not_predicted_has_no_mean(tmp_path):
    labels, image = np.zeros((30, 40), np.uint32), scene((30, 40))[1]
    labels[2:6, 2:6], labels[20:26, 20:26], labels[20:26, 0:8] = 1, 2, 3
    gap = (slice(18, 30), slice(4, 40))
    size, zoom = VoxelSize((1.0, 1.0)), (1.0, 1.0)
    prediction = predict(tmp_path, image, size, zoom, gap=gap)
    table = ObjectTable.of(prediction)
    table.write(tmp_path / "objects.csv", table.measure(labels, whole(labels.shape)))
    lines = (tmp_path / "objects.csv").read_text().splitlines()
    assert lines[2].endswith(",")
    found = read(tmp_path / "objects.csv")["mean_uncertainty_voxel"]
    said = prediction.read(whole(labels.shape))[-1]
    assert found[0] == pytest.approx(said[labels == 1].mean(), rel=1e-5)
    assert found[2] == pytest.approx(np.nanmean(said[labels == 3]), rel=1e-5)


def test_many_objects_are_written_in_full(tmp_path):
    labels = np.arange(1, 300 * 300 + 1, dtype=np.uint32).reshape(300, 300)
    table = ObjectTable(VoxelSize((1.0, 1.0)))
    table.write(tmp_path / "objects.csv", table.measure(labels, whole(labels.shape)))
    assert read(tmp_path / "objects.csv")["id"] == labels.ravel().tolist()


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    table = ObjectTable(VoxelSize((1.0, 1.0)))
    path = tmp_path / "objects.csv"
    table.write(path, table.none)
    before = path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        table.write(path, table.measure(np.ones((3, 3), np.uint8), whole((3, 3))))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
