"""From a run folder to its report: gathers what `cellulus.report` draws.

Losses and scores are left out of the page where there are none.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus.data.readers import open_image, open_volumes
from cellulus.files import write_text
from cellulus.ops.scores import Scores
from cellulus.pipeline.objects import CONFIDENCE
from cellulus.pipeline.prediction import Prediction
from cellulus.pipeline.samples import open_samples
from cellulus.report.case import Case, Confidence, Marks
from cellulus.report.page import render
from cellulus.report.rows import choose, image_rows, pooled_scores
from cellulus.space import blocks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cellulus.data.volume import Volume
    from cellulus.experiment.sections import Experiment
    from cellulus.pipeline.samples import Sample
    from cellulus.runs import Run
    from cellulus.space import Region

_SHOWN = {2: 1024, 3: 256}
"""Longest edge of what is shown of an image [voxel]."""
_BLOCK = {2: 2048, 3: 256}


def write_report(experiment: Experiment, run: Run) -> Path:
    """Write the page about a run, and return its path.

    Parameters
    ----------
    experiment
        The settings.
    run
        ``predictions/`` and ``labels/`` must be there; losses and scores are shown where they are.

    Raises
    ------
    MissingError
        If there are no predictions or labels, or the images are gone.
    StorageError
        If the page cannot be written.
    """
    samples = open_samples(experiment)
    labels = [open_volumes(run.labels / f"{s.volume.name}.zarr")[0] for s in samples]
    scores = _scores(run, samples)
    rows = _rows(labels, scores)
    by_name = {volume.name: (s, volume) for s, volume in zip(samples, labels, strict=True)}
    cases = [_case(run, *by_name[rows[i]["name"]], rows[i], why) for i, why in choose(rows)]
    record = json.loads(run.resolved.read_text())
    found = sum(row["n_pred"] for row in rows)
    page = render(
        run.folder.absolute().name,
        curves=_records(run.log),
        cases=cases,
        scores=pooled_scores(scores) if scores else None,
        table=rows,
        settings=record["experiment"],
        versions=record["versions"],
        notes=[] if found else ["No object was found in any image."],
    )
    write_text(run.report, page)
    return run.report


def _scores(run: Run, samples: list[Sample]) -> Scores | None:
    """Return the scores, unless there are none or they are of other images."""
    if not run.scores.exists():
        return None
    scores = Scores.from_json(run.scores.read_text())
    scored = {image.name for image in scores.images}
    return scores if scored == {s.volume.name for s in samples if s.truth} else None


def _rows(labels: list[Volume], scores: Scores | None) -> list[dict[str, Any]]:
    """Return one row per image, scored ones first."""
    rows = image_rows(scores) if scores else []
    known = {row["name"] for row in rows}
    return rows + [{"name": v.name, "n_pred": _count(v)} for v in labels if v.name not in known]


def _count(labels: Volume) -> int:
    """Return the number of objects: labels are dense, so their maximum."""
    edge = (_BLOCK[labels.ndim],) * labels.ndim
    parts = blocks(labels.shape, edge, (0,) * labels.ndim)
    return max(int(labels.read(part.core).max()) for part in parts)


def _case(run: Run, sample: Sample, labels: Volume, row: Mapping[str, Any], why: str) -> Case:
    region = _middle(labels.shape)
    prediction = Prediction.open(run.predictions / f"{labels.name}.zarr")
    said = prediction.read(region)
    names = open_image(prediction.volume.path).channel_names
    sure = names[-1] if names else ""
    numbers = {k: v for k, v in row.items() if k not in {"name", "n_true", "n_pred"}}
    return Case(
        name=labels.name,
        image=prediction.read_image(region),
        labels=labels.read(region)[0],
        voxel_size=prediction.image.voxel_size,
        offsets=None if prediction.facts.fused else said[: labels.ndim],
        confidence=Confidence(sure, said[-1]) if sure in CONFIDENCE else None,
        marks=_marks(prediction, region),
        truth=sample.truth.read(region)[0].astype(np.uint32) if sample.truth else None,
        scores=numbers or None,
        why=why,
        part=_words(region, labels.shape),
    )


def _marks(prediction: Prediction, region: Region) -> Marks | None:
    """Return the points in a region, if there are points; near a cut is a quarter of a diameter."""
    if prediction.points is None:
        return None
    first, stop = np.array([(part.start, part.stop) for part in region]).T
    points = prediction.points
    inside = ((points >= first - 0.5) & (points < stop - 0.5)).all(axis=1)
    facts = prediction.facts
    return Marks(points[inside] - first, tuple(facts.object_voxels / 4 / z for z in facts.zoom))


def _middle(shape: tuple[int, ...]) -> Region:
    """Return the middle of a grid, as large as is shown."""
    edge = _SHOWN[len(shape)]
    starts = [max(0, (n - edge) // 2) for n in shape]
    return tuple(slice(a, min(a + edge, n)) for a, n in zip(starts, shape, strict=True))


def _words(region: Region, shape: tuple[int, ...]) -> str:
    axes = "zyx"[-len(shape) :]
    return ", ".join(
        f"{axis} {part.start}-{part.stop} of {n}"
        for axis, part, n in zip(axes, region, shape, strict=True)
        if part.stop - part.start < n
    )


def _records(log: Path) -> list[dict[str, Any]]:
    lines = log.read_text().splitlines() if log.exists() else []
    return [json.loads(line) for line in lines]
