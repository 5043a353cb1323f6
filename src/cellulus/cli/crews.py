"""Who does the work of a command: this process, others started for it, or those of a scheduler."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from cellulus.errors import InputError, QuarantineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellulus.blocks.crew import Crew

LISTED = 20
"""How many of the blocks that were left out are named."""


@contextlib.contextmanager
def hired(workers: int | None, scheduler: str | None) -> Iterator[Crew]:
    """Have a crew for as long as a command works and says what came of it.

    Parameters
    ----------
    workers
        Number of processes to start.
    scheduler
        Address of a scheduler.

    Raises
    ------
    InputError
        If both are given, or no scheduler answers.
    QuarantineError
        At the end, if blocks had to be left out.
    """
    if workers is not None and scheduler is not None:
        raise InputError("--workers --scheduler", expected="one of the two", found="both of them")
    with _crew(workers, scheduler) as crew:
        yield crew
    if crew.left_out:
        listed = crew.left_out[:LISTED]
        if more := len(crew.left_out) - len(listed):
            listed.append(f"and {more} more")
        raise QuarantineError(
            "blocks",
            expected="all of them",
            found="\n  ".join([f"{len(crew.left_out)} that had to be left out:", *listed]) + "\n",
            remedy="the rest is finished; the same command with --resume tries these again",
        )


@contextlib.contextmanager
def _crew(workers: int | None, scheduler: str | None) -> Iterator[Crew]:
    if workers is None and scheduler is None:
        from cellulus.blocks.crew import Alone

        yield Alone()
        return
    from cellulus.blocks import cluster

    with cluster.start(workers or 1) if scheduler is None else cluster.connect(scheduler) as crew:
        yield crew
