"""The table of objects and the labels it lists appear together, also when a run is cut between."""

import numpy as np
import pytest

from cellulus.data import writer
from cellulus.data.arrays import OUTCOME
from cellulus.data.readers import open_volumes
from cellulus.experiment.sections import Experiment, Postprocess, Segment
from cellulus.pipeline import postprocess as step
from cellulus.pipeline.objects import ObjectTable
from cellulus.pipeline.postprocess import postprocess
from cellulus.pipeline.prediction import Prediction, notes_of
from cellulus.runs import Run
from cellulus.space import VoxelSize


def write(path, array, kind="labels", axes="yx", **notes):
    spec = writer.Spec(
        kind=kind, axes=axes, shape=array.shape, dtype=array.dtype,
        voxel_size=VoxelSize((0.5, 0.5), "um"), attributes=notes,
    )  # fmt: skip
    pending = writer.create(path, spec)
    pending.write((slice(None),) * array.ndim, array)
    return pending.publish()


@pytest.fixture
def run(tmp_path):
    """Two images with a prediction each, and labels of them."""
    run = Run(tmp_path / "run")
    for name in ("a", "b"):
        labels = np.kron(np.arange(16).reshape(4, 4), np.ones((9, 10), int)).astype(np.uint32)
        image = np.random.default_rng(0).random((36, 40), np.float32)
        path = write(tmp_path / f"{name}.zarr", image, "image")
        notes = {
            "image": str(path), "time": 0, "channels": [0], "level": 0, "shape": [36, 40],
            "voxel_size": [0.5, 0.5], "unit": "um", "zoom": [1.0, 1.0], "object_voxels": 10.0,
            "low": [0.0], "high": [1.0], "method": "object_centric", "model": "drawn",
        }  # fmt: skip
        said = np.ones((3, 36, 40), np.float16)
        write(run.predictions / f"{name}.zarr", said, "image", "cyx", **notes)
        write(run.segments / f"{name}.zarr", labels, **notes)
    return run


def settings(smallest=0.0):
    return Experiment(postprocess=Postprocess(min_size=smallest), segment=Segment(block=16))


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def names(run):
    return sorted(path.name for path in run.labels.iterdir())


@pytest.fixture
def wanted(run):
    """What an uncut run leaves."""
    other = Run(run.folder / "other")
    postprocess(settings(), other, labels=sorted(run.segments.iterdir()))
    return contents(other.labels)


def cut(monkeypatch, name, number):
    """Kill the step at a call of a function, before it does anything."""
    true, calls = getattr(step, name), []

    def function(*arguments):
        calls.append(arguments)
        if len(calls) == number:
            raise KeyboardInterrupt
        return true(*arguments)

    monkeypatch.setattr(step, name, function)


@pytest.mark.parametrize(
    ("name", "number", "left"),
    [
        ("publish", 1, ["a.csv.partial", "a.zarr.partial", "a.zarr.work"]),
        ("settle", 2, ["a.csv.partial", "a.zarr"]),
        ("publish", 2, ["a.csv", "a.zarr", "b.csv.partial", "b.zarr.partial", "b.zarr.work"]),
        ("settle", 4, ["a.csv", "a.zarr", "b.csv.partial", "b.zarr"]),
    ],
)
def test_a_run_cut_around_the_table_goes_on_to_the_same(
    run, wanted, monkeypatch, name, number, left
):
    labels = sorted(run.segments.iterdir())
    place = Run(run.folder / "cut")  # as for the uncut one: without the predictions
    with monkeypatch.context() as patch:
        cut(patch, name, number)
        with pytest.raises(KeyboardInterrupt):
            postprocess(settings(), place, labels=labels)
    assert names(place) == left
    postprocess(settings(), place, labels=labels, resume=True)
    assert names(place) == ["a.csv", "a.zarr", "b.csv", "b.zarr"]
    assert contents(place.labels) == wanted


def test_old_labels_keep_their_table_until_both_are_replaced(run, monkeypatch):
    postprocess(settings(), run)
    old = contents(run.labels)
    with monkeypatch.context() as patch:
        cut(patch, "publish", 1)
        with pytest.raises(KeyboardInterrupt):
            postprocess(settings(smallest=2.0), run, overwrite=True)
    assert old.items() <= contents(run.labels).items()
    postprocess(settings(smallest=2.0), run, overwrite=True)
    assert (run.labels / "a.csv").read_text().count("\n") == 1, "no object is as large"
    assert not open_volumes(run.labels / "a.zarr")[0].read().any()


def test_what_an_earlier_run_left_is_no_table_of_later_labels(run):
    run.labels.mkdir()
    (run.labels / "a.csv.partial").write_text("of long ago")
    postprocess(settings(), run)
    assert names(run) == ["a.csv", "a.zarr", "b.csv", "b.zarr"]
    assert "long ago" not in (run.labels / "a.csv").read_text()
    assert OUTCOME in notes_of(str(run.labels / "a.zarr"))


def test_the_prediction_is_opened_by_who_measures_and_who_writes(run, monkeypatch):
    opened = []
    true = Prediction.open.__func__

    def open_(cls, path):
        opened.append(path.name)
        return true(cls, path)

    monkeypatch.setattr(Prediction, "open", classmethod(open_))
    postprocess(settings(), run)
    assert opened == ["a.zarr", "a.zarr", "b.zarr", "b.zarr"]
    assert ObjectTable.of(Prediction.open(run.predictions / "a.zarr")).image
