"""Which tables or labels say where the cells of an image are; what is given and what is found."""

import numpy as np
import PIL.Image
import pytest
import tifffile
import torch

from cellulus.data import writer
from cellulus.data.masks import IGNORED
from cellulus.data.points import Points, read_points, write_points
from cellulus.data.readers import open_volumes
from cellulus.errors import InputError, MissingError
from cellulus.experiment.sections import (
    ApplyImage,
    Data,
    Experiment,
    Network,
    Predict,
    TrainImage,
)
from cellulus.methods import ObjectCentric, PointMarker
from cellulus.pipeline.marking import given, markers_of
from cellulus.pipeline.material import fingerprints, open_parts
from cellulus.pipeline.model import Card, new_network, save
from cellulus.pipeline.pairing import point_sources
from cellulus.pipeline.predict import predict
from cellulus.pipeline.prediction import points_path
from cellulus.pipeline.samples import Sample, canonical, open_samples, open_training
from cellulus.pipeline.tiling import Predictor
from cellulus.runs import Run
from cellulus.space import VoxelSize

SHAPE = (30, 34)


def even(path, value=0, shape=SHAPE):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.full(shape, value, np.uint8))
    return str(path)


def frames(path, values, kind):
    """A movie of even frames, or of labels."""
    array = np.array(values, np.uint32)[:, None, None] * np.ones((1, *SHAPE), np.uint32)
    spec = writer.Spec(kind, "tyx", array.shape, array.dtype, VoxelSize((1.0, 1.0)))
    pending = writer.create(path, spec)
    pending.write((slice(None),) * 3, array)
    return str(pending.publish())


def samples(path):
    return [Sample(volume) for volume in open_volumes(path)]


@pytest.fixture
def folder(tmp_path):
    for number in (1, 2, 10):
        even(tmp_path / "images" / f"a{number}.tif", number)
        even(tmp_path / "labels" / f"b{number}.tif", number)
        (tmp_path / f"b{number}.csv").write_text("never read")
    return tmp_path


def of_folder(folder, pattern):
    found = [Sample(open_volumes(folder / "images" / f"a{n}.tif")[0]) for n in (1, 2, 10)]
    return point_sources(found, f"{folder}/images/*.tif", pattern and f"{folder}/{pattern}")


@pytest.mark.parametrize("pattern", [None, ""])
def test_points_need_not_be_given(folder, pattern):
    assert list(of_folder(folder, pattern)) == [None] * 3


@pytest.mark.parametrize("suffix", ["csv", "CSV", "tsv", "txt"])
def test_tables_are_paired_in_natural_order_and_not_read(folder, suffix):
    for number in (1, 2, 10):
        path = folder / f"b{number}.csv"
        path.rename(path.with_suffix(f".{suffix}"))
    assert of_folder(folder, f"*.{suffix}") == [f"{folder}/b{n}.{suffix}" for n in (1, 2, 10)]


def test_labels_are_paired_in_natural_order(folder):
    found = of_folder(folder, "labels/*.tif")
    assert [int(volume.read().max()) for volume in found] == [1, 2, 10]


@pytest.mark.parametrize(
    ("pattern", "what"),
    [("*.csv", "one table of points for each of the 3"), ("labels/*.tif", "one label image")],
)
def test_as_many_as_images_are_needed(folder, pattern, what):
    (folder / "b2.csv").unlink()
    (folder / "labels" / "b2.tif").unlink()
    with pytest.raises(InputError, match=what) as caught:
        of_folder(folder, pattern)
    assert caught.value.found == "2"


@pytest.mark.parametrize("pattern", ["none*.csv", "none.csv", "labels/none*.tif"])
def test_what_is_not_there_is_missing(folder, pattern):
    with pytest.raises(MissingError):
        of_folder(folder, pattern)


def test_labels_of_another_shape_are_all_named(folder):
    for number in (2, 10):
        even(folder / "labels" / f"b{number}.tif", 1, (30, 33))
    with pytest.raises(InputError, match="2 files") as caught:
        of_folder(folder, "labels/*.tif")
    assert "b2.tif" in caught.value.found
    assert "b10.tif" in caught.value.found


def test_labels_in_colours_are_refused(folder):
    colours = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3)).astype(np.uint8)
    PIL.Image.fromarray(colours).save(folder / "labels" / "b1.png")
    (folder / "labels" / "b1.tif").unlink()
    with pytest.raises(InputError, match="3 channels"):
        of_folder(folder, "labels/b*")


