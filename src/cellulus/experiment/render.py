"""An experiment as commented TOML: the comments are the docstrings of the settings.

The only writer of TOML. Nothing about a setting is said here, so nothing can drift from what
the settings are. What is written reads back as exactly the same experiment.
"""

from __future__ import annotations

import inspect
import json
import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellulus.experiment.faults import models_in
from cellulus.experiment.sections import Experiment
from cellulus.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cellulus.experiment.positions import Key

WIDTH = 96
"""Columns of the text."""

LOOK_AT: frozenset[Key] = frozenset(
    {
        ("format",),
        ("data", "object_diameter"),
        ("method", "name"),
        ("train", "steps"),
        ("postprocess", "kind"),
        ("evaluate", "iou"),
    }
)
"""What the short form spells out even where it is the default."""

_PATHS = {"image", "truth", "masks", "ignore", "points", "foreground"}


def render(
    experiment: Experiment,
    *,
    short: bool = False,
    base: Path | None = None,
    header: str = "",
    notes: Mapping[Key, str] | None = None,
) -> str:
    """Write an experiment as commented TOML.

    Parameters
    ----------
    experiment
        What to write.
    short
        Whether settings that few need to touch, and that have their default, are commented out.
    base
        The folder that the text will lie in: paths below it, or beside it, are written relative
        to it. Absolute paths by default.
    header
        Lines to open with.
    notes
        More to say about a key, ``{("data", "channels"): "of DAPI, GFP"}``.

    Returns
    -------
    text
        `cellulus.experiment.load.parse` makes the same experiment of it.

    Examples
    --------
    >>> from cellulus.experiment.sections import Experiment
    >>> render(Experiment()).splitlines()[:2]
    ['# Version of this file format.', 'format = 1']
    """
    values = experiment.model_dump(mode="json")
    text = _Text(short, base, notes or {})
    text.lines += [*_comment(header), ""] if header else []
    text.settings(experiment, values, ())
    for name in type(experiment).model_fields:
        section = getattr(experiment, name)
        if isinstance(section, Settings):
            text.section(section, values[name], (name,))
    return "\n".join(text.lines).strip("\n") + "\n"


class _Text:
    """The lines so far, and how to write the next."""

    def __init__(self, short: bool, base: Path | None, notes: Mapping[Key, str]) -> None:
        self.short = short
        self.base = base
        self.notes = notes
        self.lines: list[str] = []

    def section(self, section: Settings, values: dict[str, Any], key: Key) -> None:
        """Write a table, then the tables that its lists hold."""
        self.lines.append("")
        self.lines += _comment(inspect.getdoc(section) or "")
        if choices := _choices(key):
            self.lines += _comment(f"Methods: {choices}.")
        self.lines.append(f"[{key[0]}]")
        self.settings(section, values, key)
        for name in type(section).model_fields:
            if _is_tables(type(section), name):
                for number, entry in enumerate(getattr(section, name)):
                    self.lines += ["", f"[[{key[0]}.{name}]]"]
                    self.settings(entry, values[name][number], (*key, name, number))

    def settings(self, section: Settings, values: dict[str, Any], key: Key) -> None:
        """Write the settings of a table that are no tables themselves."""
        for name, field in type(section).model_fields.items():
            value = values[name]
            if isinstance(value, dict) or _is_tables(type(section), name):
                continue
            here = (*key, name)
            is_default = getattr(section, name) == field.get_default(call_default_factory=True)
            hidden = value is None or (self.short and is_default and here not in LOOK_AT)
            note = self.notes.get(here, "")
            # In a list of tables the second table needs no second explanation.
            if not any(isinstance(part, int) and part > 0 for part in key):
                self.lines += _comment(f"{field.description} {note}")
            written = '"PATH"' if value is None else self.value(value, is_path=name in _PATHS)
            self.lines.append(f"{'#' if hidden else ''}{name} = {written}")

    def value(self, value: object, *, is_path: bool = False) -> str:
        if isinstance(value, list):
            return f"[{', '.join(self.value(item) for item in value)}]"
        if is_path and isinstance(value, str) and self.base is not None:
            value = _relative(value, self.base)
        # What JSON writes is TOML too, but for one character that TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _is_tables(section: type[Settings], name: str) -> bool:
    annotation = section.model_fields[name].annotation
    is_list = getattr(annotation, "__origin__", None) is tuple
    return is_list and any(models_in(annotation))


def _choices(key: Key) -> str:
    """Return the names to choose from, where a section is one of several classes."""
    models = list(models_in(Experiment.model_fields[str(key[0])].annotation))
    names = [model.model_fields["name"].default for model in models if "name" in model.model_fields]
    return ", ".join(str(name) for name in names)


def _comment(text: str) -> Iterator[str]:
    """Yield comment lines: ``# Text.``; a setting commented out has no blank, ``#a = 1``."""
    for paragraph in text.strip().split("\n"):
        lines = textwrap.wrap(paragraph.strip(), WIDTH - 2, break_on_hyphens=False)
        yield from (f"# {line}".rstrip() for line in lines or [""])


def _relative(path: str, base: Path) -> str:
    """Return a path as seen from `base`, if that is not a long way round."""
    if "://" in path or not Path(path).is_absolute():
        return path
    short = os.path.relpath(path, base.absolute())
    return short if short.count("..") <= 2 else path
