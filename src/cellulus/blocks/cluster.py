"""Where a crew of several processes comes from: started on this machine, or a scheduler's.

Knows nothing of what they do (`dispatch`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import shutil
import signal
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

from cellulus import __version__
from cellulus.blocks import worker
from cellulus.blocks.dispatch import Cluster
from cellulus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TIMEOUT = 10.0
"""How long a scheduler may take to answer [s]."""

DEATHS = 1
"""How many workers a block may kill, besides the first, before it is suspected."""

RULES = {
    # A block may keep its process from answering for long: that is no sign of death.
    "distributed.scheduler.worker-ttl": "1 hour",
    "distributed.scheduler.allowed-failures": DEATHS,
    # One block at a time: a worker that dies takes along as few others as possible.
    "distributed.scheduler.worker-saturation": 1.0,
}
"""What a scheduler of ours goes by, in dask's words."""

LOST = "distributed.deploy.lost-worker-timeout"
"""How long after a worker was lost dask looks whether it is there again, and else gives it up."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
"""How many threads a process computes with is said in all of these."""

ALLOCATION = {
    "MALLOC_ARENA_MAX": 1,
    "MALLOC_MMAP_THRESHOLD_": 2**30,
    "MALLOC_TRIM_THRESHOLD_": 2**28,
}
"""What a block frees stays with its process for the next block (glibc's words; others ignore them).

Dask asks for the opposite. But each block has arrays as large as the last had, and memory that
comes from the system anew is cleared page by page: a quarter of the time of segment.
"""

UNSEEN = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
"""Options of a scheduler whose pages, which cannot be turned off, nobody else sees."""

_log = logging.getLogger(__name__)


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
        If that is no address, no scheduler answers there within `TIMEOUT`, or a worker has
        another version of this package.
    """
    from distributed import Client
    from distributed.utils import silence_logging_cmgr

    with silence_logging_cmgr(logging.CRITICAL):
        try:
            asyncio.run(_knock(address))
            client = Client(  # type: ignore[no-untyped-call]
                address, timeout=TIMEOUT, set_as_default=False
            )
        except ValueError as error:
            raise InputError(
                "--scheduler",
                expected="slurm, or the address of a dask scheduler, tcp://HOST:PORT",
                found=f"'{address}' ({error})",
            ) from error
        except OSError as error:
            raise InputError(
                address,
                expected=f"a dask scheduler that answers within {TIMEOUT:g} s",
                found=f"none ({_reason(error) or 'no answer'})",
                remedy="start one with dask scheduler, or let --workers N start workers here",
            ) from error
        with client:
            _refuse_foreign(client)
            yield Cluster(client, address)


@contextlib.contextmanager
def start(workers: int, gpus: Sequence[str] = ()) -> Iterator[Cluster]:
    """Work with processes of this machine, which share its cores; they go at the end.

    Parameters
    ----------
    workers
        How many.
    gpus
        Names of GPUs, as CUDA knows them, which are dealt out: each process sees one alone.
    """
    import dask
    from dask.system import CPU_COUNT
    from distributed import Client, Nanny, Scheduler, SpecCluster

    if 0 < len(gpus) < workers:
        _log.warning("%d workers share %d GPU(s), and their memory", workers, len(gpus))
    variables = environment(max(1, CPU_COUNT // workers))
    spawn = {f"{_BEFORE_SPAWN}.{name}": value for name, value in variables.items()}
    # A worker that dies comes again. Dask would give up one that died a second time by then.
    settings = {**RULES, **spawn, LOST: "1000 days"}
    with (
        tempfile.TemporaryDirectory(prefix="cellulus-") as folder,
        dask.config.set(settings),
    ):
        common: dict[str, Any] = {"host": "127.0.0.1", "protocol": "tcp://"}
        # Blocks bound the memory; dask would stop at what it takes for the limit.
        each = {
            **common, "nthreads": 1, "memory_limit": None, "local_directory": folder,
            "dashboard": False, "silence_logs": logging.CRITICAL, "preload": [worker.__name__],
        }  # fmt: skip
        dealt = itertools.islice(itertools.cycle(gpus or [None]), workers)
        specs = {
            number: {"cls": Nanny, "options": {**each, "env": _seeing(gpu)}}
            for number, gpu in enumerate(dealt)
        }
        with deaf_to_interrupts():
            cluster = SpecCluster(  # type: ignore[no-untyped-call]
                workers=specs, silence_logs=logging.CRITICAL,
                scheduler={"cls": Scheduler, "options": {**common, "port": 0, **UNSEEN}},
            )  # fmt: skip
        with (
            cluster,
            Client(cluster, set_as_default=False) as client,  # type: ignore[no-untyped-call]
        ):
            yield Cluster(client, cluster.scheduler_address)


def environment(threads: int) -> dict[str, int]:
    """Return the environment variables of a worker that computes with so many threads."""
    return dict.fromkeys(THREADS, threads) | ALLOCATION


def gpus() -> list[str]:
    """Return the GPUs that this process may use, by the names that CUDA knows them by.

    Asks the driver's own tool and the environment, not torch, which takes seconds to import.
    """
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    if said is not None:
        names = (name.strip() for name in said.split(","))
        return list(itertools.takewhile(lambda name: name not in {"", "-1"}, names))
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        listed = subprocess.run(
            [tool, "-L"], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        _log.warning("GPUs are not counted: %s", error)
        return []
    count = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    return [str(index) for index in range(count)]


@contextlib.contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Start threads and processes that Ctrl-C does not reach: only this thread answers to it.

    What they start later, in the place of a process that died, is as deaf. Windows knows nothing
    like it: there each worker turns a deaf ear when it is up (see `worker.dask_setup`).
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_BEFORE_SPAWN = "distributed.nanny.pre-spawn-environ"


def _seeing(gpu: str | None) -> dict[str, str]:
    """Return the environment of a process that sees one GPU; that of all others, without one."""
    return {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}


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
