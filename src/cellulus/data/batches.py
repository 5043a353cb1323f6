"""Crops of images with what is annotated there, and batches of them.

Knows nothing of where they come from or what is learnt from them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


class Crop(NamedTuple):
    """A part of an image, and what is annotated there.

    Attributes
    ----------
    image
        ``(C, *S)`` float32.
    labels
        ``(*S)`` int32: `IGNORED`, 0 for background, from 1 on the objects, or 1 where there may be
        some; None where nothing is annotated.
    centres
        Of the objects, whether the crop shows them or not, ``(n, ndim)`` float32 from its first
        corner, so that voxel ``i`` has its middle at ``i + 0.5`` [canonical voxel]; may lie
        outside. None where nothing is annotated.
    """

    image: NDArray[np.float32]
    labels: NDArray[np.int32] | None = None
    centres: NDArray[np.float32] | None = None


class Batch(NamedTuple):
    """Crops of one size.

    Attributes
    ----------
    image
        ``(B, C, *S)`` float32.
    labels
        ``(B, *S)`` int32, as of a `Crop`; None where nothing is annotated.
    centres
        ``(B, N, ndim)`` float32, NaN beyond a crop's objects; None where nothing is annotated.
    """

    image: NDArray[np.float32]
    labels: NDArray[np.int32] | None = None
    centres: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, crops: Sequence[Crop]) -> Batch:
        """Put crops together, of which all are annotated or none is."""
        image = np.stack([crop.image for crop in crops])
        labels = [crop.labels for crop in crops if crop.labels is not None]
        found = [crop.centres for crop in crops if crop.centres is not None]
        if not labels:
            return cls(image)
        most = max(len(centres) for centres in found)
        padded = np.full((len(found), most, image.ndim - 2), np.nan, np.float32)
        for row, centres in zip(padded, found, strict=True):
            row[: len(centres)] = centres
        return cls(image, np.stack(labels), padded)

    def split(self, count: int) -> Iterator[Batch]:
        """Yield its crops in so many parts, as even as can be, of one crop at least."""
        for rows in np.array_split(np.arange(len(self.image)), min(count, len(self.image))):
            labels = None if self.labels is None else self.labels[rows]
            centres = None if self.centres is None else self.centres[rows]
            yield Batch(self.image[rows], labels, centres)


def number(labels: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Renumber the objects that are there from 1 on, in order.

    Returns
    -------
    numbered, shown
        ``(*S)``, background and ignored voxels as they are; the old label less 1 of each new one.
    """
    is_there = np.zeros(int(labels.max(initial=0)) + 1, bool)
    is_there[labels[labels > 0]] = True
    table = np.cumsum(is_there).astype(np.int32)
    return np.where(labels > 0, table[labels], labels), np.flatnonzero(is_there) - 1
