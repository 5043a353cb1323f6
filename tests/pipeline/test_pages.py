"""The page of a run, from whatever lies in its folder."""

import json

import numpy as np
import pytest

from cellulus.data import writer
from cellulus.data.points import Points, write_points
from cellulus.data.readers import open_volumes
from cellulus.errors import MissingError
from cellulus.experiment.sections import ApplyImage, Data, Experiment
from cellulus.ops.scores import Scores, evaluate_labels
from cellulus.pipeline import pages
from cellulus.pipeline.pages import write_report
from cellulus.pipeline.prediction import Facts, points_path
from cellulus.runs import Run
from cellulus.space import VoxelSize


def write(path, array, axes, kind="image", **more):
    spec = writer.Spec(
        kind=kind, axes=axes, shape=array.shape, dtype=array.dtype,
        voxel_size=VoxelSize((0.5,) * len(axes.strip("c")), "um"), **more,
    )  # fmt: skip
    pending = writer.create(path, spec)
    pending.write((slice(None),) * array.ndim, array)
    return pending.publish()


class Place:
    """A run folder whose every image has a prediction and labels, as the steps leave them."""

    def __init__(self, folder):
        self.folder, self.entries = folder, []
        self.run = None

    def add(self, name, labels, truth=None, sure="uncertainty", points=None):
        axes, shape = "zyx"[-labels.ndim :], labels.shape
        image = write(self.folder / f"{name}.zarr", (labels > 0).astype(np.float32), axes)
        facts = Facts(
            image=str(image), time=0, channels=(0,), level=0, shape=shape,
            voxel_size=(0.5,) * labels.ndim, unit="um", zoom=(1.0,) * labels.ndim,
            object_voxels=20.0, low=(0.0,), high=(1.0,), method="object_centric", model="drawn",
        )  # fmt: skip
        said = np.random.default_rng(0).normal(size=(labels.ndim + 1, *shape))
        write(
            self.folder / "run" / "predictions" / f"{name}.zarr", said.astype(np.float16),
            "c" + axes, attributes=facts.model_dump(mode="json"),
            channel_names=(*(f"offset_{axis}" for axis in axes), sure),
        )  # fmt: skip
        if points is not None:
            predicted = self.folder / "run" / "predictions" / f"{name}.zarr"
            write_points(points_path(predicted), Points.of(np.array(points, float)))
        write(self.folder / "run" / "labels" / f"{name}.zarr", labels, axes, "labels")
        path = None
        if truth is not None:
            path = str(write(self.folder / f"{name}_truth.zarr", truth, axes, "labels"))
        self.entries.append(ApplyImage(image=str(image), truth=path))

    def start(self):
        made = Experiment(data=Data(object_diameter=20.0, apply=tuple(self.entries)))
        self.run = Run.start(self.folder / "run", made, "", overwrite=True)
        return made

    def page(self):
        return write_report(self.start(), self.run).read_text()


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def squares(count, shape=(40, 50)):
    labels = np.zeros(shape, np.uint32)
    for number in range(count):
        y, x = divmod(number, 6)
        labels[..., 8 * y + 1 : 8 * y + 7, 8 * x + 1 : 8 * x + 7] = number + 1
    return labels


def score(place, pairs):
    images = tuple(evaluate_labels(a, b, (0.5, 0.75), name=name) for name, a, b in pairs)
    place.run.scores.write_text(Scores(images).to_json())


def test_without_scores_images_are_chosen_by_the_number_of_objects(place, monkeypatch):
    for name, count in (("many", 12), ("few", 1), ("some", 4)):
        place.add(name, squares(count))
    shown = []
    monkeypatch.setattr(
        pages, "render", lambda *_, cases, **more: shown.append((cases, more)) or ""
    )
    place.page()
    ((cases, more),) = shown
    assert [case.name for case in cases] == ["few", "some", "many"]
    assert [row["n_pred"] for row in more["table"]] == [12, 1, 4]
    assert more["scores"] is None
    assert not more["curves"]
    assert not more["notes"]


def test_scored_images_come_first_and_their_truth_is_shown(place, monkeypatch):
    good, poor = squares(6), squares(2)
    place.add("without", squares(3))
    place.add("poor", poor, truth=squares(8))
    place.add("good", good, truth=good)
    experiment = place.start()
    score(place, [("poor", poor, squares(8)), ("good", good, good)])
    shown = []
    monkeypatch.setattr(
        pages, "render", lambda *_, cases, **more: shown.append((cases, more)) or ""
    )
    write_report(experiment, place.run)
    ((cases, more),) = shown
    assert [case.name for case in cases] == ["poor", "good"]
    assert np.array_equal(cases[0].truth, squares(8))
    assert cases[0].scores["f1"] == pytest.approx(0.4)
    assert [row["name"] for row in more["table"]] == ["poor", "good", "without"]
    assert more["scores"]["n_true"] == 14


