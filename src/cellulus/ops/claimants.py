"""Where voxels point to, and who could claim them: embeddings, claimants, and a lattice of both.

A claimant has a centre and, along each axis, a margin: it claims what is embedded inside of that
ellipsoid. A lattice of coarse cells knows for each cell the claimants whose ellipsoids reach into
it, which are few: whoever looks an embedding up takes a time that does not depend on how many
there are. The lattice only leaves out who cannot matter, so results do not depend on it.

Lengths are canonical voxels. An image is a volume of one plane. Knows nothing of what a claim is
worth (`claims`), or of where claimants come from (`proposals`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from cellulus.ops.volume import as_volume, of_three

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellulus.space import Region

CELLS = 8
"""Cells of the lattice along the farthest offset."""
SLACK = 1e-6
"""Rounding must not hide a claimant from a cell that it reaches into [canonical voxel]."""


@dataclass(frozen=True)
class EmbeddingMap:
    """Where the voxels of a region point to.

    Attributes
    ----------
    offsets
        From each voxel to its embedding, ``(D, *S)`` float32. One that is no number, or longer
        than `farthest` along an axis, is none.
    seeds
        Seediness, ``(*S)`` float32.
    spacing
        Extent of a voxel along each axis.
    origin
        Index of the first voxel in the whole image [voxel].
    farthest
        Longest offset along an axis.
    """

    offsets: NDArray[np.float32]
    seeds: NDArray[np.float32]
    spacing: tuple[float, ...]
    origin: tuple[int, ...]
    farthest: float

    @property
    def positions(self) -> tuple[NDArray[np.float64], ...]:
        """Global coordinates of the voxels' middles along each axis, ``(n,)``."""
        # float64, and made of whole numbers first: the same whatever region a voxel was read in.
        return tuple(
            (start + np.arange(n) + 0.5) * step
            for start, n, step in zip(self.origin, self.seeds.shape, self.spacing, strict=True)
        )

    def cut(self, part: Region) -> EmbeddingMap:
        """Return a part, given by slices with a start and a stop."""
        return EmbeddingMap(
            self.offsets[(slice(None), *part)],
            self.seeds[part],
            self.spacing,
            tuple(start + p.start for start, p in zip(self.origin, part, strict=True)),
            self.farthest,
        )

    def as_volumes(self) -> tuple[Any, ...]:
        """Return positions along three axes, offsets ``(D, z, y, x)``, their limit, and seeds."""
        still = (np.zeros(1),) * (3 - len(self.spacing))
        seeds = as_volume(self.seeds)
        return (*still, *self.positions), vectors(self.offsets), self.farthest, seeds


@dataclass(frozen=True)
class Claimants:
    """Objects that may claim voxels, ``n`` of them.

    Attributes
    ----------
    anchors
        The voxel that proposed each, ``(n, D)`` int64 [voxel].
    centres
        ``(n, D)`` float64, global.
    margins
        Distance along each axis at which membership is one half, ``(n, D)`` float64, positive.
    seeds
        Seediness of the anchor, ``(n,)`` float32.
    reach
        Voxels whose middles lie farther from the centre along any axis are not claimed, ``(n,)``
        float64.
    """

    anchors: NDArray[np.int64]
    centres: NDArray[np.float64]
    margins: NDArray[np.float64]
    seeds: NDArray[np.float32]
    reach: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.anchors)

    def __getitem__(self, which: Any) -> Claimants:
        """Return some of them, by indices or a mask."""
        return Claimants(*(getattr(self, field.name)[which] for field in fields(self)))

    def may_claim(self, region: EmbeddingMap) -> NDArray[np.bool_]:
        """Mark those that could claim a voxel of a region, ``(n,)``."""
        low, high = _bounds(region)
        is_near = (self.centres + self.margins >= low) & (self.centres - self.margins <= high)
        return np.asarray(is_near.all(axis=1))


def build_lattice(region: EmbeddingMap, claimants: Claimants) -> tuple[Any, ...]:
    """Return a lattice over all embeddings of a region that can be claimed.

    Parameters
    ----------
    region
        Of at least one voxel.
    claimants
        At least one.

    Returns
    -------
    corner, cell, shape, starts, members, centres, inverse
        Where the lattice begins, how wide its cells are, how many there are along each of three
        axes; where the members of each cell begin, and these, ascending; the centres of all
        claimants and the inverses of their margins, ``(n, 3)``.
    """
    cell, widths = region.farthest / CELLS, claimants.margins + SLACK
    low, high = _bounds(region)
    low = np.maximum(low, (claimants.centres - widths).min(axis=0))
    high = np.minimum(high, (claimants.centres + widths).max(axis=0))
    counts = np.maximum(np.ceil((high - low) / cell), 1).astype(np.int64)
    corner, shape = of_three(low.tolist(), 0.0), tuple(int(n) for n in of_three(counts, 1))
    where = in_space(claimants.centres, 0.0), in_space(widths, 1.0), corner, cell, shape
    places = np.zeros(np.prod(shape) + 1, np.int64)
    _enter(*where, places, np.zeros(0, np.uint32))
    starts = np.cumsum(places)
    members = np.empty(starts[-1], np.uint32)
    if members.size > 0:
        _enter(*where, starts[:-1].copy(), members)
    return corner, cell, shape, starts, members, where[0], 1 / in_space(claimants.margins, 1.0)


