"""The loss of spatial embeddings against its dense definition, value and gradient."""

import pytest
import torch
from pydantic import ValidationError

from cellulus.errors import InputError
from cellulus.methods.answers import activate
from cellulus.methods.base import Target
from cellulus.methods.spatial_embedding import objective
from cellulus.methods.spatial_embedding.objective import SpatialObjective
from cellulus.methods.spatial_embedding.settings import SpatialEmbedding
from published_masks_loss import published_loss, published_terms

DIAMETER = 8.0
SPACES = [(40, 44), (12, 22, 24)]
TERMS = ("instance", "variance", "seed")


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def places(space, first=0):
    lines = [torch.arange(n) + first + 0.5 for n in space]
    return torch.stack(torch.meshgrid(*lines, indexing="ij"))


def scene(space, objects=(5, 3), ignored=True, seed=0):
    """Crops of balls; some are cut, some with their centre outside, and some planes unknown."""
    generator, ndim = chance(seed), len(space)
    labels = torch.zeros(len(objects), *space, dtype=torch.int64)
    centres = torch.full((len(objects), max(objects), ndim), torch.nan)
    for crop, count in enumerate(objects):
        for number in range(count):
            reach = torch.tensor(space) + DIAMETER / 2
            centre = torch.rand(ndim, generator=generator) * reach - DIAMETER / 4
            away = places(space) - centre.view(-1, *[1] * ndim)
            labels[crop][away.norm(dim=0) < DIAMETER / 2] = number + 1
            centres[crop, number] = centre
        if ignored:
            labels[crop, 3 + crop : 6] = -1
    return Target(labels, centres)


def answer(target, near=0.0, seed=1, dtype=torch.float64):
    """Raw answers: noise; as `near` goes to 1, voxels of objects point at their centres."""
    batch, *space = target.labels.shape
    ndim, generator = len(space), chance(seed)
    output = torch.randn((batch, 2 * ndim + 1, *space), generator=generator, dtype=dtype)
    output[:, : 2 * ndim] *= 0.2
    for crop, (label, centre) in enumerate(zip(target.labels, target.centres, strict=True)):
        if len(centre):
            away = centre[(label - 1).clamp_min(0)].movedim(-1, 0) - places(space)
            aim = torch.where(label > 0, torch.atanh(away / (2 * DIAMETER)), 0).to(dtype)
            output[crop, :ndim] += near * (aim - output[crop, :ndim])
    return output


def lose(output, target, epsilon=objective.EPSILON, **changes):
    settings = SpatialEmbedding(**changes)
    image = torch.zeros(len(output), 1, *target.labels.shape[1:])
    return SpatialObjective(settings, DIAMETER, epsilon)(output, image, chance(), target)


def gradient(output, target, **changes):
    leaf = output.clone().requires_grad_()
    terms = lose(leaf, target, **changes)
    terms["loss"].backward()
    return {name: term.detach() for name, term in terms.items()}, leaf.grad


def dense(output, target):
    leaf = output.clone().requires_grad_()
    published_loss(leaf, target.labels, target.centres, DIAMETER).backward()
    return published_terms(output, target.labels, target.centres, DIAMETER), leaf.grad


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("near", [0.0, 0.8, 0.95])
@pytest.mark.parametrize("ignored", [False, True])
def test_without_epsilon_it_is_the_published_loss(space, near, ignored):
    target = scene(space, ignored=ignored)
    assert any(label.unique().numel() > 3 for label in target.labels)
    output = answer(target, near)
    expected, expected_gradient = dense(output, target)
    terms, found_gradient = gradient(output, target, epsilon=0)
    for name in TERMS:
        assert float(terms[name]) == pytest.approx(float(expected[name]), rel=1e-12)
    assert torch.allclose(found_gradient, expected_gradient, rtol=1e-9, atol=1e-14)
    assert expected_gradient.abs().max() > 1e-3


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("near", [0.0, 0.8, 0.95])
@pytest.mark.parametrize("epsilon", [1e-2, 1e-4, 1e-6])
def test_what_is_left_out_is_of_the_order_of_epsilon(space, near, epsilon):
    target = scene(space)
    output = answer(target, near)
    expected, expected_gradient = dense(output, target)
    terms, found_gradient = gradient(output, target, epsilon=epsilon)
    assert -1e-12 <= float(expected["instance"] - terms["instance"]) <= 2 * epsilon
    assert float(terms["seed"]) == pytest.approx(float(expected["seed"]), rel=1e-12)
    off = (found_gradient - expected_gradient).norm() / expected_gradient.norm()
    assert off <= 10 * epsilon


