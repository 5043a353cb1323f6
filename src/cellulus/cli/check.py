"""``cellulus check``: validate an experiment and show what it will do."""

from __future__ import annotations

from cellulus.cli import options


def check(
    experiment: options.Experiment,
    changes: options.Set = [],  # noqa: B006 - typer copies it
    as_json: options.Json = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
) -> None:
    """Validate an experiment, and show its plan: shapes, tiles, memory and outputs."""
    from pathlib import Path

    from cellulus.cli import plans
    from cellulus.experiment.load import load

    plans.show(load(Path(experiment), changes), as_json=as_json)
