"""A crew of several processes, the workers of a dask scheduler: what each is sent, and when.

A block is sent as its number and comes back as done or as an error: data stay on disk, where
every worker must find them under the same paths. Knows nothing of what is done to a block, and
nothing of where workers come from (`cluster`, `slurm`).
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cellulus import __version__
from cellulus.blocks import worker
from cellulus.blocks.crew import RETRIES, End, may_pass
from cellulus.errors import CellulusError, MissingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from distributed import Future, as_completed

    from cellulus.blocks.crew import Task

AHEAD = 3
"""Blocks sent per worker: one in work, the others so that it need not wait for the next."""


class Cluster:
    """The workers of a dask scheduler.

    Parameters
    ----------
    client
        Connected to it.
    address
        Of the scheduler, for people.
    """

    def __init__(self, client: Any, address: str) -> None:
        self.left_out: list[str] = []
        self._client, self._address = client, address

    @property
    def width(self) -> int:
        """How many tasks are done at once; workers may come and go.

        Raises
        ------
        MissingError
            If the scheduler went away.
        """
        try:
            threads: dict[str, int] = self._client.nthreads()
        except (OSError, AttributeError) as error:  # what a closed client says
            raise self._lost() from error
        return max(1, sum(threads.values()))

    def do(self, tasks: Iterable[Task]) -> Iterator[End]:
        """Do tasks; see `cellulus.blocks.crew.Crew`.

        Raises
        ------
        InputError
            If a worker joined that has another version of this package.
        MissingError
            If the scheduler went away.
        """
        from distributed import KilledWorker

        suspects = []
        for end in self._fly(tasks):
            if isinstance(end.error, KilledWorker):
                suspects.append(end.task)
            else:
                yield end
        # A worker that dies takes along every block that was given to it. Which of them it died
        # of shows when each is done while nothing else is.
        for task in suspects:
            for end in self._fly([task]):
                yield End(task, _deadly(end.error)) if end.error else end

    def _fly(self, tasks: Iterable[Task]) -> Iterator[End]:
        """Keep a few tasks per worker under way; send again what failed and may succeed."""
        from distributed import KilledWorker, as_completed

        fresh, again = _flights(tasks), deque[_Flight]()
        flying: dict[Future[None], _Flight] = {}
        landing = as_completed(loop=self._client.loop)  # type: ignore[no-untyped-call]
        room = 1
        try:
            for turn in itertools.count():
                if turn % room == 0:
                    room = AHEAD * self.width
                while len(flying) < room:
                    if not (sent := again.popleft() if again else next(fresh, None)):
                        break
                    future = self._client.submit(
                        worker.do, sent.work, sent.task.index, __version__, pure=False
                    )
                    flying[future] = sent
                    landing.add(future)  # type: ignore[no-untyped-call]
                if not flying:
                    return
                future = self._next(landing)
                flight, error = flying.pop(future), self._error(future)
                is_final = isinstance(error, KilledWorker) or flight.retries == 0
                if error is None or is_final or not may_pass(error):
                    yield End(flight.task, error)
                else:
                    again.append(replace(flight, retries=flight.retries - 1))
        finally:
            if flying and self._client.status == "running":
                self._client.cancel(list(flying))

    def _next(self, landing: as_completed) -> Future[None]:
        """Wait for the next task that ends."""
        ended: Future[None] = next(landing)
        return ended

    def _error(self, future: Future[None]) -> Exception | None:
        """Return why a task failed; None if it did not."""
        # Lost is what a worker answered and kept, when it dies: its block is done all the same.
        if future.status in {"finished", "lost"}:
            return None
        if future.status != "error":
            raise self._lost()
        error = future.exception()  # type: ignore[no-untyped-call]
        if isinstance(error, worker.ForeignError):
            raise error
        return error if isinstance(error, Exception) else RuntimeError(repr(error))

    def _lost(self) -> MissingError:
        return MissingError(
            self._address,
            expected="a scheduler that stays until the work is done",
            found="none any more",
            remedy="start it again, then go on with --resume",
        )


@dataclass(frozen=True)
class _Flight:
    """A task, its work as bytes, and how often it may still be sent again."""

    task: Task
    work: bytes
    retries: int


def _flights(tasks: Iterable[Task]) -> Iterator[_Flight]:
    work: object = None
    packed = b""
    for task in tasks:
        if task.work is not work:
            work, packed = task.work, worker.pack(task.work)
        yield _Flight(task, packed, RETRIES)


def _deadly(error: Exception) -> Exception:
    """Return what is noted of a block at which worker after worker died."""
    from distributed import KilledWorker

    if not isinstance(error, KilledWorker):
        return error
    return CellulusError(
        "worker",
        expected="to outlive the block",
        found="one after the other died of it",
        remedy="mostly for want of memory: fewer workers, or a smaller block or tile, need less",
    )
