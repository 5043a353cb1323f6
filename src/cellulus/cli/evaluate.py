"""``cellulus evaluate``: labels and truth to scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cellulus.cli import console, options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellulus.ops.scores import ImageScores, Scores


def evaluate(
    target: options.ExperimentOrPair,
    output: options.Output = None,
    changes: options.Set = [],  # noqa: B006 - typer copies it
    seams: options.Seams = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
) -> None:
    """Score labels against the truth; prints a table per image and of all together."""
    if seams:
        from cellulus.cli.seams import show

        show(target, output, changes, as_json=as_json)
        return
    scores = _scores(target, output, changes)
    if as_json:
        console.result(scores.to_json().rstrip())
    else:
        _show(scores)


def _scores(target: Sequence[str], output: Path | None, changes: Sequence[str]) -> Scores:
    from cellulus.cli import jobs
    from cellulus.errors import InputError
    from cellulus.files import write_text
    from cellulus.runs import Run

    job = jobs.job_of(target, output=output, changes=changes)
    if job is None and len(target) != 2:
        raise InputError(
            " ".join(target), expected="an experiment, or labels and truth", found="neither"
        )
    from cellulus.pipeline.evaluate import evaluate, evaluate_paths

    if job is not None:
        with console.working(job.folder, resumes=False) as progress:
            return evaluate(job.experiment, Run(job.folder), progress=progress)
    with console.working(output or Path(), resumes=False) as progress:
        thresholds = jobs.defaults(changes).evaluate.iou
        scores = evaluate_paths(target[0], target[1], thresholds, progress=progress)
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
