"""A plan as tables; what ``check`` and every ``--dry-run`` show. Works out nothing itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cellulus.cli import console

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellulus.experiment.sections import Experiment
    from cellulus.pipeline.marker_check import MarkerCheck
    from cellulus.pipeline.plan import ImagePlan, Plan
    from cellulus.pipeline.probe import Asked, Probe

SHOWN = 20
"""Images listed; more are summed up."""
UNKNOWN = "when run"


def show(
    experiment: Experiment,
    *,
    training: bool = True,
    as_json: bool = False,
    probe: Asked | None = None,
    markers: bool = False,
) -> None:
    """Work out the plan of an experiment, and write it to stdout.

    Parameters
    ----------
    experiment
        What to plan.
    training
        Whether it will train.
    as_json
        Whether a machine reads.
    probe
        What is to be tried out to tell how long it will take, if that was asked for.
    markers
        Whether to look at the points to learn from, too.

    Raises
    ------
    GateError
        If nothing can be learnt from these points; everything is shown first.
    """
    from cellulus.pipeline.plan import plan

    made = plan(experiment, training=training)
    marked = _look_at_markers(experiment) if markers else None
    tried = None
    if probe:
        from cellulus.pipeline.probe import try_out

        tried = try_out(experiment, made, probe)
    if as_json:
        told = made.to_dict() | ({"probe": tried.to_dict()} if tried else {})
        told |= {"markers": marked.to_dict()} if marked else {}
        console.result(json.dumps(told, indent=2))
    else:
        _show(experiment, made)
        if tried:
            _show_probe(tried)
        if marked:
            _show_markers(marked)
    if marked:
        marked.require_hope()


def _look_at_markers(experiment: Experiment) -> MarkerCheck:
    from cellulus.pipeline.marker_check import check_markers

    console.say("Looking at the markers and the foreground to learn from ...")
    return check_markers(experiment)


def _show(experiment: Experiment, made: Plan) -> None:
    console.table("Plan", ["what", "value"], list(_summary(experiment, made)), numbers=False)
    if made.images:
        columns = ["image", "shape", "voxel size", "diameter", "network grid", "tiles", "blocks"]
        console.table("Images", columns, [_row(image) for image in made.images[:SHOWN]])
    if len(made.images) > SHOWN:
        console.result(f"... and {len(made.images) - SHOWN} more images")
    if rows := list(_steps(made)):
        columns = ["step", "parts", "core", "reads at most", "halo overhead", "memory, at most"]
        console.table("Steps, memory per process", columns, rows)
    if made.disk:
        _show_disk(made)


def _summary(experiment: Experiment, plan: Plan) -> Iterator[tuple[str, str]]:
    from cellulus.pipeline.memory import amount

    yield "method", experiment.method.name
    yield (
        "network",
        f"{plan.ndim} dimensions, {plan.parameters:,} parameters, view {plan.view}",
    )
    yield "predicts", ", ".join(plan.outputs)
    if plan.training:
        cut = f" in {plan.parts} parts" if plan.parts > 1 else ""
        crops = f"{plan.batch_size} crops{cut}"
        yield "training", f"{plan.training} images, {plan.steps} steps of {crops}"
        yield "train memory, estimated", amount(plan.memory["train"])
    yield "crop, tile, block", f"{plan.crop}, {plan.tile}, {plan.block}"
    if plan.cap is not None:
        yield "cap on memory", f"{amount(plan.cap)} per process, each of --workers is one"


def _row(image: ImagePlan) -> list[str]:
    voxel = " x ".join(f"{v:g}" for v in image.voxel_size)
    diameter = " x ".join(f"{v:.3g}" for v in image.diameter or ())
    counts = [image.steps[s].cut.count if image.steps else 0 for s in ("predict", "segment")]
    return [
        image.name,
        _extent(image.shape),
        f"{voxel} um" if image.unit == "um" else "unknown",
        diameter or UNKNOWN,
        _extent(image.canonical_shape or ()) or UNKNOWN,
        *(str(count or UNKNOWN) for count in counts),
    ]


def _steps(plan: Plan) -> Iterator[list[str]]:
    """Yield a row per step: all parts of all images, and the largest of them."""
    from cellulus.pipeline.memory import amount

    known = [image for image in plan.images if image.steps]
    for name in known[0].steps if known else ():
        steps = [image.steps[name] for image in known]
        largest = max(steps, key=lambda step: step.memory)
        own = sum(step.cut.voxels / step.cut.overhead for step in steps)
        yield [
            name,
            str(sum(step.cut.count for step in steps)),
            _extent(largest.cut.core),
            _extent(largest.cut.outer),
            f"{sum(step.cut.voxels for step in steps) / own:.2f}",
            amount(plan.memory[name]),
        ]


def _show_disk(plan: Plan) -> None:
    from cellulus.pipeline.memory import amount

    passing = plan.disk["staging"] + plan.disk["parts"]
    rows = [(name, amount(plan.disk[name])) for name in ("predictions", "segments", "labels")]
    rows.append(("while an image is worked on", amount(passing)))
    console.table("Disk, at most, before compression", ["what", "size"], rows)


def _show_probe(probe: Probe) -> None:
    rows = [
        [step.name, step.on, _time(step.probed), _time(step.seconds), step.note]
        for step in probe.steps
    ]
    columns = ["step", "tried on", "took", "all of it, about", ""]
    console.table(f"Time, on {probe.machine}", columns, rows, numbers=False)


def _show_markers(marked: MarkerCheck) -> None:
    nothing = [] if marked.findings else ["Nothing is odd about them."]
    told = [str(finding) for finding in marked.findings]
    console.result("Markers", *(f"  {line}" for line in [marked.summary, *told, *nothing]), "")


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _extent(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)
