"""What the user sees: results on stdout; messages, errors and progress on stderr.

The only file that knows `rich`. Without a terminal there are no frames, no colours and no bar,
so that what is written can be searched and cut.
"""

from __future__ import annotations

import contextlib
import logging
import shlex
import sys
from typing import TYPE_CHECKING, Any

from cellulus.progress import Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.console import Console

_level = 0


def reset() -> None:
    """Go back to the normal verbosity."""
    set_verbosity(0)


def set_verbosity(level: int) -> None:
    """Say more (1), the usual (0), or nothing but results and errors (-1)."""
    global _level
    _level = level
    logger = logging.getLogger("cellulus")
    logger.setLevel({-1: logging.ERROR, 0: logging.WARNING}.get(level, logging.INFO))
    logger.handlers = [_Handler()]


def is_verbose() -> bool:
    """Return whether the user asked for more."""
    return _level > 0


def result(*lines: object) -> None:
    """Write results to stdout, one per line."""
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = True
) -> None:
    """Write a table of results to stdout; `numbers`, in all columns but the first, stand right."""
    from rich import box
    from rich.table import Table

    made = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number and numbers else "left", overflow="fold")
    for row in rows:
        made.add_row(*row)
    _console(sys.stdout).print(made)


def say(text: str) -> None:
    """Write a message to stderr, unless the user asked for quiet."""
    if _level >= 0:
        _console(sys.stderr).print(text, markup=False, highlight=False, soft_wrap=True)


def error(title: str, text: str) -> None:
    """Write an error to stderr: in a frame on a terminal, as plain lines elsewhere."""
    from rich.panel import Panel
    from rich.text import Text

    console = _console(sys.stderr)
    if console.is_terminal:
        console.print(Panel(Text(text), title=title, title_align="left", border_style="red"))
    else:
        console.print(f"{title}: {text}", markup=False, highlight=False, soft_wrap=True)


def traceback(failure: Exception) -> None:
    """Write where an unexpected failure happened."""
    from rich.traceback import Traceback

    trace = Traceback.from_exception(type(failure), failure, failure.__traceback__)
    _console(sys.stderr).print(trace)


@contextlib.contextmanager
def working(folder: Path | str, *, resumes: bool = True) -> Iterator[Progress]:
    """Show the progress of a step that writes to `folder`; say how to go on if it is cut."""
    try:
        with _progress() as progress:
            yield progress
    except KeyboardInterrupt:
        words = [word for word in sys.argv[1:] if word not in {"--resume", "--overwrite"}]
        again = shlex.join(["cellulus", *words, "--resume" if resumes else "--overwrite"])
        error("Interrupted", f"what was finished is kept in {folder}; go on with\n  {again}")
        raise


@contextlib.contextmanager
def _progress() -> Iterator[Progress]:
    console = _console(sys.stderr)
    if _level < 0 or not console.is_terminal:
        yield Silent()
        return
    from rich import progress as bars

    with bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(bar_width=30),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[rate]}"),
        bars.TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        bars.TextColumn("{task.fields[values]}"),
        console=console,
    ) as shown:
        yield Bars(shown)


class Bars:
    """Shows steps as bars, the innermost last; loss and other values stand beside."""

    def __init__(self, shown: Any) -> None:
        self.shown = shown
        self.open: list[Any] = []

    def start(self, what: str, total: int) -> None:
        """Add a bar."""
        self.open.append(self.shown.add_task(what, total=total, rate="", values=""))

    def advance(self, amount: int = 1, **values: float) -> None:
        """Move the innermost bar."""
        if not self.open:
            return
        bar = self.open[-1]
        self.shown.advance(bar, amount)
        speed = self.shown.tasks[self.shown.task_ids.index(bar)].speed
        fields = {"rate": f"{speed:.3g}/s" if speed else ""}
        if values:
            fields["values"] = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        self.shown.update(bar, **fields)

    def finish(self) -> None:
        """End the innermost bar."""
        if self.open:
            self.shown.stop_task(self.open.pop())


class _Handler(logging.Handler):
    """Writes warnings of the library between the messages, above a bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.levelname.lower()}: {record.getMessage()}"
        _console(sys.stderr).print(text, markup=False, highlight=False, soft_wrap=True)


_consoles: dict[int, Console] = {}


def _console(stream: Any) -> Console:
    """Return the console of a stream; always the same one, so that bars and lines agree."""
    from rich.console import Console

    if id(stream) not in _consoles:
        # Without a terminal nothing may be cut or folded to a width that nobody chose.
        width = None if stream.isatty() else 200
        _consoles[id(stream)] = Console(file=stream, width=width)
    return _consoles[id(stream)]
