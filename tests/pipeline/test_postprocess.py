"""Post-processing of the label files of a run."""

from __future__ import annotations

import csv
import logging

import numpy as np
import pytest
import zarr

from cellulus.data import writer
from cellulus.data.readers import open_volumes
from cellulus.errors import ExistsError, InputError, MissingError
from cellulus.experiment.sections import Data, Experiment, Postprocess, Segment
from cellulus.pipeline.extents import block_extent
from cellulus.pipeline.postprocess import postprocess
from cellulus.pipeline.reshaping import apply_postprocess
from cellulus.runs import Run
from cellulus.space import Length, VoxelSize


def disc(shape, centre, radius):
    grid = np.indices(shape)
    return sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= radius**2


def write(folder, name, labels, attributes=None, axes="yx"):
    spec = writer.Spec(
        kind="labels",
        axes=axes,
        shape=labels.shape,
        dtype=np.dtype(np.uint32),
        voxel_size=VoxelSize((0.5,) * labels.ndim, "um"),
        attributes=attributes or {},
    )
    pending = writer.create(folder / f"{name}.zarr", spec)
    pending.write((slice(None),) * labels.ndim, labels)
    return pending.publish()


def write_image(path, image):
    axes = "cyx"[-image.ndim :] if len(image) < 4 or image.ndim < 3 else "zyx"
    size = VoxelSize((1.0,) * sum(axis in "zyx" for axis in axes))
    spec = writer.Spec(
        kind="image", axes=axes, shape=image.shape, dtype=image.dtype, voxel_size=size
    )
    pending = writer.create(path, spec)
    pending.write((slice(None),) * image.ndim, image)
    return pending.publish()


FACTS = {
    "image": "none.tif", "time": 0, "channels": [0], "level": 0, "shape": [64, 48],
    "voxel_size": [0.5, 0.5], "unit": "um", "zoom": [1.0, 1.0], "object_voxels": 20.0,
    "low": [0.0], "high": [1.0], "method": "object_centric", "model": "drawn",
}  # fmt: skip


class Ticks:
    def __init__(self):
        self.seen = []

    def start(self, what, total):
        self.seen.append((what, total))

    def advance(self, amount=1, **values):
        self.seen.append(amount)

    def finish(self):
        self.seen.append("end")


def test_the_step_writes_one_label_file_per_segment(tmp_path):
    run = Run(tmp_path / "run")
    labels = np.zeros((64, 48), np.uint32)
    labels[10:30, 10:30], labels[40:43, 40:43] = 7, 3
    for name in ("img_2", "img_10"):
        write(
            run.segments, name, labels, FACTS | {"image": str(tmp_path / "img.tif"), "low": [1.5]}
        )
    ticks = Ticks()
    experiment = Experiment(postprocess=Postprocess(min_size=0.1))
    paths = postprocess(experiment, run, progress=ticks)
    assert paths == [run.labels / "img_2.zarr", run.labels / "img_10.zarr"]
    assert [seen for seen in ticks.seen if isinstance(seen, tuple)] == [
        (f"{what} {name}", 1)
        for name in ("img_2", "img_10")
        for what in ("postprocess", "number", "measure")
    ]
    (volume,) = open_volumes(paths[0])
    assert np.array_equal(volume.read()[0], (labels == 7).astype(np.uint32))
    assert volume.dtype == np.uint32
    assert volume.voxel_size == VoxelSize((0.5, 0.5), "um")
    kept = zarr.open_group(paths[0], mode="r").attrs["cellulus"]
    assert kept["low"] == [1.5]
    assert kept["zoom"] == [1.0, 1.0]
    assert kept["postprocess"]["min_size"] == 0.1


