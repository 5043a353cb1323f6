"""What is measured of each object: size, place, extent, and the means of values under it.

Only sums are kept, and all of them are integers: the sums of blocks, merged in any order, are
those of the whole, bit for bit. Floats would not add up so; they are counted in steps of ``2**-44``
(about 6e-14), each rounded by itself, and only a mean becomes a float again. Knows nothing of
images, files and physical units: values are whatever lies on the grid of the labels.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from cellulus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_BITS = 44
_STEPS = 1 << _BITS
_LARGEST = float(1 << 40)
"""Floats beyond it are refused, so that the sum over any object fits its integer."""


@dataclass(frozen=True, eq=False)
class Measures:
    """Sums over the voxels of ``n`` objects, or of the parts of them that lie in a block.

    Attributes
    ----------
    ids
        ``(n,)`` uint64, ascending and unique.
    sizes
        ``(n,)`` int64 [voxel].
    places
        Sum of the coordinates of the voxels, ``(n, ndim)`` int64 [voxel].
    starts, stops
        First voxel and last + 1 along each axis, ``(n, ndim)`` int64 [voxel].
    counts
        Voxels with a finite value, for each of ``k`` kinds of values, ``(n, k)`` int64.
    wholes, fractions
        Sum of these values, ``(n, k)`` int64 each: ``wholes + fractions / 2**44``, where the
        fraction is at least 0 and below 1.
    """

    ids: NDArray[np.uint64]
    sizes: NDArray[np.int64]
    places: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    counts: NDArray[np.int64]
    wholes: NDArray[np.int64]
    fractions: NDArray[np.int64]

    @classmethod
    def none(cls, ndim: int, kinds: int = 0) -> Measures:
        """Return the measures of no object, in `ndim` dimensions, of so many kinds of values."""
        place, value = np.zeros((0, ndim), np.int64), np.zeros((0, kinds), np.int64)
        sizes = np.zeros(0, np.int64)
        return cls(sizes.astype(np.uint64), sizes, place, place, place, value, value, value)

    @property
    def centroids(self) -> NDArray[np.float64]:
        """Mean coordinates, ``(n, ndim)`` [voxel]; the centre of the first voxel is 0."""
        return self.places / self.sizes[:, None]

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean values, ``(n, k)``; NaN where no value of an object is finite."""
        sums = self.wholes + self.fractions / _STEPS
        return np.where(self.counts > 0, sums / np.maximum(self.counts, 1), np.nan)


def measure_objects(
    labels: NDArray[Any],
    values: Sequence[NDArray[Any]] = (),
    *,
    origin: tuple[int, ...] | None = None,
) -> Measures:
    """Measure the objects of one array, in time linear in its voxels.

    Parameters
    ----------
    labels
        ``(*S)``, integer ids; 0 is background. Ids need not be dense.
    values
        ``k`` arrays ``(*S)`` of integers or floats. Voxels with NaN or an infinity do not count.
    origin
        Index of the first voxel in the whole volume [voxel]; 0 by default.

    Returns
    -------
    measures
        With coordinates of the whole volume. Sums of integers hold to 2**63.

    Raises
    ------
    InputError
        If the labels are no ids, or if values have another shape, or are no real numbers, or
        floats beyond 2**40.
    """
    _check(labels, values)
    flat = labels.ravel()
    is_first = np.ones(labels.shape, bool)
    is_first[..., 1:] = labels[..., 1:] != labels[..., :-1]
    firsts = np.flatnonzero(is_first)  # of runs of one id along the last axis
    lengths = np.diff(firsts, append=flat.size)
    is_object = flat[firsts] != 0
    firsts, lengths = firsts[is_object], lengths[is_object]
    ids, owner = np.unique(flat[firsts], return_inverse=True)
    if ids.size and ids[0] < 0:
        raise InputError("labels", expected="ids of at least 0", found="negative ids")

    measures = _zeros(ids.astype(np.uint64), labels.ndim, len(values))
    np.add.at(measures.sizes, owner, lengths)
    for axis, places in enumerate(np.unravel_index(firsts, labels.shape)):
        start = places + (origin[axis] if origin else 0)
        stop = start + (lengths if axis == labels.ndim - 1 else 1)
        np.add.at(measures.places[:, axis], owner, (start + stop - 1) * lengths // 2)
        np.minimum.at(measures.starts[:, axis], owner, start)
        np.maximum.at(measures.stops[:, axis], owner, stop)
    for kind, array in enumerate(values):
        _add_up(array, firsts, lengths, owner, measures, kind)
    return measures


def merge(parts: Sequence[Measures]) -> Measures:
    """Return the measures of disjoint regions together, whatever their number and order.

    Parameters
    ----------
    parts
        At least one, all of the same dimensions and kinds of values. An object may lie in up to
        2**18 of them.
    """
    columns = {
        f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Measures)
    }
    order = np.argsort(columns["ids"], kind="stable")
    ids = columns["ids"][order]
    first = np.flatnonzero(np.diff(ids, prepend=ids[:1] + np.uint64(1)))
    if not first.size:
        return parts[0]
    how = {"starts": np.minimum, "stops": np.maximum}
    sums = {
        name: how.get(name, np.add).reduceat(column[order], first, axis=0)
        for name, column in columns.items()
        if name != "ids"
    }
    sums["wholes"] += sums["fractions"] >> _BITS
    sums["fractions"] &= _STEPS - 1
    return Measures(ids=ids[first], **sums)


