"""What ``cellulus evaluate --seams`` shows. Works out nothing itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from cellulus.cli import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellulus.pipeline.audits import Audited


def show(
    target: Sequence[str], output: Path | None, changes: Sequence[str], *, as_json: bool
) -> None:
    """Audit labels for the seams of the blocks they were made in, and write what was found.

    Raises
    ------
    GateError
        If there are seams.
    """
    from cellulus.cli import jobs
    from cellulus.errors import GateError
    from cellulus.pipeline.audits import audit_paths, audit_run
    from cellulus.runs import Run

    job = jobs.job_of(target, output=output, changes=changes)
    with console.working(job.folder if job else Path(), resumes=False) as progress:
        if job:
            found = audit_run(job.experiment, Run(job.folder), progress=progress)
        else:
            found = audit_paths(target, progress=progress)
    if as_json:
        console.result(json.dumps([one.to_dict() for one in found], indent=2))
    else:
        columns = ["image", "blocks", "ratio", "decoded again", "changed", "verdict"]
        console.table("", columns, [_row(one) for one in found])
    failed = [one for one in found if not one.passed]
    if failed:
        raise GateError(
            "seams",
            expected=f"no trace of the blocks, ratios up to {failed[0].seams.limit:g}",
            found="; ".join(f"{one.name}: {_faults(one)}" for one in failed),
        )


def _row(one: Audited) -> list[str]:
    seams, again = one.seams, one.rerun
    return [
        one.name,
        " x ".join(str(n) for n in seams.extent),
        "-" if seams.ratio is None else f"{seams.ratio:.3f}",
        "-" if again is None else f"{again.objects} objects",
        "-" if again is None else str(again.changed),
        ("passed" if one.passed else "seams") + (f" ({seams.note})" if seams.note else ""),
    ]


def _faults(one: Audited) -> str:
    """Name what failed: ``cut +1 along y (ratio 1.8)``."""
    found = [
        f"{key} along {axis.axis} (ratio {axis.comparisons[key].ratio:.2f})"
        for axis in one.seams.axes
        for key in axis.failures
    ]
    if one.rerun and not one.rerun.passed:
        found.append(
            f"{one.rerun.changed} of {one.rerun.objects} objects changed when decoded again"
        )
    return ", ".join(found)
