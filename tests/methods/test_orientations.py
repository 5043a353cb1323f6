"""Orientations of an image: against turning by hand, networks that cannot tell, and tiles."""

import itertools

import numpy as np
import pytest
import torch

from cellulus.data.canonical import Canonical
from cellulus.data.normalise import Normalisation
from cellulus.data.volume import Volume
from cellulus.experiment.sections import Experiment, Network, Predict
from cellulus.methods import ObjectCentric
from cellulus.methods.answers import activate
from cellulus.methods.orientations import OrientedViews, orientations
from cellulus.methods.spatial_embedding.settings import SpatialEmbedding
from cellulus.nn import shapes
from cellulus.nn.unet import UNet
from cellulus.pipeline.model import Card, Model
from cellulus.pipeline.tiling import Predictor, tiles_of
from cellulus.space import Scale

WIDTH = 10.0
SHAPES = [(26, 26), (26, 30), (20, 26, 22)]


def network(ndim, depth=1, inputs=1):
    torch.manual_seed(0)
    made = UNet(
        ndim, inputs, 2 * ndim + 1, features=3, growth=1, depth=depth, head_features=4
    ).eval()
    with torch.no_grad():
        made.head.weight.mul_(30)
        made.head.bias.add_(torch.linspace(-1, 1, 2 * ndim + 1))
    return made.double()


def picture(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random(shape))


def asked(made, image, batch_size=4, *, tta=True):
    with torch.inference_mode():
        return OrientedViews(WIDTH, batch_size, tta=tta)(made, image, (0,) * (image.ndim - 1))


def published(ndim):
    """The orientations of the published code: quarter turns, then flips of y and of z."""
    flips = itertools.product(*[(False, True)] * (ndim - 1))
    for turns, flip in itertools.product(range(4), flips):
        axes = [axis - ndim for axis, is_flipped in enumerate(flip) if is_flipped]
        yield lambda image, k=turns, a=axes: np.flip(np.rot90(image, k, (-2, -1)), a)


def by_hand(made, image):
    """Every answer carried back voxel by voxel, its vectors by how coordinates changed there."""
    ndim, answers = image.ndim - 1, []
    places = np.stack(np.meshgrid(*[np.arange(n) for n in image.shape[1:]], indexing="ij"))
    for turn in published(ndim):
        turned = torch.from_numpy(turn(image.numpy()).copy())
        with torch.no_grad():
            answer = made(turned[None])[0].numpy()
        halo = (turned.shape[-1] - answer.shape[-1]) // 2
        here = turn(places)[(slice(None), *[slice(halo, n - halo) for n in turned.shape[1:]])]
        # Columns: where a step along an axis of the turned image leads in the image itself.
        first = here[(slice(None), *[0] * ndim)]
        ends = [here[(slice(None), *row)] for row in np.eye(ndim, dtype=int)]
        steps = np.stack(ends, axis=1) - first[:, None]
        back = np.empty((2 * ndim + 1, *[n - 2 * halo for n in image.shape[1:]]))
        at = (slice(None), *(here - halo).reshape(ndim, -1))
        flat = answer.reshape(2 * ndim + 1, -1)
        back[at] = np.concatenate([steps @ flat[:ndim], np.abs(steps) @ flat[ndim:-1], flat[-1:]])
        answers.append(back)
    mean = torch.from_numpy(np.mean(answers, axis=0))
    return activate(mean, ndim, WIDTH)


