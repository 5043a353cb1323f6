"""A crew of several processes: the workers of a dask scheduler, or some started here.

A block is sent as its number and comes back as done or as an error: data stay on disk, where
every worker must find them under the same paths. Knows nothing of what is done to a block.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import signal
import tempfile
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cellulus import __version__
from cellulus.blocks import worker
from cellulus.blocks.crew import RETRIES, End, may_pass
from cellulus.errors import CellulusError, InputError, MissingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from distributed import Future

    from cellulus.blocks.crew import Task

TIMEOUT = 10.0
"""How long a scheduler may take to answer [s]."""

AHEAD = 3
"""Blocks sent per worker: one in work, the others so that it need not wait for the next."""

DEATHS = 1
"""How many workers a block may kill, besides the first, before it is suspected."""

_log = logging.getLogger(__name__)


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
                future = next(landing)
                flight, error = flying.pop(future), self._error(future)
                is_final = isinstance(error, KilledWorker) or flight.retries == 0
                if error is None or is_final or not may_pass(error):
                    yield End(flight.task, error)
                else:
                    again.append(replace(flight, retries=flight.retries - 1))
        finally:
            if flying and self._client.status == "running":
                self._client.cancel(list(flying))

    def _error(self, future: Future[None]) -> Exception | None:
        """Return why a task failed; None if it did not."""
        if future.status == "finished":
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


@contextlib.contextmanager
def connect(address: str) -> Iterator[Cluster]:
    """Work with the workers of a scheduler.

    Parameters
    ----------
    address
        ``"tcp://host:port"``.

    Raises
    ------
    InputError
        If no scheduler answers there within `TIMEOUT`, or a worker has another version of this
        package.
    """
    from distributed import Client
    from distributed.utils import silence_logging_cmgr

    with silence_logging_cmgr(logging.CRITICAL):
        try:
            asyncio.run(_knock(address))
            client = Client(  # type: ignore[no-untyped-call]
                address, timeout=TIMEOUT, set_as_default=False
            )
        except (OSError, ValueError) as error:
            raise InputError(
                address or "--scheduler",
                expected=f"a dask scheduler that answers within {TIMEOUT:g} s",
                found=f"none ({_reason(error) or 'no answer'})",
                remedy="start one with dask scheduler, or let --workers N start workers here",
            ) from error
        with client:
            _refuse_foreign(client)
            yield Cluster(client, address)


@contextlib.contextmanager
def start(workers: int) -> Iterator[Cluster]:
    """Work with processes of this machine, which share its cores; they go at the end.

    Parameters
    ----------
    workers
        How many.
    """
    import dask
    from dask.system import CPU_COUNT
    from distributed import Client, LocalCluster

    threads = {
        f"distributed.nanny.pre-spawn-environ.{name}_NUM_THREADS": max(1, CPU_COUNT // workers)
        for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")
    }
    settings = {
        **threads,
        # A block may keep its process from answering for long: that is no sign of death.
        "distributed.scheduler.worker-ttl": "1 hour",
        "distributed.scheduler.allowed-failures": DEATHS,
        # One block at a time: a worker that dies takes along as few others as possible.
        "distributed.scheduler.worker-saturation": 1.0,
    }
    with (
        tempfile.TemporaryDirectory(prefix="cellulus-") as folder,
        dask.config.set(settings),
    ):
        with _deaf_to_interrupts():
            # Blocks bound the memory; dask would stop at what it takes for the limit. Its pages
            # cannot be turned off, but nobody else need see them.
            cluster = LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=workers, threads_per_worker=1, memory_limit=None, local_directory=folder,
                silence_logs=logging.CRITICAL,
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            )  # fmt: skip
        with (
            cluster,
            Client(cluster, set_as_default=False) as client,  # type: ignore[no-untyped-call]
        ):
            yield Cluster(client, cluster.scheduler_address)


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


async def _knock(address: str) -> None:
    """Be answered; a client would wait for ever at a place that takes calls and keeps silent."""
    from distributed.comm.core import connect

    async with asyncio.timeout(TIMEOUT + 1):  # the reason why nobody is there comes first
        comm = await connect(address, timeout=TIMEOUT)  # type: ignore[no-untyped-call]
    comm.abort()


def _reason(error: BaseException) -> str:
    return _reason(error.__cause__) if error.__cause__ else str(error)


def _refuse_foreign(client: Any) -> None:
    """Refuse workers of another version, those that join later do it themselves."""
    found = client.run(worker.version, on_error="return")
    if not found:
        _log.warning("no worker has joined yet: waiting for the first")
    for address, version in found.items():
        if version != __version__:
            raise worker.foreign(address, __version__, version)


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


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Start threads and processes that Ctrl-C does not reach: only this thread answers to it.

    What they start later, in the place of a process that died, is as deaf.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
