import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellulus.errors import InputError
from cellulus.space import Length, Scale, VoxelSize, blocks


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("9.6 um", Length(9.6, "um")),
        ("9.6µm", Length(9.6, "um")),
        ("9.6 μm", Length(9.6, "um")),
        ("500 nm", Length(0.5, "um")),
        ("0.5 mm", Length(500.0, "um")),
        ("20", Length(20.0, "voxel")),
        ("20 px", Length(20.0, "voxel")),
        (1.5e1, Length(15.0, "voxel")),
    ],
)
def test_lengths(text, length):
    assert Length.parse(text) == length


@pytest.mark.parametrize(
    "text", ["", "um", "0", "-1 um", "nan", "inf um", "1 mile", "1 um x", "1e"]
)
def test_what_is_no_length(text):
    with pytest.raises(InputError, match="length"):
        Length.parse(text)


def test_a_length_along_each_axis():
    size = VoxelSize((2.0, 0.8, 0.8), "um")
    assert Length(9.6, "um").in_voxels(size) == pytest.approx((4.8, 12, 12))
    assert Length(12, "voxel").in_voxels(size) == pytest.approx((4.8, 12, 12))


def test_micrometres_need_a_voxel_size():
    with pytest.raises(InputError, match="voxel_size"):
        Length(9.6, "um").in_voxels(VoxelSize((1.0, 1.0)))


@pytest.mark.parametrize("values", [(0.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (math.inf, 1.0)])
def test_what_is_no_voxel_size(values):
    with pytest.raises(InputError, match="voxel size"):
        VoxelSize(values)


@given(
    diameter=st.floats(2, 100),
    size=st.lists(st.floats(0.1, 10), min_size=2, max_size=3),
    target=st.floats(4, 50),
)
def test_the_canonical_grid_is_isotropic(diameter, size, target):
    """An object is as wide on the canonical grid along every axis, however it was sampled."""
    voxel_size = VoxelSize(tuple(size), "um")
    length = Length(diameter, "um")
    scale = Scale.of(length, voxel_size, target)
    widths = [d * z for d, z in zip(length.in_voxels(voxel_size), scale.zoom, strict=True)]
    assert widths == pytest.approx([target] * len(size))


def test_canonical_shapes_cover_the_image():
    assert Scale((0.5, 2.0)).canonical_shape((11, 11)) == (6, 22)
    assert Scale((0.01, 1.0)).canonical_shape((3, 3)) == (1, 3)
    assert Scale((1 / 3, 3.0)).canonical_shape((9, 9)) == (3, 27)


@given(
    shape=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    data=st.data(),
    clip=st.booleans(),
)
def test_cores_tile_the_grid(shape, data, clip):
    draw = st.tuples(*[st.integers(1, 6)] * len(shape))
    core, halo = data.draw(draw), data.draw(draw)
    covered = np.zeros(shape, int)
    whole = np.arange(covered.size).reshape(shape)
    corners = []
    for block in blocks(tuple(shape), core, halo, clip=clip):
        covered[block.core] += 1
        corners.append(tuple(part.start for part in block.core))
        for part, outer, n, h in zip(block.core, block.outer, shape, halo, strict=True):
            low, high = part.start - h, part.stop + h
            expected = (max(low, 0), min(high, n)) if clip else (low, high)
            assert (outer.start, outer.stop) == expected
        if clip:
            np.testing.assert_array_equal(whole[block.outer][block.inner], whole[block.core])
    assert (covered == 1).all()
    assert corners == list(
        itertools.product(*(range(0, n, c) for n, c in zip(shape, core, strict=True)))
    )
