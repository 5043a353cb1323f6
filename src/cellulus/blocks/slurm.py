"""What Slurm is asked for: the settings of jobs, and the words in which it understands them.

How a job is submitted and how its worker
finds the way back is dask-jobqueue's business: what is not said here, such as the network
interface, stands in its own configuration. Knows nothing of what jobs do (`queued`).
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import re
import shlex
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from cellulus.blocks.cluster import LOST, RULES, UNSEEN, deaf_to_interrupts, environment
from cellulus.blocks.queued import Jobs
from cellulus.errors import MissingError
from cellulus.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AWAY = 60.0
"""How long a worker may be away, while it dies and comes again, before its job is given up [s]."""


class Slurm(Settings):
    """The jobs of --scheduler slurm, in Slurm's own terms; each holds one worker."""

    jobs: int = Field(default=4, ge=1)
    """How many jobs are asked for."""
    cores: int = Field(default=4, ge=1)
    """Cores of a job (--cpus-per-task)."""
    memory: str = "16GB"
    """Memory of a job (--mem)."""
    walltime: str = "04:00:00"
    """Time that a job may take (--time); if work is left then, a new job is asked for."""
    partition: str = ""
    """Where jobs queue (--partition); "" is the cluster's default."""
    account: str = ""
    """Who is charged (--account); "" is the cluster's default."""
    directives: tuple[str, ...] = ()
    """What else sbatch is told, as in ["--gres=gpu:1", "--qos=long"]."""
    prologue: tuple[str, ...] = ()
    """Lines of shell that run in a job before its worker, as in ["module load cuda"]."""

    @field_validator("memory")
    @classmethod
    def _whole(cls, value: str) -> str:
        if not re.fullmatch(r"[1-9]\d*[KMGT]B?", value):
            raise ValueError('a whole number of KB, MB, GB or TB, as "16GB"')
        return value

    @field_validator("walltime")
    @classmethod
    def _time(cls, value: str) -> str:
        if not re.fullmatch(r"\d+(:\d+){0,2}|\d+-\d+(:\d+){0,2}", value):
            raise ValueError('a time as Slurm writes it: "HH:MM:SS", "DAYS-HH:MM:SS" or minutes')
        return value

    @field_validator("directives")
    @classmethod
    def _options(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(option.startswith("-") for option in value):
            raise ValueError('options of sbatch, each of which begins with "-"')
        return value


@contextlib.contextmanager
def submit(settings: Slurm, logs: Path) -> Iterator[Jobs]:
    """Work with jobs of Slurm; they are cancelled at the end, however it comes.

    Parameters
    ----------
    settings
        What is asked for as soon as there is something to do.
    logs
        Folder for what the jobs say, a file each.

    Raises
    ------
    MissingError
        If dask-jobqueue is not installed, or there is no Slurm here.
    """
    _refuse_without_tools()
    import dask
    from distributed import Client

    with _ours():
        from dask_jobqueue.slurm import SLURMCluster

    with dask.config.set({**RULES, LOST: f"{AWAY:g} s"}):
        with deaf_to_interrupts():
            cluster = SLURMCluster(**_options(settings, logs))
        with (
            cluster,
            Client(cluster, set_as_default=False) as client,  # type: ignore[no-untyped-call]
        ):
            yield Jobs(client, cluster, settings.jobs, logs)


def _refuse_without_tools() -> None:
    if importlib.util.find_spec("dask_jobqueue") is None:
        raise MissingError(
            "--scheduler slurm",
            expected="dask-jobqueue",
            found="it is not installed",
            remedy="pip install 'cellulus[slurm]'",
        )
    if shutil.which("sbatch") is None:
        raise MissingError(
            "--scheduler slurm",
            expected="the command sbatch",
            found="none on PATH",
            remedy="run on a machine that submits to Slurm, or let --workers N start workers here",
        )


@contextlib.contextmanager
def _ours() -> Iterator[None]:
    """Keep our answer to Ctrl-C, in the place of which dask-jobqueue puts its own on import."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _options(settings: Slurm, logs: Path) -> dict[str, Any]:
    """Return what `dask_jobqueue.SLURMCluster` is told."""
    variables = environment(settings.cores).items()
    exports = [f"export {name}={value}" for name, value in variables]
    output = f"--output={shlex.quote(str(logs.absolute()))}/%j.log"
    return {
        "job_cls": _job_class(),
        "job_name": "cellulus",
        "queue": settings.partition or None,
        "account": settings.account or None,
        "walltime": settings.walltime,
        "job_cpu": settings.cores,
        "job_mem": settings.memory.removesuffix("B"),
        # One block at a time, with all cores. Blocks bound the memory, and Slurm watches it;
        # dask would stop at what it takes for the limit.
        "cores": 1, "processes": 1, "memory": "1GiB",
        "worker_extra_args": [*_known("worker-extra-args"), "--memory-limit=0", "--no-dashboard"],
        "job_extra_directives": [*_known("job-extra-directives"), output, *settings.directives],
        "job_script_prologue": [*_known("job-script-prologue"), *exports, *settings.prologue],
        "python": shlex.quote(sys.executable),
        "scheduler_options": {**_known("scheduler-options"), **UNSEEN},
        "silence_logs": logging.CRITICAL,
    }  # fmt: skip


def _known(key: str) -> Any:
    """Return what dask-jobqueue's own configuration says."""
    import dask

    return dask.config.get(f"jobqueue.slurm.{key}")


def _job_class() -> Any:
    """Return a job that says so when it is closed, which dask insists on."""
    from dask_jobqueue.slurm import SLURMJob
    from distributed.core import Status

    class Cancelled(SLURMJob):
        async def close(self) -> None:
            await super().close()  # type: ignore[no-untyped-call]
            self.status = Status.closed

    return Cancelled
