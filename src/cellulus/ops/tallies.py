"""What scores are made of: counts that add up over images, and the scores that follow from them.

A score without a denominator has no value: it is None, never 0 or nan, and its tally says why.
Counts of several images are added before they are divided, so every object weighs the same.
Knows nothing of labels.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Tally:
    """Base of the counts of one image, or of several together; all fields are numbers.

    Attributes
    ----------
    SCORES
        Name of each score that follows, with what is missing where it has no value.
    """

    SCORES: ClassVar[Mapping[str, str]] = {}

    def __add__(self, other: Self) -> Self:
        """Return the counts of both together."""
        return type(self)(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def values(self) -> dict[str, float | None]:
        """All scores by name; None where one is undefined."""
        return {name: getattr(self, name) for name in self.SCORES}

    @property
    def reasons(self) -> dict[str, str]:
        """Why those scores have no value that have none."""
        return {name: self.SCORES[name] for name, value in self.values.items() if value is None}


def ratio(part: float, whole: float) -> float | None:
    """Return a part of a whole; None of nothing."""
    return part / whole if whole else None