def vectors(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``(D, *S)`` as ``(D, z, y, x)``, contiguous."""
    shape = (len(values),) + (1,) * (3 - len(values)) + values.shape[1:]
    return np.ascontiguousarray(values).reshape(shape)


def in_space(values: NDArray[np.float64], fill: float) -> NDArray[np.float64]:
    """Return ``(n, D)`` as ``(n, 3)``."""
    result = np.full((len(values), 3), fill)
    result[:, 3 - values.shape[1] :] = values
    return result


def _bounds(region: EmbeddingMap) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the corners of a box that no embedding of a region lies outside of."""
    far, positions = region.farthest + SLACK, region.positions
    low, high = [along[0] for along in positions], [along[-1] for along in positions]
    return np.array(low) - far, np.array(high) + far


@njit(cache=True, nogil=True)
def embed(positions: Any, offsets: Any, farthest: Any, z: int, y: int, x: int) -> Any:
    """Return the embedding of a voxel, and whether it is any."""
    last = len(offsets) - 1
    a = offsets[0, z, y, x] if last == 2 else np.float32(0)
    b, c = offsets[last - 1, z, y, x], offsets[last, z, y, x]
    is_any = abs(a) <= farthest and abs(b) <= farthest and abs(c) <= farthest
    return positions[0][z] + a, positions[1][y] + b, positions[2][x] + c, is_any


@njit(cache=True, nogil=True)
def look_up(corner: Any, cell: float, shape: Any, a: float, b: float, c: float) -> Any:
    """Return the cell of a lattice that a point lies in, -1 outside of it."""
    k, j, i = (a - corner[0]) / cell, (b - corner[1]) / cell, (c - corner[2]) / cell
    if k < 0 or j < 0 or i < 0 or k >= shape[0] or j >= shape[1] or i >= shape[2]:
        return -1
    return (int(k) * shape[1] + int(j)) * shape[2] + int(i)


@njit(cache=True, nogil=True)
def away(centre: Any, inverse: Any, a: float, b: float, c: float) -> Any:
    """Return the square of how far a point is from a centre [margin]."""
    u, v = (a - centre[0]) * inverse[0], (b - centre[1]) * inverse[1]
    w = (c - centre[2]) * inverse[2]
    return (u * u + v * v) + w * w


@njit(cache=True, nogil=True)
def _enter(
    centres: Any, widths: Any, corner: Any, cell: Any, shape: Any, places: Any, members: Any
) -> None:
    """Count the members of each cell in the place after its own, or write them down."""
    for m in range(len(centres)):
        centre, width = centres[m], widths[m]
        k0, k1 = _span(centre[0], width[0], corner[0], cell, shape[0])
        j0, j1 = _span(centre[1], width[1], corner[1], cell, shape[1])
        i0, i1 = _span(centre[2], width[2], corner[2], cell, shape[2])
        for k in range(k0, k1):
            deep = _gap(centre[0], width[0], corner[0] + k * cell, cell)
            for j in range(j0, j1):
                flat = deep + _gap(centre[1], width[1], corner[1] + j * cell, cell)
                for i in range(i0, i1):
                    if flat + _gap(centre[2], width[2], corner[2] + i * cell, cell) > 1 + SLACK:
                        continue
                    place = (k * shape[1] + j) * shape[2] + i
                    if members.size == 0:
                        places[place + 1] += 1
                    else:
                        members[places[place]] = m
                        places[place] += 1


@njit(cache=True, nogil=True)
def _span(centre: float, width: float, corner: float, cell: float, count: int) -> Any:
    """Return the first cell along an axis that an ellipsoid reaches into, and the last + 1."""
    first = int(np.floor((centre - width - corner) / cell))
    last = int(np.floor((centre + width - corner) / cell))
    return max(first, 0), min(last + 1, count)


@njit(cache=True, nogil=True)
def _gap(centre: float, width: float, low: float, cell: float) -> float:
    """Return the square of how far a cell is from a centre along an axis [width]."""
    gap = max(max(low - centre, centre - low - cell), 0.0) / width
    return gap * gap