@pytest.mark.parametrize("shape", [(3, 4), (3, 3), (2, 3, 4)])
def test_orientations_are_those_published_each_once(shape):
    image = picture(1, *shape)
    found = [view.turn(image).numpy() for view in orientations(len(shape))]
    expected = [turn(image.numpy()) for turn in published(len(shape))]
    names = [(a.shape, a.tobytes()) for a in found]
    assert len(found) == len(set(names)) == 2 ** (len(shape) + 1)
    assert set(names) == {(a.shape, a.tobytes()) for a in expected}
    assert np.array_equal(found[0], image)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_the_mean_is_that_of_turning_by_hand_whatever_the_batch(shape, batch_size):
    made, image = network(len(shape), inputs=2), picture(2, *shape)
    found, expected = asked(made, image, batch_size), by_hand(made, image)
    assert found.shape == (2 * len(shape) + 1, *[n - 16 for n in shape])
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)
    plain = asked(made, image, tta=False)
    assert all((plain - expected).abs().amax(dim=tuple(range(1, image.ndim))) > 1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_network_without_margins_says_the_same_of_all_else(shape):
    """Its offsets are turned back, and what comes after them is no vector."""
    made, image, ndim = network(len(shape)), picture(1, *shape), len(shape)
    kept = [*range(ndim), 2 * ndim]
    found = asked(lambda images: made(images)[:, kept], image)
    assert torch.allclose(found, asked(made, image)[kept], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_without_it_the_network_is_asked_once(shape):
    made, image, calls = network(len(shape)), picture(1, *shape), []

    def counting(images):
        calls.append(images)
        return made(images)

    found = asked(counting, image, tta=False)
    assert len(calls) == 1
    assert torch.equal(calls[0][0], image)
    with torch.no_grad():
        expected = activate(made(image[None]), len(shape), WIDTH)[0]
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "batch_size", "expected"),
    [
        ((20, 20), 1, [1] * 8),
        ((20, 20), 3, [3, 3, 2]),
        ((20, 20), 100, [8]),
        ((20, 22), 3, [3, 1, 3, 1]),
        ((20, 22), 100, [4, 4]),
        ((18, 20, 22), 8, [8, 8]),
        ((18, 20, 20), 100, [16]),
    ],
)
def test_batches_are_as_large_as_asked_and_of_one_shape(shape, batch_size, expected):
    made, sizes = network(len(shape)), []

    def counting(images):
        sizes.append(len(images))
        return made(images)

    asked(counting, picture(1, *shape), batch_size)
    assert sizes == expected
    assert sum(sizes) == SpatialEmbedding().views(len(shape), tta=True)


def pointing(images):
    """Offsets to the brightest voxel, margins as long as they are wide, seeds by distance."""
    answers = []
    for image in images:
        halo, shape = 2, image.shape[1:]
        place = np.array(np.unravel_index(int(image[0].argmax()), shape), float)
        grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"))
        offset = (place.reshape(-1, *[1] * len(shape)) - grid) / 40
        answer = np.concatenate([offset, -np.abs(offset), 1 - 8 * (offset**2).sum(0)[None]])
        inner = (slice(None), *[slice(halo, n - halo) for n in shape])
        answers.append(torch.from_numpy(answer[inner].astype(np.float32)))
    return torch.stack(answers)


@pytest.mark.parametrize("shape", [(14, 14), (13, 20), (9, 14, 12)])
def test_what_a_network_says_alike_of_every_orientation_stays(shape):
    image = picture(1, *shape).float()
    plain = asked(pointing, image, tta=False)
    assert plain[: len(shape)].std() > 1
    assert torch.allclose(asked(pointing, image), plain, rtol=1e-5, atol=1e-5)
    for view in orientations(len(shape)):
        answer = view.restore(pointing(view.turn(image)[None])[0])
        assert torch.allclose(answer, pointing(image[None])[0], atol=1e-6), view


def test_a_volume_of_one_plane_is_answered_as_its_image():
    made, image = network(2), picture(1, 26, 30)

    def flat(images):
        offset, margin, seed = made(images[:, :, 0]).split((2, 2, 1), dim=1)
        none = torch.zeros_like(seed)
        return torch.cat([none, offset, none, margin, seed], dim=1)[:, :, None]

    found, expected = asked(flat, image[:, None]), asked(made, image)
    assert torch.allclose(found[[1, 2, 4, 5, 6], 0], expected, rtol=1e-5, atol=1e-5)
    assert not found[0].any()


def test_answers_in_half_precision_are_added_up_in_single_precision():
    def answers(images):
        level = images.mean(dim=tuple(range(1, images.ndim)), keepdim=True)
        steps = torch.arange(1, len(images) + 1).view(-1, 1, 1, 1) / 128
        return (level + steps).expand(-1, 5, 4, 4).bfloat16()

    image = torch.full((1, 4, 4), 1.0)
    found = asked(answers, image, 100)
    exact = answers(image.expand(8, 1, 4, 4)).float().mean(dim=0)
    assert found.dtype == torch.float32
    assert not torch.equal(exact.bfloat16().float(), exact), "test invalid"
    assert torch.allclose(found[4], torch.sigmoid(exact[4]), atol=1e-6)


