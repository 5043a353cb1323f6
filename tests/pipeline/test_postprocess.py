"""Post-processing of arrays, and of the label files of a run."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from cellulus.data import writer
from cellulus.data.readers import open_volumes
from cellulus.errors import ExistsError, InputError, MissingError
from cellulus.experiment.sections import Data, Experiment, Postprocess
from cellulus.ops import labels as ops
from cellulus.pipeline.postprocess import apply_postprocess, postprocess
from cellulus.runs import Run
from cellulus.space import Length, VoxelSize


def ball(shape, centre, radius, spacing=None):
    spacing = spacing or (1.0,) * len(shape)
    grid = np.indices(shape)
    return (
        sum(((g - c) * s) ** 2 for g, c, s in zip(grid, centre, spacing, strict=True)) <= radius**2
    )


def apply(labels, image=None, zoom=None, object_voxels=20.0, **options):
    return apply_postprocess(
        labels,
        Postprocess(**options),
        image=image,
        spacing=zoom or (1.0,) * labels.ndim,
        object_voxels=object_voxels,
    )


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
    axes = "cyx"[-image.ndim :]
    spec = writer.Spec(
        kind="image", axes=axes, shape=image.shape, dtype=image.dtype, voxel_size=VoxelSize((1, 1))
    )
    pending = writer.create(path, spec)
    pending.write((slice(None),) * image.ndim, image)
    return pending.publish()


FACTS = {"zoom": [1.0, 1.0], "object_voxels": 20.0}


class Ticks:
    def __init__(self):
        self.seen = []

    def start(self, what, total):
        self.seen.append((what, total))

    def advance(self, amount=1, **values):
        self.seen.append(amount)

    def finish(self):
        self.seen.append("end")


def test_nothing_asked_only_makes_ids_dense():
    labels = np.array([[0, 9, 9], [3, 0, 4_000_000_000]], np.uint32)
    result = apply(labels)
    assert result.tolist() == [[0, 2, 2], [1, 0, 3]]
    assert result.dtype == np.uint32


def test_cell_grows_then_shrinks_to_the_edge_of_the_foreground():
    # Diameter 20: grown by 3, shrunk by 6, so a disc of radius 12 ends as one of radius 9.
    labels = ball((40, 40), (20, 20), 12).astype(int)
    grown = ops.grow(labels, 3.0, (1, 1))
    assert np.array_equal(apply(labels, kind="cell"), ops.shrink_foreground(grown, 6.0, (1, 1)))
    assert apply(labels, kind="cell").sum() == pytest.approx(np.pi * 9**2, rel=0.1)


def test_separate_shrinks_by_a_fixed_distance_and_opens_gaps():
    labels = np.repeat([[0, 1, 2, 0]], 20, axis=0).repeat(20, axis=1)
    together = apply(labels, kind="cell", grow=0, shrink=0.1)
    apart = apply(labels, kind="cell", grow=0, shrink=0.1, separate=True)
    assert together[10, 39] == 1, "test invalid: touching objects keep their border"
    assert together[10, 40] == 2
    assert not apart[:, 38:42].any()
    assert (apart[10, 37], apart[10, 42]) == (1, 2)


def test_distances_are_physical_so_anisotropic_sampling_gives_the_same_shape():
    fine = ball((48, 48, 48), (24, 24, 24), 12).astype(int)
    coarse = fine[::3]
    result = apply(coarse, kind="cell", zoom=(3.0, 1.0, 1.0))
    expected = ball(coarse.shape, (8, 24, 24), 9, (3.0, 1.0, 1.0))
    different = (result > 0) != expected
    assert different.sum() < 0.15 * expected.sum()
    wrong = apply(coarse, kind="cell") > 0
    assert (wrong != expected).sum() > 0.3 * expected.sum(), "test invalid: spacing has no effect"


def test_intensity_is_otsu_inside_each_object_with_holes_filled():
    labels = np.zeros((30, 60), int)
    labels[:, :30], labels[:, 30:] = 5, 6
    image = np.zeros((30, 60))
    image[8:20, 8:20] = 100  # a bright nucleus, with a dark nucleolus
    image[12:14, 12:14] = 0
    image[8:20, 40:50] = 3  # a dim one, below every threshold of the image as a whole
    expected = np.zeros((30, 60), int)
    expected[8:20, 8:20], expected[8:20, 40:50] = 1, 2
    assert np.array_equal(apply(labels, image, kind="intensity"), expected)


def test_intensity_needs_an_image():
    with pytest.raises(InputError, match="image"):
        apply(np.ones((4, 4), int), kind="intensity")


@pytest.mark.parametrize("zoom", [(1.0, 1.0), (2.0, 0.5), (2.0, 0.5, 1.0)])
def test_sizes_are_shares_of_a_ball(zoom):
    radii = {1: 4.0, 2: 7.0, 3: 10.0}  # 0.064, 0.343 and 1 ball in three, 0.16, 0.49, 1 in two
    shape = tuple(int(24 / z) for z in zoom)
    shape = (*shape[:-1], 3 * shape[-1])
    labels = np.zeros(shape, int)
    for i, radius in radii.items():
        centre = [*(12 / z for z in zoom[:-1]), (24 * i - 12) / zoom[-1]]
        labels[ball(shape, centre, radius, zoom)] = i
    sizes = {i: (r / 10) ** len(zoom) for i, r in radii.items()}
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    for i, size in sizes.items():
        kept = apply(labels, zoom=zoom, min_size=0.7 * size, max_size=1.4 * size)
        assert np.array_equal(kept > 0, labels == i)


def test_one_size_limit_alone():
    labels = np.zeros((30, 60), int)
    labels[ball((30, 60), (15, 15), 10)], labels[ball((30, 60), (15, 45), 3)] = 1, 2
    assert np.array_equal(apply(labels, min_size=0.5) > 0, labels == 1)
    assert np.array_equal(apply(labels, max_size=0.5) > 0, labels == 2)


def test_pieces_go_before_sizes_are_measured():
    labels = np.zeros((20, 20), int)
    labels[2:8, 2:8] = labels[12:16, 12:17] = 1  # 36 and 20 voxels
    limits = {"object_voxels": 8.0, "min_size": 40 / (np.pi * 16)}
    assert apply(labels, **limits).any(), "test invalid: together they are large enough"
    assert not apply(labels, keep_largest=True, **limits).any()


@given(
    npst.arrays(np.uint8, st.tuples(*[st.integers(1, 9)] * 2), elements=st.integers(0, 3)),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.floats(0, 0.5),
)
@settings(deadline=None)
def test_cleaning_twice_is_cleaning_once(labels, largest, holes, border, size):
    options = {
        "keep_largest": largest, "fill_holes": holes, "clear_border": border, "min_size": size,
    }  # fmt: skip
    once = apply(labels, object_voxels=6.0, **options)
    assert np.array_equal(apply(once, object_voxels=6.0, **options), once)


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "cell", "grow": 0.3, "shrink": 0.4},
        {"kind": "cell", "separate": True, "shrink": 0.2},
        {"kind": "intensity", "keep_largest": True},
        {"fill_holes": True, "clear_border": True, "min_size": 0.2, "max_size": 4},
    ],
)
def test_one_plane_of_a_volume_is_an_image(options):
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 30, (6, 6)), np.ones((5, 5), int))
    image = rng.random(labels.shape)
    flat = apply(labels, image, zoom=(1.0, 1.5), object_voxels=6.0, **options)
    plane = apply(labels[None], image[None], zoom=(7.0, 1.0, 1.5), object_voxels=6.0, **options)
    assert flat.any(), "test invalid: nothing left"
    assert np.array_equal(plane, flat[None])


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
    assert ticks.seen == [("postprocess", 2), 1, 1, "end"]
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
        "low": [0.0, 0.0], "high": [5.0, 0.5],
    }  # fmt: skip
    write(run.segments, "img", labels, facts)
    (target,) = postprocess(Experiment(postprocess=Postprocess(kind="intensity")), run)
    assert np.array_equal(open_volumes(target)[0].read()[0] > 0, image[1] > 0)


def test_intensity_without_a_known_image_is_refused(tmp_path):
    run = Run(tmp_path / "run")
    write(run.segments, "img", np.ones((8, 8), np.uint32), FACTS)
    experiment = Experiment(postprocess=Postprocess(kind="intensity"))
    with pytest.raises(InputError, match="name their image"):
        postprocess(experiment, run)
    assert not list(run.labels.iterdir())


@pytest.mark.parametrize(("time", "found"), [(0, r"\(9, 9\)"), (1, "1 time points")])
def test_an_image_that_changed_since_is_refused(tmp_path, time, found):
    run = Run(tmp_path / "run")
    path = write_image(tmp_path / "img.zarr", np.ones((9, 9), np.float32))
    facts = {"image": str(path), "level": 0, "channels": [], "low": [0.0], "high": [1.0]}
    write(run.segments, "img", np.ones((8, 8), np.uint32), FACTS | facts | {"time": time})
    with pytest.raises(InputError, match=found):
        postprocess(Experiment(postprocess=Postprocess(kind="intensity")), run)


def test_the_hole_that_a_dropped_object_leaves_is_filled():
    labels = np.zeros((20, 20), int)
    labels[2:18, 2:18], labels[9:11, 9:11] = 1, 2
    result = apply(labels, fill_holes=True, min_size=0.1)
    assert np.array_equal(result > 0, labels > 0)
    assert result.max() == 1


def test_labels_from_elsewhere_take_their_scale_from_the_diameter(tmp_path):
    labels = np.zeros((60, 60), np.uint32)
    labels[ball((60, 60), (20, 20), 10)], labels[ball((60, 60), (48, 48), 4)] = 1, 2
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
    assert not list(run.labels.iterdir())
