"""The main job: all steps, from images to labels, scores and a page to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellulus.pipeline.evaluate import evaluate
from cellulus.pipeline.fuse import fuse
from cellulus.pipeline.pages import write_report
from cellulus.pipeline.postprocess import postprocess
from cellulus.pipeline.predict import predict
from cellulus.pipeline.segment import segment
from cellulus.pipeline.train import is_trained, train

if TYPE_CHECKING:
    from pathlib import Path

    from cellulus.blocks.crew import Crew
    from cellulus.experiment.sections import Experiment
    from cellulus.progress import Progress
    from cellulus.runs import Run


def run(
    experiment: Experiment,
    run: Run,
    *,
    device: str = "auto",
    crew: Crew | None = None,
    fused: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Train, predict, segment, post-process, evaluate where there is truth, and report.

    Parameters
    ----------
    experiment
        The settings.
    run
        The folder that gets everything.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    crew
        Who does all steps but training, which is done here; this process by default.
    fused
        Whether embeddings go as soon as they are segmented; see `cellulus.pipeline.fuse`.
    resume, overwrite
        Go on where an interrupted run stopped, or replace what is there.
    progress
        Follows each step.

    Returns
    -------
    report
        Path of the page.

    Raises
    ------
    CellulusError
        As the steps do.
    """
    if not (resume and is_trained(experiment, run)):
        train(experiment, run, device=device, resume=resume, progress=progress)
    first = fuse if fused else predict
    first(
        experiment, run, device=device, crew=crew,
        resume=resume, overwrite=overwrite, progress=progress,
    )  # fmt: skip
    if not fused:
        segment(experiment, run, crew=crew, resume=resume, overwrite=overwrite, progress=progress)
    postprocess(experiment, run, crew=crew, resume=resume, overwrite=overwrite, progress=progress)
    if any(entry.truth for entry in experiment.data.apply):
        evaluate(experiment, run, crew=crew, resume=resume, progress=progress)
    return write_report(experiment, run)
