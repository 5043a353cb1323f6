"""From stored predictions to stored labels: any cutting into blocks gives the same."""

import logging

import numpy as np
import pytest
import zarr

from cellulus.blocks.crew import Alone
from cellulus.data import writer
from cellulus.data.readers import open_volumes
from cellulus.errors import ExistsError, InputError, MissingError, ModelError, StorageError
from cellulus.experiment.sections import ApplyImage, Data, Experiment, Segment
from cellulus.methods import ObjectCentric
from cellulus.ops.scores import evaluate_labels
from cellulus.pipeline import decoding
from cellulus.pipeline.prediction import Facts, Prediction
from cellulus.pipeline.segment import segment
from cellulus.runs import Run
from cellulus.space import VoxelSize

DIAMETER = 20.0


class Ticks:
    def __init__(self):
        self.seen = []

    def start(self, what, total):
        self.seen.append((what, total))

    def advance(self, amount=1, **values):
        self.seen.append(amount)

    def finish(self):
        self.seen.append("end")


def write(path, array, axes, size, attributes=None):
    spec = writer.Spec(
        kind="image", axes=axes, shape=array.shape, dtype=array.dtype,
        voxel_size=VoxelSize(size, "um"), attributes=attributes or {},
    )  # fmt: skip
    pending = writer.create(path, spec)
    pending.write((slice(None),) * array.ndim, array)
    return pending.publish()


class Place:
    """A folder with images and their drawn predictions, as predict would have stored them."""

    def __init__(self, folder, draw):
        self.folder, self.draw, self.run = folder, draw, Run(folder / "run")
        self.images = []

    def add(self, name, shape, zoom=None, scene=None, **drawing):
        """Draw a scene; where the zoom is not 1, its image has other voxels than the prediction."""
        ndim = len(shape)
        zoom = zoom or (1.0,) * ndim
        canonical = tuple(int(np.ceil(n * z - 1e-6)) for n, z in zip(shape, zoom, strict=True))
        scene = scene or self.draw(canonical, **drawing)
        nearest = [
            np.minimum(((np.arange(n) + 0.5) * z).astype(int), m - 1)
            for n, z, m in zip(shape, zoom, canonical, strict=True)
        ]
        image = scene.image[0][np.ix_(*nearest)]
        size = tuple(0.5 * z for z in zoom)
        path = write(self.folder / f"{name}.zarr", image, "zyx"[-ndim:], size)
        facts = Facts(
            image=str(path), time=0, channels=(0,), level=0, shape=shape, voxel_size=size,
            unit="um", zoom=zoom, object_voxels=DIAMETER, low=(0.0,), high=(1.0,),
            method="object_centric", model="drawn",
        )  # fmt: skip
        write(
            self.run.predictions / f"{name}.zarr", scene.prediction.astype(np.float16),
            "c" + "zyx"[-ndim:], (0.5,) * ndim, facts.model_dump(mode="json"),
        )  # fmt: skip
        self.images.append(path)
        return scene.truth[np.ix_(*nearest)]

    def experiment(self, block="auto", min_size=0.1, images=None, **method):
        apply = tuple(ApplyImage(image=str(p)) for p in images or self.images)
        return Experiment(
            data=Data(apply=apply),
            method=ObjectCentric(**method),
            segment=Segment(block=block, min_size=min_size),
        )

    def labels(self, folder=None, **settings):
        """Segment into a run of its own, and return the labels of every image."""
        made = Run(self.folder / (folder or f"run_{len(list(self.folder.iterdir()))}"))
        paths = segment(
            self.experiment(**settings), made,
            predictions=[self.run.predictions / p.name for p in self.images],
        )  # fmt: skip
        return [open_volumes(path)[0].read()[0] for path in paths]


@pytest.fixture
def place(tmp_path, draw):
    return Place(tmp_path, draw)


def check_dense(labels):
    numbers = np.unique(labels)
    assert np.array_equal(numbers, np.arange(numbers.max() + 1) if 0 in labels else numbers)
    assert labels.dtype == np.uint32


@pytest.mark.parametrize("foreground", ["contrast", "uncertainty"])
@pytest.mark.parametrize(
    ("shape", "zoom", "edges"),
    [
        ((180, 230), (1.0, 1.0), (33, 64, 200)),
        ((160, 90), (0.7, 2.2), (17, 50)),
        ((16, 90, 110), (3.0, 1.1, 0.9), (40, 64)),
    ],
)
def test_any_blocks_give_the_labels_of_one(place, shape, zoom, edges, foreground):
    """Number by number; blocks may be smaller than an object, and objects lie on every seam."""
    place.add("img", shape, zoom, sizes=(0.6, 1.3), noise=1.0)
    (whole,) = place.labels(block=512, foreground=foreground)
    assert whole.max() > 15
    check_dense(whole)
    for edge in edges:
        (cut,) = place.labels(block=edge, foreground=foreground)
        assert np.array_equal(cut, whole)