def test_a_movie_has_one_table_of_all_time_points_and_labels_of_each(tmp_path):
    movie = samples(frames(tmp_path / "i.zarr", [7, 8, 9], "image"))
    (tmp_path / "p.csv").write_text("t,y,x\n0,1,2\n2,3,4\n2,5,6\n")
    found = point_sources(movie, "i", str(tmp_path / "p.csv"))
    assert found == [str(tmp_path / "p.csv")] * 3
    counts = [
        len(given(Sample(sample.volume, points=table), Data()))
        for sample, table in zip(movie, found, strict=True)
    ]
    assert counts == [1, 0, 2]
    labels = point_sources(movie, "i", frames(tmp_path / "l.zarr", [4, 5, 6], "labels"))
    assert [int(volume.read().max()) for volume in labels] == [4, 5, 6]


def experiment(folder, method=None, **entry):
    image = TrainImage(image=f"{folder}/images/*.tif", **entry)
    return Experiment(
        data=Data(train=(image,), object_diameter=10.0), method=method or PointMarker(),
        network=Network(object_voxels=10.0),
    )  # fmt: skip


def test_samples_carry_what_is_given(folder):
    entry = {"points": f"{folder}/*.csv", "foreground": f"{folder}/labels/*.tif"}
    for opened in (open_training, open_samples):
        found = opened(experiment(folder, **entry))
        assert [sample.points for sample in found] == [f"{folder}/b{n}.csv" for n in (1, 2, 10)]
        assert [int(sample.foreground.read().max()) for sample in found] == [1, 2, 10]
    bare = open_training(experiment(folder))
    assert [(sample.points, sample.foreground) for sample in bare] == [(None, None)] * 3


def test_images_to_apply_to_have_points_and_truths(folder):
    pattern = f"{folder}/images/*.tif"
    entry = ApplyImage(image=pattern, points=f"{folder}/*.csv", truth=f"{folder}/labels/*.tif")
    made = Experiment(data=Data(apply=(entry,)), method=PointMarker())
    found = open_samples(made)
    assert [sample.points for sample in found] == [f"{folder}/b{n}.csv" for n in (1, 2, 10)]
    assert [int(sample.truth.read().max()) for sample in found] == [1, 2, 10]
    assert [sample.points for sample in open_training(made)] == [s.points for s in found]


def test_a_foreground_of_another_shape_is_refused(folder):
    even(folder / "labels" / "b2.tif", 1, (30, 33))
    with pytest.raises(InputError, match=r"shape of .*a2\.tif") as caught:
        open_training(experiment(folder, foreground=f"{folder}/labels/*.tif"))
    assert caught.value.where.endswith("b2.tif")


def test_what_no_method_needs_is_not_opened_to_learn(folder):
    found = open_training(experiment(folder, ObjectCentric(), points=f"{folder}/none.csv"))
    assert [sample.points for sample in found] == [None] * 3


