"""Bringing a job to its end: every block that is not done is done, noted, or quarantined.

A block that keeps failing must not cost the others: it is noted with its reason and left out. A
job of which nothing succeeds is no case of a bad block, and its first failure is raised; nor is a
disk that is full, where the job stops at once. Knows nothing of what is done to a block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellulus.blocks.crew import Task
from cellulus.errors import UnwritableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cellulus.blocks.crew import Crew, Work
    from cellulus.blocks.journal import Stage
    from cellulus.progress import Progress

HOPELESS = 8
"""A job whose first blocks fail, this many of them (or all), is given up."""


@dataclass(frozen=True)
class Job:
    """One stage of the work on one image.

    Attributes
    ----------
    work
        What is done to a block.
    stage
        Where it is noted.
    count
        Number of blocks.
    part
        Which of them are to be done; by default all.
    """

    work: Work
    stage: Stage
    count: int
    part: range | None = None

    @property
    def blocks(self) -> range:
        """The blocks to be done."""
        return range(self.count) if self.part is None else self.part


def finish(jobs: Sequence[Job], crew: Crew, progress: Progress, what: str) -> None:
    """Do every block that is not done yet.

    Parameters
    ----------
    jobs
        They may be done at the same time.
    crew
        Who does them.
    progress
        One unit per block, those that were done before included.
    what
        Name of the step, for people.

    Raises
    ------
    UnwritableError
        If nothing can be written any more: no block after this one could be kept either.
    Exception
        What stopped the first block of a job, if none of its blocks could be done.
    """
    noted = [_Noted(job.work, job.stage) for job in jobs]
    done = [job.stage.done() for job in jobs]
    succeeded = [len(d) for d in done]
    failures: list[list[Exception]] = [[] for _ in jobs]
    earlier = [sum(i not in job.blocks for i in job.stage.failed()) for job in jobs]
    of = {id(work): number for number, work in enumerate(noted)}
    left = [
        Task(work, index)
        for work, job, have in zip(noted, jobs, done, strict=True)
        for index in job.blocks
        if index not in have
    ]
    if not left:
        return
    total = sum(len(job.blocks) for job in jobs)
    progress.start(what, total)
    if before := total - len(left):
        progress.advance(before)
    for end in crew.do(left):
        number = of[id(end.task.work)]
        if end.error is None:
            succeeded[number] += 1
        elif isinstance(end.error, UnwritableError):
            raise end.error
        else:
            if not succeeded[number]:
                failures[number].append(end.error)
                # Those of other parts of the job, which had no success either, count as well.
                count = len(failures[number]) + earlier[number]
                if count >= min(HOPELESS, jobs[number].count):
                    raise failures[number][0]
            reason = f"{type(end.error).__name__}: {end.error}"
            jobs[number].stage.mark_failed(end.task.index, reason)
        progress.advance()
    progress.finish()


@dataclass(frozen=True, eq=False)
class _Noted:
    """Does a block, then notes that it is done: the marker is what is written last."""

    work: Work
    stage: Stage

    def open(self) -> Callable[[int], dict[str, Any]]:
        do, stage = self.work.open(), self.stage

        def noted(index: int) -> dict[str, Any]:
            # Sent twice, if the worker that did it died before it could tell.
            if stage.is_done(index):
                return stage.record(index)
            record = do(index)
            stage.mark(index, record)
            return record

        return noted
