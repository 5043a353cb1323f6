"""Scoring of a run, and of plain paths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cellulus.data import writer
from cellulus.errors import InputError, MissingError
from cellulus.experiment.sections import ApplyImage, Data, Evaluate, Experiment
from cellulus.ops.scores import Scores, evaluate_labels, pool
from cellulus.pipeline import overlaps
from cellulus.pipeline.evaluate import evaluate, evaluate_paths
from cellulus.runs import Run
from cellulus.space import VoxelSize

IOU = (0.5, 0.75)


def write(path, array, kind="labels", axes="zyx"):
    axes = axes[-array.ndim :]
    spec = writer.Spec(
        kind=kind,
        axes=axes,
        shape=array.shape,
        dtype=array.dtype,
        voxel_size=VoxelSize((1.0,) * sum(axis in "zyx" for axis in axes)),
    )
    pending = writer.create(path, spec)
    pending.write((slice(None),) * array.ndim, array)
    return pending.publish()


def mosaic(seed, shape=(24, 24)):
    """Return labels of 4-voxel tiles, a third of them background."""
    rng = np.random.default_rng(seed)
    tiles = rng.permutation(np.prod([n // 4 for n in shape])).reshape([n // 4 for n in shape])
    tiles[tiles % 3 == 0] = 0
    return np.kron(tiles, np.ones((4,) * len(shape), int)).astype(np.uint32)


def moved(labels, by):
    return np.roll(labels, by, axis=0)


@pytest.fixture
def experiment(tmp_path):
    """Two images with a truth, one of which is empty, and one image without any."""
    truths = {"img_2": mosaic(0), "img_10": np.zeros((24, 24), np.uint32)}
    entries = []
    for name in ("img_2", "img_10", "other"):
        image = write(tmp_path / f"{name}.zarr", np.ones((24, 24), np.float32), "image")
        truth = None
        if name in truths:
            truth = str(write(tmp_path / "truth" / f"{name}.zarr", truths[name]))
        entries.append(ApplyImage(image=str(image), truth=truth))
    return Experiment(data=Data(apply=tuple(entries)), evaluate=Evaluate(iou=IOU))


def test_a_run_is_scored_against_the_truth_of_its_images(tmp_path, experiment):
    run = Run(tmp_path / "run")
    half = np.vstack([mosaic(0)[:12], moved(mosaic(0), 2)[12:]])
    labels = {"img_2": half, "img_10": mosaic(1)}
    for name, array in labels.items():
        write(run.labels / f"{name}.zarr", array)
    scores = evaluate(experiment, run)
    expected = pool(
        [
            evaluate_labels(labels["img_2"], mosaic(0), IOU, name="img_2"),
            evaluate_labels(labels["img_10"], np.zeros((24, 24), int), IOU, name="img_10"),
        ]
    )
    assert scores == expected
    assert 0 < scores.images[0].at(0.5).f1 < 1, "test invalid: nothing to tell apart"
    assert scores.images[1].n_pred > 0, "an image without true objects is scored too"
    assert Scores.from_json(run.scores.read_text()) == expected
    assert [path.name for path in run.folder.iterdir() if path.is_file()] == ["scores.json"]


def test_missing_labels_are_all_named(tmp_path, experiment):
    with pytest.raises(MissingError, match=r"img_2\.zarr, img_10\.zarr"):
        evaluate(experiment, Run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_an_experiment_without_truth_is_refused(tmp_path, experiment):
    entries = tuple(ApplyImage(image=entry.image) for entry in experiment.data.apply)
    bare = experiment.model_copy(update={"data": Data(apply=entries)})
    with pytest.raises(InputError, match="truth"):
        evaluate(bare, Run(tmp_path / "run"))


@pytest.mark.parametrize("shape", [(25, 30), (9, 20, 16)])
def test_blocks_do_not_change_the_scores(tmp_path, monkeypatch, shape):
    shape = tuple(4 * (n // 4) for n in shape)
    labels, truth = moved(mosaic(2, shape), 1), mosaic(2, shape)
    paths = write(tmp_path / "a.zarr", labels), write(tmp_path / "b.zarr", truth)
    monkeypatch.setattr(overlaps, "portion_of", lambda *_: (7,) * len(shape))
    scores = evaluate_paths(*map(str, paths), IOU)
    assert scores.images == (evaluate_labels(labels, truth, IOU, name="a"),)


def test_globs_pair_in_natural_order(tmp_path):
    for k in (1, 2, 10):
        write(tmp_path / "labels" / f"t{k}.zarr", mosaic(k))
        write(tmp_path / "truth" / f"t{k}.zarr", mosaic(k))
    scores = evaluate_paths(str(tmp_path / "labels/*.zarr"), str(tmp_path / "truth/*.zarr"), IOU)
    assert [image.name for image in scores.images] == ["t1", "t2", "t10"]
    assert scores.pooled.at(0.75).f1 == 1


def test_time_points_are_paired_one_by_one(tmp_path):
    frames = np.stack([mosaic(k) for k in range(3)])
    path = str(write(tmp_path / "movie.zarr", frames, axes="tyx"))
    scores = evaluate_paths(path, path, IOU)
    assert len(scores.images) == 3
    assert scores.pooled.seg == 1


def test_counts_that_differ_name_the_lonely(tmp_path):
    for k in (1, 2, 10):
        write(tmp_path / "labels" / f"t{k}.zarr", mosaic(k))
    write(tmp_path / "truth" / "t2.zarr", mosaic(2))
    with pytest.raises(InputError, match=r"without a truth: t1, t10"):
        evaluate_paths(str(tmp_path / "labels/*.zarr"), str(tmp_path / "truth/*.zarr"), IOU)
    with pytest.raises(InputError, match=r"without labels: t1, t10"):
        evaluate_paths(str(tmp_path / "truth/*.zarr"), str(tmp_path / "labels/*.zarr"), IOU)


def test_what_does_not_fit_is_refused_by_its_path(tmp_path):
    labels = str(write(tmp_path / "labels.zarr", mosaic(0)))
    larger = str(write(tmp_path / "larger.zarr", mosaic(0, (24, 28))))
    with pytest.raises(InputError, match=r"\(24, 28\)") as error:
        evaluate_paths(labels, larger, IOU)
    assert error.value.where == larger
    image = str(write(tmp_path / "image.zarr", np.ones((24, 24), np.float32), "image"))
    for pair, fault in (((labels, image), image), ((image, labels), image)):
        with pytest.raises(InputError, match="float32") as error:
            evaluate_paths(*pair, IOU)
        assert error.value.where == fault
    with pytest.raises(MissingError):
        evaluate_paths(labels, str(tmp_path / "nothing*.zarr"), IOU)


def test_what_nobody_annotated_is_not_scored(tmp_path, experiment):
    run = Run(tmp_path / "run")
    truth = mosaic(0)
    for entry, labels in zip(experiment.data.apply, (truth, truth * 0, truth), strict=True):
        name = Path(entry.image).stem
        wrong = labels.copy()
        wrong[:12] = (labels[:12] > 0).astype(np.uint32) * 999
        write(run.labels / f"{name}.zarr", wrong)
    hidden = np.zeros(truth.shape, np.uint32)
    hidden[:12] = 1
    ignore = str(write(tmp_path / "ignore.zarr", hidden))
    first, *others = experiment.data.apply
    entries = (first.model_copy(update={"ignore": ignore}), *others)
    made = experiment.model_copy(
        update={"data": experiment.data.model_copy(update={"apply": entries})}
    )
    before, after = evaluate(experiment, run).images[0], evaluate(made, run).images[0]
    assert before.at(0.5).f1 < 1
    assert after.at(0.5).f1 == after.seg == 1
    assert after.n_true < before.n_true
