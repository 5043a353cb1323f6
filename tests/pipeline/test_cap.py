import numpy as np
import pytest
import zarr
from discs import experiment_on
from pydantic import ValidationError

from cellulus.data.batches import Batch
from cellulus.data.volume import Volume
from cellulus.errors import InputError
from cellulus.experiment.load import parse
from cellulus.experiment.render import render
from cellulus.experiment.sections import (
    ApplyImage,
    Data,
    Experiment,
    Network,
    Predict,
    Segment,
    Train,
)
from cellulus.methods import ObjectCentric, PointMarker, SpatialEmbedding
from cellulus.pipeline import memory
from cellulus.pipeline.cap import fit_block, fit_reshaping, fit_tile, fit_training
from cellulus.pipeline.cuts import Subject
from cellulus.pipeline.extents import block_edge, tile_edge
from cellulus.pipeline.plan import plan_volumes
from cellulus.pipeline.postprocess import postprocess
from cellulus.pipeline.predict import predict
from cellulus.pipeline.samples import open_training
from cellulus.pipeline.segment import segment
from cellulus.pipeline.train import train
from cellulus.runs import Run
from cellulus.space import VoxelSize

LARGE = {2: (9000, 8000), 3: (700, 900, 800)}


def subject(ndim, zoom=1.0, inputs=1):
    return Subject(LARGE[ndim], (zoom,) * ndim, inputs, 2, 20.0)


def needs(experiment, made):
    return (
        memory.predicting(experiment, made),
        max(memory.segmenting(experiment, made)),
        memory.postprocessing(experiment, made),
    )


@pytest.mark.parametrize(
    ("text", "count"),
    [("8GB", 8 * 10**9), ("8 GB", 8 * 10**9), ("1.5 GiB", 3 * 2**29), ("600MB", 6 * 10**8)],
)
def test_a_size_of_memory(text, count):
    experiment = Experiment(memory=text)
    assert experiment.memory == count
    again = Experiment.model_validate_json(experiment.model_dump_json(), strict=True)
    assert again == experiment
    written = render(Experiment(memory=text, data=Data(apply=(ApplyImage(image="/a"),))))
    assert parse(written, source="x", base="").memory == count


@pytest.mark.parametrize("wrong", ["8", 8, "8 apples", "-1 GB", "GB", True, None, "1e9 B"])
def test_what_is_no_size_of_memory(wrong):
    with pytest.raises(ValidationError):
        Experiment(memory=wrong)


