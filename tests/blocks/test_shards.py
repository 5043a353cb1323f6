"""Whatever the sizes, no shard has two writers."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellulus.blocks.shards import fit_shards

SIZES = st.integers(1, 90)


def shards_of(extent, shard):
    """The voxels of each shard along an axis, one by one."""
    return [set(range(a, min(a + shard, extent))) for a in range(0, extent, shard)]


@given(st.lists(st.tuples(SIZES, SIZES), min_size=1, max_size=3), SIZES, SIZES)
def test_every_shard_lies_in_one_block_and_holds_whole_chunks(axes, chunk, shard):
    shape, core = zip(*axes, strict=True)
    chunks, shards = fit_shards(shape, core, chunk, shard)
    assert len(chunks) == len(shards) == len(shape)
    for extent, block, small, large in zip(shape, core, chunks, shards, strict=True):
        assert small <= extent
        assert large % small == 0
        assert large <= max(shard, small), "no larger than asked for"
        for voxels in shards_of(extent, large):
            assert len({voxel // block for voxel in voxels}) == 1
        if block >= extent:
            assert small == min(chunk, extent), "an axis that is not cut is as asked for"


@pytest.mark.parametrize(
    ("shape", "core", "fitted"),
    [
        ((1000,), (256,), ((64,), (256,))),  # as asked for
        ((1000,), (100,), ((50,), (100,))),  # the largest divisors
        ((1000,), (512,), ((64,), (256,))),
        ((1000,), (97,), ((97,), (97,))),  # a prime edge has no others
        ((1000,), (127,), ((127,), (127,))),
        ((1000,), (254,), ((127,), (254,))),
        ((1000,), (130,), ((65,), (130,))),
        (
            (1000,),
            (321,),
            ((107,), (107,)),
        ),  # larger chunks, so fewer to a shard
        ((40,), (512,), ((40,), (40,))),
        ((300,), (300,), ((64,), (256,))),
        ((1, 1000), (1, 192), ((1, 64), (1, 192))),
    ],
)
def test_sizes_by_hand(shape, core, fitted):
    assert fit_shards(shape, core, 64, 256) == fitted


@given(st.integers(16, 2048), st.sampled_from([(64, 256), (512, 1024)]))
def test_blocks_of_any_size_are_stored_in_few_files(core, edges):
    """At worst a block is one chunk; never is it cut into slivers."""
    (chunk,), (shard,) = fit_shards((10_000,), (core,), *edges)
    assert core % shard == 0
    assert shard % chunk == 0
    fewest = math.ceil(core / edges[1])
    assert core // shard <= 16 * fewest
    assert chunk == core or chunk >= edges[0] / 8


def test_every_voxel_of_a_volume_has_one_writer():
    """Brute force over a small volume: which blocks write into which shard."""
    shape, core = (7, 12, 10), (3, 8, 10)
    _, shards = fit_shards(shape, core, 4, 8)
    writers = {}
    for voxel in itertools.product(*map(range, shape)):
        shard = tuple(v // n for v, n in zip(voxel, shards, strict=True))
        block = tuple(v // n for v, n in zip(voxel, core, strict=True))
        writers.setdefault(shard, set()).add(block)
    assert {len(blocks) for blocks in writers.values()} == {1}
