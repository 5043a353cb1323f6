"""The pairwise loss against double loops over pairs, and against autograd."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cellulus.errors import InputError
from cellulus.methods import ObjectCentric
from cellulus.methods.object_centric.objective import (
    PairwiseObjective,
    brightness,
    half_ball,
    pairwise_loss,
)

SPACES = [(7, 6), (4, 5, 3)]


def drawn(batch, space, *, seed=0, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, len(space), *space)
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64)


def weights(batch, space, *, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((batch, 1, *space), generator=generator, dtype=torch.float64) + 0.05


def even(offsets):
    """Weights of the published loss: all alike."""
    return torch.ones_like(offsets[:, :1])


def dense(offsets, displacements, temperature, weight=None):
    """The mean over displacements of the weighted mean over all pairs (x, x + d), one by one."""
    space = offsets.shape[2:]
    means = []
    for displacement in displacements.tolist():
        losses, shares = [], []
        for b, image in enumerate(offsets):
            for x in itertools.product(*map(range, space)):
                y = tuple(a + d for a, d in zip(x, displacement, strict=True))
                if all(0 <= c < n for c, n in zip(y, space, strict=True)):
                    here = torch.tensor(x, dtype=offsets.dtype) + image[(slice(None), *x)]
                    there = torch.tensor(y, dtype=offsets.dtype) + image[(slice(None), *y)]
                    distance = (here - there).square().sum()
                    losses.append(1 - torch.exp(-distance / temperature))
                    shares.append(1.0 if weight is None else weight[b, 0][x] + weight[b, 0][y])
        total = sum(share * loss for share, loss in zip(shares, losses, strict=True))
        means.append(total / sum(shares))
    return torch.stack(means).mean()


@pytest.mark.parametrize("space", SPACES)
def test_value_and_gradient_are_those_of_a_loop_over_all_pairs(space):
    displacements = half_ball(2.5, len(space))
    fast, slow = (drawn(2, space).requires_grad_() for _ in range(2))
    weight = weights(2, space)
    kept = weight.clone()
    found = pairwise_loss(fast, displacements, 10.0, weight)
    expected = dense(slow, displacements, 10.0, weight)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    (3 * found).backward()
    (3 * expected).backward()
    assert torch.allclose(fast.grad, slow.grad, rtol=1e-10, atol=1e-14)
    assert slow.grad.abs().max() > 1e-4
    assert torch.equal(weight, kept)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("level", [0.05, 1.0, 7.0])
def test_even_weights_are_the_published_loss(space, level):
    displacements = half_ball(2.5, len(space))
    fast, slow = (drawn(2, space).requires_grad_() for _ in range(2))
    found = pairwise_loss(fast, displacements, 10.0, level * even(fast))
    expected = dense(slow, displacements, 10.0)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    found.backward()
    expected.backward()
    assert torch.allclose(fast.grad, slow.grad, rtol=1e-10, atol=1e-14)


def test_only_the_ratio_of_weights_counts():
    offsets, displacements, weight = drawn(2, (7, 6)), half_ball(2.5, 2), weights(2, (7, 6))
    losses = [pairwise_loss(offsets, displacements, 10.0, f * weight).item() for f in (1, 9)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    uneven = pairwise_loss(offsets, displacements, 10.0, even(offsets)).item()
    assert losses[0] != pytest.approx(uneven, rel=1e-4)


@pytest.mark.parametrize("space", SPACES)
def test_the_gradient_is_the_slope(space):
    displacements, weight = half_ball(2.1, len(space)), weights(1, space)
    offsets = drawn(1, space, scale=1.0).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda r: pairwise_loss(r, displacements, 5.0, weight), (offsets,)
    )


def test_a_second_derivative_is_refused_instead_of_wrong():
    offsets = drawn(1, (5, 5)).requires_grad_()
    loss = pairwise_loss(offsets, half_ball(2.0, 2), 10.0, even(offsets)).square()
    (gradient,) = torch.autograd.grad(loss, offsets, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("ndim", [2, 3])
def test_zero_offsets_lose_by_their_displacements_alone(ndim):
    displacements = half_ball(4.0, ndim)
    space = (9,) * ndim
    weight = weights(2, space).float()  # whatever they are
    loss = pairwise_loss(torch.zeros(2, ndim, *space), displacements, 10.0, weight)
    squared = (displacements**2).sum(axis=1)
    assert loss.item() == pytest.approx(np.mean(1 - np.exp(-squared / 10.0)), rel=1e-6)


def test_embeddings_that_meet_lose_nothing():
    """Every offset points at the same place, the middle of an object."""
    space = (8, 9)
    place = torch.stack(torch.meshgrid(*map(torch.arange, space), indexing="ij")).double()
    offsets = (torch.tensor([3.0, 4.0]).view(2, 1, 1) - place)[None].requires_grad_()
    loss = pairwise_loss(offsets, half_ball(3.0, 2), 10.0, weights(1, space))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert offsets.grad.abs().max() < 1e-12


@pytest.mark.parametrize("space", SPACES)
def test_a_common_shift_changes_nothing_and_gets_no_gradient(space):
    offsets = drawn(2, space).requires_grad_()
    displacements = half_ball(2.5, len(space))
    shift = torch.arange(1.0, len(space) + 1).double().view(-1, *[1] * len(space))
    weight = weights(2, space)
    here, there = (
        pairwise_loss(o, displacements, 10.0, weight) for o in (offsets, offsets + 7 * shift)
    )
    assert here.item() == pytest.approx(there.item(), rel=1e-10)
    here.backward()
    for axis_gradient in offsets.grad.sum(dim=(0, *range(2, offsets.ndim))):
        assert abs(axis_gradient) < 1e-12


def test_an_image_and_its_single_plane_lose_alike():
    flat = drawn(2, (8, 7))
    deep = torch.cat([torch.zeros(2, 1, 8, 7, dtype=torch.float64), flat], dim=1)[:, :, None]
    displacements = half_ball(3.0, 2)
    with_depth = np.concatenate(
        [np.zeros((len(displacements), 1), np.int64), displacements], axis=1
    )
    weight = weights(2, (8, 7))
    expected = pairwise_loss(flat, displacements, 10.0, weight).item()
    found = pairwise_loss(deep, with_depth, 10.0, weight[:, :, None]).item()
    assert found == pytest.approx(expected, rel=1e-12)


def test_single_precision_is_precise_enough():
    offsets, displacements = drawn(2, (40, 40)), half_ball(8.0, 2)
    weight = weights(2, (40, 40))
    exact = pairwise_loss(offsets, displacements, 10.0, weight).item()
    found = pairwise_loss(offsets.float(), displacements, 10.0, weight.float()).item()
    assert found == pytest.approx(exact, rel=1e-5)


@given(st.floats(1.01, 7.0), st.integers(2, 3))
@settings(max_examples=30)
def test_half_a_ball_has_one_of_each_pair(radius, ndim):
    found = {tuple(d) for d in half_ball(radius, ndim).tolist()}
    mirrored = {tuple(-c for c in d) for d in found}
    reach = range(-8, 9)
    ball = {
        d for d in itertools.product(reach, repeat=ndim) if 0 < sum(c * c for c in d) < radius**2
    }
    assert not found & mirrored
    assert found | mirrored == ball
    assert sorted(found) == [tuple(d) for d in half_ball(radius, ndim).tolist()]


def objective(ndim=2, **changes):
    return PairwiseObjective(ObjectCentric(**changes), ndim, 20.0)


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def pictured(batch, *space, margin=2, channels=1):
    """What a network saw to answer for `space`: more on every side, some of it clipped."""
    shape = (batch, channels, *(n + 2 * margin for n in space))
    return torch.rand(shape, generator=chance(5)) * 2 - 0.5


def level(value, *space):
    return torch.full((1, 1, *space), float(value))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("margin", [0, 1, 4])
def test_brightness_is_the_clipped_mean_of_the_channels_in_the_middle(space, channels, margin):
    image = pictured(2, *space, margin=margin, channels=channels)
    found = brightness(image, space)
    assert found.shape == (2, 1, *space)
    for b, x in itertools.product(range(2), itertools.product(*map(range, space))):
        y = tuple(a + margin for a in x)
        expected = min(max(float(image[(b, slice(None), *y)].mean()), 0), 1)
        assert float(found[(b, 0, *x)]) == pytest.approx(expected, abs=1e-6)
    assert found.min() == 0
    assert channels > 1 or found.max() == 1


def test_a_pair_weighs_by_its_brightness_and_never_less_than_background():
    output, image = drawn(2, (6, 7)).float(), pictured(2, 6, 7)
    found = objective(radius=0.15, pairs=100, background=0.2)(output, image, chance())["pairs"]
    weight = brightness(image, (6, 7)).double().clamp_min(0.2)
    expected = dense(output.double(), half_ball(3.0, 2), 10.0, weight)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(("value", "background"), [(-1, 0.05), (0, 0.05), (3, 0.05), (0, 1.0)])
def test_an_even_image_loses_as_published(value, background):
    output = drawn(1, (6, 7)).float()
    compare = objective(radius=0.15, pairs=100, background=background)
    found = compare(output, level(value, 9, 10), chance())["pairs"].item()
    expected = dense(output.double(), half_ball(3.0, 2), 10.0).item()
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_background_of_one_is_the_published_loss_of_any_image():
    output = drawn(2, (6, 7)).float()
    compare = objective(radius=0.15, pairs=100, background=1.0)
    found = compare(output, pictured(2, 6, 7), chance())["pairs"].item()
    expected = dense(output.double(), half_ball(3.0, 2), 10.0).item()
    assert found == pytest.approx(expected, rel=1e-5)


def test_what_is_dark_is_learnt_from_but_less():
    """The offsets are the same left and right, and the gradients differ as the weights do."""
    half = drawn(1, (20, 20), scale=1.0).float()
    output = torch.cat([half, half], dim=3).requires_grad_()
    image = torch.cat([level(0, 20, 20), level(1, 20, 20)], dim=3)
    compare = objective(radius=0.15, pairs=100, background=0.1, regularisation=0.0)
    compare(output, image, chance())["loss"].backward()
    away = 4  # from the seam and the rims, further than any pair reaches
    dark, bright = (output.grad[..., away:-away, start + away : start + 16] for start in (0, 20))
    assert bright.abs().max() > 0
    assert torch.allclose(dark, 0.1 * bright, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("background", [0.0, -0.1, 1.1])
def test_the_dark_cannot_weigh_nothing_or_more_than_the_bright(background):
    with pytest.raises(ValidationError):
        ObjectCentric(background=background)


def test_terms_are_named_and_add_up():
    output = drawn(2, (30, 30)).float().requires_grad_()
    terms = objective(regularisation=0.25)(output, pictured(2, 30, 30), chance())
    assert set(terms) == {"loss", "pairs", "length"}
    assert terms["length"].item() == pytest.approx(output.norm(dim=1).mean().item(), rel=1e-6)
    expected = terms["pairs"] + 0.25 * terms["length"]
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert terms["loss"].requires_grad
    assert not terms["pairs"].requires_grad


def test_zero_offsets_have_a_gradient_that_is_finite():
    output = torch.zeros(1, 2, 30, 30, requires_grad=True)
    objective(regularisation=1.0)(output, pictured(1, 30, 30), chance())["loss"].backward()
    assert torch.isfinite(output.grad).all()


def test_the_drawn_displacements_follow_from_the_generator():
    output = drawn(1, (30, 30)).float()
    image = pictured(1, 30, 30)
    values = [objective(pairs=4)(output, image, chance(s))["pairs"].item() for s in (1, 1, 2)]
    assert values[0] == values[1] != values[2]


def test_as_many_displacements_as_there_are_are_all_taken():
    output = drawn(1, (30, 30)).float()
    image, compare = pictured(1, 30, 30), objective(pairs=10_000, background=0.3)
    weight = brightness(image, (30, 30)).clamp_min(0.3)
    expected = pairwise_loss(output, half_ball(10.0, 2), 10.0, weight).item()
    found = [compare(output, image, chance(s))["pairs"].item() for s in (1, 2)]
    assert found == pytest.approx([expected, expected], rel=1e-5)


def test_every_displacement_is_drawn_at_times_and_none_twice(monkeypatch):
    seen = []
    module = "cellulus.methods.object_centric.objective.pairwise_loss"
    monkeypatch.setattr(module, lambda o, d, t, w: (seen.append(d), o.sum())[1])
    compare = objective(radius=0.2, pairs=5)
    for seed in range(200):
        compare(torch.zeros(1, 2, 9, 9), level(1, 9, 9), chance(seed))
    assert all(len(np.unique(d, axis=0)) == 5 for d in seen)
    assert len(np.unique(np.concatenate(seen), axis=0)) == len(half_ball(4.0, 2))


def test_displacements_longer_than_the_crop_are_left_out():
    terms = objective()(drawn(1, (2, 3)).float(), pictured(1, 2, 3), chance())
    assert torch.isfinite(terms["loss"])


@pytest.mark.parametrize(("space", "radius"), [((1, 1), 0.5), ((9, 9), 0.04)])
def test_crops_without_a_pair_are_refused(space, radius):
    with pytest.raises(InputError) as caught:
        objective(radius=radius)(torch.zeros(1, 2, *space), level(1, *space), chance())
    assert caught.value.where == "train.crop"


@pytest.mark.parametrize("space", SPACES)
def test_the_constant_is_the_mean_offset_of_what_is_bright(space):
    output = drawn(2, space).float()
    margin = 2
    padded = tuple(n + 2 * margin for n in space)
    image = torch.rand(2, 3, *padded, generator=chance()) * 2 - 0.5
    total, weights = torch.zeros(len(space)), 0.0
    for b in range(2):
        for x in itertools.product(*map(range, space)):
            y = tuple(a + margin for a in x)
            weight = float(image[(b, slice(None), *y)].mean().clamp(0, 1))
            total += weight * output[(b, slice(None), *x)]
            weights += weight
    assert torch.allclose(objective(len(space)).constant(output, image), total / weights, atol=1e-5)


def test_a_dark_image_has_a_finite_constant():
    found = objective().constant(torch.ones(1, 2, 4, 4), torch.full((1, 1, 8, 8), -1.0))
    assert found.tolist() == [0, 0]


def test_a_step_downhill_lowers_the_loss():
    output = drawn(1, (20, 20)).float().requires_grad_()
    compare, image = objective(), pictured(1, 20, 20)
    before = compare(output, image, chance())["loss"]
    before.backward()
    after = compare(output.detach() - 50 * output.grad, image, chance())["loss"]
    assert after.item() < before.item()
