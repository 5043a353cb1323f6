"""The loss of competing cells against loops over crops, voxels and points, value and gradient."""

import itertools
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from cellulus.errors import InputError
from cellulus.methods.answers import activate
from cellulus.methods.base import Target
from cellulus.methods.decoder import Observation
from cellulus.methods.point_marker import objective
from cellulus.methods.point_marker.objective import SUREST, CompetitionObjective
from cellulus.methods.point_marker.settings import PointMarker
from cellulus.space import ball_volume

DIAMETER = 4.0
SPACES = [(9, 11), (5, 6, 7)]
TERMS = ("claimed", "contested", "background", "size")
PUBLISHED = {"background": 20.0, "competition": 1.0}


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def scene(space, counts=(5, 0, 3), *, unknown=True, seed=0):
    """Crops of background and foreground, some unknown; points in and around them, NaN between."""
    generator, ndim = chance(seed), len(space)
    labels = (torch.rand(len(counts), *space, generator=generator) < 0.6).long()
    if unknown:
        labels[torch.rand(labels.shape, generator=generator) < 0.1] = -1
    centres = torch.full((len(counts), max(counts, default=0) + 1, ndim), torch.nan)
    for crop, count in enumerate(counts):
        reach = torch.tensor(space) + DIAMETER
        drawn = torch.rand(count, ndim, generator=generator) * reach - DIAMETER / 2
        centres[crop, 1 : count + 1] = drawn  # the first place is empty
    return Target(labels, centres)


def answer(target, seed=1, halo=0, dtype=torch.float64):
    """Raw answers for what lies inside of the halo: noise."""
    batch, *space = target.labels.shape
    shape = (batch, len(space) + 1, *(n - 2 * halo for n in space))
    return 0.15 * torch.randn(shape, generator=chance(seed), dtype=dtype)


def lose(output, target, **changes):
    settings = PointMarker(**changes)
    image = torch.zeros(len(output), 1, *target.labels.shape[1:])
    return CompetitionObjective(settings, DIAMETER)(output, image, chance(), target)


def gradient(output, target, losing=lose, **changes):
    leaf = output.clone().requires_grad_()
    terms = losing(leaf, target, **changes)
    terms["loss"].backward()
    return {name: float(term.detach()) for name, term in terms.items()}, leaf.grad