@pytest.mark.parametrize("ndim", [2, 3])
def test_objects_on_faces_edges_and_corners_of_blocks_stay_whole(place, ndim):
    """One ball on the corner of all blocks, others on faces, and some at the image's own edge."""
    shape = (64,) * ndim
    balls = ([[32.0] * ndim, [0.0] * ndim, [32.0] * (ndim - 1) + [62.0]], [10.0] * 3)
    truth = place.add("img", shape, balls=balls)
    (cut,) = place.labels(block=32)
    assert cut.max() == 3
    middle = cut[(32,) * ndim]
    assert (cut[truth == 1] == middle).mean() > 0.95
    assert np.array_equal(cut, place.labels(block=512)[0])


def test_numbers_follow_the_anchors(place):
    """The first object from above is 1, and so on, whatever block it lies in."""
    balls = ([[20.0, 80.0], [50.0, 20.0], [80.0, 50.0]], [10.0] * 3)
    place.add("img", (100, 100), balls=balls)
    (labels,) = place.labels(block=32)
    assert [labels[20, 80], labels[50, 20], labels[80, 50]] == [1, 2, 3]


def test_sizes_are_counted_over_blocks(place):
    """An object of which no block holds enough is kept; one that is too small is not."""
    balls = ([[32.0, 32.0], [70.0, 70.0]], [10.0, 5.0])
    place.add("img", (96, 96), balls=balls)
    (every,) = place.labels(min_size=0.0)
    sizes = np.bincount(every.ravel())[1:] / (np.pi * 10**2)
    assert len(sizes) == 2
    assert sizes[1] < 0.5 < sizes[0]
    for block in (16, 32, 512):
        (labels,) = place.labels(block=block, min_size=0.5)
        assert np.array_equal(labels, np.where(every == 1, 1, 0))
        (none,) = place.labels(block=block, min_size=2.0)
        assert not none.any()


def test_min_size_is_a_share_of_a_ball_in_physical_space(place):
    balls = ([[24.0, 24.0, 24.0]], [10.0])
    place.add("img", (16, 48, 96), (3.0, 1.0, 0.5), balls=balls)
    (labels,) = place.labels(min_size=0.0, outline=0.5)
    ball = 4 / 3 * np.pi * 10**3 / 1.5
    share = labels.astype(bool).sum() / ball
    assert share == pytest.approx(1, abs=0.2)
    assert place.labels(min_size=share - 0.01, outline=0.5)[0].any()
    assert not place.labels(min_size=share + 0.01, outline=0.5)[0].any()


def test_what_is_written_says_where_it_is_from(place):
    place.add("img", (60, 80), (0.5, 2.0))
    ticks = Ticks()
    (path,) = segment(place.experiment(block=32), place.run, progress=ticks)
    assert path == place.run.segments / "img.zarr"
    stages = ("survey", "segment", "number")
    # As wide as high in um: 64 x 16 voxels.
    steps = [seen for stage in stages for seen in ((f"{stage} img", 5), *[1] * 5, "end")]
    assert ticks.seen == steps
    (volume,) = open_volumes(path)
    assert volume.dtype == np.uint32
    assert volume.voxel_size == VoxelSize((0.25, 1.0), "um")
    notes = zarr.open_group(path, mode="r").attrs["cellulus"]
    assert notes["zoom"] == [0.5, 2.0]
    assert notes["segment"]["clustering"] == "modes"
    assert notes["segment"]["block"] == 32
    assert sorted(p.name for p in place.run.segments.iterdir()) == ["img.zarr"]


def test_a_voxel_size_that_was_set_is_that_of_the_labels(place):
    """Here the file says half as much."""
    place.add("img", (60, 60))
    group = zarr.open_group(place.run.predictions / "img.zarr", mode="r+")
    group.attrs["cellulus"] = {**group.attrs["cellulus"], "voxel_size": [2.0, 3.0]}
    assert Prediction.open(place.run.predictions / "img.zarr").image.voxel_size.values == (2.0, 3.0)
    (path,) = segment(place.experiment(), place.run)
    assert open_volumes(path)[0].voxel_size == VoxelSize((2.0, 3.0), "um")


@pytest.mark.parametrize("foreground", ["contrast", "uncertainty"])
@pytest.mark.parametrize("block", [16, 512])
def test_no_object_is_a_result_and_said(place, caplog, block, foreground):
    scene = place.draw((40, 50))
    scene.prediction[:] = 0
    scene.image[:] = 0.3
    place.add("dark", (40, 50), scene=scene)
    with caplog.at_level(logging.WARNING):
        (path,) = segment(place.experiment(block=block, foreground=foreground), place.run)
    assert not open_volumes(path)[0].read().any()
    assert "dark: no object found" in caplog.text


