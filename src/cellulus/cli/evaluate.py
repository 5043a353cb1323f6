"""``cellulus evaluate``: labels and truth to scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cellulus.cli import console, options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellulus.blocks.crew import Crew
    from cellulus.cli.jobs import Job
    from cellulus.ops.scores import ImageScores, Scores


def evaluate(
    target: options.ExperimentOrPair,
    output: options.Output = None,
    changes: options.Set = [],  # noqa: B006 - typer copies it
    seams: options.Seams = False,
    workers: options.Workers = None,
    scheduler: options.Scheduler = None,
    resume: options.Resume = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
) -> None:
    """Score labels against the truth; prints a table per image and of all together."""
    from cellulus.cli import crews, jobs
    from cellulus.errors import InputError

    if seams:
        from cellulus.cli.seams import show

        if workers is not None or scheduler is not None:
            raise InputError(
                "--seams",
                expected="neither --workers nor --scheduler: planes are compared in one process",
                found="--workers" if scheduler is None else "--scheduler",
            )
        show(target, output, changes, as_json=as_json)
        return
    job = jobs.job_of(target, output=output, changes=changes)
    if job is None and len(target) != 2:
        raise InputError(
            " ".join(target), expected="an experiment, or labels and truth", found="neither"
        )
    with crews.hired(workers, scheduler, job) as crew:
        if job is None:
            iou = jobs.defaults(changes).evaluate.iou
            scores = _of_paths(target, output, iou, crew, resume=resume)
        else:
            scores = _of_run(job, crew, resume=resume)
    if as_json:
        console.result(scores.to_json().rstrip())
    else:
        _show(scores)


def _of_run(job: Job, crew: Crew, *, resume: bool) -> Scores:
    from cellulus.pipeline.evaluate import evaluate
    from cellulus.runs import Run

    with console.working(job.folder) as progress:
        return evaluate(
            job.experiment, Run(job.folder), crew=crew, resume=resume, progress=progress
        )


def _of_paths(
    paths: Sequence[str], output: Path | None, iou: Sequence[float], crew: Crew, *, resume: bool
) -> Scores:
    from cellulus.files import write_text
    from cellulus.pipeline.evaluate import evaluate_paths
    from cellulus.runs import Run

    with console.working(output or Path()) as progress:
        scores = evaluate_paths(
            paths[0], paths[1], iou, folder=output, crew=crew, resume=resume, progress=progress
        )
    if output is not None:
        write_text(Run(output).scores, scores.to_json())
    return scores


def _show(scores: Scores) -> None:
    thresholds = [match.iou for match in scores.pooled.matches]
    columns = ["image", "true", "found", "SEG"]
    columns += [f"{name}@{iou:g}" for iou in thresholds for name in ("F1", "AP")]
    images = scores.images if len(scores.images) > 1 else ()
    console.table("", columns, [_row(image) for image in [*images, scores.pooled]])


def _row(scores: ImageScores) -> list[str]:
    values = [value for match in scores.matches for value in (match.f1, match.ap)]
    return [
        scores.name,
        str(scores.n_true),
        str(scores.n_pred),
        *("-" if value is None else f"{value:.3f}" for value in [scores.seg, *values]),
    ]
