"""Parts that volumes are read in: whole chunks, and not more at once than there is room for."""

import math

import numpy as np
import pytest

from cellulus.data import portions
from cellulus.data.portions import portion_of
from cellulus.data.volume import Volume
from cellulus.space import VoxelSize


class Stored:
    """An array that only says how it is stored."""

    dtype = np.dtype(np.uint16)

    def __init__(self, shape, chunks=None, shards=None):
        self.shape, self.chunks, self.shards = shape, chunks, shards


def volume(shape, chunks=None, shards=None, axes="zyx"):
    axes = axes[-len(shape) :]
    size = VoxelSize((1.0,) * sum(axis in "zyx" for axis in axes))
    return Volume("a", Stored(shape, chunks, shards), axes, size)


@pytest.mark.parametrize(
    ("shape", "chunks", "shards", "expected"),
    [
        ((1000, 900, 800), (64, 64, 64), (256, 256, 256), (256, 256, 256)),
        ((1000, 900, 800), (64, 64, 64), None, (256, 256, 256)),
        ((1000, 900, 800), (64, 64, 64), (1024, 1024, 1024), (256, 256, 256)),
        ((1000, 2048, 2048), (1, 2048, 2048), None, (4, 2048, 2048)),
        ((1000, 2048, 2048), None, None, (4, 2048, 2048)),
        ((10, 20, 30), (8, 8, 8), None, (10, 20, 30)),
        ((60_000, 50_000), (512, 512), None, (4096, 4096)),
        ((60_000, 50_000), None, None, (335, 50_000)),
        ((500, 1500, 1500), (500, 1500, 1500), None, (500, 1500, 1500)),
    ],
)
def test_parts_are_whole_chunks(shape, chunks, shards, expected):
    assert portion_of(volume(shape, chunks, shards)) == expected


def test_axes_are_told_apart_by_their_letters():
    stored = volume((3, 700, 2, 800, 900), (1, 8, 1, 800, 900), axes="tzcyx")
    assert portion_of(stored) == (16, 800, 900)


@pytest.mark.parametrize("seed", range(20))
def test_two_volumes_share_whole_chunks_where_these_fit(monkeypatch, seed):
    rng = np.random.default_rng(seed)
    monkeypatch.setattr(portions, "PORTION", 5000)
    shape = tuple(rng.integers(5, 60, 3).tolist())
    grains = [tuple(rng.choice([1, 2, 3, 4, 6], 3).tolist()) for _ in range(2)]
    found = portion_of(*(volume(shape, grain) for grain in grains))
    assert math.prod(found) <= 5000
    for n, extent, *along in zip(shape, found, *grains, strict=True):
        assert extent == n or all(extent % grain == 0 for grain in along)
    assert math.prod(found) > 5000 / 8 or found == shape


def test_chunks_that_do_not_fit_together_give_way_to_the_first():
    first, second = volume((999, 999, 999), (97, 97, 97)), volume((999, 999, 999), (89, 89, 89))
    assert portion_of(first, second) == (388, 194, 194)
