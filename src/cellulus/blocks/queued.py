"""A crew of jobs: workers that join when their turn in a queue has come, and go with their job.

Jobs are asked for when there is something to do; one that ends before all is done (its time was
up, its node failed) is asked for again. Knows nothing of what is done to a block, and nothing of
the words in which a job is asked for (`slurm`).
"""

from __future__ import annotations

import getpass
import logging
import re
import subprocess
import time
from typing import TYPE_CHECKING, Any

from cellulus.blocks.dispatch import Cluster
from cellulus.errors import InputError, MissingError
from cellulus.files import storage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from distributed import Future, as_completed

    from cellulus.blocks.crew import End, Task

LOOK = 10.0
"""How often jobs are looked after [s]."""

PATIENCE = 60.0
"""How long the first worker may be waited for in silence [s]."""

_log = logging.getLogger(__name__)


class Jobs(Cluster):
    """Workers that come with jobs.

    Parameters
    ----------
    client
        Connected to `cluster`.
    cluster
        What submits and cancels jobs.
    count
        How many jobs there shall be.
    logs
        Folder for what they say.
    """

    def __init__(self, client: Any, cluster: Any, count: int, logs: Path) -> None:
        super().__init__(client, "slurm")
        self._cluster, self._count, self._logs = cluster, count, logs
        self._joined: set[str] = set()
        self._asked = self._looked = 0.0
        self._warned, self._refusal = False, ""

    def do(self, tasks: Iterable[Task]) -> Iterator[End]:
        """Do tasks; see `cellulus.blocks.crew.Crew`.

        Raises
        ------
        InputError
            If Slurm does not accept the jobs, or a worker has another version of this package.
        MissingError
            If every job has ended, and those asked for in their place ended before they joined.
        StorageError
            If the folder of logs cannot be made.
        """
        if not self._asked:
            self._ask()
        return super().do(tasks)

    def _ask(self) -> None:
        """Ask for all jobs."""
        with storage(self._logs):
            self._logs.mkdir(parents=True, exist_ok=True)
        for _ in range(self._count):
            self._cluster.worker_spec.update(self._cluster.new_worker_spec())
        try:
            self._cluster.sync(self._settle)
        except RuntimeError as error:
            raise InputError(
                "[slurm]",
                expected="jobs that sbatch accepts",
                found=_said(error),
                remedy="change the section of the experiment, or use --set slurm.KEY=VALUE",
            ) from error
        self._asked = self._looked = time.monotonic()
        _log.info("asked Slurm for %d job(s), which write to %s", self._count, self._logs)

    async def _settle(self) -> None:
        """Submit what is wanted and not there."""
        await self._cluster

    def _next(self, landing: as_completed) -> Future[None]:
        """Wait for the next task that ends, and look after the jobs meanwhile."""
        while not landing.has_ready():  # type: ignore[no-untyped-call]
            if time.monotonic() - self._looked > LOOK:
                self._look()
                self._looked = time.monotonic()
            time.sleep(0.02)
        return super()._next(landing)

    def _look(self) -> None:
        """Ask again for jobs that ended; give up when new ones end before they join."""
        present = {known.name for known in list(self._cluster.scheduler.workers.values())}
        jobs = {job.job_id: name for name, job in list(self._cluster.workers.items())}
        self._joined |= {number for number, name in jobs.items() if name in present}
        if not self._joined and not self._warned and time.monotonic() - self._asked > PATIENCE:
            _log.warning("no job has begun yet: waiting; squeue --me tells when they may")
            self._warned = True
        is_new = bool(jobs) and not jobs.keys() & self._joined
        if is_new and not present and not _are_queued(set(jobs)):
            raise MissingError(
                "slurm",
                expected="jobs that stay until the work is done",
                found="none: all have ended, and the last ones before their workers joined",
                remedy=f"{self._logs} holds what they said; then go on with --resume",
            )
        if len(self._cluster.workers) < self._count:
            self._ask_again()

    def _ask_again(self) -> None:
        try:
            self._cluster.sync(self._settle)
        except RuntimeError as error:
            if (said := _said(error)) != self._refusal:
                _log.warning("Slurm accepts no job in the place of one that ended: %s", said)
                self._refusal = said
            for name, job in list(self._cluster.workers.items()):
                if job.job_id is None:
                    del self._cluster.workers[name]  # to be tried again


def _are_queued(numbers: set[str]) -> bool:
    """Return whether any of these jobs waits or runs; whoever cannot tell says yes."""
    command = ["squeue", "--noheader", "--format=%i", f"--user={getpass.getuser()}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return True
    return bool(numbers & set(done.stdout.split()))


def _said(error: RuntimeError) -> str:
    """Return what sbatch said, out of what dask-jobqueue says of it."""
    found = re.search(r"^stderr:\n(.*)", str(error), re.MULTILINE | re.DOTALL)
    return (found.group(1).strip() if found else "") or str(error).strip()
