"""The estimated diameter, on objects of known size."""

import numpy as np
import pytest

from cellulus.ops.diameter import estimate_diameter


def field(shape, spacing, diameter, pitch, *, seed=0, squeeze=1.0):
    """Bright ellipsoids on a jittered lattice, over noise; all lengths physical."""
    rng = np.random.default_rng(seed)
    grid = np.stack(
        np.meshgrid(
            *[(np.arange(n) + 0.5) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij"
        )
    )
    image = rng.normal(0, 0.05, shape)
    extent = np.multiply(shape, spacing)
    starts = [np.arange(pitch / 2, n, pitch) for n in extent]
    for centre in np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, len(shape)):
        moved = centre + rng.uniform(-0.1, 0.1, len(shape)) * pitch
        away = grid - moved.reshape(-1, *[1] * len(shape))
        away[-1] *= squeeze
        image += (away**2).sum(axis=0) < (diameter / 2) ** 2
    return image


@pytest.mark.parametrize("diameter", [10, 16, 30])
def test_discs_are_as_wide_as_they_are(diameter):
    image = field((256, 256), (1.0, 1.0), diameter, 2 * diameter)
    assert estimate_diameter(image, (1.0, 1.0)) == pytest.approx(diameter, rel=0.3)


def test_wider_discs_are_wider_in_proportion():
    small, large = (
        estimate_diameter(field((320, 320), (1.0, 1.0), d, 40), (1.0, 1.0)) for d in (12, 24)
    )
    assert large / small == pytest.approx(2, rel=0.15)


def test_balls_in_a_volume_whose_planes_lie_apart():
    apart = field((16, 96, 96), (3.0, 1.0, 1.0), 16, 30)
    cubic = field((48, 96, 96), (1.0, 1.0, 1.0), 16, 30)
    found = estimate_diameter(apart, (3.0, 1.0, 1.0)), estimate_diameter(cubic, (1.0, 1.0, 1.0))
    assert found[1] == pytest.approx(16, rel=0.3)
    assert found[0] == pytest.approx(found[1], rel=0.3)


def test_lengths_are_in_the_unit_of_the_spacing():
    image = field((200, 200), (1.0, 1.0), 14, 30)
    one, half = estimate_diameter(image, (1.0, 1.0)), estimate_diameter(image, (0.5, 0.5))
    assert half == pytest.approx(one / 2, rel=1e-6)


def test_gain_and_offset_do_not_matter():
    image = field((200, 200), (1.0, 1.0), 14, 30)
    brighter = (1000 + 5000 * image).astype(np.uint16)
    found = estimate_diameter(brighter, (1.0, 1.0))
    assert found == pytest.approx(estimate_diameter(image, (1.0, 1.0)), rel=0.05)


def test_touching_objects_are_told_apart():
    image = field((240, 240), (1.0, 1.0), 20, 20)
    assert estimate_diameter(image, (1.0, 1.0)) == pytest.approx(20, rel=0.35)


@pytest.mark.parametrize("shape", [(40, 40), (1, 1), (1, 40), (5, 6, 7), (1, 8, 8)])
def test_nothing_stands_out_of_a_constant(shape):
    assert estimate_diameter(np.full(shape, 7, np.uint8), (1.0,) * len(shape)) == 0.0


def test_a_lone_hot_pixel_is_no_object():
    image = np.zeros((60, 60))
    image[30, 30] = 1000
    assert estimate_diameter(image, (1.0, 1.0)) <= 4