def test_the_step_reads_the_image_for_intensity(tmp_path):
    run = Run(tmp_path / "run")
    labels = np.zeros((32, 32), np.uint32)
    labels[4:28, 4:28] = 1
    image = np.zeros((3, 32, 32), np.float32)
    image[0] = np.random.default_rng(0).random((32, 32)) * 1000  # a channel that must not matter
    image[1, 8:20, 8:20] = 5
    image[2, 8:20, 8:20] = 0.5
    path = write_image(tmp_path / "img.zarr", image)
    facts = FACTS | {
        "image": str(path), "time": 0, "level": 0, "channels": [1, 2],
        "low": [0.0, 0.0], "high": [5.0, 0.5], "shape": [32, 32],
    }  # fmt: skip
    write(run.segments, "img", labels, facts)
    (target,) = postprocess(Experiment(postprocess=Postprocess(kind="intensity")), run)
    assert np.array_equal(open_volumes(target)[0].read()[0] > 0, image[1] > 0)


def test_intensity_without_a_known_image_is_refused(tmp_path):
    run = Run(tmp_path / "run")
    write(run.segments, "img", np.ones((8, 8), np.uint32))
    experiment = Experiment(postprocess=Postprocess(kind="intensity"))
    with pytest.raises(InputError, match="name their image"):
        postprocess(experiment, run)
    assert not run.labels.exists()


@pytest.mark.parametrize(("time", "found"), [(0, r"\(9, 9\)"), (1, "1 time points")])
def test_an_image_that_changed_since_is_refused(tmp_path, time, found):
    run = Run(tmp_path / "run")
    path = write_image(tmp_path / "img.zarr", np.ones((9, 9), np.float32))
    facts = {"image": str(path), "shape": [8, 8]}
    write(run.segments, "img", np.ones((8, 8), np.uint32), FACTS | facts | {"time": time})
    with pytest.raises(InputError, match=found):
        postprocess(Experiment(postprocess=Postprocess(kind="intensity")), run)


def test_labels_from_elsewhere_take_their_scale_from_the_diameter(tmp_path):
    labels = np.zeros((60, 60), np.uint32)
    labels[disc((60, 60), (20, 20), 10)], labels[disc((60, 60), (48, 48), 4)] = 1, 2
    path = write(tmp_path, "mine", labels)
    run, options = Run(tmp_path / "run"), Postprocess(min_size=0.5)
    with pytest.raises(InputError, match="object_diameter"):
        postprocess(Experiment(postprocess=options), run, labels=[path])
    # Voxels of 0.5 um: 10 um are 20 voxels, of which the small object has less than half a disc.
    experiment = Experiment(postprocess=options, data=Data(object_diameter=Length(10, "um")))
    (target,) = postprocess(experiment, run, labels=[path])
    assert np.array_equal(open_volumes(target)[0].read()[0] > 0, labels == 1)
    (target,) = postprocess(
        Experiment(postprocess=Postprocess(clear_border=True)), run, labels=[path], overwrite=True
    )
    assert open_volumes(target)[0].read().max() == 2


def test_what_is_there_is_kept_replaced_or_in_the_way(tmp_path):
    run, experiment = Run(tmp_path / "run"), Experiment()
    labels = np.ones((8, 8), np.uint32)
    write(run.segments, "img", labels, FACTS)
    (target,) = postprocess(experiment, run)
    with pytest.raises(ExistsError, match="img"):
        postprocess(experiment, run)
    made = target.stat().st_ino
    assert postprocess(experiment, run, resume=True) == [target]
    assert target.stat().st_ino == made
    assert postprocess(experiment, run, overwrite=True) == [target]
    assert target.stat().st_ino != made


def test_resume_refuses_labels_of_other_settings(tmp_path):
    run = Run(tmp_path / "run")
    write(run.segments, "img", np.ones((8, 8), np.uint32), FACTS)
    postprocess(Experiment(), run)
    with pytest.raises(InputError):
        postprocess(Experiment(postprocess=Postprocess(fill_holes=True)), run, resume=True)


def test_nothing_left_is_said_and_is_a_result(tmp_path, caplog):
    run = Run(tmp_path / "run")
    write(run.segments, "img", np.ones((8, 8), np.uint32), FACTS)
    with caplog.at_level(logging.WARNING, "cellulus"):
        (target,) = postprocess(Experiment(postprocess=Postprocess(clear_border=True)), run)
    assert "img" in caplog.text
    assert not open_volumes(target)[0].read().any()


