"""``cellulus convert``: images of other formats to OME-Zarr."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from cellulus.cli import console, options

if TYPE_CHECKING:
    from cellulus.data import ngff as versions


def convert(
    files: options.Files,
    output: options.OutputFolder = "converted",
    ngff: options.Ngff = "0.5",
    axes: options.Axes = "",
    overwrite: options.Overwrite = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
) -> None:
    """Make OME-Zarr images with pyramids, and with labels where there are any."""
    from cellulus.pipeline.convert import convert

    version = cast("versions.Ngff", ngff)
    with console.working(output, resumes=False) as progress:
        made = convert(
            files, output, ngff=version, axes=axes, overwrite=overwrite, progress=progress
        )
    console.result(*made)
