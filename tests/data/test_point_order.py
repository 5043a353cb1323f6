"""Whether points with exchanged axes are told from right ones, and right ones left alone."""

from itertools import permutations

import numpy as np
import pytest
from scipy import ndimage

from cellulus.data.points import Points, misordered


def scene(shape, seed=0, *, sign=1, count=400, radius=4, noise=0.3):
    """Balls in a blob of tissue, brighter or darker than what is between them."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    middle, extent = (np.array(shape) - 1) / 2, np.array(shape) / 2
    tissue = (((grid - middle) / extent) ** 2).sum(axis=-1) < 1
    kept = np.zeros((0, len(shape)))
    for place in rng.random((count, len(shape))) * (np.array(shape) - 1):
        clear = ((kept - place) ** 2).sum(axis=1) > (2 * radius) ** 2
        if tissue[tuple(np.rint(place).astype(int))] and clear.all():
            kept = np.vstack([kept, place])
    image = 2.0 * tissue
    for place in kept:
        image[((grid - place) ** 2).sum(axis=-1) < radius**2] += sign
    return kept, ndimage.gaussian_filter(image, 1) + noise * rng.normal(size=shape)


@pytest.mark.parametrize("shape", [(90, 110), (110, 90), (100, 100), (1, 90, 110), (44, 44, 44)])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("seed", range(3))
def test_exchanged_axes_are_seen_and_right_ones_left_alone(shape, sign, seed):
    places, image = scene(shape, seed, sign=sign)
    assert len(places) > 30
    assert misordered(Points.of(places), image) is None
    names = "zyx"[-len(shape) :]
    for columns in permutations(range(len(shape))):
        given = places[:, columns]
        if columns == tuple(range(len(shape))) or (given > np.array(image.shape) - 1).any():
            continue
        said = misordered(Points.of(given), image)
        assert said == "".join(names[c] for c in columns)


def test_a_plane_is_judged_as_an_image():
    places, image = scene((90, 90))
    flat = Points.of(places[:, ::-1])
    deep = Points.of(np.insert(places[:, ::-1], 0, 0, axis=1))
    assert misordered(flat, image) == "xy"
    assert misordered(deep, image[None]) == "zxy"


@pytest.mark.parametrize("seed", range(20))
def test_where_nothing_is_to_be_seen_nothing_is_said(seed):
    rng = np.random.default_rng(seed)
    shape = (64, 64) if seed % 2 else (30, 30, 30)
    places = rng.random((rng.integers(8, 200), len(shape))) * (shape[0] - 1)
    assert misordered(Points.of(places), rng.normal(size=shape)) is None
    assert misordered(Points.of(places), np.zeros(shape, np.uint8)) is None


def test_points_that_are_seen_are_believed_though_another_order_fits_as_well():
    places, image = scene((90, 90))
    assert misordered(Points.of(places), image + image.T) is None
    assert misordered(Points.of(places[:, ::-1]), image + image.T) is None
    assert misordered(Points.of(places), image + 4 * image.T) == "xy"


def test_jitter_and_missing_points_are_forgiven():
    seen = 0
    for seed in range(10):
        places, image = scene((120, 120), seed)
        rng = np.random.default_rng(seed)
        some = places[rng.random(len(places)) < 0.6]
        some = np.clip(some + rng.normal(0, 1.2, some.shape), 0, 119)
        assert misordered(Points.of(some), image) is None
        seen += misordered(Points.of(some[:, ::-1]), image) == "xy"
    assert seen >= 8


def test_an_order_that_most_points_have_no_room_in_is_none():
    rng = np.random.default_rng(0)
    places = rng.random((40, 2)) * (19, 399)
    image = np.zeros((20, 400))
    image[tuple(np.rint(places[:, ::-1][places[:, 1] < 19]).astype(int).T)] = 1
    for count in (8, 40):
        assert misordered(Points.of(places[:count]), image) is None


def test_a_few_points_are_no_evidence():
    places, image = scene((90, 90))
    for count in (0, 1, 2, 7):
        assert misordered(Points.of(places[:count, ::-1]), image) is None
