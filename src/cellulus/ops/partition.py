"""Labellings compared as partitions of the voxels: variation of information, adapted Rand error.

Both follow from the overlap table alone. Neither asks which object is which, so they also tell how
badly objects are cut or joined. Tables of images add up as those of disjoint regions whose objects
have nothing in common. Knows nothing of matching.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from cellulus.ops.tallies import Tally, ratio

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from cellulus.ops.overlap import OverlapTable


@dataclass(frozen=True)
class Information(Tally):
    """Conditional entropies, times the voxels.

    Source: Meila 2007, doi:10.1016/j.jmva.2006.11.013; split and merge as in Nunez-Iglesias et
    al. 2013, doi:10.1371/journal.pone.0071715.

    Attributes
    ----------
    split_bits, merge_bits
        What the truth leaves open of the labels, and the labels of the truth [bit].
    voxels
        That were compared.
    """

    SCORES: ClassVar[Mapping[str, str]] = {
        "split": "no voxel to compare",
        "merge": "no voxel to compare",
        "total": "no voxel to compare",
    }

    split_bits: float
    merge_bits: float
    voxels: int

    @property
    def split(self) -> float | None:
        """``H(labels | truth)`` [bit]: 1 if every true object is cut into halves."""
        return ratio(self.split_bits, self.voxels)

    @property
    def merge(self) -> float | None:
        """``H(truth | labels)`` [bit]: 1 if true objects of one size are joined two by two."""
        return ratio(self.merge_bits, self.voxels)

    @property
    def total(self) -> float | None:
        """The variation of information, split and merge together [bit]."""
        return ratio(self.split_bits + self.merge_bits, self.voxels)


@dataclass(frozen=True)
class RandPairs(Tally):
    """Ordered pairs of different voxels that carry one id.

    Source: Arganda-Carreras et al. 2015, doi:10.3389/fnana.2015.00142, with alpha = 1 / 2.

    Attributes
    ----------
    both, found, true
        Pairs within one object of both sides, of the labels, of the truth. Floats, because they
        grow with the square of the voxels.
    """

    SCORES: ClassVar[Mapping[str, str]] = {
        "error": "no two voxels of one object on either side",
        "precision": "no two voxels of one predicted object",
        "recall": "no two voxels of one true object",
    }

    both: float
    found: float
    true: float

    @property
    def error(self) -> float | None:
        """Adapted Rand error: 1 - F1 of the pairs."""
        score = ratio(2 * self.both, self.found + self.true)
        return None if score is None else 1 - score

    @property
    def precision(self) -> float | None:
        """Share of the pairs in the labels that are pairs in the truth; merges lower it."""
        return ratio(self.both, self.found)

    @property
    def recall(self) -> float | None:
        """Share of the pairs in the truth that are pairs in the labels; splits lower it."""
        return ratio(self.both, self.true)


def information(table: OverlapTable, *, background: bool = True) -> Information:
    """Return the conditional entropies of an image.

    Parameters
    ----------
    background
        Whether voxels that the truth calls background are compared, as one segment; scikit-image
        does so by default.
    """
    counts, found, true = _margins(table, background=background)
    split = float((counts * np.log2(true / counts)).sum())
    merge = float((counts * np.log2(found / counts)).sum())
    return Information(split, merge, int(counts.sum()))


def rand_pairs(table: OverlapTable, *, background: bool = False) -> RandPairs:
    """Return the pairs of voxels of an image.

    Parameters
    ----------
    background
        Whether voxels that the truth calls background are compared, as one segment; scikit-image
        does not by default.
    """
    counts, found, true = _margins(table, background=background)
    # Each row holds the whole of its segment: sum of n (n - 1) over segments, from its rows.
    sums = (float((counts * (whole - 1)).sum()) for whole in (counts, found, true))
    return RandPairs(*sums)


def _margins(table: OverlapTable, *, background: bool) -> tuple[NDArray[np.float64], ...]:
    """Return, of each pair of ids: voxels that are shared, those of its label, of its truth."""
    keep = np.ones(table.counts.size, bool) if background else table.truth > 0
    counts = table.counts[keep].astype(np.float64)
    return counts, _whole(table.labels[keep], counts), _whole(table.truth[keep], counts)


def _whole(ids: NDArray[Any], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    place = np.unique(ids, return_inverse=True)[1]
    return np.asarray(np.bincount(place, counts), np.float64)[place]
