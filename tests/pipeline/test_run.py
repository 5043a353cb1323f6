"""The main job on tiny images, from nothing to the page, and once more from what is there."""

import numpy as np
import pytest
import tifffile

from cellulus.data.readers import open_volumes
from cellulus.errors import ExistsError
from cellulus.experiment.sections import (
    ApplyImage,
    Data,
    Experiment,
    Network,
    Predict,
    Segment,
    Train,
)
from cellulus.methods import ObjectCentric
from cellulus.ops.scores import Scores
from cellulus.pipeline.run import run as run_all
from cellulus.runs import Run

NAMES = ("first", "second", "third")


class Steps:
    """Remembers which steps have been started."""

    def __init__(self):
        self.seen = []

    def start(self, what, total):
        self.seen.append(what.split()[0])

    def advance(self, amount=1, **values):
        pass

    def finish(self):
        pass


def balls(shape, diameter, seed):
    rng = np.random.default_rng(seed)
    grid = np.indices(shape)
    truth = np.zeros(shape, np.uint16)
    for number in range(1, 7):
        centre = rng.uniform(diameter / 2, np.array(shape) - diameter / 2)
        away = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))
        truth[away <= (diameter / 2) ** 2] = number
    image = 20 + 200 * (truth > 0) + rng.normal(scale=5, size=shape)
    return truth, image.clip(0, 255).astype(np.uint8)


def experiment(folder, shape, names=NAMES, truths=(), **data):
    for seed, name in enumerate(names):
        truth, image = balls(shape, 10, seed)
        # One plane after the other is depth, not time or colour.
        metadata = {"axes": "ZYX"[-len(shape) :]}
        tifffile.imwrite(folder / f"{name}.tif", image, imagej=True, metadata=metadata)
        tifffile.imwrite(folder / f"{name}_truth.tif", truth, imagej=True, metadata=metadata)
    apply = tuple(
        ApplyImage(
            image=str(folder / f"{name}.tif"),
            truth=str(folder / f"{name}_truth.tif") if name in truths else None,
        )
        for name in names
    )
    return Experiment(
        data=Data(object_diameter=10.0, apply=apply, **data),
        method=ObjectCentric(passes=2, pairs=4),
        network=Network(features=2, growth=1, head_features=2, object_voxels=8.0),
        train=Train(steps=4, batch_size=1, crop=20, validate_every=2, workers=0),
        predict=Predict(tile=32),
        segment=Segment(block=32, min_size=0.0),
    )


def start(folder, made, **how):
    return Run.start(folder / "run", made, "", **how)


def contents(folder):
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*") if path.is_file()
    }  # fmt: skip


@pytest.mark.parametrize("shape", [(40, 48), (16, 30, 34)])
def test_one_call_does_every_step_and_shows_every_image(tmp_path, shape):
    names = NAMES if len(shape) == 2 else NAMES[:1]
    made = experiment(tmp_path, shape, names, truths=names)
    run, steps = start(tmp_path, made), Steps()
    report = run_all(made, run, device="cpu", progress=steps)
    assert report == run.report
    text = report.read_text()
    assert all(name in text for name in names)
    assert "Highest F1" in text or "The only image" in text
    order = [step for i, step in enumerate(steps.seen) if step not in steps.seen[:i]]
    segment, postprocess = ["survey", "segment", "number"], ["postprocess", "measure"]
    assert order == ["train", "predict", *segment, *postprocess, "evaluate"]
    assert run.model.is_file()
    for name in names:
        for place in (run.predictions, run.segments, run.labels):
            assert open_volumes(place / f"{name}.zarr", channels=(0,))[0].ndim == len(shape)
        assert open_volumes(run.labels / f"{name}.zarr")[0].shape == shape
    scores = Scores.from_json(run.scores.read_text())
    assert [image.name for image in scores.images] == list(names)
    assert not list(run.folder.rglob("*.partial*"))


def test_without_truth_nothing_is_scored(tmp_path):
    made = experiment(tmp_path, (40, 48))
    run = start(tmp_path, made)
    report = run_all(made, run, device="cpu")
    assert not run.scores.exists()
    assert "Most objects of 3 images" in report.read_text()


def test_only_images_with_truth_are_scored(tmp_path):
    made = experiment(tmp_path, (40, 48), truths=("second",))
    run = start(tmp_path, made)
    text = run_all(made, run, device="cpu").read_text()
    assert [i.name for i in Scores.from_json(run.scores.read_text()).images] == ["second"]
    assert all(name in text for name in NAMES)


def test_resuming_what_is_finished_does_nothing_anew(tmp_path):
    made = experiment(tmp_path, (40, 48))
    run = start(tmp_path, made)
    run_all(made, run, device="cpu")
    before = contents(run.folder)
    steps = Steps()
    run_all(made, start(tmp_path, made, resume=True), device="cpu", resume=True, progress=steps)
    after = contents(run.folder)
    assert not {"train", "predict", "segment"} & set(steps.seen)
    assert after.keys() == before.keys()
    changed = {path for path in before if after[path] != before[path]}
    assert changed <= {run.report}


class Interrupted(Steps):
    def __init__(self, step):
        super().__init__()
        self.step = step

    def start(self, what, total):
        super().start(what, total)
        if self.seen[-1] == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("step", ["predict", "segment", "postprocess"])
def test_what_was_cut_goes_on_and_ends_the_same(tmp_path, step):
    made = experiment(tmp_path, (40, 48), NAMES[:2])
    run = start(tmp_path, made)
    with pytest.raises(KeyboardInterrupt):
        run_all(made, run, device="cpu", progress=Interrupted(step))
    assert not run.report.exists()
    model = run.model.read_bytes()
    run_all(made, run, device="cpu", resume=True)
    assert run.model.read_bytes() == model
    cut = [open_volumes(run.labels / f"{n}.zarr")[0].read() for n in NAMES[:2]]
    assert any(labels.any() for labels in cut)
    whole = Run.start(tmp_path / "whole", made, "")
    run_all(made, whole, device="cpu")
    for name, labels in zip(NAMES[:2], cut, strict=True):
        assert np.array_equal(open_volumes(whole.labels / f"{name}.zarr")[0].read(), labels)


def test_results_in_the_way_are_replaced_only_when_asked(tmp_path):
    made = experiment(tmp_path, (40, 48), NAMES[:1])
    run = start(tmp_path, made)
    run_all(made, run, device="cpu")
    with pytest.raises(ExistsError):
        start(tmp_path, made, results=("model",))
    steps = Steps()
    run_all(made, start(tmp_path, made, overwrite=True), device="cpu", overwrite=True,
            progress=steps)  # fmt: skip
    assert {"train", "predict", "segment", "postprocess"} <= set(steps.seen)
