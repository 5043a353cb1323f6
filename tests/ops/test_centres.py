"""The medoid against all sums of distances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cellulus.errors import InputError
from cellulus.ops.centres import TOLERANCE, medoid


def sums(points):
    return np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=-1)).sum(axis=1)


def brute(points):
    found = sums(points)
    return int(np.flatnonzero(found <= found.min() * (1 + TOLERANCE))[0])


masks = arrays.arrays(bool, st.lists(st.integers(1, 7), min_size=2, max_size=3).map(tuple)).filter(
    np.any
)


@settings(max_examples=200)
@given(masks, st.lists(st.floats(0.2, 5.0), min_size=3, max_size=3))
def test_any_voxels_have_the_medoid_that_all_sums_say(mask, spacing):
    points = (np.argwhere(mask) + 0.5) * spacing[-mask.ndim :]
    assert medoid(points) == brute(points)


def solid(shape, radii, hole=0.0):
    """Voxels of an ellipsoid that is a little off the middle, or of its shell."""
    column = (-1, *[1] * len(shape))
    middle = np.reshape(shape, column) / 2 - 0.3
    away = (((np.indices(shape) - middle) / np.reshape(radii, column)) ** 2).sum(axis=0)
    return np.argwhere((away <= 1) & (away >= hole**2))


@pytest.mark.parametrize("hole", [0.0, 0.6, 0.95])
@pytest.mark.parametrize(("shape", "radii"), [((41, 61), (19, 28)), ((9, 19, 21), (4, 9, 10))])
def test_solid_and_hollow_objects(shape, radii, hole):
    points = solid(shape, radii, hole) * ([1.0] * len(shape))
    assert medoid(points) == brute(points)


@given(masks)
def test_an_image_is_a_volume_of_one_plane(mask):
    flat = mask.reshape(len(mask), -1)
    assert medoid(np.argwhere(flat)) == medoid(np.argwhere(flat[None]))


@given(masks, st.floats(0.1, 10))
def test_the_unit_of_length_does_not_matter(mask, unit):
    points = np.argwhere(mask) * [1.0, 1.7, 0.9][-mask.ndim :]
    assert medoid(points) == medoid(points * unit)


def test_of_equally_good_voxels_the_first_is_taken():
    assert medoid(np.argwhere(np.ones((2, 2)))) == 0
    assert medoid(np.array([[0, 0], [0, 3]])) == 0


def test_a_crescent_has_its_medoid_inside_where_the_mean_is_not():
    rows, columns = np.indices((41, 41)) - 20
    away = np.hypot(rows, columns)
    crescent = (away < 20) & (away > 15) & (columns < 8)
    points = np.argwhere(crescent)
    assert not crescent[tuple(points.mean(axis=0).round().astype(int))]
    assert medoid(points) == brute(points)


def test_few_voxels_of_a_large_object_are_looked_at():
    """A hundred thousand voxels: all sums would take minutes."""
    points = solid((60, 60, 60), (28.5, 28.5, 28.5))
    assert len(points) > 90_000
    centre = points.mean(axis=0)
    assert np.linalg.norm(points[medoid(points)] - centre) <= 1


def test_no_voxel_is_refused():
    with pytest.raises(InputError):
        medoid(np.zeros((0, 3)))