def _check(labels: NDArray[Any], values: Sequence[NDArray[Any]]) -> None:
    if labels.dtype.kind not in "iub":
        raise InputError(
            "labels",
            expected="integer ids, 0 for background",
            found=f"an array of {labels.dtype}",
            remedy="give labels, not an image or a probability",
        )
    for array in values:
        if array.shape != labels.shape or array.dtype.kind not in "iubf":
            raise InputError(
                "values",
                expected=f"real numbers, of the shape of the labels, {labels.shape}",
                found=f"{array.dtype} of shape {array.shape}",
                remedy="measure an image on the grid of the labels",
            )


def _zeros(ids: NDArray[np.uint64], ndim: int, kinds: int) -> Measures:
    """Return the measures of no voxels yet."""
    count = ids.size
    place, value = (count, ndim), (count, kinds)
    return Measures(
        ids=ids,
        sizes=np.zeros(count, np.int64),
        places=np.zeros(place, np.int64),
        starts=np.full(place, np.iinfo(np.int64).max),
        stops=np.full(place, np.iinfo(np.int64).min),
        counts=np.zeros(value, np.int64),
        wholes=np.zeros(value, np.int64),
        fractions=np.zeros(value, np.int64),
    )


def _add_up(
    array: NDArray[Any], firsts: Any, lengths: Any, owner: Any, measures: Measures, kind: int
) -> None:
    """Add the values of runs to those of their objects."""
    counts, wholes = measures.counts[:, kind], measures.wholes[:, kind]
    flat = array.ravel()
    if flat.dtype.kind != "f":
        is_common = flat.dtype in (np.uint8, np.uint16)
        flat = flat if is_common else flat.astype(np.int64, copy=False)
        counts += measures.sizes
        _add_integers(flat, firsts, lengths, owner, wholes)
        return
    flat = flat if flat.dtype == np.float32 else flat.astype(np.float64, copy=False)
    if not _add_floats(flat, firsts, lengths, owner, counts, wholes, measures.fractions[:, kind]):
        raise InputError(
            "values",
            expected=f"floats up to {_LARGEST:.0e}",
            found="larger ones",
            remedy="rescale the image",
        )


@njit(cache=True, nogil=True)
def _add_integers(values: Any, firsts: Any, lengths: Any, owner: Any, wholes: Any) -> None:
    for run in range(owner.size):
        whole = np.int64(0)
        for i in range(firsts[run], firsts[run] + lengths[run]):
            whole += np.int64(values[i])
        wholes[owner[run]] += whole


@njit(cache=True, nogil=True)
def _add_floats(
    values: Any, firsts: Any, lengths: Any, owner: Any, counts: Any, wholes: Any, fractions: Any
) -> bool:
    """Return False if a value is too large."""
    for run in range(owner.size):
        row = owner[run]
        count, whole, fraction = 0, np.int64(0), fractions[row]
        for i in range(firsts[run], firsts[run] + lengths[run]):
            value = np.float64(values[i])
            if np.isfinite(value):
                if abs(value) > _LARGEST:
                    return False
                floor = np.floor(value)
                count += 1
                whole += np.int64(floor)
                fraction += np.int64(np.rint((value - floor) * _STEPS))
        counts[row] += count
        wholes[row] += whole + (fraction >> _BITS)
        fractions[row] = fraction & (_STEPS - 1)
    return True
