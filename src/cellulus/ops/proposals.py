"""Which voxels propose an object, and which proposals are accepted, in order of seediness.

Published, the most seedy voxel left proposes an object, all that this claims is taken away, and so
on until no seedy voxel is left. Here a voxel is a candidate unless a more seedy voxel that touches
it claims it: what else could propose an object lies inside of a better proposal. That is decided
by a voxel and its neighbours, and leaves few candidates, far from each other. These are accepted
in order of seediness, each unless one accepted before claims it; of equals, the first voxel goes
first.

Source: Neven et al., CVPR 2019, section 3.4; Lalit et al. 2022, arXiv 2101.10033. Lengths are
canonical voxels. Knows nothing of how voxels are shared out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from cellulus.ops.claimants import SLACK, Claimants, away, embed, in_space, vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellulus.ops.claimants import EmbeddingMap
    from cellulus.space import Region


def find_candidates(
    region: EmbeddingMap, margins: NDArray[np.float32], seed: float, widest: float, part: Region
) -> Claimants:
    """Return the candidates in a part of a region.

    Parameters
    ----------
    region
        Where voxels point to.
    margins
        Of each voxel along each axis, ``(D, *S)``; larger ones count as `widest`, and a voxel
        whose margin is not positive proposes nothing.
    seed
        Least seediness of a candidate.
    widest
        Largest margin.
    part
        Slices with a start and a stop; what touches it is in the region too, if it exists.

    Returns
    -------
    candidates
        In lexicographic order of their anchors.
    """
    ndim = len(part)
    inner = (slice(0, 1),) * (3 - ndim) + tuple(part)
    low, high = tuple(p.start for p in inner), tuple(p.stop for p in inner)
    limits = np.float32(seed), np.float32(widest)
    found = _candidates(region.as_volumes(), vectors(margins), limits, low, high)
    places = found[:, 3 - ndim :]
    index = tuple(places.T)
    middles = np.stack([p[i] for p, i in zip(region.positions, index, strict=True)], axis=1)
    return Claimants(
        anchors=places + np.asarray(region.origin, np.int64),
        centres=middles + region.offsets[(slice(None), *index)].T,
        margins=np.minimum(margins[(slice(None), *index)], limits[1]).T.astype(np.float64),
        seeds=region.seeds[index],
        reach=np.full(len(places), np.inf),
    )


def join(parts: Sequence[Claimants]) -> Claimants:
    """Return the candidates of several parts, in order of seediness, then of their anchors."""
    names = ("anchors", "centres", "margins", "seeds", "reach")
    found = Claimants(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))
    return found[np.lexsort((*found.anchors.T[::-1], -found.seeds))]


def accept(candidates: Claimants, cell: float) -> NDArray[np.bool_]:
    """Mark the candidates that none claims which was accepted before, ``(n,)``.

    Parameters
    ----------
    candidates
        In order.
    cell
        Edge of the cells that candidates are sorted into.
    """
    accepted = np.zeros(len(candidates), np.bool_)
    if len(candidates) == 0:
        return accepted
    places = np.floor(in_space(candidates.centres, 0.0) / cell).astype(np.int64)
    corner = places.min(axis=0)
    shape = places.max(axis=0) - corner + 1
    # Only the cells that hold a candidate are known: most of a volume is empty.
    cells, own = np.unique(np.ravel_multi_index((places - corner).T, shape), return_inverse=True)
    centres, margins = in_space(candidates.centres, 0.0), in_space(candidates.margins, 1.0)
    _accept(centres, margins, cell, (corner, shape, cells), own.ravel(), accepted)
    return accepted


@njit(cache=True, nogil=True)
def _candidates(volumes: Any, margins: Any, limits: Any, low: Any, high: Any) -> Any:
    positions, offsets, farthest, seeds = volumes
    seed, widest = limits
    found = [(0, 0, 0) for _ in range(0)]
    for z in range(low[0], high[0]):
        for y in range(low[1], high[1]):
            for x in range(low[2], high[2]):
                if not seeds[z, y, x] >= seed or not _has_margin(margins, z, y, x):
                    continue
                a, b, c, is_any = embed(positions, offsets, farthest, z, y, x)
                if is_any and not _is_claimed(volumes, margins, widest, (z, y, x), (a, b, c)):
                    found.append((z, y, x))
    places = np.empty((len(found), 3), np.int64)
    for n, place in enumerate(found):
        places[n, 0], places[n, 1], places[n, 2] = place
    return places


@njit(cache=True, nogil=True)
def _is_claimed(volumes: Any, margins: Any, widest: Any, place: Any, point: Any) -> bool:
    """Return whether a more seedy voxel that touches one claims its embedding."""
    positions, offsets, farthest, seeds = volumes
    depth, height, width = seeds.shape
    z, y, x = place
    top = seeds[z, y, x]
    for k in range(max(z - 1, 0), min(z + 2, depth)):
        for j in range(max(y - 1, 0), min(y + 2, height)):
            for i in range(max(x - 1, 0), min(x + 2, width)):
                other = seeds[k, j, i]
                is_first = other > top or (other == top and (k, j, i) < (z, y, x))
                if not is_first or not _has_margin(margins, k, j, i):
                    continue
                a, b, c, is_any = embed(positions, offsets, farthest, k, j, i)
                if is_any and _claims(margins, widest, k, j, i, point, (a, b, c)):
                    return True
    return False


@njit(cache=True, nogil=True)
def _has_margin(margins: Any, z: int, y: int, x: int) -> bool:
    is_positive = True
    for axis in range(len(margins)):
        is_positive &= margins[axis, z, y, x] > 0
    return is_positive


@njit(cache=True, nogil=True)
def _claims(margins: Any, widest: Any, z: int, y: int, x: int, point: Any, centre: Any) -> bool:
    """Return whether a voxel's proposal claims a point."""
    last = len(margins) - 1
    squared = 0.0
    for axis in range(3 - len(margins), 3):
        margin = min(margins[axis - 2 + last, z, y, x], widest)
        gap = (point[axis] - centre[axis]) / margin
        squared += gap * gap
    return squared < 1


@njit(cache=True, nogil=True)
def _accept(centres: Any, margins: Any, cell: float, lattice: Any, own: Any, accepted: Any) -> None:
    """Accept candidates in order; each cell holds a chain of the accepted that reach into it."""
    corner, shape, cells = lattice
    heads = np.full(len(cells), -1, np.int64)
    links, owners = [0 for _ in range(0)], [0 for _ in range(0)]
    inverse = 1 / margins
    for n in range(len(centres)):
        link = heads[own[n]]
        while link >= 0:
            m = owners[link]
            if away(centres[m], inverse[m], centres[n, 0], centres[n, 1], centres[n, 2]) < 1:
                break
            link = links[link]
        if link >= 0:
            continue
        accepted[n] = True
        low = np.floor((centres[n] - margins[n] - SLACK) / cell).astype(np.int64) - corner
        high = np.floor((centres[n] + margins[n] + SLACK) / cell).astype(np.int64) - corner
        for k in range(max(low[0], 0), min(high[0] + 1, shape[0])):
            for j in range(max(low[1], 0), min(high[1] + 1, shape[1])):
                row = (k * shape[1] + j) * shape[2]
                last = row + min(high[2], shape[2] - 1)
                place = np.searchsorted(cells, row + max(low[2], 0))
                while place < len(cells) and cells[place] <= last:
                    links.append(heads[place])
                    owners.append(n)
                    heads[place] = len(links) - 1
                    place += 1