def test_nothing_is_overwritten_unasked(place):
    place.add("img", (60, 60))
    (path,) = segment(place.experiment(), place.run)
    before = open_volumes(path)[0].read()
    with pytest.raises(ExistsError):
        segment(place.experiment(), place.run)
    ticks = Ticks()
    assert segment(place.experiment(), place.run, resume=True, progress=ticks) == [path]
    assert not ticks.seen
    with pytest.raises(InputError):  # what is there was made with other settings
        segment(place.experiment(min_size=3.0), place.run, resume=True)
    assert np.array_equal(open_volumes(path)[0].read(), before)
    segment(place.experiment(min_size=3.0), place.run, overwrite=True)
    assert not open_volumes(path)[0].read().any()


class Cut(Ticks):
    def advance(self, amount=1, **values):
        raise KeyboardInterrupt


def test_an_interrupted_step_leaves_nothing_that_looks_whole_and_goes_on(place):
    place.add("img", (60, 60))
    with pytest.raises(KeyboardInterrupt):
        segment(place.experiment(block=32), place.run, progress=Cut())
    left = sorted(p.name for p in place.run.segments.iterdir())
    assert left == ["img.zarr.partial", "img.zarr.work"]
    (path,) = segment(place.experiment(block=32), place.run, resume=True)
    assert np.array_equal(open_volumes(path)[0].read()[0], place.labels()[0])
    assert [p.name for p in place.run.segments.iterdir()] == ["img.zarr"]


@pytest.mark.parametrize("victim", ["staging", "labels", "levels"])
def test_a_full_disk_is_named_and_leaves_nothing_that_looks_whole(place, monkeypatch, victim):
    place.add("img", (60, 60))
    experiment = place.experiment(block=32)
    full = OSError(28, "No space left on device")

    def refuse(*_args, **_kwargs):
        raise full

    with monkeypatch.context() as patch:
        if victim == "staging":
            patch.setattr("cellulus.pipeline.labelling.zarr.create_array", refuse)
        elif victim == "labels":
            patch.setattr(zarr.Array, "__setitem__", refuse)
        else:
            patch.setattr(writer.Pending, "_describe", refuse)
        with pytest.raises(StorageError, match="No space left"):
            segment(experiment, place.run)
    left = {p.name for p in place.run.segments.iterdir()}
    assert "img.zarr" not in left
    (path,) = segment(experiment, place.run, resume=True)
    assert open_volumes(path)[0].read().any()


def test_a_failure_keeps_the_labels_that_were_there(place):
    place.add("img", (60, 60))
    (path,) = segment(place.experiment(), place.run)
    before = open_volumes(path)[0].read()
    with pytest.raises(KeyboardInterrupt):
        segment(place.experiment(block=16), place.run, overwrite=True, progress=Cut())
    assert np.array_equal(open_volumes(path)[0].read(), before)


def test_only_the_images_of_the_experiment_are_segmented(place):
    for name in ("old", "img_10", "img_2"):
        place.add(name, (40, 40))
    images = [place.images[2], place.images[1]]
    paths = segment(place.experiment(images=images), place.run)
    assert [p.name for p in paths] == ["img_2.zarr", "img_10.zarr"]
    assert not (place.run.segments / "old.zarr").exists()
    named = segment(
        place.experiment(images=images), place.run,
        predictions=[place.run.predictions / "old.zarr"],
    )  # fmt: skip
    assert [p.name for p in named] == ["old.zarr"]


def test_a_prediction_that_is_missing_is_missed_before_anything_is_written(place):
    place.add("there", (40, 40))
    lonely = write(place.folder / "lonely.zarr", np.ones((40, 40), np.float32), "yx", (0.5, 0.5))
    with pytest.raises(MissingError, match="run predict first") as caught:
        segment(place.experiment(images=[*place.images, lonely]), place.run)
    assert "lonely" in caught.value.found
    assert "there" not in caught.value.found
    assert not place.run.segments.exists()


def test_a_prediction_of_another_method_is_refused(place):
    place.add("img", (40, 40))
    group = zarr.open_group(place.run.predictions / "img.zarr", mode="r+")
    group.attrs["cellulus"] = {**group.attrs["cellulus"], "method": "point_marker"}
    with pytest.raises(ModelError, match="point_marker"):
        segment(place.experiment(), place.run)
    assert not place.run.segments.exists()