def scene(folder, shape=(60, 66), **data):
    """One image of two bright balls, with a point each and what may be cells, and its experiment.

    In what is given 9 is unknown.
    """
    grid = np.indices(shape).reshape(len(shape), -1).T
    image = np.random.default_rng(0).normal(50, 4, shape)
    points = np.array([[*(n // 2 for n in shape[:-1]), x] for x in (20, 40)], float)
    rough = np.zeros(shape, np.uint8)
    for point in points:
        is_near = (np.linalg.norm(grid - point, axis=1) <= 7).reshape(shape)
        image[is_near] += 200
        rough[is_near] = 1
    rough[..., :3, :] = 9
    axes = {"imagej": True, "metadata": {"axes": "ZYX"[-len(shape) :]}}
    tifffile.imwrite(folder / "i.tif", image.astype(np.float32), **axes)
    tifffile.imwrite(folder / "f.tif", rough, **axes)
    write_points(folder / "p.csv", Points.of(points))
    return {"object_diameter": 14.0} | data


def parts_of(folder, data, **entry):
    image = TrainImage(image=f"{folder}/i.tif", **entry)
    made = Data(train=(image,), **data)
    network = Network(object_voxels=14.0)
    return open_parts(Experiment(data=made, method=PointMarker(), network=network))


@pytest.mark.parametrize("mark", ["none", 0, 1, 9])
def test_the_number_of_the_unknown_is_one_in_what_is_given_alone(tmp_path, mark):
    """A foreground that is found has numbers of its own."""
    data = scene(tmp_path, ignore_label=mark)
    everything = (slice(0, 60), slice(0, 66))
    points = f"{tmp_path}/p.csv"
    (found,) = parts_of(tmp_path, data, points=points)
    assert set(np.unique(found.annotation.read(everything))) == {0, 1}
    (told,) = parts_of(tmp_path, data, points=points, foreground=f"{tmp_path}/f.tif")
    labels = told.annotation.read(everything)
    rough = tifffile.imread(tmp_path / "f.tif")
    expected = np.where(rough == mark, IGNORED, rough > 0) if mark != "none" else rough > 0
    assert np.array_equal(labels, expected)


def test_a_stack_with_one_plane_on_the_canonical_grid_is_learnt_from(tmp_path):
    data = scene(tmp_path, (2, 60, 66))
    made = Experiment(
        data=Data(train=(TrainImage(image=f"{tmp_path}/i.tif"),), **data), method=PointMarker(),
        network=Network(object_voxels=7.0),
    )  # fmt: skip
    (sample,) = open_training(made)
    found = markers_of(made, sample, canonical(sample.volume, made.data, 7.0))
    assert found.shape == (1, 30, 33)
    labels = found.read((slice(0, 1), slice(0, 30), slice(0, 33)))
    assert set(np.unique(labels)) == {0, 1}
    assert len(found.middles) == 2


def test_other_points_and_another_foreground_are_other_data(tmp_path):
    data = scene(tmp_path)
    entry = {"points": f"{tmp_path}/p.csv", "foreground": f"{tmp_path}/f.tif"}
    before = fingerprints(parts_of(tmp_path, data, **entry))
    assert sorted(before) == ["i", "i foreground", "i points"]
    rough = tifffile.imread(tmp_path / "f.tif")
    rough[28:32] = 1
    tifffile.imwrite(tmp_path / "f.tif", rough)
    write_points(tmp_path / "q.csv", Points.of(np.array([[30.0, 20.0], [30.0, 41.0]])))
    for other in ({"points": f"{tmp_path}/q.csv"}, {}):
        after = fingerprints(parts_of(tmp_path, data, **entry | other))
        changed = {name for name in after if after[name] != before[name]}
        assert changed == {"i foreground", *(["i points"] if other else [])}


def predicted(folder, data, *, points=None, resume=False):
    """Predict with a network that was never trained, and return the points that lie beside."""
    apply = ApplyImage(image=f"{folder}/i.tif", points=points)
    network = Network(features=2, growth=1, depth=0, head_features=2, object_voxels=14.0)
    made = Experiment(
        data=Data(apply=(apply,), **data), method=PointMarker(), network=network,
        predict=Predict(empty=0),
    )  # fmt: skip
    card = Card(
        method=made.method, network=network, ndim=2, inputs=1, outputs=3, percentiles=(1.0, 99.8)
    )
    if not resume:
        torch.manual_seed(0)
        save(folder / "model.pt", new_network(card).state_dict(), card)
    run = Run.start(folder / "run", made, "", overwrite=True)
    (path,) = predict(made, run, model=folder / "model.pt", resume=resume)
    (sample,) = open_samples(made)
    return read_points(points_path(path), sample.volume).positions.tolist()


def test_what_was_predicted_with_other_points_is_not_gone_on_with(tmp_path):
    """Else those would be decoded with, and not the ones that are given now."""
    data, first, second = scene(tmp_path), [[30.0, 20.0]], [[30.0, 41.0]]
    for name, points in (("p", first), ("q", first), ("r", second)):
        write_points(tmp_path / f"{name}.csv", Points.of(np.array(points)))
    assert predicted(tmp_path, data, points=f"{tmp_path}/p.csv") == first
    assert predicted(tmp_path, data, points=f"{tmp_path}/q.csv", resume=True) == first
    for other in (f"{tmp_path}/r.csv", f"{tmp_path}/f.tif", None):
        with pytest.raises(InputError, match="points"):
            predicted(tmp_path, data, points=other, resume=True)


def test_points_that_do_not_fit_are_refused_before_the_network_is_asked(tmp_path, monkeypatch):
    data = scene(tmp_path)
    write_points(tmp_path / "p.csv", Points.of(np.array([[30.0, 400.0]])))
    monkeypatch.setattr(Predictor, "__call__", None)
    with pytest.raises(InputError, match="outside"):
        predicted(tmp_path, data, points=f"{tmp_path}/p.csv")
