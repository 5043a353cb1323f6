"""A plan as tables; what ``check`` and every ``--dry-run`` show. Works out nothing itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cellulus.cli import console

if TYPE_CHECKING:
    from cellulus.experiment.sections import Experiment
    from cellulus.pipeline.plan import ImagePlan, Plan

SHOWN = 20
"""Images listed; more are summed up."""


def show(experiment: Experiment, *, training: bool = True, as_json: bool = False) -> None:
    """Work out the plan of an experiment, and write it to stdout."""
    from cellulus.pipeline.plan import plan

    made = plan(experiment, training=training)
    if as_json:
        console.result(json.dumps(made.to_dict(), indent=2))
        return
    console.table("Plan", ["what", "value"], _summary(experiment, made), numbers=False)
    if made.images:
        columns = ["image", "shape", "voxel size", "diameter", "network grid", "tiles", "blocks"]
        console.table("Images", columns, [_row(image) for image in made.images[:SHOWN]])
    if len(made.images) > SHOWN:
        console.result(f"... and {len(made.images) - SHOWN} more images")


def _summary(experiment: Experiment, plan: Plan) -> list[tuple[str, str]]:
    predictions = [image.prediction_bytes for image in plan.images]
    known = [count for count in predictions if count is not None]
    labels = sum(image.label_bytes for image in plan.images)
    trains = f"{plan.training} images, {plan.steps} steps of {plan.batch_size} crops"
    memory = {step: n for step, n in plan.memory.items() if plan.training or step != "train"}
    return [
        ("method", experiment.method.name),
        ("network", f"{plan.ndim} dimensions, {plan.parameters:,} parameters, view {plan.view}"),
        ("predicts", ", ".join(plan.outputs)),
        *([("training", trains)] if plan.training else []),
        ("crop, tile, block", f"{plan.crop}, {plan.tile}, {plan.block}"),
        *((f"{step} memory, estimated", _size(n)) for step, n in memory.items()),
        ("predictions, at most", _size(sum(known)) if known == predictions else "when run"),
        ("labels, at most", _size(labels)),
    ]


def _row(image: ImagePlan) -> list[str]:
    voxel = " x ".join(f"{v:g}" for v in image.voxel_size)
    diameter = " x ".join(f"{v:.3g}" for v in image.diameter or ())
    return [
        image.name,
        _extent(image.shape),
        f"{voxel} um" if image.unit == "um" else "unknown",
        diameter or "when run",
        _extent(image.canonical_shape or ()) or "when run",
        str(image.tiles or "when run"),
        str(image.blocks),
    ]


def _extent(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
