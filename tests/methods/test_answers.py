"""What raw answers mean."""

import math

import pytest
import torch

from cellulus.methods.answers import activate, margins_of
from cellulus.methods.bounds import FARTHEST, MARGINS
from cellulus.methods.point_marker.settings import PointMarker
from cellulus.methods.spatial_embedding.settings import SpatialEmbedding

DIAMETER = 20.0


def raw(ndim, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    return scale * torch.randn((2 * ndim + 1, *(4, 5, 6)[:ndim]), generator=generator)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_network_that_says_nothing_points_nowhere_and_claims_a_quarter_around(ndim):
    found = activate(torch.zeros(2, 2 * ndim + 1, *(3,) * ndim), ndim, DIAMETER)
    assert found.shape[1] == len(SpatialEmbedding().channels(ndim))
    assert (found[:, :ndim] == 0).all()
    assert torch.allclose(found[:, ndim : 2 * ndim], torch.tensor(0.25 * DIAMETER))
    assert (found[:, -1] == 0.5).all()


@pytest.mark.parametrize("ndim", [2, 3])
def test_every_component_is_by_its_formula(ndim):
    answer = raw(ndim)
    found = activate(answer, ndim, DIAMETER)
    assert found.dtype == torch.float32
    assert torch.allclose(found[:ndim], 2 * DIAMETER * torch.tanh(answer[:ndim]))
    margins = found[ndim : 2 * ndim]
    assert torch.allclose(margins, 0.25 * DIAMETER * torch.exp(answer[ndim:-1]).clamp(0.04, 4))
    assert torch.allclose(found[-1], 1 / (1 + torch.exp(-answer[-1])))


@pytest.mark.parametrize("ndim", [2, 3])
def test_without_margins_all_else_means_the_same(ndim):
    answer = raw(ndim)
    kept = [*range(ndim), 2 * ndim]
    found = activate(answer[kept], ndim, DIAMETER)
    assert torch.equal(found, activate(answer, ndim, DIAMETER)[kept])
    batch = activate(torch.stack([answer[kept]] * 2), ndim, DIAMETER)
    assert batch.shape[1] == len(PointMarker().channels(ndim)) == PointMarker().outputs(ndim)
    assert torch.equal(batch[1], found)


@pytest.mark.parametrize("scale", [10.0, 1000.0])
def test_lengths_are_bounded_whatever_is_answered(scale):
    found = activate(raw(3, scale), 3, DIAMETER)
    assert torch.isfinite(found).all()
    assert found[:3].abs().max() <= FARTHEST * DIAMETER
    low, high = (m * DIAMETER for m in MARGINS)
    assert float(found[3:6].min()) == pytest.approx(low, rel=1e-6)
    assert float(found[3:6].max()) == pytest.approx(high, rel=1e-6)


def test_a_batch_is_its_images_and_half_precision_is_not_kept():
    answers = torch.stack([raw(2), 2 * raw(2)])
    together = activate(answers, 2, DIAMETER)
    assert torch.equal(together, torch.stack([activate(a, 2, DIAMETER) for a in answers]))
    assert activate(answers.bfloat16(), 2, DIAMETER).dtype == torch.float32


def test_membership_is_that_of_the_published_precision():
    """``exp(-distance^2 exp(10 s))`` with ``raw = -5 s + constant``."""
    s = torch.tensor([-0.2, 0.0, 0.1])
    margin = margins_of(-5 * s, DIAMETER)
    precision = torch.exp(10 * s) * math.log(2) / (0.25 * DIAMETER) ** 2
    distance = torch.tensor([0.0, 1.0, 7.0])[:, None]
    published = torch.exp(-distance.square() * precision)
    assert torch.allclose(torch.exp2(-(distance / margin).square()), published)


def test_a_margin_beyond_its_bounds_finds_back():
    answer = torch.tensor([-9.0, 0.0, 9.0], requires_grad=True)
    margins_of(answer, DIAMETER).log().sum().backward()
    assert torch.allclose(answer.grad, torch.ones(3))
