"""Every option and argument of the command line, spelled once.

Knows their names and help, and nothing of what is done with them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from cellulus.cli import console

COMMON = "Common options"


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
        raise typer.BadParameter(f"expected auto, cpu, cuda, cuda:N or mps, found '{value}'")
    return value


def _ngff(value: str) -> str:
    if value not in {"0.4", "0.5"}:
        raise typer.BadParameter(f"expected 0.4 or 0.5, found '{value}'")
    return value


def _verbose(value: bool) -> bool:
    if value:
        console.set_verbosity(1)
    return value


def _quiet(value: bool) -> bool:
    if value:
        console.set_verbosity(-1)
    return value


ExperimentOrImages = Annotated[
    list[str],
    typer.Argument(
        metavar="EXPERIMENT|IMAGE",
        help="An experiment (.toml), a run folder, or images: OME-Zarr, TIFF, PNG, globs of them.",
        show_default=False,
    ),
]
ExperimentOrPredictions = Annotated[
    list[str],
    typer.Argument(
        metavar="EXPERIMENT|PREDICTION",
        help="An experiment (.toml), a run folder, or predictions inside one.",
        show_default=False,
    ),
]
ExperimentOrLabels = Annotated[
    list[str],
    typer.Argument(
        metavar="EXPERIMENT|LABELS",
        help="An experiment (.toml), a run folder, or labels.",
        show_default=False,
    ),
]
ExperimentOrPair = Annotated[
    list[str],
    typer.Argument(
        metavar="EXPERIMENT|LABELS TRUTH",
        help="An experiment (.toml) or a run folder; or labels and the truth.",
        show_default=False,
    ),
]
Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE", help="OME-Zarr, TIFF or PNG, or globs of them.", show_default=False
    ),
]
Masks = Annotated[
    list[str] | None,
    typer.Option(
        "--masks", metavar="MASKS", show_default=False,
        help="What is drawn on the images, to learn from; one for each IMAGE.",
    ),
]  # fmt: skip
Points = Annotated[
    list[str] | None,
    typer.Option(
        "--points", metavar="POINTS", show_default=False,
        help="Tables or labels with a point per cell, to learn from; one for each IMAGE.",
    ),
]  # fmt: skip
Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE",
        help="TIFF, PNG, .npz, or folders: of images, images and masks, or tracking challenges.",
        show_default=False,
    ),
]
Experiment = Annotated[
    str, typer.Argument(metavar="EXPERIMENT", help="An experiment (.toml).", show_default=False)
]

Output = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", metavar="FOLDER", help="Run folder; runs/NAME if none is given.",
        show_default=False,
    ),
]  # fmt: skip
OutputFile = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", metavar="FILE", help="Experiment to write; NAME.toml if none is given.",
        show_default=False,
    ),
]  # fmt: skip
OutputFolder = Annotated[
    str,
    typer.Option(
        "-o", "--output", metavar="FOLDER|URL",
        help="Where to write OME-Zarr images; in a store, such as s3://BUCKET/FOLDER, too.",
    ),
]  # fmt: skip
Model = Annotated[
    Path | None,
    typer.Option(
        "-m", "--model", metavar="RUN", help="Run folder, or model file, to predict with.",
        show_default=False,
    ),
]  # fmt: skip
Device = Annotated[
    str,
    typer.Option(
        "-d", "--device", metavar="DEVICE", callback=_device, help="auto, cpu, cuda, cuda:N or mps."
    ),
]
Set = Annotated[
    list[str],
    typer.Option(
        "--set", metavar="SECTION.KEY=VALUE", help="Change any setting; may be repeated.",
        show_default=False,
    ),
]  # fmt: skip
Seed = Annotated[
    int | None,
    typer.Option("--seed", min=0, metavar="N", help="Change the seed.", show_default=False),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, metavar="N", show_default=False,
        help="Work with N processes, which share the cores; GPUs are dealt out to them.",
    ),
]  # fmt: skip
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler", metavar="ADDRESS", show_default=False,
        help="Work with the workers of a dask scheduler, tcp://HOST:PORT, or with jobs of Slurm, "
        "slurm; they see the same files.",
    ),
]  # fmt: skip
Fuse = Annotated[
    bool,
    typer.Option(
        "--fuse",
        help="Predict and segment layer by layer, and keep no embeddings; for large images.",
    ),
]
Probe = Annotated[
    bool,
    typer.Option(
        "--probe",
        help="Really do a tile and a block, and tell how long everything will take.",
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory", metavar="SIZE", show_default=False,
        help="Most that one process may take, such as 8GB; short for --set memory=SIZE.",
    ),
]  # fmt: skip
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what is there.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan and write nothing.")]
Seams = Annotated[
    bool,
    typer.Option(
        "--seams",
        help="Look for traces of the blocks that labels were made in, instead of scoring them.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")]
Ngff = Annotated[
    str,
    typer.Option("--ngff", metavar="0.4|0.5", callback=_ngff, help="Version of OME-Zarr."),
]
Axes = Annotated[
    str,
    typer.Option(
        "--axes", metavar="AXES", show_default=False,
        help="One letter per axis, out of tczyx, for files that do not tell theirs.",
    ),
]  # fmt: skip
Verbose = Annotated[
    bool,
    typer.Option(
        "-v", "--verbose", callback=_verbose, is_eager=True, rich_help_panel=COMMON,
        help="Say more; show where a failure happened.",
    ),
]  # fmt: skip
Quiet = Annotated[
    bool,
    typer.Option(
        "-q", "--quiet", callback=_quiet, is_eager=True, rich_help_panel=COMMON,
        help="Say nothing but results and errors.",
    ),
]  # fmt: skip
