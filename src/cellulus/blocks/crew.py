"""Who does the work on blocks: this process, or the processes of a cluster (`cluster`).

A crew does tasks in any order and tells how each ended; a task that fails is tried again and, if
it keeps failing, told as failed, while the others go on. Knows nothing of journals or of what a
task is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from cellulus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

RETRIES = 2
"""How often a block that failed is tried again."""


class Work(Protocol):
    """What is done to the blocks of one image; small, so that it can be sent to a worker."""

    def open(self) -> Callable[[int], dict[str, Any]]:
        """Open files and load models; return what does one block and says what to note of it.

        When it returns, the block's data must lie on disk.
        """


@dataclass(frozen=True)
class Task:
    """One block of one work.

    Attributes
    ----------
    work
        What to do.
    index
        Which block.
    """

    work: Work
    index: int


@dataclass(frozen=True)
class End:
    """How a task ended.

    Attributes
    ----------
    task
        Which one.
    error
        Why it failed, at the last attempt; None if it is done.
    """

    task: Task
    error: Exception | None = None


class Crew(Protocol):
    """Who does tasks."""

    left_out: list[str]
    """A line for each block that had to be left out of a result, which was finished without it."""

    @property
    def width(self) -> int:
        """How many tasks are done at once."""

    def do(self, tasks: Iterable[Task]) -> Iterator[End]:
        """Do tasks; yield how each ended, in the order in which they end."""


def may_pass(error: Exception) -> bool:
    """Return whether trying again may help; what is wrong with the input stays wrong."""
    return not isinstance(error, InputError)


class Alone:
    """The process itself: one task after the other, each with all cores."""

    width = 1

    def __init__(self) -> None:
        self.left_out: list[str] = []

    def do(self, tasks: Iterable[Task]) -> Iterator[End]:
        """Do tasks in order; see `Crew`."""
        opened: tuple[Work, Callable[[int], dict[str, Any]]] | None = None
        for task in tasks:
            error: Exception | None = None
            for _ in range(1 + RETRIES):
                try:
                    if opened is None or opened[0] is not task.work:
                        opened = (task.work, task.work.open())
                    opened[1](task.index)
                    error = None
                    break
                except Exception as failure:  # noqa: BLE001 - whoever asked decides what it means
                    error = failure
                    if not may_pass(failure):
                        break
            yield End(task, error)
