"""Labels and truth to scores, block by block: memory does not grow with the image.

Knows nothing of how labels came about, and leaves all counting to `cellulus.ops`.
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import TYPE_CHECKING

from cellulus.data.readers import expand, open_volumes
from cellulus.errors import InputError, MissingError
from cellulus.files import write_text
from cellulus.ops.overlap import OverlapTable, overlap_table
from cellulus.ops.scores import pool, score_table
from cellulus.pipeline.samples import open_samples
from cellulus.progress import Silent
from cellulus.space import blocks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cellulus.data.volume import Volume
    from cellulus.experiment.sections import Experiment
    from cellulus.ops.scores import Scores
    from cellulus.progress import Progress
    from cellulus.runs import Run

# Edge of the blocks read at once, about 16 million voxels [voxel].
_BLOCK = {2: 4096, 3: 256}


def evaluate(experiment: Experiment, run: Run, *, progress: Progress | None = None) -> Scores:
    """Score the labels of a run where the experiment names a truth, and store the scores.

    Parameters
    ----------
    experiment
        Which images have a truth, and the thresholds.
    run
        ``labels/`` is read, ``scores.json`` is written.
    progress
        One unit per image.

    Raises
    ------
    InputError
        If no image has a truth, or labels and truth do not fit.
    MissingError
        If labels are missing; names all of them.
    StorageError
        If something cannot be read or written.
    """
    truths = [(s.volume.name, s.truth) for s in open_samples(experiment) if s.truth is not None]
    if not truths:
        raise InputError(
            "data.apply",
            expected="at least one image with a truth",
            found="none",
            remedy='give truth = "..." beside the image, or score two paths: LABELS TRUTH',
        )
    paths = [run.labels / f"{name}.zarr" for name, _ in truths]
    _require(paths, run.labels)
    pairs = [(open_volumes(path)[0], truth) for path, (_, truth) in zip(paths, truths, strict=True)]
    scores = _scored(pairs, experiment.evaluate.iou, progress or Silent())
    write_text(run.scores, scores.to_json())
    return scores


def evaluate_paths(
    labels: str, truth: str, iou: Sequence[float], *, progress: Progress | None = None
) -> Scores:
    """Score label files against truth files.

    Parameters
    ----------
    labels, truth
        A path or a glob; several are paired in natural order (``t2`` before ``t10``), time
        points one by one.
    iou
        Thresholds, above 0 and at most 1, inclusive.
    progress
        One unit per image.

    Raises
    ------
    MissingError, InputError, StorageError
        If there is nothing there, it holds no labels, or the two sides do not fit; says which
        have no partner of their name.
    """
    found, wanted = (
        [volume for path in expand(pattern) for volume in open_volumes(path)]
        for pattern in (labels, truth)
    )
    if len(found) != len(wanted):
        raise InputError(
            truth,
            expected=f"one truth for each of the {len(found)} label images of {labels}",
            found=str(len(wanted)),
            remedy=_lonely(found, wanted),
        )
    return _scored(list(zip(found, wanted, strict=True)), iou, progress or Silent())


def _scored(
    pairs: Sequence[tuple[Volume, Volume]], iou: Sequence[float], progress: Progress
) -> Scores:
    progress.start("evaluate", len(pairs))
    images = []
    for labels, truth in pairs:
        images.append(score_table(_table(labels, truth), iou, name=labels.name))
        progress.advance()
    progress.finish()
    return pool(images)


def _table(labels: Volume, truth: Volume) -> OverlapTable:
    if labels.shape != truth.shape:
        raise InputError(
            truth.path or truth.name,
            expected=f"the shape of {labels.path or labels.name}, {labels.shape}",
            found=f"shape {truth.shape}",
            remedy="score labels on the grid and the pyramid level of the truth",
        )
    core = (_BLOCK[labels.ndim],) * labels.ndim
    regions = (block.core for block in blocks(labels.shape, core, (0,) * labels.ndim))
    try:
        return reduce(add, (overlap_table(labels.read(r)[0], truth.read(r)[0]) for r in regions))
    except InputError as error:
        side = {"labels": labels, "truth": truth}.get(error.where)
        if side is None:
            raise
        raise InputError(
            side.path or side.name,
            expected=error.expected,
            found=error.found,
            remedy=error.remedy,
        ) from error


def _require(paths: Sequence[Path], folder: Path) -> None:
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise MissingError(
            folder,
            expected="labels of every image with a truth",
            found=f"none of {_listed(missing)}",
            remedy="make them first: segment, then postprocess",
        )


def _lonely(found: Sequence[Volume], wanted: Sequence[Volume]) -> str:
    names, others = ({volume.name for volume in side} for side in (found, wanted))
    alone = {"without a truth": names - others, "without labels": others - names}
    return "; ".join(f"{what}: {_listed(sorted(who))}" for what, who in alone.items() if who)


def _listed(names: Sequence[str], most: int = 10) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
