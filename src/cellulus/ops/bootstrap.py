"""How far a score would move had other images been drawn: intervals by bootstrap over images.

Images are drawn with replacement, their counts added, and the score taken of the sums. Nothing is
said of objects within an image, which have the same microscope and the same day in common. Knows
nothing of which score it is.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar

import numpy as np

from cellulus.errors import InputError
from cellulus.ops.scores import Matches
from cellulus.ops.tallies import Tally, ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray


Counts = TypeVar("Counts", bound=Tally | Matches)
"""What is summed: fields that are numbers, and scores that follow from them."""

DRAWS = 2000
"""Enough that the bounds of a 95 % interval hardly move with the seed."""


@dataclass(frozen=True)
class Interval:
    """A score with its confidence interval.

    Attributes
    ----------
    value
        Of the images as they are; None where the score is undefined.
    low, high
        Percentile bounds; None without an interval.
    level
        Share of the draws within.
    reason
        Why there is no interval; empty if there is one.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    reason: str = ""


@dataclass(frozen=True)
class Mean(Tally):
    """A score per image, for intervals of its mean over images.

    Attributes
    ----------
    total
        Sum over the images that define it.
    images
        Their number.
    """

    SCORES: ClassVar[Mapping[str, str]] = {"mean": "no image defines it"}

    total: float
    images: int

    @classmethod
    def of(cls, value: float | None) -> Self:
        """Return the score of one image."""
        return cls(0.0, 0) if value is None else cls(value, 1)

    @property
    def mean(self) -> float | None:
        """Mean over the images that define it."""
        return ratio(self.total, self.images)


def interval(
    images: Sequence[Counts],
    score: Callable[[Counts], float | None],
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Return a score of all images together, with its confidence interval.

    Parameters
    ----------
    images
        Counts of each.
    score
        Of the sum of such counts.
    level
        Between 0 and 1.
    draws
        Sets of images that are drawn.
    seed
        Of the draws.

    Raises
    ------
    InputError
        If there are no images, or the level is out of range.
    """
    return _interval([images], lambda sums: score(sums[0]), level, draws, seed)


def change(
    before: Sequence[Counts],
    after: Sequence[Counts],
    score: Callable[[Counts], float | None],
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Return how much a score has changed on the same images, with its confidence interval.

    Each draw takes the same images on both sides, so what makes an image hard cancels out. A
    change is more than noise where the interval leaves out 0.

    Parameters
    ----------
    before, after
        Counts of each image, in the same order.
    score, level, draws, seed
        As for `interval`.

    Raises
    ------
    InputError
        If there are no images, or not the same on both sides, or the level is out of range.
    """
    if len(before) != len(after):
        raise InputError(
            "images",
            expected=f"the same images on both sides, {len(before)}",
            found=str(len(after)),
        )

    def difference(sums: Sequence[Counts]) -> float | None:
        old, new = (score(each) for each in sums)
        return None if old is None or new is None else new - old

    return _interval([before, after], difference, level, draws, seed)


def _interval(
    sides: Sequence[Sequence[Counts]],
    score: Callable[[Sequence[Counts]], float | None],
    level: float,
    draws: int,
    seed: int,
) -> Interval:
    if not 0 < level < 1:
        raise InputError("level", expected="a share between 0 and 1", found=repr(level))
    count = len(sides[0])
    if not count:
        raise InputError("images", expected="at least one image", found="none")
    kind = type(sides[0][0])
    rows = [np.array([astuple(image) for image in side], float) for side in sides]

    def scores(weights: NDArray[np.float64]) -> list[float | None]:
        sums = zip(*((weights @ side).tolist() for side in rows), strict=True)
        return [score([kind(*side) for side in each]) for each in sums]

    value = scores(np.ones((1, count)))[0]
    if value is None:
        return Interval(None, None, None, level, "the score itself is undefined")
    if count == 1:
        return Interval(value, None, None, level, "one image tells nothing of others")
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(float)
    # A draw without any object says nothing; it is as rare as such images are.
    known = [found for found in scores(drawn) if found is not None]
    if not known:
        return Interval(value, None, None, level, "undefined in all draws")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Interval(value, low, high, level)
