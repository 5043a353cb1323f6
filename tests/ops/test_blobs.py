"""Blobs against a slow search, on drawn balls, in noise, and cut into blocks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cellulus.errors import InputError
from cellulus.ops.blobs import APART, WIDTHS, candidates, choose, find_blobs, reach
from cellulus.ops.resample import reflect
from cellulus.space import blocks


def draw(shape, centres, width, heights=1.0):
    """Balls of a width, soft at the edge."""
    grid = np.indices(shape, dtype=np.float64)
    image = np.zeros(shape)
    for centre, height in zip(centres, np.broadcast_to(heights, len(centres)), strict=True):
        away = [g - c for g, c in zip(grid, centre, strict=True)]
        distance = np.sqrt(sum(a**2 for a in away))
        image = np.maximum(image, height * np.clip(width / 2 - distance + 0.5, 0, 1))
    return image.astype(np.float32)


def noise_of(shape, sigma=0.0, seed=0):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return (noise / noise.std()).astype(np.float32)


def apart(strengths, positions, widths):
    """Take the strongest, leave what is close to it, and so on."""
    order = sorted(range(len(strengths)), key=lambda i: (-strengths[i], *positions[i], widths[i]))
    taken = []
    for i in order:
        limits = [APART * (widths[i] + widths[j]) / 2 for j in taken]
        if all(math.dist(positions[i], positions[j]) >= limit
               for j, limit in zip(taken, limits, strict=True)):  # fmt: skip
            taken.append(i)
    return taken


def slowly(image, object_voxels):
    """Bright local maxima voxel by voxel, and the greedy choice among them."""
    sigmas = [width * object_voxels / (2 * math.sqrt(image.ndim)) for width in WIDTHS]
    answers = [
        -s * s * ndimage.laplace(ndimage.gaussian_filter(image.astype(float), s, mode="mirror"),
                                 mode="mirror")
        for s in sigmas
    ]  # fmt: skip
    most, best = np.max(answers, 0), np.argmax(answers, 0)
    edged = np.pad(most, 1, mode="reflect")
    voxels = [
        place
        for place in np.ndindex(image.shape)
        if most[place] > 1e-3 and most[place] == edged[tuple(slice(p, p + 3) for p in place)].max()
    ]
    kept = apart(
        [most[v] for v in voxels], voxels, [WIDTHS[best[v]] * object_voxels for v in voxels]
    )
    return {voxels[i] for i in kept}


def found_in_blocks(image, object_voxels, core, order):
    margin = (reach(object_voxels, image.ndim),) * image.ndim
    parts = []
    for block in blocks(image.shape, core, margin, clip=False):
        index = [reflect(np.arange(part.start, part.stop), n)
                 for part, n in zip(block.outer, image.shape, strict=True)]  # fmt: skip
        origin = [part.start for part in block.core]
        parts.append(candidates(image[np.ix_(*index)], block.inner, origin, object_voxels))
    return choose([parts[i] for i in order.permutation(len(parts))])


def same_places(found, centres, near=1.1):
    """Whether there is one point for each centre. (Those that touch come closer.)"""
    away = np.linalg.norm(found.positions[:, None] - np.array(centres)[None], axis=2) < near
    return len(found) == len(centres) and (away.sum(0) == 1).all() and (away.sum(1) == 1).all()


def same(some, other):
    return (
        np.array_equal(some.positions, other.positions)
        and np.array_equal(some.strengths, other.strengths)
        and np.array_equal(some.widths, other.widths)
    )


@pytest.mark.parametrize("shape", [(70, 61), (30, 26, 33)])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=6, deadline=None)
def test_they_are_what_a_slow_search_finds(shape, seed):
    image = noise_of(shape, 2.0, seed)
    found = find_blobs(image, 7.0, least_strength=2e-3)
    voxels = {tuple(round(x) for x in position) for position in found.positions}
    # A top half-way between two voxels rounds to either; two blobs as far apart as may be too.
    assert len(voxels ^ slowly(image, 7.0)) <= 0.03 * len(voxels)
    assert len(voxels) > 20


@pytest.mark.parametrize(
    ("centres", "shape", "width"),
    [
        ([(30.0, 30.0), (30.4, 51.7), (70.25, 40.0), (0.0, 70.0)], (90, 80), 20.0),
        ([(12.0, 12.0, 12.0), (12.3, 24.6, 12.0), (25.0, 12.0, 20.7)], (36, 40, 34), 12.0),
    ],
)
def test_a_ball_has_one_point_in_its_middle(centres, shape, width):
    found = find_blobs(draw(shape, centres, width), width)
    assert same_places(found, centres)


@pytest.mark.parametrize(("shape", "answer"), [((61, 61), 2 / math.e), ((41, 41, 41), 0.925)])
def test_a_lone_ball_answers_as_the_theory_says(shape, answer):
    middle = tuple(n // 2 for n in shape)
    found = find_blobs(draw(shape, [middle], 12.0, 3.0), 12.0)
    assert found.positions == pytest.approx(np.array([middle]), abs=1e-3)
    assert found.strengths == pytest.approx([3 * answer], rel=0.05)
    assert found.widths == pytest.approx([12.0])


def test_smaller_and_larger_balls_have_a_width_of_their_own():
    shape, centres = (60, 140), [(30, 30), (30, 100)]
    image = draw(shape, centres[:1], 17.0) + draw(shape, centres[1:], 25.0)
    found = find_blobs(image, 20.0)
    assert same_places(found, centres, 0.1)
    assert np.allclose(found.widths, [17.0, 24.0])


def test_dim_and_bright_objects_of_one_image_are_found():
    centres = [(30, 30), (30, 80), (80, 30), (80, 80)]
    image = draw((110, 110), centres, 20.0, [1.0, 0.3, 0.5, 1.0]) + 0.02 * noise_of((110, 110))
    assert same_places(find_blobs(image, 20.0), centres)


def test_a_few_that_are_far_brighter_hide_no_others():
    centres = [(y, x) for y in range(25, 200, 50) for x in range(25, 200, 50)]
    heights = np.where(np.arange(len(centres)) % 5 == 3, 2.5, 0.5)
    image = draw((200, 200), centres, 20.0, heights) + 0.02 * noise_of((200, 200))
    assert same_places(find_blobs(image, 20.0), centres)


def test_dark_objects_are_none():
    image = draw((80, 80), [(20, 20), (60, 40)], 20.0)
    assert len(find_blobs(image, 20.0)) == 2
    assert not len(find_blobs(-image, 20.0, least_strength=0.3))


@pytest.mark.parametrize(("shape", "cuts"), [
    ((90, 71), [(90, 71), (30, 71), (17, 23), (64, 64)]),
    ((26, 35, 30), [(13, 35, 30), (9, 11, 16)]),
    ((1, 40, 37), [(1, 20, 9)]),
])  # fmt: skip
def test_no_cut_changes_them(shape, cuts):
    rng = np.random.default_rng(1)
    image = draw(shape, rng.uniform(0, shape, (12, len(shape))), 8.0, rng.uniform(0.2, 1, 12))
    image += 0.1 * noise_of(shape, 1.0)
    whole = find_blobs(image, 8.0)
    assert len(whole) > 3
    for core in cuts:
        assert same(found_in_blocks(image, 8.0, core, rng), whole)


def test_of_equal_candidates_the_first_stays_in_any_cut():
    image = np.tile(draw((24, 24), [(12, 8), (12, 12)], 8.0), (3, 3))
    whole = find_blobs(image, 8.0)
    assert len(whole) == 9
    for core in [(24, 24), (10, 36)]:
        assert same(found_in_blocks(image, 8.0, core, np.random.default_rng(2)), whole)


@pytest.mark.parametrize("shape", [(300, 300), (60, 60, 60)])
@pytest.mark.parametrize("sigma", [0.0, 1.5])
def test_noise_has_none_but_for_the_objects_in_it(shape, sigma):
    width = {2: 20.0, 3: 12.0}[len(shape)]
    noise = noise_of(shape, sigma)
    assert not len(find_blobs(noise, width))
    centres = [tuple(n // k for n in shape) for k in (2, 5)]
    image = draw(shape, centres, width, 10.0) + noise
    assert same_places(find_blobs(image, width), centres)


def test_how_bright_an_image_is_changes_nothing():
    image = draw((80, 80), [(20, 20), (60, 40)], 20.0, [1.0, 0.5]) + 0.02 * noise_of((80, 80))
    found, brighter = find_blobs(image, 20.0), find_blobs(64 * image, 20.0)
    assert np.array_equal(found.positions, brighter.positions)
    assert np.array_equal(64 * found.strengths, brighter.strengths)
    assert np.allclose(find_blobs(image + 5, 20.0).positions, found.positions, atol=1e-2)


def test_axes_may_be_exchanged():
    image = noise_of((40, 33, 36), 2.0)
    found = find_blobs(image, 8.0, 0.2)
    turned = find_blobs(np.ascontiguousarray(image.transpose(2, 0, 1)), 8.0, 0.2)
    positions = turned.positions[:, [1, 2, 0]]
    assert len(found) > 10
    assert np.allclose(found.positions, positions[np.lexsort(positions.T[::-1])], atol=1e-3)


def test_a_least_strength_is_what_decides():
    image = draw((60, 120), [(30, 30), (30, 90)], 20.0, [1.0, 0.5])
    assert len(find_blobs(image, 20.0, 0.3)) == 2
    assert len(find_blobs(image, 20.0, 0.5)) == 1
    assert len(find_blobs(image, 20.0, 0.8)) == 0


@pytest.mark.parametrize("shape", [(50, 60), (9, 3), (1, 1), (5, 20, 20), (1, 1, 1)])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e4])
def test_where_nothing_stands_out_there_is_none(shape, value):
    found = find_blobs(np.full(shape, value, np.float32), 12.0)
    assert found.positions.shape == (0, len(shape))
    assert found.strengths.shape == found.widths.shape == (0,)


def test_values_that_are_not_finite_are_refused():
    image = draw((40, 40), [(20, 20)], 12.0)
    image[3, 4] = np.nan
    with pytest.raises(InputError, match="finite"):
        find_blobs(image, 12.0)
