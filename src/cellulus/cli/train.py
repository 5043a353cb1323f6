"""``cellulus train``: images to a model."""

from __future__ import annotations

from cellulus.cli import console, options


def train(
    target: options.ExperimentOrImages,
    output: options.Output = None,
    device: options.Device = "auto",
    changes: options.Set = [],  # noqa: B006 - typer copies it
    seed: options.Seed = None,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
) -> None:
    """Learn a network from images; writes the model, and prints where it is."""
    from cellulus.cli import jobs, plans

    job = jobs.job_of_images(target, output=output, changes=jobs.overrides(changes, seed))
    if dry_run:
        plans.show(job.experiment)
        return
    run = job.start(resume=resume, overwrite=overwrite, results=("model", "state"))
    from cellulus.pipeline.train import train

    with console.working(run.folder) as progress:
        model = train(job.experiment, run, device=device, resume=resume, progress=progress)
    console.result(model)
