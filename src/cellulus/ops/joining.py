"""Objects of which parts lie in several arrays: their parts, and what these come to together.

Knows nothing of files or of how the arrays were cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from cellulus.ops.groups import sizes_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Extents:
    """How large objects are, and where.

    Attributes
    ----------
    sizes
        ``(n,)`` [voxel].
    starts, stops
        First voxel and last + 1 per axis, ``(n, ndim)`` [voxel].
    """

    sizes: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]


def compact(
    labels: NDArray[np.uint32], names: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Leave out the names of which the labels hold no voxel; number the others densely.

    Parameters
    ----------
    labels
        ``(*S)``; 0, or the row of a name, from 1.
    names
        ``(n, k)``.
    """
    is_here = sizes_of(labels, len(names) + 1) > 0
    is_here[0] = False
    if is_here[1:].all():
        return labels, names
    dense = np.where(is_here, np.cumsum(is_here), 0).astype(np.uint32)
    return dense[labels], names[is_here[1:]]


def extents_of(labels: NDArray[np.uint32], count: int, origin: Sequence[int]) -> Extents:
    """Return the extents of the objects 1 to `count`, each of which has a voxel.

    Parameters
    ----------
    labels
        ``(*S)``.
    count
        Number of objects.
    origin
        Index of the first voxel in the whole image [voxel].
    """
    sizes = sizes_of(labels, count + 1)[1:]
    ends = np.zeros((2, count, labels.ndim), np.int64)
    boxes = ndimage.find_objects(labels, count) if count else []
    for number, box in enumerate(boxes):
        ends[0, number] = [part.start for part in box]
        ends[1, number] = [part.stop for part in box]
    starts, stops = ends + np.asarray(origin)
    return Extents(sizes, starts, stops)


def together(parts: Sequence[Extents], which: NDArray[np.intp]) -> Extents:
    """Return the extents of whole objects.

    Parameters
    ----------
    parts
        Of every array; at least one.
    which
        The object, from 0, that each part belongs to, in the order of `parts`.
    """
    count, ndim = int(which.max(initial=-1)) + 1, parts[0].starts.shape[1]
    whole = Extents(
        np.zeros(count, np.int64),
        np.full((count, ndim), np.iinfo(np.int64).max),
        np.full((count, ndim), np.iinfo(np.int64).min),
    )
    np.add.at(whole.sizes, which, np.concatenate([part.sizes for part in parts]))
    np.minimum.at(whole.starts, which, np.concatenate([part.starts for part in parts]))
    np.maximum.at(whole.stops, which, np.concatenate([part.stops for part in parts]))
    return whole
