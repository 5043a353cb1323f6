"""``cellulus convert``: images of other formats to OME-Zarr."""

from __future__ import annotations

from pathlib import Path

from cellulus.cli import console, options


def convert(
    files: options.Files,
    output: options.OutputFolder = Path("converted"),
    ngff: options.Ngff = "0.5",
    overwrite: options.Overwrite = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
) -> None:
    """Make OME-Zarr images with pyramids, and with labels where there are any."""
    from cellulus.pipeline.convert import convert

    with console.working(output) as progress:
        made = convert(files, output, ngff=ngff, overwrite=overwrite, progress=progress)
    console.result(*made)