def test_mean_shift_sees_an_image_of_one_block_whole(place, monkeypatch):
    monkeypatch.setattr("cellulus.methods.object_centric.decoding.SAMPLED", 800)
    place.add("img", (60, 70), sizes=(0.9, 1.1))
    ticks = Ticks()
    experiment = place.experiment(block=70, clustering="meanshift")
    (path,) = segment(experiment, place.run, progress=ticks)
    assert ticks.seen == [("segment img", 1), 1, "end", ("number img", 1), 1, "end"]
    labels = open_volumes(path)[0].read()[0]
    assert labels.max() > 2
    assert "stitched" not in zarr.open_group(path, mode="r").attrs["cellulus"]["outcome"]


@pytest.mark.parametrize(
    ("shape", "zoom", "block", "foreground"),
    [
        ((90, 100), (1.0, 1.0), 48, "contrast"),
        ((6, 50, 60), (4.0, 2.0, 2.0), 32, "uncertainty"),
    ],
)
def test_mean_shift_of_blocks_is_stitched_to_that_of_the_whole(
    place, monkeypatch, shape, zoom, block, foreground
):
    """The same objects; their rims may differ by voxels, as mean-shift draws its sample anew."""
    monkeypatch.setattr("cellulus.methods.object_centric.decoding.SAMPLED", 500)
    place.add("img", shape, zoom, sizes=(0.9, 1.2))
    settings = {"clustering": "meanshift", "foreground": foreground}
    (whole,) = place.labels(**settings)
    ticks = Ticks()
    (path,) = segment(place.experiment(block=block, **settings), place.run, progress=ticks)
    assert [seen[0] for seen in ticks.seen if isinstance(seen, tuple)] == [
        *(["survey img"] if foreground == "uncertainty" else []),
        "segment img", "stitch img", "number img",
    ]  # fmt: skip
    (labels,) = open_volumes(path)[0].read()
    check_dense(labels)
    scores = evaluate_labels(labels, whole, [0.8]).matches[0]
    assert scores.true_positives > 8
    assert scores.f1 > 0.9
    told = zarr.open_group(path, mode="r").attrs["cellulus"]["outcome"]["stitched"]
    assert told["objects"] > 2
    assert told["refused"] == 0
    (again,) = place.labels(block=block, **settings)
    assert np.array_equal(labels, again)


@pytest.fixture
def broken(monkeypatch):
    """Make every block fail that sees a voxel of the image; `mend` ends it."""
    whole = decoding.observe

    def breaks(prediction, region, **how):
        if all(part.start <= 40 < part.stop for part in region):
            raise StorageError("chunk 3", expected="readable data", found="rubbish")
        return whole(prediction, region, **how)

    monkeypatch.setattr(decoding, "observe", breaks)
    return lambda: monkeypatch.setattr(decoding, "observe", whole)


def test_blocks_that_fail_are_left_out_and_tried_again(place, broken, caplog):
    place.add("img", (200, 210), sizes=(0.6, 1.0))
    experiment = place.experiment(block=32)
    crew = Alone()
    (path,) = segment(experiment, place.run, crew=crew)
    assert crew.left_out
    assert all("img" in line and "rubbish" in line for line in crew.left_out)
    assert "rubbish" in caplog.text
    notes = zarr.open_group(path, mode="r").attrs["cellulus"]["outcome"]
    assert notes["quarantined"].keys() <= {"survey-0", "label"}
    (labels,) = open_volumes(path)[0].read()
    assert labels[64:, 64:].any()
    assert not labels[40, 40]

    with pytest.raises(InputError, match="min_size"):
        segment(place.experiment(block=32, min_size=0.7), place.run, resume=True)
    assert np.array_equal(open_volumes(path)[0].read()[0], labels), "refused before it is touched"

    broken()
    again = Alone()
    assert segment(experiment, place.run, crew=again, resume=True) == [path]
    assert not again.left_out
    assert np.array_equal(open_volumes(path)[0].read()[0], place.labels()[0])
    assert "quarantined" not in zarr.open_group(path, mode="r").attrs["cellulus"]["outcome"]
    assert [p.name for p in place.run.segments.iterdir()] == ["img.zarr"]


def test_an_image_of_which_no_block_can_be_done_is_an_error(place, broken):
    place.add("img", (60, 60))
    with pytest.raises(StorageError, match="rubbish"):
        segment(place.experiment(), place.run)
    assert not (place.run.segments / "img.zarr").exists()


def test_replacing_goes_on_where_it_was_cut(place):
    place.add("img", (60, 60))
    (path,) = segment(place.experiment(), place.run)
    with pytest.raises(KeyboardInterrupt):
        segment(place.experiment(block=16), place.run, overwrite=True, progress=Cut())
    segment(place.experiment(block=16), place.run, resume=True)
    assert zarr.open_group(path, mode="r").attrs["cellulus"]["cut"] == [16, 16]
    assert [p.name for p in place.run.segments.iterdir()] == ["img.zarr"]
