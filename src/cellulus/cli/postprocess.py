"""``cellulus postprocess``: labels to labels."""

from __future__ import annotations

from cellulus.cli import console, options


def postprocess(
    target: options.ExperimentOrLabels,
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
    """Improve labels object by object; prints where the new labels are."""
    from cellulus.cli import crews, jobs, plans

    changes = jobs.overrides(changes, memory=memory)
    job, named = jobs.job_of_results(target, output=output, changes=changes, step="postprocess")
    if dry_run:
        plans.show(job.experiment, training=False)
        return
    with crews.hired(workers, scheduler, job) as crew:
        run = job.start(resume=resume, overwrite=overwrite)
        from cellulus.pipeline.postprocess import postprocess

        with console.working(run.folder) as progress:
            labels = postprocess(
                job.experiment, run, labels=target if named else None,
                crew=crew, resume=resume, overwrite=overwrite, progress=progress,
            )  # fmt: skip
        console.result(*labels)
