"""Does a cutting into blocks show in labels? Label boundaries on block planes against others.

A plane lies between two voxels of an axis. Among the voxel pairs across it with a label, a share
differs wherever a plane lies, because objects end; block planes must show no more of it than
control planes inside the blocks. Three faults are told apart. Objects are *cut*: more pairs
differ, on the planes or a few voxels beside them. Objects are *merged*: fewer objects meet another
one across the planes, because those that touch became one. Planes are *emptied*: fewer objects
reach them at all, because blocks drop or shrink what lies at their faces.

Voxels of one object are not independent, so chance is judged by objects, by bounds for the mean of
``n`` numbers between 0 and 1: it strays by ``t`` with a probability of at most
``exp(-n v h(t / v))``, ``h(u) = (1 + u) log(1 + u) - u``, where their variance is ``v`` (Bennett
1962, doi:10.1080/01621459.1962.10482149); from ``p`` to ``r`` with at most ``exp(-n KL(r | p))``
where they are yes or no (Hoeffding 1963, doi:10.1080/01621459.1963.10500830). Few objects can
therefore not fail, and no random numbers are needed. The variance and the common mean are those of
both sides together, and neighbours are not quite independent: the bounds hold as far as that does.
Counts are integers: parts of a plane add up as overlap tables, planes as crossings. Knows nothing
of files and blocks.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from cellulus.ops.overlap import OverlapTable

Kind = Literal["cut", "merged", "emptied"]


@dataclass(frozen=True)
class Crossing:
    """What lies across a plane, or across several planes together.

    Attributes
    ----------
    planes
        Number of planes.
    pairs
        Voxel pairs of which at least one is labelled.
    meetings, ends
        Of these, pairs of two different objects, and pairs of an object and background.
    objects
        Objects with voxels at the plane; one at several planes counts at each. A pair is that of
        the object on the lower side, if there is one.
    neighbours
        Of these, objects that meet another one.
    squares, products, differing_squares
        Sums over the objects of ``n * n``, ``n * d`` and ``d * d``, for an object with ``n`` pairs
        of which ``d`` differ.
    """

    planes: int = 0
    pairs: int = 0
    meetings: int = 0
    ends: int = 0
    objects: int = 0
    neighbours: int = 0
    squares: int = 0
    products: int = 0
    differing_squares: int = 0

    @classmethod
    def of(cls, table: OverlapTable) -> Crossing:
        """Count one plane.

        Parameters
        ----------
        table
            Of the voxels below and above the whole plane: the sum of the tables of its parts.
        """
        some = (table.labels > 0) | (table.truth > 0)
        below, above, counts = table.labels[some], table.truth[some], table.counts[some]
        differs = below != above
        meets = differs & (below > 0) & (above > 0)
        unique, owner = np.unique(np.where(below > 0, below, above), return_inverse=True)
        size, differing = np.zeros((2, unique.size), np.int64)
        np.add.at(size, owner.ravel(), counts)
        np.add.at(differing, owner.ravel()[differs], counts[differs])
        return cls(
            planes=1,
            pairs=int(counts.sum()),
            meetings=int(counts[meets].sum()),
            ends=int(counts[differs & ~meets].sum()),
            objects=unique.size,
            neighbours=np.unique(owner.ravel()[meets]).size,
            squares=int((size**2).sum()),
            products=int((size * differing).sum()),
            differing_squares=int((differing**2).sum()),
        )

    def __add__(self, other: Crossing) -> Crossing:
        """Return both together."""
        return Crossing(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def differing(self) -> int:
        """Pairs whose labels differ."""
        return self.meetings + self.ends

    @property
    def equal_objects(self) -> float:
        """How many objects of equal size say as much (Kish's effective sample size)."""
        return self.pairs**2 / self.squares


@dataclass(frozen=True)
class Comparison:
    """Block planes against control planes.

    Attributes
    ----------
    kind
        Which fault is looked for.
    block, control
        The share of differing pairs (cut), the share of objects that meet another (merged), or
        the objects per plane (emptied).
    ratio
        How many times worse block planes are; above 1 is worse. A count of none is taken as
        one half where it would divide.
    chance
        Bound of the probability of this or worse without a seam, as far as objects are independent.
    objects
        On block planes, on which this rests; of equal size (cut).
    counted
        Voxel pairs (cut), objects (merged) or planes (emptied) behind the rate of block planes.
    """

    kind: Kind
    block: float
    control: float
    ratio: float
    chance: float
    objects: float
    counted: int


def find_cut(block: Crossing, control: Crossing) -> Comparison | None:
    """Compare how often labels differ; None where either side has no objects."""
    if not (block.pairs and control.pairs):
        return None
    rates = block.differing / block.pairs, control.differing / control.pairs
    objects = block.equal_objects, control.equal_objects
    ratio = rates[0] / max(rates[1], 0.5 / control.pairs)
    both = block + control
    common = _mean(rates, objects)
    spread = both.differing_squares - 2 * common * both.products + common**2 * both.squares
    variance = max(spread, 0.0) / both.squares
    exponents = (
        n * _bennett(abs(r - common), variance) for r, n in zip(rates, objects, strict=True)
    )
    return Comparison("cut", *rates, ratio, _bound(ratio, sum(exponents)), objects[0], block.pairs)


def find_merged(block: Crossing, control: Crossing) -> Comparison | None:
    """Compare how many objects meet another; None where either side has no objects."""
    if not (block.objects and control.objects):
        return None
    rates = block.neighbours / block.objects, control.neighbours / control.objects
    objects = float(block.objects), float(control.objects)
    ratio = rates[1] / max(rates[0], 0.5 / block.objects)
    common = _mean(rates, objects)
    exponent = sum(n * _divergence(r, common) for r, n in zip(rates, objects, strict=True))
    return Comparison("merged", *rates, ratio, _bound(ratio, exponent), objects[0], block.objects)


def find_emptied(block: Crossing, control: Crossing) -> Comparison | None:
    """Compare how many objects reach a plane; None where control planes have none."""
    if not (block.planes and control.objects):
        return None
    rates = block.objects / block.planes, control.objects / control.planes
    ratio = rates[1] / max(rates[0], 0.5 / block.planes)
    both, planes = block.objects + control.objects, block.planes + control.planes
    # Each of the objects on some plane is on a block plane with the probability of the planes.
    exponent = both * _divergence(block.objects / both, block.planes / planes)
    objects = float(block.objects)
    return Comparison("emptied", *rates, ratio, _bound(ratio, exponent), objects, block.planes)


def _mean(rates: tuple[float, float], objects: tuple[float, float]) -> float:
    """Return the common rate, which makes two rates likeliest."""
    return (rates[0] * objects[0] + rates[1] * objects[1]) / sum(objects)


def _bound(ratio: float, exponent: float) -> float:
    return min(1.0, math.exp(-exponent)) if ratio > 1 else 1.0


def _bennett(distance: float, variance: float) -> float:
    if distance == 0 or variance == 0:
        return 0.0
    share = distance / variance
    return variance * ((1 + share) * math.log1p(share) - share)


def _divergence(rate: float, expected: float) -> float:
    """Return the Kullback-Leibler divergence of two coins."""
    sides = (rate, expected), (1 - rate, 1 - expected)
    return sum(r * math.log(r / e) for r, e in sides if r > 0)
