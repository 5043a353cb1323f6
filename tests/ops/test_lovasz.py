"""The Lovasz hinge against the integral that defines it, and against one object at a time."""

import itertools

import pytest
import torch

from cellulus.ops.lovasz import lovasz_hinge
from published_masks_loss import jaccard_hinge


def drawn(sizes, seed=0, dtype=torch.float64):
    """Logits, truth and group of voxels in groups of these sizes, shuffled."""
    generator = torch.Generator().manual_seed(seed)
    group = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    group = group[torch.randperm(len(group), generator=generator)]
    logits = torch.randn(len(group), generator=generator, dtype=dtype)
    inside = torch.rand(len(group), generator=generator) < 0.4
    return logits, inside, group


def single(logits, inside):
    return lovasz_hinge(logits, inside, torch.zeros(len(logits), dtype=torch.int64), 1)[0]


def jaccard_loss(inside, is_wrong):
    found = inside ^ is_wrong
    return 1 - float((inside & found).sum()) / float((inside | found).sum())


@pytest.mark.parametrize("truth", [t for t in itertools.product([False, True], repeat=4) if any(t)])
def test_a_sure_answer_loses_twice_one_minus_the_intersection_over_union(truth):
    inside = torch.tensor(truth)
    for said in itertools.product([False, True], repeat=4):
        logits = 2.0 * torch.tensor(said) - 1
        expected = 2 * jaccard_loss(inside, inside ^ torch.tensor(said))
        assert float(single(logits, inside)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_integral_of_the_jaccard_loss_over_all_thresholds_of_the_error(seed):
    """The definition: Lovasz extension as a Choquet integral, threshold by threshold."""
    logits, inside, _ = drawn([12], seed)
    inside[0] = True
    errors = (1 - logits * (2.0 * inside - 1)).clamp_min(0)
    levels = torch.cat([torch.zeros(1, dtype=errors.dtype), errors]).unique()
    expected = sum(
        float(high - low) * jaccard_loss(inside, errors > low)
        for low, high in itertools.pairwise(levels)
    )
    assert float(single(logits, inside)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("sizes", [[30], [1, 40, 17, 2], [5] * 20])
def test_groups_together_are_groups_one_by_one(sizes):
    logits, inside, group = drawn(sizes)
    for number in range(len(sizes)):
        inside[(group == number).nonzero()[0]] = True
    weights = torch.arange(1.0, len(sizes) + 1).double()
    fast, slow = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    found = lovasz_hinge(fast, inside, group, len(sizes))
    each = [group == number for number in range(len(sizes))]
    expected = torch.stack([jaccard_hinge(slow[mine], inside[mine]) for mine in each])
    assert torch.allclose(found, expected, rtol=1e-12)
    (found @ weights).backward()
    (expected @ weights).backward()
    assert torch.allclose(fast.grad, slow.grad, rtol=1e-9, atol=1e-14)
    assert slow.grad.abs().max() > 0.01


def test_the_gradient_is_the_slope():
    logits, inside, group = drawn([5, 7, 3], seed=3)
    assert torch.autograd.gradcheck(
        lambda values: lovasz_hinge(values, inside, group, 3), logits.requires_grad_()
    )


def test_groups_without_voxels_or_without_truth_lose_nothing():
    logits, inside, group = drawn([4, 6, 5])
    inside[group == 1] = False
    found = lovasz_hinge(logits.requires_grad_(), inside, group + (group == 2), 5)
    assert found[[1, 2, 4]].tolist() == [0, 0, 0]
    assert found[0] > 0
    found.sum().backward()
    assert logits.grad[group == 1].abs().max() == 0
    nothing = torch.zeros(0, requires_grad=True)
    empty = lovasz_hinge(nothing, nothing > 0, torch.zeros(0, dtype=torch.int64), 2)
    empty.sum().backward()
    assert empty.tolist() == [0, 0]


def test_single_precision_is_precise_enough_for_large_groups():
    logits, inside, group = drawn([300_000])
    found = lovasz_hinge(logits.float(), inside, group, 1)
    expected = lovasz_hinge(logits, inside, group, 1)
    assert float(found) == pytest.approx(float(expected), rel=1e-4)
