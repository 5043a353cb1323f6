"""Rough foreground of drawn cells: dim beside bright, planes and volumes, whole and in blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cellulus.errors import InputError
from cellulus.ops import background
from cellulus.ops.background import graph_cut, limits_of, otsu, reach, survey
from cellulus.ops.thresholds import otsu as exact
from cellulus.space import blocks

WIDTH = {2: 20.0, 3: 12.0}


def drawn(rng, shape, width, *, levels=(0.25, 1.0), noise=0.02, glow=0.0):
    """An image of balls, and where they are."""
    where = np.indices(shape)
    image, truth = np.full(shape, 0.02), np.zeros(shape, bool)
    pitch = 1.7 * width
    places = [np.arange(pitch / 2, n - width / 4, pitch) for n in shape]
    for cell in np.stack(np.meshgrid(*places, indexing="ij"), -1).reshape(-1, len(shape)):
        middle = cell + rng.uniform(-0.2, 0.2, len(shape)) * width
        distance = np.sqrt(((where.T - middle) ** 2).sum(-1)).T
        inside = distance < rng.uniform(0.4, 0.55) * width
        image[inside] = rng.uniform(*levels)
        truth |= inside
    image = ndimage.gaussian_filter(image, width / 20) + glow * where[-1] / shape[-1]
    return (image + rng.normal(0, noise, shape)).astype(np.float32), truth


def overlap(found, truth):
    return (found & truth).sum() / (found | truth).sum()


def tiled(image, width, core, halo, markers=None):
    """The foreground, block by block."""
    grid = blocks(image.shape, (core,) * image.ndim, (halo,) * image.ndim)

    def inner(block):
        return tuple(slice(c.start - o.start, c.stop - o.start)
                     for c, o in zip(block.core, block.outer, strict=True))  # fmt: skip

    counts = sum(survey(image[block.outer], width, inner(block)) for block in grid)
    limits = limits_of(counts)
    cut, plain = np.zeros(image.shape, bool), np.zeros(image.shape, bool)
    for block in grid:
        known = None if markers is None else markers[block.outer]
        cut[block.core] = graph_cut(image[block.outer], width, limits, known)[inner(block)]
        plain[block.core] = otsu(image[block.outer], width, limits)[inner(block)]
    return cut, plain


@pytest.mark.parametrize("shape", [(160, 180), (48, 44, 52)])
@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_dim_and_bright_cells_are_found(shape, noise):
    width = WIDTH[len(shape)]
    image, truth = drawn(np.random.default_rng(1), shape, width, noise=noise)
    assert overlap(graph_cut(image, width), truth) > 0.85
    assert overlap(otsu(image, width), truth) > 0.6


def test_it_is_better_than_one_threshold_where_light_is_uneven():
    image, truth = drawn(np.random.default_rng(2), (180, 240), 20.0, levels=(0.4, 0.5), glow=0.4)
    assert overlap(graph_cut(image, 20.0), truth) > overlap(otsu(image, 20.0), truth) + 0.2


def test_a_bright_speck_changes_little():
    """Otsu of intensities would put the limit between the speck and all else."""
    image, truth = drawn(np.random.default_rng(3), (160, 160), 20.0)
    image[3:6, 3:6] = 50.0
    assert overlap(graph_cut(image, 20.0), truth) > 0.85


@pytest.mark.parametrize(("shape", "core"), [((170, 150), 48), ((46, 40, 44), 20)])
@given(seed=st.integers(0, 10**6), noise=st.sampled_from([0.02, 0.15]))
@settings(max_examples=5, deadline=None)
def test_blocks_give_what_the_whole_gives(shape, core, seed, noise):
    width = WIDTH[len(shape)] / 2  # so that blocks do not see everything
    image, _ = drawn(np.random.default_rng(seed), shape, width, noise=noise)
    cut, plain = tiled(image, width, core, reach(width))
    assert np.array_equal(plain, otsu(image, width))
    # A minimum cut is not local. No voxel has been seen to differ yet.
    assert (cut != graph_cut(image, width)).mean() < 1e-3
    markers = np.random.default_rng(seed).random(shape) < width ** -len(shape)
    marked, _ = tiled(image, width, core, reach(width), markers)
    assert (marked != graph_cut(image, width, markers=markers)).mean() < 1e-3
    assert (marked != cut).any()


def test_what_is_around_is_enough_but_for_the_cut():
    width, differ = 10.0, 0
    for seed in range(6):
        image, _ = drawn(np.random.default_rng(seed), (170, 150), width, noise=0.1, glow=2.0)
        cut, _ = tiled(image, width, 16, reach(width))
        differ += (cut != graph_cut(image, width)).sum()
    assert differ == 0


def test_with_less_around_blocks_differ():
    width = 10.0
    image, _ = drawn(np.random.default_rng(4), (170, 150), width, noise=0.15)
    assert (tiled(image, width, 16, 2)[0] != graph_cut(image, width)).mean() > 1e-3


def test_an_outline_lies_between_the_middle_and_the_limit():
    squared = ((np.indices((100, 100)) - 50) ** 2).sum(axis=0)
    image = 0.02 + np.exp(-squared / (2 * 9.0**2))
    truth = np.zeros(image.shape, bool)
    for y, x in [(10, 10), (10, 90), (90, 10), (90, 90), (10, 50), (90, 50), (50, 10), (50, 90)]:
        truth |= np.hypot(*(np.indices(image.shape) - [[[y]], [[x]]])) < 8
    image[truth] = 0.25
    limit = limits_of(survey(image.astype(np.float32), 20.0)).bright
    found = graph_cut(image.astype(np.float32), 20.0)[30:70, 30:70].sum()
    root = np.sqrt(image + 0.02)[30:70, 30:70]
    middle = (0.2 + 0.98) / 2  # the summit is smoothed
    assert limit < middle
    assert (root > middle).sum() < found < (root > limit).sum()


def length(foreground):
    return sum(np.diff(foreground.astype(int), axis=axis).__abs__().sum() for axis in range(2))


def test_ties_make_outlines_short(monkeypatch):
    image, truth = drawn(np.random.default_rng(9), (160, 160), 20.0, noise=0.2)
    tied = graph_cut(image, 20.0)
    monkeypatch.setattr(background, "TENSION", 0.0)
    free = graph_cut(image, 20.0)
    assert length(tied) < 0.95 * length(free)
    assert overlap(tied, truth) > overlap(free, truth) - 0.01


@given(seed=st.integers(0, 10**6))
@settings(max_examples=5, deadline=None)
def test_no_axis_is_special(seed):
    image, _ = drawn(np.random.default_rng(seed), (90, 70), 20.0)
    found = graph_cut(image, 20.0)
    turned, mirrored = graph_cut(image.T.copy(), 20.0).T, graph_cut(image[::-1].copy(), 20.0)[::-1]
    # All but rounding.
    assert (turned != found).mean() < 1e-3
    assert (mirrored != found).mean() < 1e-3


@given(seed=st.integers(0, 10**6))
@settings(max_examples=5, deadline=None)
def test_a_plane_is_a_volume_of_one_plane(seed):
    image, _ = drawn(np.random.default_rng(seed), (90, 70), 20.0)
    assert (graph_cut(image[None], 20.0)[0] != graph_cut(image, 20.0)).mean() < 1e-3
    assert (otsu(image[None], 20.0)[0] != otsu(image, 20.0)).mean() < 1e-3


def test_markers_are_foreground_and_show_dim_cells():
    image, truth = drawn(np.random.default_rng(5), (120, 120), 20.0, levels=(0.9, 1.0))
    dim = np.hypot(*(np.indices(image.shape) - 60)) < 9
    image[~truth] = 0.02
    image[ndimage.binary_dilation(dim, iterations=12)] = 0.02
    image[dim] = 0.06
    markers = np.zeros(image.shape, bool)
    markers[60, 60], markers[0, 0] = True, True
    without, found = graph_cut(image, 20.0), graph_cut(image, 20.0, markers=markers)
    assert not without[dim].any()
    assert found[markers].all()
    assert overlap(found & ndimage.binary_dilation(dim, iterations=6), dim) > 0.7
    assert not (without & ~found).any()


def test_faint_cells_are_found_beside_bright_ones():
    image, truth = drawn(np.random.default_rng(8), (160, 160), 20.0, levels=(0.9, 1.0))
    faint = np.hypot(*(np.indices(image.shape) - 80)) < 9
    around = ndimage.binary_dilation(faint, iterations=14)
    image[around] = 0.02
    image[faint] = 0.15
    assert not otsu(image, 20.0)[faint].any()
    assert overlap(graph_cut(image, 20.0) & around, faint) > 0.8
    assert overlap(graph_cut(image, 20.0), (truth & ~around) | faint) > 0.8


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_limits_are_those_of_all_values(seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, 1024) * (rng.random(1024) < 0.1)
    values = np.repeat(np.arange(1, 1025) / 1024, counts)
    bright, faint = limits_of(counts)
    assert bright == exact(values)
    lower = np.sort(values[values <= bright])
    median = lower[(len(lower) - 1) // 2]
    spread = np.sort(np.abs(lower - median))[(len(lower) - 1) // 2]
    assert faint == pytest.approx(min(bright, median + 8 * 1.4826 * spread))


@pytest.mark.parametrize("shape", [(200, 200), (50, 50, 50)])
def test_there_is_little_in_noise(shape):
    image = np.random.default_rng(6).normal(0.45, 0.19, shape).astype(np.float32)
    assert graph_cut(image, WIDTH[len(shape)]).mean() < 0.1


def test_there_is_nothing_where_all_is_equal():
    image = np.full((40, 30), 0.5, np.float32)
    assert not graph_cut(image, 20.0).any()
    assert not otsu(image, 20.0).any()


def test_counts_are_of_voxels():
    image, _ = drawn(np.random.default_rng(7), (60, 50), 20.0)
    assert survey(image, 20.0).sum() == image.size
    assert survey(image, 20.0, (slice(3, 10), slice(5, 9))).sum() == 7 * 4


def test_what_cannot_be_worked_with_is_refused():
    image = np.zeros((20, 20), np.float32)
    with pytest.raises(InputError, match="above 0"):
        graph_cut(image, 0.0)
    with pytest.raises(InputError, match="shape"):
        graph_cut(image, 20.0, markers=np.zeros((3, 3), bool))
    image[2, 2] = np.nan
    for do in (graph_cut, otsu, survey):
        with pytest.raises(InputError, match="NaN"):
            do(image, 20.0)
