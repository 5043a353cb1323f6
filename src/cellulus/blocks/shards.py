"""How an array is stored so that every block of it has one writer.

A shard that two writers share is written by the later of them: the other's part is lost, and
nobody is told. So no shard may cross from one block into another. Pure arithmetic.
"""

from __future__ import annotations


def fit_shards(
    shape: tuple[int, ...], core: tuple[int, ...], chunk: int, shard: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return chunks and shards of an array that is written block by block.

    Parameters
    ----------
    shape
        Of the array [voxel].
    core
        Extent of a block [voxel].
    chunk, shard
        Edges to aim for [voxel]; where a block has no such divisor, they get larger or smaller.

    Returns
    -------
    chunks, shards
        A shard is a whole number of chunks; a block that is cut off from others along an axis is
        a whole number of shards along it.
    """
    pairs = [_along(n, min(c, n), min(chunk, n), shard) for n, c in zip(shape, core, strict=True)]
    return tuple(a for a, _ in pairs), tuple(b for _, b in pairs)


def _along(extent: int, core: int, chunk: int, shard: int) -> tuple[int, int]:
    if core >= extent:
        needed = -(-extent // chunk)
        return chunk, chunk * min(max(1, shard // chunk), needed)
    # Of what divides the block, the nearest to what was asked for: a block of 127 is one chunk,
    # not 127 along each axis.
    divisors = (c for c in range(1, core + 1) if core % c == 0)
    chunk = min(divisors, key=lambda c: max(c, chunk) / min(c, chunk))
    inside, most = core // chunk, max(1, shard // chunk)
    count = max(k for k in range(1, min(most, inside) + 1) if inside % k == 0)
    return chunk, chunk * count
