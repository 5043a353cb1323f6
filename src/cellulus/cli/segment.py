"""``cellulus segment``: embeddings to labels."""

from __future__ import annotations

from cellulus.cli import console, options


def segment(
    target: options.ExperimentOrPredictions,
    output: options.Output = None,
    changes: options.Set = [],  # noqa: B006 - typer copies it
    workers: options.Workers = None,
    scheduler: options.Scheduler = None,
    memory: options.Memory = None,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
) -> None:
    """Group the voxels of predictions into objects; prints where the labels are."""
    from cellulus.cli import crews, jobs, plans

    changes = jobs.overrides(changes, memory=memory)
    job, named = jobs.job_of_results(target, output=output, changes=changes, step="segment")
    if dry_run:
        plans.show(job.experiment, training=False)
        return
    with crews.hired(workers, scheduler, job) as crew:
        run = job.start(resume=resume, overwrite=overwrite)
        from cellulus.pipeline.segment import segment

        with console.working(run.folder) as progress:
            labels = segment(
                job.experiment, run, predictions=named or None,
                crew=crew, resume=resume, overwrite=overwrite, progress=progress,
            )  # fmt: skip
        console.result(*labels)
