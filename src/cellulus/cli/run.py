"""``cellulus run``: all steps, then a report."""

from __future__ import annotations

from cellulus.cli import console, options


def run(
    target: options.ExperimentOrImages,
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
    """Do all steps, from images to labels and a report; prints where the report is."""
    from cellulus.cli import crews, jobs, plans

    job = jobs.job_of_images(target, output=output, changes=jobs.overrides(changes, seed, memory))
    if dry_run:
        plans.show(job.experiment)
        return
    with crews.hired(workers, scheduler, job, device=device) as crew:
        folder = job.start(resume=resume, overwrite=overwrite, results=("model", "state"))
        from cellulus.pipeline.run import run

        with console.working(folder.folder) as progress:
            report = run(
                job.experiment, folder,
                device=device, crew=crew, fused=fuse,
                resume=resume, overwrite=overwrite, progress=progress,
            )  # fmt: skip
        console.result(report)
