"""Who does the work of a command: this process, others started for it, or those of a scheduler."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from cellulus.errors import InputError, QuarantineError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from cellulus.blocks.crew import Crew
    from cellulus.cli.jobs import Job

LISTED = 20
"""How many of the blocks that were left out are named."""


@contextlib.contextmanager
def hired(
    workers: int | None, scheduler: str | None, job: Job | None = None, *, device: str = "cpu"
) -> Iterator[Crew]:
    """Have a crew for as long as a command works and says what came of it.

    Parameters
    ----------
    workers
        Number of processes to start.
    scheduler
        Address of a scheduler, or ``"slurm"``.
    job
        What the command works on; its experiment says what Slurm is asked for.
    device
        Where blocks are computed; GPUs are dealt out to the processes that are started, unless
        one is named.

    Raises
    ------
    InputError
        If both are given, or no scheduler answers.
    MissingError
        If there is no Slurm.
    QuarantineError
        At the end, if blocks had to be left out.
    """
    if workers is not None and scheduler is not None:
        raise InputError("--workers --scheduler", expected="one of the two", found="both of them")
    with _crew(workers, scheduler, job, device) as crew:
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


def _crew(
    workers: int | None, scheduler: str | None, job: Job | None, device: str
) -> AbstractContextManager[Crew]:
    if workers is None and scheduler is None:
        from cellulus.blocks.crew import Alone

        return contextlib.nullcontext(Alone())
    if scheduler == "slurm":
        from cellulus.blocks import slurm

        if job is None:
            raise InputError(
                "--scheduler slurm",
                expected="an experiment, or a run folder, whose section [slurm] is asked for",
                found="neither",
            )
        return slurm.submit(job.experiment.slurm, job.folder / "slurm")
    from cellulus.blocks import cluster

    if scheduler is not None:
        return cluster.connect(scheduler)
    return cluster.start(workers or 1, cluster.gpus() if device in {"auto", "cuda"} else ())
