"""The pairwise loss against double loops over pairs, and against autograd."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cellulus.errors import InputError
from cellulus.methods import ObjectCentric
from cellulus.methods.object_centric.objective import PairwiseObjective, half_ball, pairwise_loss

SPACES = [(7, 6), (4, 5, 3)]


def drawn(batch, space, *, seed=0, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, len(space), *space)
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64)


def dense(offsets, displacements, temperature):
    """The mean over displacements of the mean over all pairs (x, x + d), one by one."""
    space = offsets.shape[2:]
    means = []
    for displacement in displacements.tolist():
        losses = []
        for image in offsets:
            for x in itertools.product(*map(range, space)):
                y = tuple(a + d for a, d in zip(x, displacement, strict=True))
                if all(0 <= b < n for b, n in zip(y, space, strict=True)):
                    here = torch.tensor(x, dtype=offsets.dtype) + image[(slice(None), *x)]
                    there = torch.tensor(y, dtype=offsets.dtype) + image[(slice(None), *y)]
                    distance = (here - there).square().sum()
                    losses.append(1 - torch.exp(-distance / temperature))
        means.append(torch.stack(losses).mean())
    return torch.stack(means).mean()


@pytest.mark.parametrize("space", SPACES)
def test_value_and_gradient_are_those_of_a_loop_over_all_pairs(space):
    displacements = half_ball(2.5, len(space))
    fast, slow = (drawn(2, space).requires_grad_() for _ in range(2))
    found, expected = pairwise_loss(fast, displacements, 10.0), dense(slow, displacements, 10.0)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    (3 * found).backward()
    (3 * expected).backward()
    assert torch.allclose(fast.grad, slow.grad, rtol=1e-10, atol=1e-14)
    assert slow.grad.abs().max() > 1e-4


@pytest.mark.parametrize("space", SPACES)
def test_the_gradient_is_the_slope(space):
    displacements = half_ball(2.1, len(space))
    offsets = drawn(1, space, scale=1.0).requires_grad_()
    assert torch.autograd.gradcheck(lambda r: pairwise_loss(r, displacements, 5.0), (offsets,))


def test_a_second_derivative_is_refused_instead_of_wrong():
    offsets = drawn(1, (5, 5)).requires_grad_()
    loss = pairwise_loss(offsets, half_ball(2.0, 2), 10.0).square()
    (gradient,) = torch.autograd.grad(loss, offsets, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("ndim", [2, 3])
def test_zero_offsets_lose_by_their_displacements_alone(ndim):
    displacements = half_ball(4.0, ndim)
    loss = pairwise_loss(torch.zeros(2, ndim, *(9,) * ndim), displacements, 10.0)
    squared = (displacements**2).sum(axis=1)
    assert loss.item() == pytest.approx(np.mean(1 - np.exp(-squared / 10.0)), rel=1e-6)


def test_embeddings_that_meet_lose_nothing():
    """Every offset points at the same place, the middle of an object."""
    space = (8, 9)
    place = torch.stack(torch.meshgrid(*map(torch.arange, space), indexing="ij")).double()
    offsets = (torch.tensor([3.0, 4.0]).view(2, 1, 1) - place)[None].requires_grad_()
    loss = pairwise_loss(offsets, half_ball(3.0, 2), 10.0)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert offsets.grad.abs().max() < 1e-12


@pytest.mark.parametrize("space", SPACES)
def test_a_common_shift_changes_nothing_and_gets_no_gradient(space):
    offsets = drawn(2, space).requires_grad_()
    displacements = half_ball(2.5, len(space))
    shift = torch.arange(1.0, len(space) + 1).double().view(-1, *[1] * len(space))
    here, there = (pairwise_loss(o, displacements, 10.0) for o in (offsets, offsets + 7 * shift))
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
    expected = pairwise_loss(flat, displacements, 10.0)
    assert pairwise_loss(deep, with_depth, 10.0).item() == pytest.approx(expected.item(), rel=1e-12)


def test_single_precision_is_precise_enough():
    offsets, displacements = drawn(2, (40, 40)), half_ball(8.0, 2)
    exact = pairwise_loss(offsets, displacements, 10.0)
    assert pairwise_loss(offsets.float(), displacements, 10.0).item() == pytest.approx(
        exact.item(), rel=1e-5
    )


@given(st.floats(1.01, 7.0), st.integers(2, 3))
@settings(max_examples=30, deadline=None)
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


def test_terms_are_named_and_add_up():
    output = drawn(2, (30, 30)).float().requires_grad_()
    terms = objective(regularisation=0.25)(output, chance())
    assert set(terms) == {"loss", "pairs", "length"}
    assert terms["length"].item() == pytest.approx(output.norm(dim=1).mean().item(), rel=1e-6)
    expected = terms["pairs"] + 0.25 * terms["length"]
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert terms["loss"].requires_grad
    assert not terms["pairs"].requires_grad


def test_zero_offsets_have_a_gradient_that_is_finite():
    output = torch.zeros(1, 2, 30, 30, requires_grad=True)
    objective(regularisation=1.0)(output, chance())["loss"].backward()
    assert torch.isfinite(output.grad).all()


def test_the_drawn_displacements_follow_from_the_generator():
    output = drawn(1, (30, 30)).float()
    values = [objective(pairs=4)(output, chance(seed))["pairs"].item() for seed in (1, 1, 2)]
    assert values[0] == values[1] != values[2]


def test_as_many_displacements_as_there_are_are_all_taken():
    output = drawn(1, (30, 30)).float()
    expected = pairwise_loss(output, half_ball(10.0, 2), 10.0).item()
    found = [objective(pairs=10_000)(output, chance(s))["pairs"].item() for s in (1, 2)]
    assert found == pytest.approx([expected, expected], rel=1e-5)


def test_every_displacement_is_drawn_at_times_and_none_twice(monkeypatch):
    seen = []
    module = "cellulus.methods.object_centric.objective.pairwise_loss"
    monkeypatch.setattr(module, lambda o, d, t: (seen.append(d), o.sum())[1])
    compare = objective(radius=0.2, pairs=5)
    for seed in range(200):
        compare(torch.zeros(1, 2, 9, 9), chance(seed))
    assert all(len(np.unique(d, axis=0)) == 5 for d in seen)
    assert len(np.unique(np.concatenate(seen), axis=0)) == len(half_ball(4.0, 2))


def test_displacements_longer_than_the_crop_are_left_out():
    terms = objective()(drawn(1, (2, 3)).float(), chance())
    assert torch.isfinite(terms["loss"])


@pytest.mark.parametrize(("space", "radius"), [((1, 1), 0.5), ((9, 9), 0.04)])
def test_crops_without_a_pair_are_refused(space, radius):
    with pytest.raises(InputError) as caught:
        objective(radius=radius)(torch.zeros(1, 2, *space), chance())
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
    compare = objective()
    before = compare(output, chance())["loss"]
    before.backward()
    after = compare(output.detach() - 50 * output.grad, chance())["loss"]
    assert after.item() < before.item()
