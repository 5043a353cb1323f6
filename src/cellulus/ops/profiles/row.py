"""What profiles have in common: a row of values, sums and means of rows, a matching.

Knows nothing of any package.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from cellulus.ops.assignment import assign

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from cellulus.ops.overlap import OverlapTable, Pairs


@dataclass(frozen=True)
class Row:
    """The values of one image or of several, under the names that the package gives them.

    Attributes
    ----------
    values
        None where the package has no number.
    reasons
        Why, for each value that is None.
    """

    values: dict[str, float | None]
    reasons: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> float:
        """Return a value that is a number."""
        value = self.values[name]
        if value is None:
            raise KeyError(name)
        return value

    @classmethod
    def without(cls, names: Iterable[str], reason: str) -> Row:
        """Return a row in which no value is a number."""
        return cls(dict.fromkeys(names), dict.fromkeys(names, reason))


class Profile(Protocol):
    """How one package scores."""

    JUDGE: str
    """The package and the release whose numbers these are."""

    def image(self, table: OverlapTable, threshold: float) -> Row:
        """Return what the package says of an image, at an IoU above 0 and at most 1."""

    def pooled(self, rows: Sequence[Row]) -> Row:
        """Return what it says of images together; no values if it has no such thing."""

    def means(self, rows: Sequence[Row]) -> Row:
        """Return what it says in the mean over images; no values if it has no such thing."""


def matched(table: OverlapTable, hits: NDArray[np.bool_]) -> Pairs:
    """Return the hits of the assignment that stardist and what came of it solve.

    It has as many hits as possible, and then the greatest total IoU, of the pairs that are no hits
    too: below an IoU of 0.5 that may be others than the best hits.
    """
    pairs = table.pairs
    most = max(min(table.label_sizes.size, table.truth_sizes.size), 1)
    chosen = assign(pairs.label, pairs.truth, hits + pairs.iou / (2 * most))
    return pairs.where(chosen[hits[chosen]])


def total(rows: Sequence[Row], name: str) -> float:
    """Return the sum of a value over images."""
    return sum(row[name] for row in rows)


def mean(rows: Sequence[Row], name: str) -> float | None:
    """Return the mean of a value over the images that have it; None if none has."""
    known = [row[name] for row in rows if row.values[name] is not None]
    return sum(known) / len(known) if known else None
