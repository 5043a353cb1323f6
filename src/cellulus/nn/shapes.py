"""The arithmetic of a valid U-Net: which sizes fit, and how much margin they cost.

Each block loses 4 voxels (kernels 3, 1, 1, 3), each of `depth` levels halves the grid. Pure
integers, so that plans and checks need no network. Knows nothing of features or weights.
"""

from __future__ import annotations

BLOCK_LOSS = 4
"""Voxels that a block of kernels 3, 1, 1, 3 takes from each axis."""


def halo(depth: int) -> int:
    """Return the voxels lost on each side [voxel].

    Examples
    --------
    >>> [halo(depth) for depth in range(4)]
    [2, 8, 20, 44]
    """
    return 6 * stride(depth) - 4


def view(depth: int) -> int:
    """Return the width of the smallest legal input: what a first answer depends on [voxel].

    Answers between two steps of the coarsest level may depend on one stride more.

    Examples
    --------
    >>> [view(depth) for depth in range(4)]
    [5, 18, 44, 92]
    """
    return legal_size(2 * halo(depth) + 1, depth)


def stride(depth: int) -> int:
    """Return the step by which a crop must move for its answers to move with it [voxel]."""
    return 1 << depth


def is_legal(size: int, depth: int) -> bool:
    """Return whether an input of `size` passes all levels and leaves at least one voxel."""
    for _ in range(depth):
        size -= BLOCK_LOSS
        if size < 2 or size % 2:
            return False
        size //= 2
    size -= BLOCK_LOSS
    for _ in range(depth):
        size = 2 * size - BLOCK_LOSS
    return size >= 1


def legal_size(size: int, depth: int) -> int:
    """Return the smallest legal input that is at least `size` [voxel].

    Examples
    --------
    >>> legal_size(251, depth=1)
    252
    """
    while not is_legal(size, depth):
        size += 1
    return size


def output_size(size: int, depth: int) -> int:
    """Return what an input of a legal `size` leaves [voxel]."""
    return size - 2 * halo(depth)
