"""The command ``cellulus``: a thin layer over the library, and the only catch of its errors.

Commands import what they need when they run, so that help costs nothing. Knows how errors
become exit codes, and nothing of what the steps do.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Annotated

import typer

from cellulus import __version__
from cellulus.cli import (
    check,
    console,
    convert,
    evaluate,
    init,
    postprocess,
    predict,
    run,
    segment,
    train,
)
from cellulus.errors import CellulusError

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130
FAILED = 2

app = typer.Typer(
    name="cellulus",
    help=(
        "Find every cell or nucleus in 2D images and 3D volumes.\n\n"
        "An experiment is one TOML file. A step takes an experiment, or plain paths, and reads "
        "what the step before it wrote."
    ),
    epilog=(
        "Exit codes: 0 done; 1 a gate or check failed; 2 bad usage, bad input or a failure; "
        "3 finished, but blocks had to be left out; 130 interrupted."
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        console.result(__version__)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Exist so that `app` is a group with options of its own."""


app.command(rich_help_panel="Start")(init.init)
app.command(rich_help_panel="Start")(check.check)
app.command(rich_help_panel="Start")(convert.convert)
app.command(rich_help_panel="All steps")(run.run)
app.command(rich_help_panel="One step")(train.train)
app.command(rich_help_panel="One step")(predict.predict)
app.command(rich_help_panel="One step")(segment.segment)
app.command(rich_help_panel="One step")(postprocess.postprocess)
app.command(rich_help_panel="One step")(evaluate.evaluate)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments
        Without the program's name; those of the process by default.

    Returns
    -------
    code
        The exit code: 0 done, 1 a gate failed, 2 bad usage, bad input or a failure,
        3 finished with blocks left out, 130 interrupted.
    """
    console.reset()
    try:
        app(args=None if arguments is None else list(arguments), prog_name="cellulus")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except CellulusError as error:
        console.error(type(error).__name__, str(error))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last place where a message can be made of it
        _explain(error)
        return FAILED
    return 0


def _explain(error: Exception) -> None:
    """Say what happened outside of what the package foresees."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        console.error("Disk full", f"{error}; free some space, then go on with --resume")
    elif isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        console.error(
            "Out of memory",
            f"{error or 'the machine has no more'}; a smaller predict.tile, segment.block, "
            "train.crop or train.batch_size needs less: cellulus check shows how much",
        )
    elif console.is_verbose():
        console.traceback(error)
    else:
        console.error(
            "Unexpected failure",
            f"{type(error).__name__}: {error}\nThis is a fault of the program, not of the data; "
            "the same command with -v shows where it happened.",
        )
