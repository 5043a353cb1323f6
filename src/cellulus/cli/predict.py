"""``cellulus predict``: images and a model to embeddings."""

from __future__ import annotations

from cellulus.cli import console, options


def predict(
    target: options.ExperimentOrImages,
    model: options.Model = None,
    output: options.Output = None,
    device: options.Device = "auto",
    changes: options.Set = [],  # noqa: B006 - typer copies it
    seed: options.Seed = None,
    workers: options.Workers = None,
    scheduler: options.Scheduler = None,
    memory: options.Memory = None,
    fuse: options.Fuse = False,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
) -> None:
    """Apply a model to images; prints where the predictions are, or with --fuse the labels."""
    from cellulus.cli import crews, jobs, plans

    job, file = jobs.job_of_prediction(
        target, model=model, output=output, changes=jobs.overrides(changes, seed, memory)
    )
    if dry_run:
        plans.show(job.experiment, training=False)
        return
    with crews.hired(workers, scheduler, job, device=device) as crew:
        run = job.start(resume=resume, overwrite=overwrite)
        if fuse:
            from cellulus.pipeline.fuse import fuse as step
        else:
            from cellulus.pipeline.predict import predict as step

        with console.working(run.folder) as progress:
            results = step(
                job.experiment, run, model=file,
                device=device, crew=crew, resume=resume, overwrite=overwrite, progress=progress,
            )  # fmt: skip
        console.result(*results)
