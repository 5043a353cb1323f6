"""The step from labels and truth to scores.

Knows nothing of how labels came about; `overlaps` says how they are read, `cellulus.ops` counts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cellulus.data.readers import expand, open_volumes
from cellulus.errors import InputError, MissingError
from cellulus.experiment.load import absolute
from cellulus.files import write_text
from cellulus.ops.scores import pool, score_table
from cellulus.pipeline.overlaps import Pair, overlaps
from cellulus.pipeline.pairing import listed
from cellulus.pipeline.samples import open_samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cellulus.blocks.crew import Crew
    from cellulus.data.volume import Volume
    from cellulus.experiment.sections import Experiment
    from cellulus.ops.overlap import OverlapTable
    from cellulus.ops.scores import Scores
    from cellulus.progress import Progress
    from cellulus.runs import Run


NAMED = 10
"""Images that a message names at most."""


def evaluate(
    experiment: Experiment,
    run: Run,
    *,
    crew: Crew | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Scores:
    """Score the labels of a run where the experiment names a truth, and store the scores.

    Parameters
    ----------
    experiment
        Which images have a truth, and the thresholds.
    run
        ``labels/`` is read, ``scores.json`` is written.
    crew
        Who counts; this process by default.
    resume
        Whether blocks that an interrupted run has counted are not counted again.
    progress
        One unit per block.

    Raises
    ------
    InputError
        If no image has a truth, or labels and truth do not fit.
    MissingError
        If labels are missing; names all of them.
    StorageError
        If something cannot be read or written.
    """
    scored = [sample for sample in open_samples(experiment) if sample.truth is not None]
    if not scored:
        raise InputError(
            "data.apply",
            expected="at least one image with a truth",
            found="none",
            remedy='give truth = "..." beside the image, or score two paths: LABELS TRUTH',
        )
    paths = [run.labels / f"{sample.volume.name}.zarr" for sample in scored]
    _require(paths, run.labels)
    unknown = experiment.data.unknown
    pairs = [
        Pair(open_volumes(path)[0], sample.truth, sample.ignore, unknown)
        for path, sample in zip(paths, scored, strict=True)
        if sample.truth is not None
    ]
    with overlaps(pairs, run.folder, crew=crew, resume=resume, progress=progress) as tables:
        scores = _pooled(pairs, tables, experiment.evaluate.iou)
        write_text(run.scores, scores.to_json())
    return scores


def evaluate_paths(
    labels: str,
    truth: str,
    iou: Sequence[float],
    *,
    folder: Path | None = None,
    crew: Crew | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Scores:
    """Score label files against truth files.

    Parameters
    ----------
    labels, truth
        A path or a glob; several are paired in natural order (``t2`` before ``t10``), time
        points one by one.
    iou
        Thresholds, above 0 and at most 1, inclusive.
    folder
        Keeps what was counted if this is interrupted; by default nothing does.
    crew, resume, progress
        As for `evaluate`.

    Raises
    ------
    MissingError, InputError, StorageError
        If there is nothing there, it holds no labels, or the two sides do not fit; says which
        have no partner of their name.
    """
    found, wanted = (
        # Absolute, because a worker may stand in another folder.
        [volume for path in expand(absolute(pattern, Path())) for volume in open_volumes(path)]
        for pattern in (labels, truth)
    )
    if len(found) != len(wanted):
        raise InputError(
            truth,
            expected=f"one truth for each of the {len(found)} label images of {labels}",
            found=str(len(wanted)),
            remedy=_lonely(found, wanted),
        )
    pairs = [Pair(*pair) for pair in zip(found, wanted, strict=True)]
    with overlaps(pairs, folder, crew=crew, resume=resume, progress=progress) as tables:
        return _pooled(pairs, tables, iou)


def _pooled(pairs: Sequence[Pair], tables: Iterable[OverlapTable], iou: Sequence[float]) -> Scores:
    named = zip((pair.labels.name for pair in pairs), tables, strict=True)
    return pool([score_table(table, iou, name=name) for name, table in named])


def _require(paths: Sequence[Path], folder: Path) -> None:
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise MissingError(
            folder,
            expected="labels of every image with a truth",
            found=f"none of {listed(missing, NAMED)}",
            remedy="make them first: segment, then postprocess",
        )


def _lonely(found: Sequence[Volume], wanted: Sequence[Volume]) -> str:
    names, others = ({volume.name for volume in side} for side in (found, wanted))
    alone = {"without a truth": names - others, "without labels": others - names}
    return "; ".join(f"{what}: {listed(sorted(who), NAMED)}" for what, who in alone.items() if who)
