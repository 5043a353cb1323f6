"""From points to cells: loops over voxels and points as oracle, any cut into blocks."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cellulus.errors import InputError
from cellulus.methods.decoder import Observation
from cellulus.methods.point_marker.decoding import LENIENCE, PointDecoder
from cellulus.methods.point_marker.settings import PointMarker
from cellulus.space import blocks
from drawn_masks import draw

WIDTH = 7.0
"""Diameter of the cells [canonical voxel]."""


def said(shape, spacing=None, *, seed=0, noise=1.0):
    """What a network could say of drawn ellipsoids, and a point in each and some elsewhere.

    Some points share a voxel, some lie in the background; coordinates are not whole.
    """
    drawn = draw(shape, spacing, diameter=WIDTH, seed=seed, noise=noise, tries=200)
    ndim, rng = len(shape), np.random.default_rng(seed)
    middles = ndimage.center_of_mass(drawn.truth, drawn.truth, range(1, drawn.truth.max() + 1))
    points = np.array(middles) + rng.uniform(-1, 1, (len(middles), ndim))
    stray = rng.uniform(-0.5, np.array(shape) - 0.5, (4, ndim))
    twins = np.rint(points[:3]) + rng.uniform(-0.4, 0.4, (3, ndim))
    points = np.clip(np.vstack([points, stray, twins]), -0.5, np.array(shape) - 0.51)
    prediction = drawn.prediction[[*range(ndim), -1]]
    return Observation(prediction, prediction[:1], drawn.spacing, (0,) * ndim, points)


def part_of(seen, region):
    """A region of an observation; points are of the whole."""
    part, origin = (slice(None), *region), tuple(s.start for s in region)
    return replace(seen, prediction=seen.prediction[part], image=seen.image[part], origin=origin)


def decoder(seen, **changes):
    return PointDecoder(PointMarker(**changes), len(seen.spacing), WIDTH)


def named(objects, region=...):
    """The anchor that each voxel belongs to."""
    nowhere = np.full((1, objects.anchors.shape[1]), -1000)
    return np.vstack([nowhere, objects.anchors])[objects.labels[region]]


def decode(seen, **changes):
    """The anchor that each voxel belongs to, of objects as the contract has them."""
    found = decoder(seen, **changes)(seen)
    assert found.labels.shape == seen.prediction.shape[1:]
    assert found.labels.dtype == np.uint32
    assert found.anchors.dtype == np.int64
    assert found.anchors.shape == (len(found.anchors), len(seen.spacing))
    assert np.array_equal(np.unique(found.anchors, axis=0), found.anchors)
    assert found.labels.max(initial=0) <= len(found.anchors)
    return named(found)


def owner_of(voxel, seen, centres, method):
    """The nearest of the points, from 1, to which a voxel may belong; 0 if there is none."""
    offset = seen.prediction[(slice(-1), *voxel)].astype(np.float64)
    if not seen.prediction[(-1, *voxel)] > np.float32(method.presence):
        return 0
    position = (np.array(voxel) + seen.origin + 0.5) * seen.spacing
    best, nearest = 0, 1.0
    for number, centre in enumerate(centres, start=1):
        away = position + offset - centre
        squared = (away**2).sum() / (LENIENCE * method.margin * WIDTH) ** 2
        if (np.abs(position - centre) <= method.patch / 2 * WIDTH).all() and squared < nearest:
            best, nearest = number, squared
    return best


def slowly(seen, **changes):
    """Every voxel by itself, then every piece of every cell."""
    method, first = PointMarker(**changes), {}
    for point in seen.points:
        first.setdefault(tuple(int(n) for n in np.rint(point)), point)
    anchors = sorted(first)
    centres = [(first[anchor] + 0.5) * seen.spacing for anchor in anchors]
    shape, ndim = seen.prediction.shape[1:], len(seen.spacing)
    found = np.full((*shape, ndim), -1000)
    labels = np.zeros(shape, int)
    for voxel in np.ndindex(*shape):
        labels[voxel] = owner_of(voxel, seen, centres, method)
    for number, (anchor, centre) in enumerate(zip(anchors, centres, strict=True), start=1):
        pieces, count = ndimage.label(labels == number, np.ones((3,) * ndim))
        away = []
        for piece in range(1, count + 1):
            voxels = np.argwhere(pieces == piece)
            gaps = (voxels + seen.origin + 0.5) * seen.spacing - centre
            away.append((gaps**2).sum(axis=1).min())
        if away:  # scipy numbers pieces by their first voxels
            found[pieces == np.argmin(away) + 1] = anchor
    return found


SCENES = [
    ((40, 44), (1.0, 1.0)),
    ((30, 50), (1.6, 0.7)),
    ((14, 16, 15), (1.0, 1.0, 1.0)),
    ((8, 20, 18), (2.5, 0.8, 0.9)),
]


@pytest.mark.parametrize(("shape", "spacing"), SCENES)
@pytest.mark.parametrize("noise", [1.0, 3.0])
def test_it_is_what_loops_say(shape, spacing, noise):
    seen = said(shape, spacing, seed=1, noise=noise)
    found = decode(seen)
    assert np.array_equal(found, slowly(seen))
    assert len(np.unique(found.reshape(-1, len(shape)), axis=0)) > 6


@pytest.mark.parametrize("changes", [{"patch": 1.0}, {"margin": 0.2}, {"presence": 0.8}])
def test_its_settings_mean_what_they_say(changes):
    seen = said((30, 34), seed=3, noise=2.0)
    assert np.array_equal(decode(seen, **changes), slowly(seen, **changes))
    assert not np.array_equal(decode(seen, **changes), decode(seen))


def test_a_region_says_what_loops_say_of_it():
    """Its points are named in the whole image, and some lie outside."""
    seen = part_of(said((60, 60), seed=2), (slice(13, 41), slice(20, 55)))
    assert np.array_equal(decode(seen), slowly(seen))


def check_cut(seen, core, **changes):
    """Every block, decoded alone, says of its voxels what the whole says; returns that."""
    whole, made = decode(seen, **changes), decoder(seen, **changes)
    shape = seen.prediction.shape[1:]
    halo = tuple(math.ceil(made.halo / s) + 1 for s in seen.spacing)
    for block in blocks(shape, core, halo):
        found = made(part_of(seen, block.outer))
        assert np.array_equal(named(found, block.inner), whole[block.core])
    return whole


CUT = {2: (60, 70), 3: (14, 36, 30)}


@given(
    seed=st.integers(0, 30),
    ndim=st.sampled_from([2, 3]),
    zooms=st.tuples(*[st.sampled_from([0.7, 1.0, 1.5])] * 3),
    cores=st.tuples(*[st.integers(5, 40)] * 3),
    noise=st.sampled_from([0.7, 3.0]),
    patch=st.sampled_from([1.0, 2.5]),
)
@settings(max_examples=20)
def test_blocks_give_what_the_whole_gives(seed, ndim, zooms, cores, noise, patch):
    """Any cutting; regions without a prediction; points on faces, edges and corners of blocks."""
    seen = said(CUT[ndim], zooms[:ndim], seed=seed, noise=noise)
    rng = np.random.default_rng(seed)
    for _ in range(2):
        corner = rng.integers(0, CUT[ndim])
        hole = tuple(slice(c, c + int(rng.integers(3, 12))) for c in corner)
        seen.prediction[(slice(None), *hole)] = np.nan
    found = check_cut(seen, cores[:ndim], patch=patch)
    assert len(np.unique(found.reshape(-1, ndim), axis=0)) > 5


@given(
    seed=st.integers(0, 1000),
    spacing=st.sampled_from([(1.0, 1.0), (0.7, 0.7), (0.9, 1.3)]),
    core=st.tuples(*[st.integers(3, 30)] * 2),
)
@settings(max_examples=20)
def test_crumbs_that_are_equally_near_are_chosen_alike_in_all_blocks(seed, spacing, core):
    """Each cell is scattered, and its point lies in the middle of a voxel or between two."""
    rng, shape = np.random.default_rng(seed), (40, 46)
    prediction = np.zeros((3, *shape), np.float32)
    prediction[-1] = rng.random(shape) < 0.25
    points = rng.integers(0, 80, (30, 2)) / 2
    check_cut(Observation(prediction, prediction[:1], spacing, (0, 0), points), core, margin=1.0)


@pytest.mark.parametrize("core", [(50, 33), (17, 38), (50, 40), (50, 100)])
def test_of_two_pieces_that_with_the_point_stays_in_blocks_that_hold_the_other_alone(core):
    """The other is larger, and both lie in the patch, as far apart as can be."""
    prediction = np.zeros((3, 50, 70), np.float32)
    y, x = np.arange(50), np.arange(70)
    pieces = (slice(24, 26), slice(23, 25)), (slice(20, 30), slice(35, 39))
    for piece in pieces:
        prediction[0, *piece] = 25 - y[piece[0], None]
        prediction[1, *piece] = 31 - x[piece[1]]
        prediction[-1, *piece] = 1
    points = np.array([[25.0, 31.0]])
    seen = Observation(prediction, prediction[:1], (1.0, 1.0), (0, 0), points)
    kept = np.zeros((50, 70), bool)
    kept[pieces[1]] = True
    assert np.array_equal(check_cut(seen, core)[..., 0] >= 0, kept)
    seen.points[0, 1] = 26.0  # nearer to the small one now
    prediction[1][prediction[-1] > 0] -= 5
    assert np.array_equal(check_cut(seen, core)[..., 0] >= 0, (prediction[-1] > 0) & ~kept)


@pytest.mark.parametrize(
    "spacing", [(1.0, 1.0), (0.5, 2.0), (1.0, 1.0, 1.0), (2.5, 0.7, 0.7)]
)  # fmt: skip
def test_voxels_that_point_nowhere_are_balls_of_the_margin_around_points(spacing):
    """In canonical voxels, however the image is sampled; halfway between two, neither wins."""
    shape = tuple(round(30 / s) for s in spacing)
    prediction = np.zeros((len(shape) + 1, *shape), np.float32)
    prediction[-1] = 1
    points = np.array(
        [[10 / s for s in spacing], [*[10 / s for s in spacing[:-1]], 14 / spacing[-1]]]
    )
    seen = Observation(prediction, prediction[:1], spacing, (0,) * len(shape), points)
    away = []
    for point in points:
        gaps = (np.indices(shape).T - point) * spacing
        away.append(np.sqrt((gaps**2).sum(axis=-1)).T)
    found = decode(seen)[..., -1]
    for here, there, point in zip(away, away[::-1], points, strict=True):
        mine = (here < LENIENCE * 0.4 * WIDTH - 1e-9) & (here < there - 1e-9)
        assert mine.sum() > 5
        assert (found[mine] == np.rint(point[-1])).all()
    assert (found[np.minimum(*away) > LENIENCE * 0.4 * WIDTH + 1e-9] < 0).all()


def test_whoever_points_at_a_point_from_beyond_its_patch_is_not_its():
    prediction = np.zeros((3, 9, 40), np.float32)
    prediction[1], prediction[-1] = 20 - np.arange(40), 1
    seen = Observation(prediction, prediction[:1], (1.0, 1.0), (0, 0), np.array([[4.0, 20.0]]))
    rows, columns = np.nonzero(decode(seen, margin=1.0)[..., 0] >= 0)
    assert (columns.min(), columns.max()) == (12, 28)  # 1.25 diameters are 8.75 voxels
    assert (rows.min(), rows.max()) == (0, 8)
    beyond = part_of(seen, (slice(0, 9), slice(28, 40)))  # of which one column is its
    assert np.array_equal(decode(beyond, margin=1.0), decode(seen, margin=1.0)[:, 28:])


def test_a_cell_is_there_only_where_it_is_said():
    prediction = np.zeros((3, 5, 5), np.float32)
    prediction[-1, 2, 1:4] = [0.5, 0.51, np.nan]
    seen = Observation(prediction, prediction[:1], (1.0, 1.0), (0, 0), np.array([[2.0, 2.0]]))
    assert np.argwhere(decode(seen)[..., 0] >= 0).tolist() == [[2, 2]]


def test_of_points_in_one_voxel_the_first_counts():
    seen = said((30, 30), seed=4)
    seen.prediction[:2] = 0
    own = np.rint(seen.points[:1])
    points = np.concatenate([own - 0.4, seen.points[1:]])
    expected = decode(replace(seen, points=points))
    last = replace(seen, points=np.concatenate([points, own + 0.4]))
    assert np.array_equal(decode(last), expected)
    first = replace(seen, points=np.concatenate([own + 0.4, points]))
    assert np.array_equal(decode(first), slowly(first))
    assert not np.array_equal(decode(first), expected)


def test_the_order_of_other_points_means_nothing():
    seen = said((30, 34), seed=5)
    points = seen.points[:-3]  # without the twins
    expected = decode(replace(seen, points=points))
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(points))
        assert np.array_equal(decode(replace(seen, points=points[order])), expected)


def test_points_outside_of_a_region_have_their_voxels_in_it():
    prediction = np.zeros((3, 20, 20), np.float32)
    prediction[-1] = 1
    points = np.array([[30.0, 48.0], [30.0, 75.0], [-500.0, 30.0], [30.0, 45.0]])
    seen = Observation(prediction, prediction[:1], (1.0, 1.0), (20, 50), points)
    found = decode(seen)
    anchors = {tuple(anchor) for anchor in found.reshape(-1, 2).tolist()}
    assert anchors == {(-1000, -1000), (30, 48)}
    assert np.array_equal(found, slowly(seen))


@pytest.mark.parametrize("ndim", [2, 3])
def test_without_points_nothing_is_found(ndim):
    seen = said((12,) * ndim)
    for points in (np.zeros((0, ndim)), np.full((2, ndim), 900.0)):
        found = decoder(seen)(replace(seen, points=points))
        assert not found.labels.any()
        assert found.anchors.shape == (0, ndim)


def test_an_image_alone_is_refused():
    seen = replace(said((12, 12)), points=None)
    with pytest.raises(InputError, match="points"):
        decoder(seen)(seen)


@pytest.mark.parametrize("ndim", [2, 3])
def test_where_nothing_was_predicted_nothing_is_found(ndim):
    seen = said((12,) * ndim)
    seen.prediction[:] = np.nan
    assert not decoder(seen)(seen).labels.any()


def test_a_crop_is_the_volume_of_its_one_plane():
    seen = said((30, 34), (1.6, 0.7), seed=6)
    zeros = np.zeros((1, 1, 30, 34), np.float32)
    deep = Observation(
        np.concatenate([zeros, seen.prediction[:, None]]), seen.image[:, None],
        (1.3, *seen.spacing), (0, *seen.origin), np.pad(seen.points, ((0, 0), (1, 0))),
    )  # fmt: skip
    flat = decoder(seen)(seen)
    found = decoder(deep)(deep)
    assert flat.labels.any()
    assert np.array_equal(found.labels[0], flat.labels)
    assert np.array_equal(found.anchors[:, 1:], flat.anchors)


def test_the_origin_shifts_anchors_and_nothing_else():
    here = said((40, 44), seed=7)
    shift = np.array([400, 10_000])
    there = replace(here, origin=tuple(shift), points=here.points + shift)
    first, second = decoder(here)(here), decoder(there)(there)
    assert first.labels.any()
    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(first.anchors + shift, second.anchors)


def test_twice_is_the_same_and_nothing_is_changed():
    seen, made = said((40, 44), seed=8, noise=3.0), PointDecoder(PointMarker(), 2, WIDTH)
    kept = seen.prediction.copy(), seen.points.copy()
    first, second = made(seen), made(seen)
    assert np.array_equal(named(first), named(second))
    assert np.array_equal(seen.prediction, kept[0], equal_nan=True)
    assert np.array_equal(seen.points, kept[1])


def test_drawn_cells_are_found_each_under_its_point():
    drawn = draw((150, 160), diameter=16.0, seed=1, noise=1.0)
    middles = ndimage.center_of_mass(drawn.truth, drawn.truth, range(1, drawn.truth.max() + 1))
    prediction = drawn.prediction[[0, 1, -1]]
    seen = Observation(prediction, prediction[:1], (1.0, 1.0), (0, 0), np.array(middles))
    found = named(PointDecoder(PointMarker(), 2, 16.0)(seen))
    shares = []
    for number, middle in enumerate(middles, start=1):
        mine, truth = (found == np.rint(middle)).all(axis=-1), drawn.truth == number
        shares.append((mine & truth).sum() / (mine | truth).sum())
    assert len(shares) > 30
    assert np.mean(shares) > 0.9


def test_it_says_beforehand_how_far_it_looks():
    method = PointMarker(patch=1.5)
    made, reach = method.decoder(3, WIDTH), method.reach(WIDTH)
    assert (made.surveys, made.halo) == (reach.surveys, reach.halo) == ((), 1.5 * WIDTH)
    assert reach.recall == 0
    assert made.survey(said((12, 12)), (slice(None),) * 2) == {}
    made.learn([])


def test_what_may_be_far_apart_is_in_its_halo():
    """The two ends of a patch: a voxel at one hangs on whether there is another at the other."""
    half = math.floor(1.25 * WIDTH)
    ends = list(itertools.product((-half, half), repeat=2))
    prediction = np.zeros((3, 60, 60), np.float32)
    for end in ends:
        at = (30 + end[0], 30 + end[1])
        prediction[:, *at] = (-end[0], -end[1], 1)
    seen = Observation(prediction, prediction[:1], (1.0, 1.0), (0, 0), np.array([[30.0, 30.0]]))
    whole = check_cut(seen, (30 - half + 1, 30 - half + 1))
    # All are equally near, so the first is kept: the others hang on what is a patch away.
    assert np.argwhere(whole[..., 0] >= 0).tolist() == [[30 - half, 30 - half]]
