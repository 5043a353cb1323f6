"""``cellulus check``: validate an experiment and show what it will do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellulus.cli import options

if TYPE_CHECKING:
    from pathlib import Path

    from cellulus.pipeline.probe import Asked


def check(
    experiment: options.Experiment,
    probe: options.Probe = False,
    model: options.Model = None,
    device: options.Device = "auto",
    changes: options.Set = [],  # noqa: B006 - typer copies it
    workers: options.Workers = None,
    memory: options.Memory = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
) -> None:
    """Validate an experiment, and show its plan: shapes, parts, memory, disk, and time if asked.

    Where a method learns from points, they are looked at, too: exit code 1 if they are hopeless.
    """
    from pathlib import Path

    from cellulus.cli import jobs, plans
    from cellulus.experiment.load import load

    path = Path(experiment)
    loaded = load(path, jobs.overrides(changes, memory=memory))
    asked = _asked(path, model, device, workers or 1) if probe else None
    training = model is None  # with a model there is nothing left to be learnt
    markers = training and loaded.method.needs == "points"
    plans.show(loaded, training=training, as_json=as_json, probe=asked, markers=markers)


def _asked(path: Path, model: Path | None, device: str, workers: int) -> Asked:
    """Return what is to be tried: with the model that was named, or that of the run, if any."""
    from pathlib import Path

    from cellulus.cli import jobs
    from cellulus.pipeline.probe import Asked
    from cellulus.runs import Run

    own = Run(Path("runs") / path.stem)
    if model is None:
        return Asked(own.model if own.model.is_file() else None, own.predictions, device, workers)
    file = jobs.model_file(model)
    return Asked(file, (Run.around(file) or own).predictions, device, workers)