@pytest.mark.parametrize("truth", [True, False])
def test_scores_of_other_images_are_left_out(place, monkeypatch, truth):
    """As they lie there after the experiment was changed."""
    place.add("now", squares(3), truth=squares(3) if truth else None)
    experiment = place.start()
    score(place, [("then", squares(3), squares(3))])
    shown = []
    monkeypatch.setattr(
        pages, "render", lambda *_, cases, **more: shown.append((cases, more)) or ""
    )
    write_report(experiment, place.run)
    ((cases, more),) = shown
    assert [case.name for case in cases] == ["now"]
    assert more["table"] == [{"name": "now", "n_pred": 3}]
    assert more["scores"] is None


@pytest.mark.parametrize("shape", [(40, 50), (6, 40, 50)])
def test_the_page_names_every_image_and_shows_its_labels(place, shape):
    for name in ("alpha", "beta"):
        place.add(name, squares(4, shape), truth=squares(4, shape))
    text = place.page()
    assert "alpha" in text
    assert "beta" in text
    assert text.count("<img") + text.count("<svg") >= 4
    assert "object_diameter" in text


def test_losses_are_drawn_where_there_is_a_log(place):
    place.add("img", squares(4))
    without = place.page()
    lines = [{"step": k, "loss": 1.0 / k, "rate": 1e-3} for k in range(1, 5)]
    place.run.log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert len(place.page()) > len(without)


def test_no_object_anywhere_is_said(place):
    place.add("img", squares(0))
    assert "No object was found in any image." in place.page()


def test_large_images_are_shown_in_part(place, monkeypatch):
    monkeypatch.setattr(pages, "_SHOWN", {2: 20, 3: 8})
    monkeypatch.setattr(pages, "_BLOCK", {2: 16, 3: 8})
    place.add("img", squares(24))
    shown = []
    monkeypatch.setattr(
        pages, "render", lambda *_, cases, **more: shown.append((cases, more)) or ""
    )
    place.page()
    ((cases, more),) = shown
    assert cases[0].labels.shape == cases[0].confidence.values.shape == (20, 20)
    assert np.array_equal(cases[0].labels, squares(24)[10:30, 15:35])
    assert cases[0].part == "y 10-30 of 40, x 15-35 of 50"
    assert more["table"][0]["n_pred"] == 24


@pytest.mark.parametrize("sure", ["uncertainty", "seediness", "presence", "else"])
def test_the_channel_that_tells_how_sure_it_is_is_shown_by_its_name(place, monkeypatch, sure):
    place.add("img", squares(4), sure=sure)
    shown = []
    monkeypatch.setattr(pages, "render", lambda *_, cases, **more: shown.extend(cases) or "")
    place.page()
    (case,) = shown
    assert (case.confidence and case.confidence.name) == (None if sure == "else" else sure)
    assert case.marks is None


@pytest.mark.parametrize("lead", [(), (3.0,)])
def test_points_of_a_prediction_are_shown_where_they_are(place, monkeypatch, lead):
    shape = (6, 40, 50) if lead else (40, 50)
    monkeypatch.setattr(pages, "_SHOWN", {2: 20, 3: 20})
    inside, outside = (*lead, 10.0, 15.0), (*lead, 9.0, 15.0)
    last, beyond = (*lead, 29.4, 34.4), (*lead, 29.6, 34.0)
    place.add("img", squares(24, shape), sure="presence", points=[outside, inside, last, beyond])
    shown = []
    monkeypatch.setattr(pages, "render", lambda *_, cases, **more: shown.extend(cases) or "")
    place.page()
    (case,) = shown
    assert case.marks.positions.tolist() == [[*lead, 0.0, 0.0], pytest.approx([*lead, 19.4, 19.4])]
    assert case.marks.near == (5.0,) * len(shape)  # a quarter of 20


def test_labels_or_predictions_that_are_gone_are_missed(place):
    place.add("img", squares(4))
    experiment = place.start()
    for gone in ("predictions", "labels"):
        (place.run.folder / gone).rename(place.folder / gone)
        with pytest.raises(MissingError):
            write_report(experiment, place.run)
        assert not place.run.report.exists()
        (place.folder / gone).rename(place.run.folder / gone)


def test_writing_the_page_changes_nothing_else(place):
    place.add("img", squares(4))
    before = open_volumes(place.folder / "run" / "labels" / "img.zarr")[0].read()
    assert place.page() == place.page()
    after = open_volumes(place.folder / "run" / "labels" / "img.zarr")[0].read()
    assert np.array_equal(before, after)
