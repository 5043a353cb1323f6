"""``cellulus init``: look at images, write an experiment."""

from __future__ import annotations

from pathlib import Path

from cellulus.cli import console, options


def init(
    images: options.Images,
    masks: options.Masks = None,
    points: options.Points = None,
    output: options.OutputFile = None,
    overwrite: options.Overwrite = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
) -> None:
    """Look at images and write a commented experiment; prints where it is."""
    from cellulus.errors import ExistsError
    from cellulus.files import write_text
    from cellulus.pipeline.init import init, name_of

    file = output or Path(f"{name_of(images)}.toml")
    if file.exists() and not overwrite:
        raise ExistsError(
            file,
            expected="no such file yet",
            found="one",
            remedy="--overwrite replaces it, --output FILE writes another",
        )
    proposal = init(images, masks=masks or (), points=points or (), base=file.parent)
    write_text(file, proposal.text)
    console.say("\n".join([*proposal.summary, f"next: cellulus run {file}"]))
    console.result(file)
