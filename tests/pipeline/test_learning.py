"""One training in memory: batches in parts, and what is annotated in them."""

import numpy as np
import pytest
import torch

from cellulus.data.batches import Batch
from cellulus.experiment.sections import Experiment, Network, Train
from cellulus.methods import PointMarker, SpatialEmbedding
from cellulus.pipeline.learning import Learning, make_fabric
from cellulus.pipeline.model import Card

WIDTH = 8.0
SMALL = Network(features=3, growth=2, depth=1, head_features=4, object_voxels=WIDTH)


def learning(method=None, **train):
    """A training that learns from masks, or from what its method needs."""
    method = method or SpatialEmbedding()
    settings = {"batch_size": 4, "precision": "fp32", "learning_rate": 0.01} | train
    experiment = Experiment(method=method, network=SMALL, train=Train(**settings))
    card = Card(
        method=method, network=SMALL, ndim=2, inputs=1, outputs=method.outputs(2),
        percentiles=(1.0, 99.8),
    )  # fmt: skip
    return Learning(experiment, card, make_fabric(experiment, "cpu"))


def batch(size=4, seed=0):
    """Crops of two boxes each, but for the first, which has one."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((size, 36, 36), np.int32)
    labels[:, 10:17, 10:18], labels[1:, 20:26, 16:25] = 1, 2
    image = (labels > 0)[:, None] + rng.normal(0, 0.1, (size, 1, 36, 36))
    centres = np.array([[13.5, 14.0], [23.0, 20.5]], np.float32)
    centres = np.repeat(centres[None], size, axis=0)
    centres[0, 1] = np.nan
    return Batch(image.astype(np.float32), labels, centres)


@pytest.mark.parametrize("parts", [2, 3, 4, 9])
@pytest.mark.parametrize("method", [SpatialEmbedding(), PointMarker(size=0.1)])
def test_a_batch_in_parts_teaches_what_it_teaches_whole(method, parts):
    """Every crop counts as much, however the batch is cut."""
    whole, split = learning(method), learning(method, accumulate=parts)
    for step in range(3):
        losses = [made.step(step, batch(seed=step)) for made in (whole, split)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for one, other in zip(whole.network.parameters(), split.network.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("steepest", [None, 1e-3, 1e3])
def test_a_step_is_no_steeper_than_the_method_bears(monkeypatch, steepest):
    def gradient(limit):
        monkeypatch.setattr(PointMarker, "steepest", limit)
        made = learning(PointMarker())
        made.step(0, batch())
        return torch.cat([weight.grad.flatten() for weight in made.network.parameters()])

    free, bound = gradient(None), gradient(steepest)
    scale = 1.0 if steepest is None else min(1.0, steepest / float(free.norm()))
    assert 1e-3 < float(free.norm()) < 1e3
    assert torch.allclose(bound, scale * free, rtol=1e-3, atol=1e-9)


def test_point_markers_are_bound():
    assert PointMarker.steepest is not None


def test_a_batch_is_split_into_all_of_its_crops():
    made = batch(5)
    parts = list(made.split(3))
    assert [len(part.image) for part in parts] == [2, 2, 1]
    for field in range(3):
        together = np.concatenate([part[field] for part in parts])
        assert np.array_equal(together, made[field], equal_nan=True)
    bare = list(Batch(made.image).split(2))
    assert [(part.labels, part.centres) for part in bare] == [(None, None)] * 2


def test_masks_are_learnt():
    made = learning(steps=60)
    first = made.validate([batch(seed=99)])[0]
    for step in range(60):
        made.step(step, batch(seed=step))
    assert made.validate([batch(seed=99)])[0] < 0.7 * first


def test_the_bare_network_is_the_one_that_learns():
    made = learning()
    model = made.model(Card(
        method=SpatialEmbedding(), network=SMALL, ndim=2, inputs=1, outputs=5,
        percentiles=(1.0, 99.8),
    ))  # fmt: skip
    before = model.network.head.weight.detach().clone()
    made.step(0, batch())
    assert not torch.equal(model.network.head.weight, before)