def test_without_a_cap_or_with_a_wide_one_nothing_changes():
    for experiment in (Experiment(), Experiment(memory="900 GB")):
        assert fit_tile(experiment, subject(3)) is experiment
        assert fit_block(experiment, subject(3)) is experiment
        assert fit_reshaping(experiment, subject(3)) is experiment


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("zoom", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("cap", ["2 GB", "3 GB", "6 GB"])
def test_what_is_chosen_fits_and_the_next_larger_does_not(ndim, zoom, cap):
    experiment = Experiment(memory=cap, network=Network(features=12, head_features=24))
    made = subject(ndim, zoom)
    fits = (
        fit_tile(experiment, made),
        fit_block(experiment, made),
        fit_reshaping(experiment, made),
    )
    for place, (fit, edge, section) in enumerate(
        zip(fits, (tile_edge, block_edge, block_edge), ("predict", "segment", "segment"),
            strict=True)
    ):  # fmt: skip
        assert needs(fit, made)[place] <= experiment.memory
        chosen, usual = edge(fit, ndim), edge(Experiment(), ndim)
        assert 16 <= chosen <= usual
        if chosen < usual:
            key = "tile" if section == "predict" else "block"
            larger = getattr(fit, section).model_copy(update={key: chosen + 16})
            assert needs(fit.model_copy(update={section: larger}), made)[place] > experiment.memory
        else:
            assert fit is experiment


def test_what_was_set_is_refused_and_what_would_fit_is_said():
    experiment = Experiment(memory="1500 MB", predict=Predict(tile=96), segment=Segment(block=256))
    fitting = experiment.model_copy(update={"predict": Predict(), "segment": Segment()})
    tile = tile_edge(fit_tile(fitting, subject(3)), 3)
    with pytest.raises(InputError, match=rf"predict\.tile: expected at most {tile}, .* found 96"):
        fit_tile(experiment, subject(3))
    block = block_edge(fit_block(fitting, subject(3)), 3)
    with pytest.raises(InputError, match=rf"segment\.block: expected at most {block}, .*1.5 GB"):
        fit_block(experiment, subject(3))


def test_a_cap_that_nothing_fits_says_the_least():
    experiment = Experiment(memory="100 MB")
    least = memory.predicting(
        experiment.model_copy(update={"predict": Predict(tile=16)}), subject(3)
    )
    said = memory.amount(least)
    with pytest.raises(InputError, match=rf"memory: .* at least about {said}, .* 100 MB"):
        fit_tile(experiment, subject(3))
    fit_tile(experiment.model_copy(update={"memory": least}), subject(3))


def in_parts(experiment, count):
    """The experiment with batches in so many parts."""
    train = experiment.train.model_copy(update={"accumulate": count})
    return experiment.model_copy(update={"train": train})


def test_batches_go_in_as_few_parts_as_fit():
    experiment = Experiment(memory="2 GB", train=Train(batch_size=64))
    made = fit_training(experiment, 3, 1)
    count = made.train.accumulate
    assert made == in_parts(experiment, count)
    assert memory.training(in_parts(experiment, count - 1), 3, 1) > experiment.memory
    assert memory.training(made, 3, 1) <= experiment.memory


def test_training_that_is_set_is_never_changed_but_refused():
    experiment = Experiment(memory="2 GB", train=Train(batch_size=64, accumulate=2))
    with pytest.raises(InputError, match=r'leave train\.accumulate "auto"'):
        fit_training(experiment, 3, 1)
    with pytest.raises(InputError, match=r"smaller train\.crop"):
        fit_training(Experiment(memory="100 MB"), 3, 1)
    free = experiment.model_copy(update={"memory": "any"})
    assert fit_training(free, 3, 1) == free


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize(
    "method", [ObjectCentric(), SpatialEmbedding(), PointMarker()], ids=lambda m: m.name
)
def test_training_as_it_is_by_default_fits_a_small_gpu(method, ndim):
    made = fit_training(Experiment(method=method), ndim, 1)
    assert memory.training(made, ndim, 1) <= 4e9


def test_finding_points_counts_where_it_takes_most():
    """In volumes, of which a margin on every side makes most."""
    small = Network(features=1, head_features=1, depth=0)
    with_points, without = (
        memory.predicting(Experiment(method=method, network=small), subject(3))
        for method in (PointMarker(), SpatialEmbedding())
    )
    assert with_points > without


def test_a_crop_that_no_small_gpu_could_take_is_taken_one_by_one():
    experiment = Experiment(train=Train(crop=200, batch_size=4))
    assert fit_training(experiment, 3, 1).train.accumulate == 4


def test_training_goes_in_the_parts_that_its_cap_asks_for(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "BASE", 0)
    experiment = experiment_on(tmp_path, (160, 220))
    settings = experiment.train.model_copy(update={"batch_size": 6})
    experiment = experiment.model_copy(update={"train": settings})
    cap = memory.training(in_parts(experiment, 3), 2, 1)
    asked, split = [], Batch.split
    monkeypatch.setattr(Batch, "split", lambda self, n: (asked.append(n), split(self, n))[1])
    for number, made in enumerate((experiment, under(experiment, cap))):
        train(made, Run.start(tmp_path / str(number), made, ""), device="cpu")
    assert asked == [1, 3]
    learnt_from = [sample.volume for sample in open_training(experiment)]
    assert plan_volumes(under(experiment, cap), [], learnt_from).parts == 3


def test_the_plan_obeys_the_cap():
    array = np.broadcast_to(np.uint16(0), (2000, 720, 720))
    image = Volume.of(array, voxel_size=VoxelSize((1.0, 0.4, 0.4), "um"))
    experiment = Experiment(data=Data(object_diameter="10 um"), memory="2 GiB")
    made = plan_volumes(experiment, [image], [])
    free = plan_volumes(experiment.model_copy(update={"memory": "any"}), [image], [])
    assert made.cap == 2**31
    steps = {name: need for name, need in made.memory.items() if name != "train"}
    assert max(steps.values()) <= made.cap < max(free.memory.values())
    assert made.tile < free.tile
    assert made.block < free.block
    for name, step in made.images[0].steps.items():
        assert step.cut.overhead >= free.images[0].steps[name].cut.overhead


@pytest.fixture
def capped(tmp_path):
    """Return an experiment on a small image whose cap its tiles and blocks have to be cut for."""
    return experiment_on(tmp_path, (160, 220), predict=Predict(batch_size=2))


class Stop:
    """Stops a step when its second part is done."""

    def start(self, what, total):
        self.left = 2

    def advance(self, amount=1, **values):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def finish(self):
        pass


def finest(folder):
    return zarr.open_array(folder / "a.zarr" / "0", mode="r")


TILES, BLOCKS, LABELS = 3_000_000, 1_000_000, 300_000
"""Too little for the image as one, to predict, segment and reshape, if Python took nothing."""


def under(experiment, count):
    return experiment.model_copy(update={"memory": count})


@pytest.fixture
def trained(capped, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "BASE", 0)
    run = Run.start(tmp_path / "run", capped, "")
    train(capped, run, device="cpu")
    predict(capped, run, device="cpu")
    return run


def test_steps_obey_the_cap_and_change_nothing_else(capped, trained):
    segment(capped, trained)
    postprocess(capped, trained)
    other = Run(trained.folder.parent / "other")
    predict(under(capped, TILES), other, model=trained.model, device="cpu")
    one, many = finest(trained.predictions), finest(other.predictions)
    assert max(many.shards[1:]) < max(one.shards[1:])
    np.testing.assert_allclose(one[:], many[:], atol=0.01)
    segment(under(capped, BLOCKS), other, predictions=[trained.predictions / "a.zarr"])
    postprocess(under(capped, LABELS), other)
    for folder in ("segments", "labels"):
        one, many = (finest(run.folder / folder) for run in (trained, other))
        assert many.attrs.asdict() == one.attrs.asdict()
        assert max(many.shards) < max(one.shards)
        np.testing.assert_array_equal(one[:], many[:])


def test_a_resume_under_another_cap_names_what_changed(capped, trained):
    small = under(capped, TILES)
    Run.start(trained.folder, small, "", resume=True)  # no result depends on the cap itself
    with pytest.raises(KeyboardInterrupt):
        predict(small, trained, device="cpu", overwrite=True, progress=Stop())
    with pytest.raises(InputError, match=r"predict\.tile was \[\d+, \d+\], is \["):
        predict(capped, trained, device="cpu", resume=True)
    predict(small, trained, device="cpu", resume=True)
    blocked = under(capped, BLOCKS)
    with pytest.raises(KeyboardInterrupt):
        segment(blocked, trained, progress=Stop())
    with pytest.raises(InputError, match=r"cut was \[\d+, \d+\], is \[.*segment\.block was \d+"):
        segment(capped, trained, resume=True)
    segment(blocked, trained, resume=True)


def test_a_finished_result_of_another_cap_names_what_changed(capped, trained):
    small = under(capped, TILES)
    with pytest.raises(InputError, match=r"found predict\.tile was \[\d+, \d+\], is \[\d+, \d+\];"):
        predict(small, trained, device="cpu", resume=True)
    assert predict(capped, trained, device="cpu", resume=True)
