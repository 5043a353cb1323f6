"""Points and a foreground: counts and distances against ones that are worked out voxel by voxel."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from cellulus.errors import InputError
from cellulus.ops.marker_fit import LARGE, NEAR, measure_fit, merge
from cellulus.space import ball_volume


def scene(shape, seed, count=9):
    """A foreground of blobs, unknown in a corner, and points that go with it more or less."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    foreground = (smooth > np.quantile(smooth, 0.7)).astype(np.int32)
    foreground[tuple(slice(0, n // 3) for n in shape)] = -1
    return rng.random((count, len(shape))) * shape, foreground


def brute(positions, foreground, diameter, is_cut):
    """Every quantity by its definition."""
    everywhere = np.ones((3,) * foreground.ndim)
    pieces, count = ndimage.label(foreground > 0, everywhere)
    voxels = [tuple(int(c) for c in p) for p in positions]
    marked = {int(pieces[v]) for v in voxels}
    large = {
        k for k in range(1, count + 1)
        if (pieces == k).sum() > LARGE * ball_volume(diameter, foreground.ndim)
    }  # fmt: skip
    ends = [
        k for k in range(1, count + 1)
        if any(((c == 0) | (c == n - 1)).any()
               for c, n in zip(np.nonzero(pieces == k), foreground.shape, strict=True))
    ]  # fmt: skip
    lonely = large - marked - (set(ends) if is_cut else set())
    doubled = sum(
        any(np.linalg.norm(p - q) < NEAR * diameter for j, q in enumerate(positions) if j != i)
        for i, p in enumerate(positions)
    )
    around = {}
    for place in itertools.product(*map(range, foreground.shape)):
        middle = np.array(place) + 0.5
        distances = np.linalg.norm(positions - middle, axis=1)
        first = int(np.argmin(distances))
        own = pieces[place] > 0 and pieces[place] == pieces[voxels[first]]
        if own and distances[first] < diameter:
            around.setdefault(first, []).append(middle)
    away = [(np.mean(around[k], axis=0) - positions[k]) / diameter for k in sorted(around)]
    return {
        "markers": len(positions),
        "in_background": sum(foreground[v] == 0 for v in voxels),
        "doubled": doubled,
        "pieces": len(large),
        "unmarked": len(lonely),
        "known": (foreground >= 0).sum(),
        "foreground": (foreground > 0).sum(),
        "missed": sum((pieces == k).sum() for k in lonely),
    }, np.array(away).reshape(-1, foreground.ndim)


@pytest.mark.parametrize("shape", [(30, 34), (1, 30, 34), (12, 14, 13)])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("is_cut", [False, True])
def test_against_voxels_one_by_one(shape, seed, is_cut):
    positions, foreground = scene(shape, seed)
    found = measure_fit(positions, foreground, 7.0, is_cut=is_cut)
    counts, away = brute(positions, foreground, 7.0, is_cut)
    assert {name: getattr(found, name) for name in counts} == counts
    assert np.allclose(found.away, away)
    assert found.covered == pytest.approx(counts["foreground"] / counts["known"])
    assert found.off_centre == pytest.approx(np.median(np.linalg.norm(away, axis=1)))


@pytest.mark.parametrize("ndim", [2, 3])
def test_points_in_the_middle_are_not_off_and_shifted_ones_are_off_by_their_shift(ndim):
    grid = np.stack(np.indices((40,) * ndim), -1) + 0.5
    middles = np.array(list(itertools.product((10.0, 30.0), repeat=ndim)))
    foreground = sum(((grid - m) ** 2).sum(-1) < 25 for m in middles).astype(np.int32)
    right = measure_fit(middles, foreground, 10.0)
    assert (right.in_background, right.doubled, right.unmarked, right.missed) == (0, 0, 0, 0)
    assert right.pieces == right.markers == 2**ndim
    assert right.off_centre == pytest.approx(0, abs=1e-12)
    shift = np.linspace(0.2, 0.1, ndim)
    off = measure_fit(middles + 10 * shift, foreground, 10.0)
    assert off.off_centre == pytest.approx(np.linalg.norm(shift))
    assert off.shift == pytest.approx(tuple(shift))


def test_a_plane_counts_as_an_image():
    positions, foreground = scene((30, 34), 5)
    flat = measure_fit(positions, foreground, 7.0)
    deep = measure_fit(np.insert(positions, 0, 0.5, axis=1), foreground[None], 7.0)
    for name in ("markers", "in_background", "doubled", "known", "foreground"):
        assert getattr(flat, name) == getattr(deep, name)
    assert np.allclose(deep.away[:, 1:], flat.away)
    assert np.allclose(deep.away[:, 0], 0)


def test_several_images_count_as_one():
    parts = [measure_fit(*scene((30, 34), seed, seed), 7.0) for seed in range(4)]
    both = merge(parts)
    assert both.markers == 6
    assert both.missed == sum(part.missed for part in parts)
    assert len(both.away) == sum(len(part.away) for part in parts)


@pytest.mark.parametrize("value", [-1, 0, 1])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_nothing_everything_and_what_nobody_knows(value, count):
    foreground = np.full((20, 20), value, np.int32)
    found = measure_fit(np.full((count, 2), 9.5), foreground, 8.0)
    assert found.markers == count
    assert found.in_background == (count if value == 0 else 0)
    assert found.doubled == (2 if count == 2 else 0)
    assert found.unmarked == (1 if value == 1 and count == 0 else 0)
    assert found.covered == (1.0 if value == 1 else 0.0)
    assert np.isfinite([found.off_centre, *found.shift]).all()


def test_points_on_the_last_face_lie_in_the_last_voxel():
    foreground = np.zeros((6, 8), np.int32)
    foreground[-1, -1] = 1
    assert measure_fit(np.array([[6.0, 8.0]]), foreground, 4.0).in_background == 0


def test_a_diameter_of_nothing_and_points_of_another_dimension_are_refused():
    foreground = np.ones((6, 8), np.int32)
    with pytest.raises(InputError, match="diameter above 0"):
        measure_fit(np.zeros((1, 2)), foreground, 0.0)
    with pytest.raises(InputError, match="2 axes"):
        measure_fit(np.zeros((1, 3)), foreground, 4.0)
