"""The network: shapes, weights, gradients."""

import pytest
import torch

from cellulus.experiment.sections import Network
from cellulus.nn import shapes
from cellulus.nn.unet import UNet
from cellulus.pipeline.plan import parameters


def network(ndim=2, **changes):
    torch.manual_seed(1)
    settings = {"features": 4, "growth": 2, "depth": 1, "head_features": 5} | changes
    return UNet(ndim, 2, ndim, **settings)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_one_vector_per_voxel_comes_out(ndim, depth):
    size = shapes.view(depth)
    with torch.no_grad():
        answer = network(ndim, depth=depth)(torch.rand(2, 2, *(size,) * ndim))
    assert answer.shape == (2, ndim, *(shapes.stride(depth),) * ndim)
    assert answer.dtype == torch.float32
    assert torch.isfinite(answer).all()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_the_plan_counts_its_parameters(ndim, depth):
    settings = Network(features=3, growth=2, depth=depth, head_features=7)
    made = UNet(ndim, 2, 4, features=3, growth=2, depth=depth, head_features=7)
    assert parameters(settings, ndim, 2, 4) == sum(p.numel() for p in made.parameters())


def test_every_weight_gets_a_gradient():
    made = network(depth=2)
    size = shapes.view(2)
    made(torch.rand(4, 2, size, size)).square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_it_starts_near_zero_offsets_whatever_its_depth():
    """Far offsets at the start would saturate a loss that decays with distance."""
    for depth in range(4):
        size = shapes.view(depth) + 8 * shapes.stride(depth)
        made = network(depth=depth, features=12, growth=2, head_features=16)
        with torch.no_grad():
            answer = made(torch.rand(1, 2, size, size))
        assert 0 < answer.abs().max() < 1


def test_both_channels_are_seen():
    made, image = network(), torch.rand(1, 2, 20, 20)
    for channel in range(2):
        other = image.clone()
        other[:, channel] += 0.5
        with torch.no_grad():
            assert not torch.allclose(made(image), made(other))


def test_images_of_a_batch_do_not_see_each_other():
    made, images = network(), torch.rand(3, 2, 24, 24)
    with torch.no_grad():
        together = made(images)
        alone = torch.cat([made(image[None]) for image in images])
    assert torch.allclose(together, alone, atol=1e-6)


def test_the_image_itself_is_left_as_it_was():
    image = torch.rand(1, 2, 18, 18)
    before = image.clone()
    network()(image).sum().backward()
    assert torch.equal(image, before)


@pytest.mark.parametrize("ndim", [2, 3])
def test_weights_lie_channels_last(ndim):
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[ndim]
    weight = network(ndim).down[0][0].weight
    assert weight.is_contiguous(memory_format=layout)


def test_the_same_seed_makes_the_same_network():
    first, second = network().state_dict(), network().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
