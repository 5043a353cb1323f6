"""How a long step says how far it is, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Listens to one step after the other."""

    def start(self, what: str, total: int) -> None:
        """Begin a step of `total` units, named for people (``"predict img_01"``)."""

    def advance(self, amount: int = 1, **values: float) -> None:
        """Report `amount` more units done, with the latest values (``loss=0.71``)."""

    def finish(self) -> None:
        """End the step."""


class Silent:
    """Listens to nothing: the default of every library function."""

    def start(self, what: str, total: int) -> None:
        """Ignore the start."""

    def advance(self, amount: int = 1, **values: float) -> None:
        """Ignore the progress."""

    def finish(self) -> None:
        """Ignore the end."""
