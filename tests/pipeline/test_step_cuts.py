import math

import numpy as np
import pytest
from discs import experiment_on

from cellulus.data.canonical import Canonical
from cellulus.experiment.sections import (
    Experiment,
    Postprocess,
    Predict,
    Segment,
)
from cellulus.methods import ObjectCentric
from cellulus.pipeline import measuring
from cellulus.pipeline.cuts import Cut, Subject, decoding, reshaping, surveys, tiling
from cellulus.pipeline.plan import plan
from cellulus.pipeline.postprocess import postprocess
from cellulus.pipeline.predict import predict
from cellulus.pipeline.prediction import Prediction
from cellulus.pipeline.segment import segment
from cellulus.pipeline.train import train
from cellulus.runs import Run
from cellulus.space import Blocks


def volume_of(region):
    return math.prod(part.stop - part.start for part in region)


@pytest.mark.parametrize("seed", range(8))
def test_a_cut_is_what_its_blocks_come_to(seed):
    rng = np.random.default_rng(seed)
    ndim = 2 + seed % 2
    shape, core, halo = (
        tuple(int(n) for n in rng.integers(low, high, ndim))
        for low, high in ((1, 40), (1, 30), (0, 12))
    )
    grid = Blocks(shape, core, halo)
    cut = Cut.of(grid)
    assert cut.count == len(grid)
    assert cut.voxels == sum(volume_of(block.outer) for block in grid)
    assert math.prod(cut.outer) == max(volume_of(block.outer) for block in grid)
    assert cut.overhead == pytest.approx(cut.voxels / math.prod(shape))


def test_a_decoder_that_is_not_local_sees_diameters_around_a_block():
    """One and a half, and a voxel; an image of one block it sees whole."""
    meanshift = ObjectCentric(clustering="meanshift")
    subject = Subject((200, 50), (1.0, 1.0), 1, 1, 20.0)
    cut = decoding(Experiment(method=meanshift, segment=Segment(block=40)), subject)
    assert (cut.count, cut.outer) == (10, (102, 50))
    cut = decoding(Experiment(method=meanshift, segment=Segment(block=200)), subject)
    assert (cut.count, cut.outer, cut.overhead) == (1, (200, 50), 1.0)


@pytest.mark.parametrize("foreground", ["contrast", "uncertainty"])
def test_a_plane_of_a_volume_is_cut_as_an_image(foreground):
    """A single plane costs what the image costs; only the count of axes differs.

    Where its extent in z is the mean of the others, that is: a block is as thick as it is wide.
    """
    experiment = Experiment(
        method=ObjectCentric(foreground=foreground),
        predict=Predict(tile=48),
        segment=Segment(block=32),
    )
    flat = Subject((90, 70), (1.5, 0.5), 1, 1, 20.0)
    thick = Subject((1, 90, 70), (0.75**0.5, 1.5, 0.5), 1, 1, 20.0)
    for a, b in zip(
        [*surveys(experiment, flat), decoding(experiment, flat), reshaping(experiment, flat)],
        [*surveys(experiment, thick), decoding(experiment, thick), reshaping(experiment, thick)],
        strict=True,
    ):
        assert (b.count, b.outer, b.voxels) == (a.count, (1, *a.outer), a.voxels)
    assert tiling(experiment, flat).count == tiling(experiment, thick).count


@pytest.fixture
def experiment(tmp_path):
    """Return an image of discs, cut into tiles and blocks that do not divide it."""
    return experiment_on(
        tmp_path,
        (90, 118),
        predict=Predict(tile=48, empty=0.0),
        segment=Segment(block=40),
        postprocess=Postprocess(kind="cell"),
    )


def test_plans_count_what_steps_read(experiment, tmp_path, monkeypatch):
    """Every region that is read is noted: the plan knows their number and all their voxels."""
    read = {"image": [], "prediction": [], "labels": []}

    def noting(owner, name, key):
        real = getattr(owner, name)

        def noted(self, region):
            read[key].append(volume_of(region))
            return real(self, region)

        monkeypatch.setattr(owner, name, noted)

    run = Run.start(tmp_path / "run", experiment, "")
    train(experiment, run, device="cpu")
    planned = plan(experiment).images[0].steps
    noting(Canonical, "read", "image")
    predict(experiment, run, device="cpu")
    assert len(read["image"]) == planned["predict"].cut.count == 4 * 5
    assert sum(read["image"]) == planned["predict"].cut.voxels

    noting(Prediction, "read", "prediction")
    segment(experiment, run)
    parts = [step for name, step in planned.items() if name.startswith(("survey", "segment"))]
    assert len(parts) == 2
    assert len(read["prediction"]) == sum(step.cut.count for step in parts) == 2 * 3 * 3
    assert sum(read["prediction"]) == sum(step.cut.voxels for step in parts)

    def opening(real):
        def opened(self):
            read_region = real(self)
            return lambda region: read["labels"].append(volume_of(region)) or read_region(region)

        return opened

    stored = measuring.StoredLabels
    monkeypatch.setattr(stored, "open", opening(stored.open))
    postprocess(experiment, run)
    assert len(read["labels"]) == planned["postprocess"].cut.count == 3 * 3
    assert sum(read["labels"]) == planned["postprocess"].cut.voxels