def test_the_image_itself_is_left_as_it_was():
    image = picture(1, 20, 22)
    before = image.clone()
    asked(network(2), image)
    assert torch.equal(image, before)


# --- tiles


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("ndim", [2, 3])
def test_a_part_moved_by_strides_is_answered_as_in_the_whole(ndim, depth):
    """Not square, and not in the middle: in no orientation do both have the same corner."""
    made, halo, step = network(ndim, depth), shapes.halo(depth), shapes.stride(depth)
    size = [shapes.legal_size(2 * halo + n * step, depth) for n in (3, 5, 2)[:ndim]]
    image = picture(1, *size)
    whole = asked(made, image)
    for first, last in (([0, 1, 1], [1, 1, 0]), ([1, 3, 0], [0, 0, 1])):
        ends = [(a * step, n - b * step) for a, b, n in zip(first, last, size, strict=False)]
        part = asked(made, image[(slice(None), *[slice(a, b) for a, b in ends])])
        inside = whole[(slice(None), *[slice(a, b - 2 * halo) for a, b in ends])]
        assert part.shape == inside.shape
        assert part.numel()
        assert torch.allclose(part, inside, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_part_moved_by_less_than_a_stride_is_not(depth):
    """Otherwise the test above would prove little."""
    made, step = network(2, depth), shapes.stride(depth)
    size = shapes.legal_size(2 * shapes.halo(depth) + 5 * step, depth)
    image = picture(1, size, size)
    whole, part = asked(made, image), asked(made, image[:, 1 : 1 + size - step, : size - step])
    n = part.shape[-1]
    assert not torch.allclose(part, whole[:, 1 : 1 + n, :n], atol=1e-3)


def predicted(shape, zoom, depth, tile, *, tta=True, batch_size=4):
    """A whole image, tile by tile, as the pipeline does it."""
    experiment = Experiment(
        network=Network(depth=depth, object_voxels=WIDTH),
        predict=Predict(tile=tile, tta=tta, batch_size=batch_size, precision="fp32", empty=0),
    ).model_copy(update={"method": SpatialEmbedding()})
    card = Card(
        method=ObjectCentric(), network=experiment.network, ndim=len(shape), inputs=1, outputs=1,
        percentiles=(1.0, 99.8),
    )  # fmt: skip
    ask = Predictor(Model(network(len(shape), depth).float(), card), experiment, "cpu")
    volume = Volume.of(picture(*shape).numpy().astype(np.float32))
    image = Canonical(volume, Scale(zoom), Normalisation((0.2,), (0.9,)))
    whole = np.full((2 * len(shape) + 1, *image.shape), np.nan, np.float32)
    for block in tiles_of(experiment, image.shape):
        whole[(slice(None), *block.core)] = ask(image, block)
    assert np.isfinite(whole).all()
    return whole, len(tiles_of(experiment, image.shape))


@pytest.mark.parametrize(
    ("shape", "zoom", "depth", "tiles"),
    [
        ((50, 41), (1.0, 1.0), 1, (16, 22)),
        ((33, 47), (1.7, 0.6), 0, (17,)),
        ((60, 45), (1.0, 1.0), 2, (16, 40)),
        ((10, 30, 19), (2.5, 1.0, 1.1), 1, (16,)),
    ],
)
def test_tiles_give_what_the_whole_gives(shape, zoom, depth, tiles):
    """At the far edge too, where tiles reach beyond the image and are read mirrored."""
    whole, count = predicted(shape, zoom, depth, 512)
    assert count == 1
    plain, _ = predicted(shape, zoom, depth, 512, tta=False)
    assert np.abs(whole - plain).max() > 0.1
    for tile in tiles:
        found, count = predicted(shape, zoom, depth, tile, batch_size=3)
        assert count > 1
        assert np.allclose(found, whole, rtol=1e-4, atol=1e-4)