@pytest.mark.parametrize("space", SPACES)
def test_few_voxels_enter_and_all_that_enter_count(space, monkeypatch):
    target = scene(space)
    output = answer(target, 0.8)
    entered = []
    hinge = objective.lovasz_hinge
    monkeypatch.setattr(
        objective, "lovasz_hinge", lambda *given: (entered.append(len(given[0])), hinge(*given))[1]
    )
    whole = [float(lose(output, target, epsilon)["instance"]) for epsilon in (0, 1e-4, 0.3)]
    assert entered[0] > 3 * entered[1] > 3 * entered[2]
    assert abs(whole[0] - whole[1]) < 2e-4
    assert abs(whole[0] - whole[2]) > 1e-3


@pytest.mark.parametrize("pairs", [1, 3000, 10_000])
def test_how_much_is_looked_at_together_changes_nothing(pairs, monkeypatch):
    target = scene((40, 44))
    output = answer(target, 0.8)
    expected = gradient(output, target)
    monkeypatch.setattr(objective, "PAIRS", pairs)
    found = gradient(output, target)
    assert float(found[0]["loss"]) == float(expected[0]["loss"])
    assert torch.equal(found[1], expected[1])


def test_single_precision_is_precise_enough_and_half_is_made_single():
    target = scene((40, 44))
    output = answer(target, 0.8, dtype=torch.float32)
    expected = dense(output.double(), target)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradient(output, target)
    for name in TERMS:
        assert float(found[0][name]) == pytest.approx(float(expected[0][name]), rel=2e-5)
    assert torch.allclose(found[1].double(), expected[1], atol=1e-6)
    coarse = output.bfloat16()
    assert lose(coarse, target)["loss"].dtype == torch.float32
    assert torch.equal(lose(coarse, target)["loss"], lose(coarse.float(), target)["loss"])


def test_the_gradient_is_the_slope():
    """Of the seed and the variance all but what is held fixed: of a mean of one voxel, nothing."""
    labels = torch.zeros(1, 4, 4, dtype=torch.int64)
    labels[0, 1, 1], labels[0, 2:, 2:] = 1, 2
    target = Target(labels, torch.tensor([[[1.2, 1.7], [3.1, 2.8]]]))
    output = (0.3 * torch.randn(1, 5, 4, 4, generator=chance(), dtype=torch.float64)) - 0.5
    assert torch.autograd.gradcheck(
        lambda o: lose(o, target, 0, variance_weight=0, seed_weight=0)["loss"],
        output.requires_grad_(),
    )


@pytest.mark.parametrize("space", SPACES)
def test_the_order_of_numbers_means_nothing(space):
    target = scene(space)
    output = answer(target, 0.8)
    order = torch.tensor([3, 0, 4, 2, 1])  # and the second crop has numbers that are not used
    number = torch.cat([order.argsort() + 1, torch.tensor([-1, 0])])
    other = Target(number[target.labels - 1], target.centres[:, order])
    assert not torch.equal(other.labels, target.labels)
    found, expected = gradient(output, other), gradient(output, target)
    for name in TERMS:
        assert float(found[0][name]) == pytest.approx(float(expected[0][name]), rel=1e-12)
    assert torch.allclose(found[1], expected[1], rtol=1e-9, atol=1e-15)