def naively(output, target, **changes):
    """One voxel, one point and one rival after the other, as the docstring has it."""
    settings = PointMarker(**changes)
    total, space = dict.fromkeys(TERMS, 0.0), output.shape[2:]
    first = [(n - m) // 2 for n, m in zip(target.labels.shape[1:], space, strict=True)]
    for answers, labels, centres in zip(output, target.labels, target.centres, strict=True):
        points = [p for p in centres.double().tolist() if not math.isnan(p[0])]
        sizes = {number: 0.0 for number, p in enumerate(points) if fits(p, first, space, settings)}
        for voxel in itertools.product(*map(range, space)):
            at = tuple(v + start for v, start in zip(voxel, first, strict=True))
            claims = claims_at(at, answers[(slice(None), *voxel)], points, settings)
            for number in claims if labels[at] < 0 else ():
                sizes.pop(number, None)
            for number, claim in claims.items() if labels[at] >= 0 else ():
                if number in sizes:
                    sizes[number] = sizes[number] + claim
                total["claimed"] = total["claimed"] + claim
                total["background"] = total["background"] + claim * float(labels[at] == 0)
                for rival in [other for n, other in claims.items() if n != number]:
                    total["contested"] = total["contested"] - claim * torch.log(1 - rival)
        ball = ball_volume(DIAMETER, len(space))
        for size in sizes.values():
            total["size"] = total["size"] + ball * (size / ball - 1) ** 2
    voxels = len(output) * math.prod(space)
    terms = {name: (0 * output.sum() + value) / voxels for name, value in total.items()}
    contested = terms["contested"] + settings.background * terms["background"]
    loss = settings.competition * contested - terms["claimed"] + settings.size * terms["size"]
    return {"loss": loss, **terms}


def fits(point, first, space, settings):
    """Whether the patch of a point lies in what is answered for."""
    half = settings.patch / 2 * DIAMETER
    ends = zip(point, first, space, strict=True)
    return all(start <= p - half and p + half <= start + n for p, start, n in ends)


def claims_at(at, raw, points, settings):
    """What each point whose patch holds a voxel claims of it."""
    half, claims = settings.patch / 2 * DIAMETER, {}
    for number, point in enumerate(points):
        if all(abs(a + 0.5 - p) <= half for a, p in zip(at, point, strict=True)):
            squares = 0.0
            for axis, (a, p) in enumerate(zip(at, point, strict=True)):
                embedding = a + 0.5 + 2 * DIAMETER * torch.tanh(raw[axis])
                squares = squares + ((embedding - p) / (settings.margin * DIAMETER)) ** 2
            claims[number] = SUREST / (1 + torch.exp(-raw[-1])) * 2**-squares
    return claims


def check(output, target, rel=1e-9, **changes):
    """Both ways agree about values and slopes; returns what they say."""
    expected, slope = gradient(output, target, naively, **changes)
    found, found_slope = gradient(output, target, **changes)
    assert set(found) == {"loss", *TERMS}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=rel, abs=rel)
    assert torch.allclose(found_slope, slope, rtol=rel, atol=rel)
    return found, found_slope


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    "changes",
    [{}, PUBLISHED, {"patch": 1.2, "margin": 0.8}, {"competition": 0.3}, {"competition": 0.0}],
)
@pytest.mark.parametrize("unknown", [True, False])
def test_it_is_what_loops_say(space, changes, unknown):
    target = scene(space, unknown=unknown)
    found, slope = check(answer(target), target, **changes)
    assert all(found[name] > 1e-4 for name in TERMS[:3])
    assert slope.abs().max() > 1e-4


@pytest.mark.parametrize("space", [(15, 16), (9, 10, 9)])
@pytest.mark.parametrize("unknown", [True, False])
def test_cells_seen_whole_have_the_size_of_a_ball(space, unknown):
    """Patches reach from face to face of the crop, and not all of them lie inside."""
    target = scene(space, counts=(6, 2), unknown=False)
    target.centres[0, 1], target.centres[0, 2] = torch.tensor(space) / 2, 3.5
    output = answer(target)
    found, _ = check(output, target, size=1.5, patch=1.5)
    if unknown:  # a corner of the second patch
        before = found["size"]
        target.labels[(0, *[0] * len(space))] = -1
        found, _ = check(output, target, size=1.5, patch=1.5)
        assert found["size"] < before
    assert found["size"] > 1e-3
    cut = scene((5, 16), counts=(6,))
    assert check(answer(cut), cut, size=1.5)[0]["size"] == 0


def test_the_published_formula_is_one_of_its_settings():
    """Equation 3, written for whole patches: the background is a rival that says -ln(1 - p) = 20.

    Its mean over cells of sums over voxels is a multiple of ours.
    """
    target = scene((9, 11), counts=(5,), unknown=False)
    output = answer(target)
    positions = np.stack(np.indices((9, 11))) + 0.5
    embedding = positions + 2 * DIAMETER * np.tanh(output[0, :2].numpy())
    background, probability = (target.labels[0] == 0).numpy(), []
    for centre in target.centres[0, 1:].double().numpy()[:, :, None, None]:
        share = ((embedding - centre) ** 2).sum(axis=0) / (0.4 * DIAMETER) ** 2
        is_near = (np.abs(positions - centre) <= 1.25 * DIAMETER).all(axis=0)
        presence = 1 / (1 + np.exp(-output[0, 2].numpy()))
        probability.append(np.where(is_near, SUREST * presence * 2**-share, 0))
    p = np.array(probability)
    u = -np.log(1 - p)
    published = (p * (-1 + (u.sum(axis=0) - u + 20 * background))).sum() / len(p)
    found = lose(output, target, **PUBLISHED)["loss"]
    assert float(found) * background.size / len(p) == pytest.approx(published, rel=1e-9)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("halo", [1, 2])
