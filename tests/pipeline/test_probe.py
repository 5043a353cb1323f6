import numpy as np
import pytest
import zarr

from cellulus.data import writer
from cellulus.data.readers import open_volumes
from cellulus.errors import InputError
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
from cellulus.pipeline import probe
from cellulus.pipeline.plan import plan
from cellulus.pipeline.predict import predict
from cellulus.pipeline.prediction import Prediction
from cellulus.pipeline.probe import Asked, try_out
from cellulus.pipeline.sample_tile import SampleTile, untrained
from cellulus.pipeline.train import train
from cellulus.runs import Run
from cellulus.space import VoxelSize

STEPS = ["predict", "survey 1", "segment", "postprocess"]
KINDS = {2: ((150, 130), (1.0, 1.0)), 3: ((20, 56, 60), (2.0, 1.0, 1.0))}


def made(folder, ndim, **sections):
    """Write an image of balls, and return an experiment on it whose network is tiny."""
    shape, size = KINDS[ndim]
    grid = np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, size, strict=True)), indexing="ij")
    away = np.sqrt(sum((axis % 24 - 12) ** 2 for axis in grid))
    spec = writer.Spec(
        "image", "zyx"[-ndim:], shape, np.dtype(np.uint8), VoxelSize(size, "um")
    )  # fmt: skip
    image = writer.create(folder / "a.zarr", spec)
    image.write((slice(None),) * ndim, np.where(away < 6, 200, 20).astype(np.uint8))
    image.publish()
    return Experiment(
        data=Data(object_diameter="12 um", apply=(ApplyImage(image=str(folder / "a.zarr")),)),
        method=ObjectCentric(passes=2, pairs=2),
        network=Network(features=2, growth=1, head_features=2),
        train=Train(steps=1, batch_size=1, crop=32, validate_every=1),
        predict=Predict(tile=48),
        segment=Segment(block=48),
        **sections,
    )


@pytest.fixture(params=[2, 3])
def experiment(request, tmp_path):
    return made(tmp_path, request.param)


def asked(run, *, model=True, workers=1):
    return Asked(run.model if model else None, run.predictions, "cpu", workers)


def test_without_a_model_only_predicting_is_told(experiment, tmp_path):
    run = Run(tmp_path / "run")
    tried = try_out(experiment, plan(experiment), asked(run, model=False))
    assert [step.name for step in tried.steps] == STEPS
    first, *others = tried.steps
    assert first.probed > 0
    assert first.seconds > 0
    assert "untrained" in first.note
    assert all(step.seconds is None and "model" in step.note for step in others)
    assert tried.machine
    assert not run.folder.exists(), "nothing is written"


def test_with_a_model_everything_is_told(experiment, tmp_path):
    run = Run.start(tmp_path / "run", experiment, "")
    train(experiment, run, device="cpu")
    planned = plan(experiment)
    tried = try_out(experiment, planned, asked(run))
    assert [step.name for step in tried.steps] == STEPS
    assert all(step.probed > 0 and step.seconds > 0 for step in tried.steps)
    assert all("tile" in step.on for step in tried.steps)
    assert "objects there" in tried.steps[2].note
    assert not run.predictions.exists()

    predict(experiment, run, device="cpu")
    again = try_out(experiment, planned, asked(run))
    assert all("block" in step.on for step in again.steps[1:])
    assert all(step.seconds > 0 for step in again.steps)


def test_time_is_that_of_a_part_times_their_number(experiment, tmp_path, monkeypatch):
    """With every part taking 3 s, a step takes as long as its voxels are read."""
    monkeypatch.setattr(probe, "_timed", lambda work: (work(), 3.0))
    run = Run.start(tmp_path / "run", experiment, "")
    train(experiment, run, device="cpu")
    predict(experiment, run, device="cpu")
    planned = plan(experiment)
    (steps,) = [image.steps for image in planned.images]
    tried = {step.name: step for step in try_out(experiment, planned, asked(run)).steps}
    assert tried["predict"].seconds == pytest.approx(3.0 * steps["predict"].cut.count)
    # The block is read once, and each survey and the decoding use it: 3 s and 3 s more.
    most = np.prod(steps["segment"].cut.outer)
    least = 6.0 * steps["segment"].cut.voxels / most
    assert tried["segment"].seconds >= least * 0.999
    monkeypatch.setattr(probe, "_cores", lambda: 2)
    shared = {s.name: s for s in try_out(experiment, planned, asked(run, workers=2)).steps}
    crowd = {s.name: s for s in try_out(experiment, planned, asked(run, workers=9)).steps}
    for name, step in tried.items():
        assert shared[name].seconds == pytest.approx(step.seconds / 2)
        assert crowd[name].seconds == pytest.approx(step.seconds / 2), "there are but two cores"


def test_a_sample_tile_is_what_predict_and_segment_would_see(experiment, tmp_path):
    """The tile decoded by the probe is a part of what predicting stores and segmenting reads."""
    run = Run.start(tmp_path / "run", experiment, "")
    train(experiment, run, device="cpu")
    predict(experiment, run, device="cpu")
    stored = Prediction.open(run.predictions / "a.zarr")
    volume = open_volumes(tmp_path / "a.zarr")[0]
    from cellulus.pipeline import model

    tile = SampleTile.of(experiment, volume, model.load(run.model), "cpu")
    said = tile.predict()
    assert said.shape[1:] == tuple(part.stop - part.start for part in tile.tile.core)
    part = tile.observe(said)
    region = tuple(
        slice(start, start + n) for start, n in zip(part.origin, part.image.shape[1:], strict=True)
    )
    np.testing.assert_array_equal(tile.image.volume.read(region).shape, part.image.shape)
    # Normalised by its middle alone, the network sees a little else: what is compared is where.
    assert part.spacing == stored.facts.zoom
    answer = zarr.open_array(run.predictions / "a.zarr" / "0")[(slice(None), *tile.tile.core)]
    expected = SampleTile.observe(tile, answer.astype(np.float32)).prediction
    np.testing.assert_allclose(expected, stored.read(region), atol=1e-5)


def test_an_untrained_network_has_the_size_of_the_experiment(experiment, tmp_path):
    volume = open_volumes(tmp_path / "a.zarr")[0]
    model = untrained(experiment, volume)
    count = sum(weights.numel() for weights in model.network.parameters())
    assert count == plan(experiment).parameters


def test_an_image_without_a_known_diameter_cannot_be_tried(tmp_path):
    experiment = made(tmp_path, 2)
    array = zarr.open_array(tmp_path / "a.zarr" / "0", mode="r+")
    array[:] = 7
    blank = experiment.model_copy(
        update={"data": experiment.data.model_copy(update={"object_diameter": "auto"})}
    )
    with pytest.raises(InputError, match="--probe"):
        try_out(blank, plan(blank), asked(Run(tmp_path / "run"), model=False))