def test_a_crop_is_the_volume_of_its_one_plane():
    """But for the variance, a mean over all axes: along z margins do not differ here."""
    target = scene((40, 44))
    output = answer(target, 0.8)
    nothing = torch.zeros_like(output[:, :1])
    deep = torch.cat([nothing, output[:, :2], nothing, output[:, 2:]], dim=1)[:, :, None]
    middle = torch.full_like(target.centres[..., :1], 0.5)
    volume = Target(target.labels[:, None], torch.cat([middle, target.centres], dim=2))
    found, expected = gradient(deep, volume), gradient(output, target)
    for name, share in (("instance", 1), ("variance", 2 / 3), ("seed", 1)):
        assert float(found[0][name]) == pytest.approx(share * float(expected[0][name]), rel=1e-12)
    kept = [1, 2, 6]
    assert torch.allclose(found[1][:, kept, 0], expected[1][:, [0, 1, 4]], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("halo", [1, 3])
def test_only_the_voxels_that_are_answered_for_count(space, halo):
    target = scene(space)
    inner = tuple(slice(halo, -halo) for _ in space)
    cut = Target(target.labels[(slice(None), *inner)].contiguous(), target.centres - halo)
    output = answer(cut, 0.5)
    found, expected = gradient(output, target), gradient(output, cut)
    for name in TERMS:
        assert float(found[0][name]) == pytest.approx(float(expected[0][name]), rel=1e-6)
    assert torch.allclose(found[1], expected[1], atol=1e-7)  # centres are single


@pytest.mark.parametrize("space", SPACES)
def test_nothing_is_learnt_from_ignored_voxels(space):
    target = scene(space)
    ignored = (target.labels < 0)[:, None].expand(-1, 2 * len(space) + 1, *space)
    output = answer(target, 0.5)
    found = gradient(output, target)
    assert ignored.any()
    assert (found[1][ignored] == 0).all()
    other = torch.where(ignored, 3 * answer(target, seed=9), output)
    assert torch.equal(lose(other, target)["loss"], found[0]["loss"])


def test_crops_of_which_nothing_is_known_count_in_no_mean():
    target = scene((40, 44))
    output = answer(target, 0.5)
    more = Target(
        torch.cat([target.labels, torch.full((2, 40, 44), -1)]), target.centres[[0, 1, 0, 1]]
    )
    found, expected = lose(output[[0, 1, 1, 0]], more), lose(output, target)
    for name in TERMS:
        assert float(found[name]) == pytest.approx(float(expected[name]), rel=1e-12)


def test_crops_without_objects_count_with_nothing_lost_to_objects():
    target = scene((40, 44), objects=(5,))
    output = answer(target, 0.5)
    more = Target(
        torch.cat([target.labels, torch.zeros_like(target.labels)]),
        torch.cat([target.centres, torch.full_like(target.centres, torch.nan)]),
    )
    found, expected = lose(output[[0, 0]], more), lose(output, target)
    for name in ("instance", "variance"):
        assert float(found[name]) == pytest.approx(float(expected[name]) / 2, rel=1e-12)
    empty = output[0, -1].sigmoid().square().mean()
    assert float(found["seed"]) == pytest.approx(float(expected["seed"] + empty) / 2, rel=1e-12)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("level", [0, -1])
def test_without_objects_the_loss_is_that_of_the_background_if_any(space, count, level):
    target = Target(
        torch.full((2, *space), level), torch.full((2, count, len(space)), torch.nan)
    )  # fmt: skip
    output = answer(Target(target.labels, target.centres[:, :0]))
    terms, slope = gradient(output, target)
    expected = output[:, -1].sigmoid().square().mean() if level == 0 else 0.0
    assert float(terms["loss"]) == pytest.approx(float(expected), rel=1e-12)
    assert (slope[:, :-1] == 0).all()
    assert bool(slope[:, -1].any()) == (level == 0)


def test_a_centre_outside_of_the_crop_is_pointed_at():
    labels = torch.zeros(1, 20, 20, dtype=torch.int64)
    labels[0, 5:12, :3] = 1
    target = Target(labels, torch.tensor([[[8.5, -3.0]]]))
    far, near = (lose(answer(target, n), target)["instance"] for n in (0.0, 0.99))
    assert near < 0.3 * far


def test_the_loss_is_the_weighted_sum_of_its_terms():
    target = scene((40, 44))
    output = answer(target, 0.5)
    terms = lose(output, target)
    assert set(terms) == {"loss", *TERMS}
    assert not any(terms[name].requires_grad for name in TERMS)
    total = terms["instance"] + 10 * terms["variance"] + terms["seed"]
    assert float(terms["loss"]) == pytest.approx(float(total), rel=1e-12)
    weights = {"instance_weight": 2.0, "variance_weight": 3.0, "seed_weight": 0.5}
    found = lose(output, target, **weights)["loss"]
    total = 2 * terms["instance"] + 3 * terms["variance"] + 0.5 * terms["seed"]
    assert float(found) == pytest.approx(float(total), rel=1e-12)


def test_the_weight_of_the_foreground_is_that_of_the_seed_in_masks():
    target = scene((40, 44))
    output = answer(target, 0.5)
    for weight in (1.0, 25.0):
        expected = published_terms(output, target.labels, target.centres, DIAMETER, weight)["seed"]
        found = lose(output, target, 0, foreground_weight=weight)["seed"]
        assert float(found) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("scale", [30.0, 1e4])
def test_answers_beyond_all_measure_have_a_finite_gradient(scale):
    target = scene((40, 44))
    terms, slope = gradient(scale * answer(target, dtype=torch.float32), target)
    assert torch.isfinite(terms["loss"])
    assert torch.isfinite(slope).all()


def test_images_alone_are_refused():
    output = torch.zeros(1, 5, 8, 8)
    with pytest.raises(InputError) as caught:
        SpatialObjective(SpatialEmbedding(), DIAMETER)(output, output, chance())
    assert "masks" in str(caught.value)


def test_nothing_is_taken_off_the_answers():
    made = SpatialEmbedding().objective(3, DIAMETER)
    assert made.constant(torch.ones(2, 7, 4, 4, 4), torch.ones(2, 1, 4, 4, 4)).tolist() == [0] * 7


@pytest.mark.parametrize("bad", [{"foreground": 0.0}, {"seed": 1.0}, {"instance_weight": -1.0}])
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(ValidationError):
        SpatialEmbedding(**bad)


def found_objects(prediction):
    """The published clustering of one crop: from seed to seed, each with what it claims."""
    ndim = (len(prediction) - 1) // 2
    embedding = places(prediction.shape[1:]) + prediction[:ndim]
    seeds, left = prediction[-1], prediction[-1] > 0.5
    masks = []
    while left.any() and seeds[left].max() > 0.8:
        best = torch.where(left, seeds, 0).argmax()
        centre, margin = (m.reshape(ndim, -1)[:, best].view(-1, *[1] * ndim)
                          for m in (embedding, prediction[ndim:-1]))  # fmt: skip
        claimed = (((embedding - centre) / margin).square().sum(dim=0) < 1) & (seeds > 0.5)
        if (claimed & left).sum() > claimed.sum() / 2:
            masks.append(claimed)
        left = left & ~claimed
        left.view(-1)[best] = False
    return masks


@pytest.mark.parametrize("space", SPACES)
def test_going_downhill_finds_the_objects(space):
    """Answers are free here: no network stands between them and the loss."""
    target = scene(space, objects=(5,), ignored=False, seed=5)
    output = torch.zeros(1, 2 * len(space) + 1, *space, requires_grad=True)
    optimiser = torch.optim.Adam([output], lr=0.2)
    for _ in range(60):
        optimiser.zero_grad()
        lose(output, target)["loss"].backward()
        optimiser.step()
    found = found_objects(activate(output.detach(), len(space), DIAMETER)[0])
    truth = [target.labels[0] == n for n in target.labels.unique() if n > 0]
    assert len(found) == len(truth) == 5
    for mask in truth:
        assert max(float((mask & f).sum() / (mask | f).sum()) for f in found) > 0.9