def test_only_the_voxels_that_are_answered_for_count(space, halo):
    target = scene(space)
    inner = tuple(slice(halo, -halo) for _ in space)
    cut = Target(target.labels[(slice(None), *inner)].contiguous(), target.centres - halo)
    output = answer(target, halo=halo)
    check(output, target, size=1.0, patch=1.0)
    found, expected = gradient(output, target), gradient(output, cut)
    assert found[0] == pytest.approx(expected[0], rel=1e-5)  # centres are single
    assert torch.allclose(found[1], expected[1], atol=1e-6)


@pytest.mark.parametrize("space", [(20, 24), (10, 12, 11)])
def test_no_rival_is_missing_whatever_a_crop_shows(space):
    """The parts of a crop, each with the points that reach into it, lose what the crop loses."""
    target = scene(space, counts=(9,), seed=2)
    output = answer(target)
    whole, slope = gradient(output, target)
    half, lost, slopes = 1.25 * DIAMETER, 0.0, torch.zeros_like(slope)
    cuts = [((0, n // 3), (n // 3, n)) for n in space]
    for corner in itertools.product(*cuts):
        part = (slice(None), *(slice(*ends) for ends in corner))
        low, high = torch.tensor(corner, dtype=torch.float32).t()
        near = target.centres[0] + half >= low, target.centres[0] - half <= high
        points = target.centres[:, torch.logical_and(*near).all(dim=1)] - low
        seen = Target(target.labels[part], points)
        made = output[(slice(None), *part)]
        terms, found = gradient(made, seen)
        voxels = math.prod(made.shape[2:])
        lost += terms["loss"] * voxels
        slopes[(slice(None), *part)] = found * voxels
        # The same region of the whole, where nothing else is known.
        alone = torch.full_like(target.labels, -1)
        alone[part] = target.labels[part]
        same, around = gradient(output, Target(alone, target.centres))
        total = math.prod(space)
        assert same["loss"] * total == pytest.approx(terms["loss"] * voxels, rel=1e-5)
        assert torch.allclose(around[(slice(None), *part)] * total, found * voxels, atol=1e-5)
    assert lost / math.prod(space) == pytest.approx(whole["loss"], rel=1e-5)
    assert torch.allclose(slopes / math.prod(space), slope, atol=1e-7)


def test_a_point_outside_of_the_crop_is_a_rival_there():
    """Without it, more would be claimed for less."""
    target = scene((9, 11), counts=(1,), unknown=False)
    target.centres[0, 1] = torch.tensor([4.0, 2.0])
    target.centres[0, 0] = torch.tensor([4.0, -1.0])
    output = torch.zeros(1, 3, 9, 11, dtype=torch.float64)
    both, _ = check(output, target)
    alone, _ = check(output, Target(target.labels, target.centres[:, 1:]))
    assert both["contested"] > 0 == alone["contested"]
    far = target.centres.clone()
    far[0, 0, 1] = -1.25 * DIAMETER - 0.01
    assert lose(output, Target(target.labels, far))["loss"] == alone["loss"]


@pytest.mark.parametrize("parts", [2, 3])
def test_a_batch_in_parts_loses_as_the_whole(parts):
    """Whatever is in a crop: one here has no point and one is unknown."""
    target = scene((9, 11), counts=(5, 0, 2, 7, 3, 1))
    target.labels[4] = -1
    output = answer(target)
    whole = lose(output, target, size=0.5)
    for name in ("loss", *TERMS):
        split = [
            lose(o, Target(labels, centres), size=0.5)[name] * len(o) / len(output)
            for o, labels, centres in zip(
                output.chunk(parts), target.labels.chunk(parts), target.centres.chunk(parts),
                strict=True,
            )
        ]  # fmt: skip
        assert float(sum(split)) == pytest.approx(float(whole[name]), rel=1e-12)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("level", [-1, 0, 1])
def test_without_points_or_anything_known_nothing_is_lost(space, count, level):
    labels = torch.full((2, *space), level)
    centres = torch.full((2, count, len(space)), torch.nan)
    if level < 0 and count:
        centres[:] = 2.0
    target = Target(labels, centres)
    terms, slope = gradient(answer(target), target, size=1.0)
    assert set(terms.values()) == {0.0}
    assert (slope == 0).all()


@pytest.mark.parametrize("space", SPACES)
def test_nothing_is_learnt_where_nobody_knows(space):
    target = scene(space)
    unknown = (target.labels < 0)[:, None].expand(-1, len(space) + 1, *space)
    output = answer(target)
    found = gradient(output, target)
    assert unknown.any()
    assert (found[1][unknown] == 0).all()
    other = torch.where(unknown, 3 * answer(target, seed=9), output)
    assert float(lose(other, target)["loss"]) == found[0]["loss"]


@pytest.mark.parametrize("changes", [{}, PUBLISHED, {"patch": 1.2, "margin": 0.8}])
def test_a_crop_is_the_volume_of_its_one_plane(changes):
    target = scene((9, 11))
    output = answer(target)
    deep = torch.cat([torch.zeros_like(output[:, :1]), output], dim=1)[:, :, None]
    middle = torch.full_like(target.centres[..., :1], 0.5)
    volume = Target(target.labels[:, None], torch.cat([middle, target.centres], dim=2))
    found, expected = gradient(deep, volume, **changes), gradient(output, target, **changes)
    assert found[0] == pytest.approx(expected[0], rel=1e-12)
    assert torch.allclose(found[1][:, 1:, 0], expected[1], rtol=1e-9, atol=1e-15)


def test_the_order_and_the_places_of_points_mean_nothing():
    target = scene((9, 11))
    output = answer(target)
    order = torch.randperm(target.centres.shape[1], generator=chance())
    found, expected = (
        gradient(output, Target(target.labels, centres), size=1.0)
        for centres in (target.centres[:, order], target.centres)
    )
    assert found[0] == pytest.approx(expected[0], rel=1e-12)
    assert torch.allclose(found[1], expected[1], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("pairs", [1, 150, 500])
def test_how_much_is_looked_at_together_changes_nothing(pairs, monkeypatch):
    target = scene((9, 11))
    output = answer(target)
    expected = gradient(output, target, size=1.0)
    monkeypatch.setattr(objective, "PAIRS", pairs)
    found = gradient(output, target, size=1.0)
    assert found[0] == expected[0]
    assert torch.equal(found[1], expected[1])


def test_the_gradient_is_the_slope():
    target = scene((5, 4), counts=(3, 2))
    assert torch.autograd.gradcheck(
        lambda o: lose(o, target, size=0.7, patch=1.0)["loss"], answer(target).requires_grad_()
    )


def test_single_precision_is_precise_enough_and_half_is_made_single():
    target = scene((9, 11), unknown=False)
    output = answer(target, dtype=torch.float32)
    expected = gradient(output.double(), target)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradient(output, target)
    assert found[0] == pytest.approx(expected[0], rel=1e-5, abs=1e-7)
    assert torch.allclose(found[1].double(), expected[1], atol=1e-7)
    coarse = output.bfloat16()
    assert lose(coarse, target)["loss"].dtype == torch.float32
    assert torch.equal(lose(coarse, target)["loss"], lose(coarse.float(), target)["loss"])


@pytest.mark.parametrize("scale", [30.0, 1e4])
def test_answers_beyond_all_measure_have_a_finite_gradient(scale):
    target = scene((9, 11))
    terms, slope = gradient(scale * answer(target, dtype=torch.float32), target)
    assert math.isfinite(terms["loss"])
    assert torch.isfinite(slope).all()


def test_two_that_are_sure_of_a_voxel_lose_no_more_than_can_be_counted():
    """Both points lie in one voxel that is surely there: neither can have it for less."""
    target = Target(torch.ones(1, 1, 1, dtype=torch.int64), torch.full((1, 2, 2), 0.5))
    output = torch.tensor([0.0, 0.0, 50.0]).view(1, 3, 1, 1)
    terms, slope = gradient(output, target)
    assert terms["claimed"] == pytest.approx(2 * SUREST)
    assert terms["contested"] == pytest.approx(-2 * SUREST * math.log(1 - SUREST), rel=1e-3)
    assert torch.isfinite(slope).all()


def test_terms_are_told_and_not_learnt_from():
    target = scene((9, 11))
    terms = lose(answer(target).requires_grad_(), target)
    assert terms["loss"].requires_grad
    assert not any(terms[name].requires_grad for name in TERMS)


def test_images_alone_are_refused():
    output = torch.zeros(1, 3, 8, 8)
    with pytest.raises(InputError, match="points") as caught:
        CompetitionObjective(PointMarker(), DIAMETER)(output, output, chance())
    assert caught.value.where == "data.train"


def test_nothing_is_taken_off_the_answers():
    made = PointMarker().objective(3, DIAMETER)
    assert made.constant(torch.ones(2, 4, 4, 4, 4), torch.ones(2, 1, 4, 4, 4)).tolist() == [0] * 4


@pytest.mark.parametrize(
    "bad", [{"patch": 0.0}, {"patch": 4.5}, {"margin": 0.0}, {"presence": 1.0}, {"size": -1.0}]
)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(ValidationError):
        PointMarker(**bad)


@pytest.mark.parametrize(("space", "third"), [((22, 34), 0), ((14, 14, 26), 0), ((22, 34), 1)])
def test_going_downhill_parts_cells_that_touch(space, third):
    """Answers are free here: no network stands between them and the loss.

    Two balls of one foreground and a point in each, one of them not in the middle; also with a
    third whose point lies outside of the crop.
    """
    width = 10.0
    middles = np.stack(np.indices(space)) + 0.5
    centre = np.array([[*(n / 2 for n in space[:-1]), space[-1] / 2 + side] for side in (-5, 5)])
    away = [((middles - c.reshape(-1, *[1] * len(space))) ** 2).sum(axis=0) ** 0.5 for c in centre]
    truth = np.where(np.minimum(*away) <= width / 2, np.argmin(away, axis=0) + 1, 0)
    points = centre + [[*[1.0] * (len(space) - 1), s] for s in (0.0, -1.0)]
    if third:
        points = np.vstack([points, [[-2.0, space[-1] / 2]]])
    target = Target(
        torch.from_numpy(truth > 0).long()[None], torch.from_numpy(points).float()[None]
    )
    made = PointMarker()
    losing = CompetitionObjective(made, width)
    output = torch.zeros(1, len(space) + 1, *space, requires_grad=True)
    optimiser = torch.optim.Adam([output], lr=0.1)
    for _ in range(150):
        optimiser.zero_grad()
        losing(output, output, chance(), target)["loss"].backward()
        optimiser.step()
    prediction = activate(output.detach()[0], len(space), width).numpy()
    spacing, origin = (1.0,) * len(space), (0,) * len(space)
    seen = Observation(prediction, prediction[:1], spacing, origin, points - 0.5)
    found = made.decoder(len(space), width)(seen)
    for number, point in enumerate(points[:2], start=1):
        label = found.labels[tuple(np.floor(point).astype(int))]
        both = (found.labels == label) & (truth == number)
        either = (found.labels == label) | (truth == number)
        assert both.sum() / either.sum() > 0.85