def test_no_labels_and_twins_are_refused(tmp_path):
    run = Run(tmp_path / "run")
    with pytest.raises(MissingError, match="segment"):
        postprocess(Experiment(), run)
    paths = [write(tmp_path / side, "img", np.ones((8, 8), np.uint32)) for side in "ab"]
    with pytest.raises(InputError, match="img"):
        postprocess(Experiment(), run, labels=paths)


def test_images_are_no_labels(tmp_path):
    path = write_image(tmp_path / "img.zarr", np.ones((9, 9), np.float32))
    run = Run(tmp_path / "run")
    with pytest.raises(InputError, match="float32"):
        postprocess(Experiment(), run, labels=[path])
    assert not (run.labels / "img.zarr").exists()


def scene(shape, seed):
    """Labels with holes, crumbs, objects on the border and on each other; and intensities."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint32)
    for number in rng.permutation(30) + 1:
        centre = [rng.uniform(0, n) for n in shape]
        body = disc(shape, centre, rng.uniform(3, 8))
        if number % 3 == 0:
            body &= ~disc(shape, centre, 2)
        if number % 4 == 0:
            body |= disc(shape, [c + 11 for c in centre], 2)
        labels[body] = number * 1000
    image = rng.random(shape).astype(np.float32) + (labels % 7)
    return labels, image


CHANGES = [
    {},
    {"kind": "cell", "grow": 0.2, "shrink": 0.3},
    {"kind": "cell", "grow": 0.25, "shrink": 0.1, "separate": True, "keep_largest": True},
    {"kind": "intensity"},
    {"keep_largest": True, "min_size": 0.3},
    {"fill_holes": True, "min_size": 0.3, "max_size": 1.2},
    {"fill_holes": True, "keep_largest": True, "clear_border": True},
]


@pytest.mark.parametrize("settings", CHANGES, ids=str)
@pytest.mark.parametrize(
    ("shape", "zoom", "blocks"),
    [((90, 120), (1.0, 1.0), (16, 37, 64)), ((24, 50, 60), (2.0, 1.0, 0.8), (27, 40))],
)
def test_any_blocks_give_what_the_whole_gives(tmp_path, settings, shape, zoom, blocks):
    settings = Postprocess(**settings)
    for seed, block in enumerate(blocks):
        run = Run(tmp_path / f"run{block}")
        labels, image = scene(shape, seed)
        path = write_image(tmp_path / f"img{block}.zarr", image)
        facts = FACTS | {
            "image": str(path), "shape": list(shape), "zoom": list(zoom),
            "voxel_size": [0.5] * len(shape), "object_voxels": 12.0,
        }  # fmt: skip
        write(run.segments, "img", labels, facts, axes="zyx"[-len(shape) :])
        made = Experiment(postprocess=settings, segment=Segment(block=block))
        (target,) = postprocess(made, run)
        expected = apply_postprocess(
            labels, settings, image=image, spacing=zoom, object_voxels=12.0
        )
        assert expected.any()
        assert np.array_equal(open_volumes(target)[0].read()[0], expected)
        notes = zarr.open_group(target, mode="r").attrs["cellulus"]
        assert notes["outcome"]["objects"] == expected.max()
        assert notes["cut"] == list(block_extent(made, shape, zoom))


def test_the_table_lists_the_objects_that_are_left(tmp_path):
    run = Run(tmp_path / "run")
    labels, _ = scene((60, 70), 0)
    write(run.segments, "img", labels, FACTS | {"shape": [60, 70]})
    made = Experiment(postprocess=Postprocess(min_size=0.2), segment=Segment(block=16))
    (target,) = postprocess(made, run)
    after = open_volumes(target)[0].read()[0]
    with (run.labels / "img.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == list(range(1, after.max() + 1))
    sizes = np.bincount(after.ravel())[1:] * 0.25
    assert [float(row["area_um2"]) for row in rows] == pytest.approx(sizes)
    assert sorted(path.name for path in run.labels.iterdir()) == ["img.csv", "img.zarr"]
