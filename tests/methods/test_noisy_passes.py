"""Mean and spread over noisy passes, against a plain loop; and where the noise falls."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cellulus.methods import ObjectCentric
from cellulus.methods.object_centric.inference import GREY, WHITE, NoisyPasses, specks
from cellulus.nn.unet import UNet


def network(ndim=2, inputs=1):
    torch.manual_seed(0)
    made = UNet(ndim, inputs, ndim, features=4, growth=1, depth=1, head_features=4).eval()
    with torch.no_grad():
        made.head.weight.mul_(30)
        made.head.bias.add_(5)
    return made


def picture(*shape):
    return torch.from_numpy(np.random.default_rng(0).random(shape, np.float32))


def by_hand(made, image, settings, seed, origin):
    answers = []
    for number in range(settings.passes):
        hit = specks(tuple(image.shape[1:]), origin, settings.noise, (seed, number))
        noisy = image.clone()
        noisy[:, torch.from_numpy(hit)] = GREY if number < settings.passes // 2 else WHITE
        answers.append(made(noisy[None])[0].double())
    stacked = torch.stack(answers)
    return torch.cat([stacked.mean(0), stacked.std(0, correction=0).sum(0, keepdim=True)])


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_mean_and_spread_are_those_of_a_loop_whatever_the_batch(ndim, batch_size):
    image = picture(2, *(26,) * ndim)
    made, settings = network(ndim, 2), ObjectCentric(passes=6, noise=0.05)
    origin = (-3, 70, 11)[:ndim]
    with torch.no_grad():
        found = NoisyPasses(settings, 4, batch_size)(made, image, origin)
        expected = by_hand(made, image, settings, 4, origin)
    assert found.shape == (ndim + 1, *(10,) * ndim)
    assert found.dtype == torch.float32
    assert expected[-1].max() > 0.02
    assert torch.allclose(found.double(), expected, rtol=1e-4, atol=1e-5)


def test_large_offsets_lose_no_digits():
    """A spread of a thousandth of the mean, as far objects at the end of training have."""

    def answers(images):
        return 1000 + images[:, :, 2:-2, 2:-2].mean(dim=1, keepdim=True).repeat(1, 2, 1, 1)

    image, settings = picture(1, 20, 20), ObjectCentric(passes=8, noise=0.2)
    found = NoisyPasses(settings, 0, 4)(answers, image, (0, 0))
    expected = by_hand(answers, image, settings, 0, (0, 0))
    assert torch.allclose(found[-1].double(), expected[-1], rtol=1e-2, atol=2e-3)


def test_without_a_speck_there_is_no_uncertainty():
    image, settings = picture(1, 24, 24), ObjectCentric(passes=4, noise=1e-9)
    with torch.no_grad():
        made = network()
        found = NoisyPasses(settings, 0, 4)(made, image, (0, 0))
        assert torch.allclose(found[:2], made(image[None])[0], atol=1e-5)
    assert found[2].abs().max() < 1e-5


def test_the_image_itself_is_left_as_it_was():
    image = picture(1, 20, 20)
    before = image.clone()
    with torch.no_grad():
        NoisyPasses(ObjectCentric(noise=0.5), 0, 4)(network(), image, (0, 0))
    assert torch.equal(image, before)


def test_half_of_the_passes_are_grey_and_half_white():
    seen = []

    def answers(images):
        seen.extend(images)
        return images

    NoisyPasses(ObjectCentric(passes=6, noise=0.3), 0, 4)(answers, torch.zeros(1, 30, 30), (0, 0))
    values = [sorted(set(image.unique().tolist()) - {0.0}) for image in seen]
    assert values == [[GREY]] * 3 + [[WHITE]] * 3


STARTS = st.integers(-(2**40), 2**40)


@given(st.tuples(STARTS, STARTS, STARTS), st.integers(0, 2**32), st.integers(0, 64))
@settings(max_examples=40)
def test_regions_that_overlap_agree(origin, seed, number):
    whole = specks((9, 12, 14), origin, 0.3, (seed, number))
    corner = tuple(a + b for a, b in zip(origin, (2, 3, 5), strict=True))
    assert np.array_equal(specks((7, 4, 6), corner, 0.3, (seed, number)), whole[2:, 3:7, 5:11])


def test_coordinates_below_zero_are_hit_like_others():
    whole = specks((60, 60), (-30, -30), 0.2, (0, 0))
    assert not np.array_equal(whole[:30], whole[30:])
    assert not np.array_equal(whole[:30], whole[30:][::-1])
    quarters = [q.mean() for half in np.split(whole, 2) for q in np.split(half, 2, axis=1)]
    assert np.abs(np.array(quarters) - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / 900)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.3, 0.999])
@pytest.mark.parametrize("shape", [(700, 700), (60, 80, 100)])
def test_the_share_is_what_was_asked_for(share, shape):
    found = specks(shape, (0,) * len(shape), share, (0, 3))
    assert abs(found.mean() - share) < 5 * np.sqrt(share * (1 - share) / found.size)


def test_rows_and_columns_are_hit_alike():
    """A weak hash would leave lines."""
    found = specks((600, 600), (0, 0), 0.1, (7, 1))
    bound = 5.5 * np.sqrt(0.1 * 0.9 / 600)
    assert np.abs(found.mean(axis=0) - 0.1).max() < bound
    assert np.abs(found.mean(axis=1) - 0.1).max() < bound
    assert abs((found[1:] & found[:-1]).mean() - 0.01) < 5 * np.sqrt(0.01 / found.size)
    assert abs((found & found.T).mean() - 0.01) < 0.002


def test_passes_and_seeds_differ():
    keys = [(seed, number) for seed in range(6) for number in range(6)]
    found = {specks((40, 40), (0, 0), 0.1, key).tobytes() for key in keys}
    assert len(found) == len(keys)
    first, second = specks((300, 300), (0, 0), 0.1, (0, 0)), specks((300, 300), (0, 0), 0.1, (0, 1))
    assert abs((first & second).mean() - 0.01) < 0.003
