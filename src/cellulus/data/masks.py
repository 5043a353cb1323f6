"""What an annotator drew on one image: which objects there are, and where nobody looked.

Masks are read in parts and gone through once, block by block. Knows nothing of scales or crops.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus.data.portions import portion_of
from cellulus.errors import InputError
from cellulus.ops.measures import Measures, measure_objects, merge
from cellulus.ops.pieces import find_pieces
from cellulus.space import Blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellulus.data.volume import Volume
    from cellulus.space import Block, Region

IGNORED = -1
"""Label of voxels that are not annotated: neither object nor background."""
LARGEST_ID = 2**32 - 1


@dataclass(frozen=True)
class Masks:
    """The annotation of one image; of an object that is hidden in part, what is seen counts.

    Attributes
    ----------
    labels
        Every object with a number of its own, 0 is background.
    ignore
        Of the same shape; where it is not 0 nobody has annotated, whatever `labels` say.
    ignore_label
        A number that means the same in `labels`.
    """

    labels: Volume
    ignore: Volume | None = None
    ignore_label: int | None = None

    @property
    def where(self) -> str:
        """What to call it in messages."""
        return self.labels.path or self.labels.name

    def read(self, region: Region | None = None) -> NDArray[np.int64]:
        """Return ids of a region, ``(*S)``: `IGNORED`, 0 for background, or those of objects.

        Raises
        ------
        InputError
            If the labels are no ids from 0 to 2**32 - 1.
        StorageError
            If they cannot be read.
        """
        drawn = self.labels.read(region)[0]
        unknown = np.zeros(drawn.shape, bool)
        if self.ignore_label is not None:
            unknown |= drawn == self.ignore_label
        self._refuse_strangers(np.where(unknown, 0, drawn) if unknown.any() else drawn)
        if self.ignore is not None:
            unknown |= self.ignore.read(region)[0] != 0
        ids: NDArray[np.int64] = drawn.astype(np.int64)
        ids[unknown] = IGNORED
        return ids

    def _refuse_strangers(self, drawn: NDArray[Any]) -> None:
        is_float = drawn.dtype.kind == "f"
        if drawn.dtype.kind not in "biuf" or (is_float and (drawn != np.rint(drawn)).any()):
            raise InputError(
                self.where,
                expected="masks, a whole number per voxel",
                found="fractions or NaN" if is_float else f"{drawn.dtype}",
                remedy="give labels, not an image or a probability",
            )
        if drawn.size and (drawn.min() < 0 or drawn.max() > LARGEST_ID):
            raise InputError(
                self.where,
                expected=f"ids of objects from 1 to {LARGEST_ID}, 0 for background",
                found=f"{drawn.min():.0f} to {drawn.max():.0f}",
                remedy="if a number marks what is not annotated, set data.ignore_label to it",
            )


@dataclass(frozen=True)
class Survey:
    """What is in the masks of one image.

    Attributes
    ----------
    objects
        Ids, sizes and boxes, on the grid of the masks.
    scattered
        Ids of the objects in several pieces, ``(n,)``.
    annotated
        How much is not ignored [voxel].
    is_hidden
        Whether there are objects, but all of them ignored.
    """

    objects: Measures
    scattered: NDArray[np.uint64]
    annotated: int
    is_hidden: bool


def survey(masks: Masks) -> Survey:
    """Go through masks once.

    Raises
    ------
    InputError, StorageError
        As `Masks.read`.
    """
    grid = _grid(masks)
    parts, pieces = [Measures.none(masks.labels.ndim)], _Pieces()
    annotated = 0
    for block in grid:
        ids = masks.read(block.core)
        annotated += int((ids != IGNORED).sum())
        kept = np.maximum(ids, 0).astype(np.uint32)
        found = measure_objects(kept, origin=tuple(part.start for part in block.core))
        pieces.add(kept, found, _touches(found, block))
        parts.append(found)
    objects = merge(parts)
    return Survey(
        objects=objects,
        scattered=pieces.scattered(masks, objects),
        annotated=annotated,
        is_hidden=not objects.ids.size and masks.ignore is not None and _holds_objects(masks),
    )


class _Pieces:
    """How many pieces each object has, as far as single blocks can tell."""

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.open: set[int] = set()

    def add(self, ids: NDArray[Any], found: Measures, touches: NDArray[np.bool_]) -> None:
        """Count those of a block; those that touch one before it may go on there."""
        owner = find_pieces(ids, across_corners=True)[1][1:]
        for number, count in zip(*np.unique(owner, return_counts=True), strict=True):
            self.counts[int(number)] = self.counts.get(int(number), 0) + int(count)
        self.open.update(int(number) for number in found.ids[touches])

    def scattered(self, masks: Masks, objects: Measures) -> NDArray[np.uint64]:
        """Return the ids of objects in several pieces; those cut by blocks are read once more."""
        counts = np.array([self.counts[int(number)] for number in objects.ids], np.int64)
        for row in np.flatnonzero(counts > 1):
            if int(objects.ids[row]) in self.open:
                whole = masks.read(box_of(objects, int(row))) == int(objects.ids[row])
                counts[row] = len(find_pieces(whole, across_corners=True)[1]) - 1
        return objects.ids[counts > 1]


def box_of(objects: Measures, row: int) -> Region:
    """Return the smallest region that holds an object."""
    ends = zip(objects.starts[row], objects.stops[row], strict=True)
    return tuple(slice(int(start), int(stop)) for start, stop in ends)


def _grid(masks: Masks) -> Blocks:
    sides: Sequence[Volume] = [masks.labels, *([masks.ignore] if masks.ignore else [])]
    shape = masks.labels.shape
    return Blocks(shape, portion_of(*sides), (0,) * len(shape))


def _touches(found: Measures, block: Block) -> NDArray[np.bool_]:
    """Return which objects reach a block before this one; none that spans two is missed."""
    first = np.array([part.start for part in block.core])
    return np.asarray(((found.starts == first) & (first > 0)).any(axis=1))


def _holds_objects(masks: Masks) -> bool:
    """Return whether anything is drawn, be it ignored or not."""
    drawn = replace(masks, ignore=None)
    return any((drawn.read(block.core) > 0).any() for block in _grid(drawn))
