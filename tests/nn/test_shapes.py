"""The arithmetic of sizes, against the network itself."""

import doctest
import itertools

import pytest
import torch

from cellulus.nn import shapes
from cellulus.nn.unet import UNet

DEPTHS = range(4)


def tiny(depth, ndim=2):
    torch.manual_seed(0)
    return UNet(ndim, 1, 1, features=3, growth=1, depth=depth, head_features=3)


def answer_shape(network, shape):
    """What the network leaves; nothing where some layer does not fit."""
    try:
        with torch.no_grad():
            return tuple(network(torch.zeros(1, 1, *shape)).shape[2:])
    except RuntimeError:
        return None


def smooth(depth):
    """A network whose every voxel counts: positive weights, no maximum that hides its losers."""
    network = tiny(depth).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.abs() + 0.1)
    network.pool = torch.nn.AvgPool2d(2)
    return network


def test_the_examples_hold():
    assert doctest.testmod(shapes).attempted == 3
    assert doctest.testmod(shapes).failed == 0


@pytest.mark.parametrize("depth", DEPTHS)
def test_legal_sizes_are_those_that_pass_the_network_and_keep_their_place(depth):
    network = tiny(depth)
    legal = [n for n in range(1, 140) if shapes.is_legal(n, depth)]
    for n in range(1, 140):
        found = answer_shape(network, (n, n))
        if n in legal:
            assert found == (shapes.output_size(n, depth),) * 2
        elif found is not None:
            # An odd extent loses its last voxel in pooling, so the answer is not centred.
            assert found[0] < 1 or n - found[0] != 2 * shapes.halo(depth)
    assert legal[0] == shapes.view(depth)
    assert {b - a for a, b in itertools.pairwise(legal)} == {shapes.stride(depth)}


@pytest.mark.parametrize("depth", [0, 1])
def test_three_axes_follow_the_same_arithmetic(depth):
    n = shapes.legal_size(20, depth)
    shape = (n, n + shapes.stride(depth), n + 2 * shapes.stride(depth))
    assert answer_shape(tiny(depth, 3), shape) == tuple(shapes.output_size(m, depth) for m in shape)


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_next_legal_size_is_the_smallest_that_is_enough(depth):
    for n in range(1, 140):
        found = shapes.legal_size(n, depth)
        assert found >= n
        assert shapes.is_legal(found, depth)
        assert not any(shapes.is_legal(m, depth) for m in range(n, found))


def reach(depth, size):
    """First and last voxel of the image that each answer depends on, along an axis."""
    image = torch.rand(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    answer = smooth(depth)(image)
    for place in range(answer.shape[-1]):
        (gradient,) = torch.autograd.grad(answer[0, 0, place, place], image, retain_graph=True)
        seen = gradient[0, 0].abs().sum(dim=0).nonzero().ravel()
        yield int(seen[0]), int(seen[-1])


@pytest.mark.parametrize("depth", DEPTHS)
def test_halo_and_view_are_what_the_gradient_reaches(depth):
    step, halo, view = shapes.stride(depth), shapes.halo(depth), shapes.view(depth)
    found = list(reach(depth, shapes.legal_size(2 * halo + 3 * step, depth)))
    assert found[0] == (0, view - 1)
    assert min(b - a + 1 for a, b in found) == view
    assert max(b - a + 1 for a, b in found) <= view + step
    for place, (first, last) in enumerate(found):
        # The middle of what an answer sees is the answer's own place, up to a stride.
        assert abs((first + last) / 2 - (place + halo)) < step
    for place in range(len(found) - step):
        assert found[place + step] == tuple(end + step for end in found[place])


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_part_moved_by_strides_answers_as_the_whole(depth):
    network, step, halo = tiny(depth).double(), shapes.stride(depth), shapes.halo(depth)
    n = shapes.legal_size(2 * halo + 5 * step, depth)
    image = torch.rand(1, 1, n, n, dtype=torch.float64)
    with torch.no_grad():
        whole = network(image)
        size = shapes.legal_size(2 * halo + 2 * step, depth)
        for a in (0, step, 2 * step, 3 * step):
            part = network(image[..., a : a + size, step : step + size])
            inside = whole[..., a : a + part.shape[2], step : step + part.shape[3]]
            assert torch.allclose(part, inside, rtol=0, atol=1e-12)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_part_moved_by_less_than_a_stride_does_not(depth):
    """Otherwise tiles would not need to move by strides, and the tests above would prove little."""
    network, halo = tiny(depth).double(), shapes.halo(depth)
    n = shapes.legal_size(2 * halo + 5 * shapes.stride(depth), depth)
    image = torch.rand(1, 1, n, n, dtype=torch.float64)
    size = n - shapes.stride(depth)
    with torch.no_grad():
        whole, part = network(image), network(image[..., 1 : 1 + size, :size])
    m = part.shape[-1]
    assert not torch.allclose(part, whole[..., 1 : 1 + m, :m], atol=1e-6)
