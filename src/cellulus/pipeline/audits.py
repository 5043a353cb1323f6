"""The seam audit of results: what the labels show, and what decoding a sample again shows.

Brings `seams` and `reruns` together for the labels of a run, or for labels from anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellulus.data.readers.base import stem
from cellulus.errors import MissingError
from cellulus.pipeline.reruns import Rerun, rerun
from cellulus.pipeline.samples import open_samples
from cellulus.pipeline.seams import SeamAudit, audit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cellulus.experiment.sections import Experiment
    from cellulus.progress import Progress
    from cellulus.runs import Run


@dataclass(frozen=True)
class Audited:
    """What was found of the labels of one image.

    Attributes
    ----------
    name
        Of the image.
    seams
        What the labels show.
    rerun
        What decoding again showed; None for labels from elsewhere.
    """

    name: str
    seams: SeamAudit
    rerun: Rerun | None = None

    @property
    def passed(self) -> bool:
        """Whether neither shows a seam."""
        return self.seams.passed and (self.rerun is None or self.rerun.passed)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, fit for JSON."""
        again = None if self.rerun is None else self.rerun.to_dict()
        return {
            "name": self.name,
            "passed": self.passed,
            "seams": self.seams.to_dict(),
            "rerun": again,
        }


def audit_run(
    experiment: Experiment, run: Run, *, progress: Progress | None = None
) -> list[Audited]:
    """Audit the labels of every image of an experiment, and decode a sample of each again.

    Raises
    ------
    MissingError
        If an image has no labels, or what these were made from is gone.
    InputError
        If they were made with other settings.
    StorageError
        If something cannot be read.
    """
    found = []
    for sample in open_samples(experiment):
        file = f"{sample.volume.name}.zarr"
        for folder in (run.labels, run.segments, run.predictions):
            if not (folder / file).exists():
                raise MissingError(
                    folder / file,
                    expected="the results of all steps, to audit them",
                    found="nothing there",
                    remedy="make them first: predict, segment, postprocess",
                )
        seams = audit(run.labels / file, progress=progress)
        again = rerun(
            run.predictions / file, run.segments / file, experiment,
            seed=experiment.seed, progress=progress,
        )  # fmt: skip
        found.append(Audited(sample.volume.name, seams, again))
    return found


def audit_paths(paths: Sequence[Path | str], *, progress: Progress | None = None) -> list[Audited]:
    """Audit labels by themselves, whoever wrote them, if their notes tell their blocks.

    Raises
    ------
    MissingError, InputError, StorageError
        If they are no labels, or nobody knows how they were cut.
    """
    return [Audited(stem(str(path)), audit(path, progress=progress)) for path in paths]
