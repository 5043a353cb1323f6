"""From an experiment file to a checked `Experiment`, or to every fault in it at once.

Reads one TOML file and nothing else: whether the images exist is found out where they are
opened. Overrides of the command line take the place of what the file says.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cellulus.errors import InputError, MissingError, StorageError
from cellulus.experiment.contradictions import contradictions
from cellulus.experiment.faults import ExperimentError, Fault, Finding, findings, show
from cellulus.experiment.positions import Key, line_of, positions
from cellulus.experiment.sections import Experiment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellulus.experiment.sections import ApplyImage, TrainImage


def load(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read and check an experiment file.

    Parameters
    ----------
    path
        A TOML file.
    overrides
        ``"section.key=value"``, as given to ``--set``; values are TOML, or else text. A number
        in the key counts list items from 0: ``"data.apply.0.image=a.tif"``.

    Returns
    -------
    experiment
        With every default filled in, and the paths of images absolute: those in the file and
        in the overrides are relative to the file.

    Raises
    ------
    ExperimentError
        With every fault, its line and the nearest valid key.
    MissingError, InputError, StorageError
        If there is no such file, it is a folder, or it cannot be read.
    """
    path = Path(path)
    return parse(read(path), source=path.name, base=path.parent, overrides=overrides)


def read(path: Path) -> str:
    """Return the text of an experiment file; for what it raises see `load`."""
    if not path.exists():
        raise MissingError(
            path,
            expected="an experiment file",
            found="nothing there",
            remedy="cellulus init IMAGE writes one",
        )
    if path.is_dir():
        raise InputError(path, expected="an experiment file", found="a folder")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        fault = Fault(f"{path.name}:{line}", "", "text in UTF-8", "other bytes")
        raise ExperimentError(path, [fault]) from error
    except OSError as error:
        raise StorageError(
            path, expected="a readable file", found=error.strerror or str(error)
        ) from error


def parse(text: str, *, source: str, base: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Check the text of an experiment; `load` without the file.

    Parameters
    ----------
    text
        TOML.
    source
        What to call the text in faults.
    base
        The folder that paths are relative to.
    overrides
        As for `load`.

    Raises
    ------
    ExperimentError
        With every fault.
    """
    data = _toml(text, source)
    faults: list[Fault] = []
    changes: list[_Override] = []
    for override in overrides:
        try:
            change = _Override.parse(override)
            change.apply(data)
            changes.append(change)
        except InputError as error:
            faults.append(Fault(error.where, "", error.expected, error.found))
    lines = positions(text)
    experiment, found = _validate(data)
    found.sort(key=lambda finding: line_of(lines, finding.key) or 0)
    faults += [finding.at(_where(finding.key, source, lines, changes)) for finding in found]
    if faults or experiment is None:
        raise ExperimentError(source, faults)
    return _absolute(experiment, base)


def _toml(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line = at.group(1) if at else str(text.count("\n") + 1)
        reason = re.sub(r"\s*\(at .*\)$", "", str(error))
        found = f"{reason[:1].lower()}{reason[1:]}"
    except RecursionError:
        line, found = "1", "lists nested too deeply"
    raise ExperimentError(source, [Fault(f"{source}:{line}", "", "TOML", found)])


def _validate(data: dict[str, Any]) -> tuple[Experiment | None, list[Finding]]:
    """Return the experiment, or what is wrong with it.

    Checked as JSON: there, unlike in Python, strict checking takes a list for a tuple, but no
    text for a number and no number for a truth value.
    """
    try:
        experiment = Experiment.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        return None, list(findings(error, data))
    return experiment, list(contradictions(experiment))


def _where(key: Key, source: str, lines: dict[Key, int], changes: Sequence[_Override]) -> str:
    """Return the override that set `key`, or the line of it or of the nearest table around it."""
    for change in reversed(changes):
        if key[: len(change.key)] == change.key:
            return f"--set {change.text}"
    for end in range(len(key), 0, -1):
        around = key[:end]
        if around in lines:
            return f"{source}:{lines[around]}"
        # The file does not hold the table: an override inside of it made it.
        for change in reversed(changes):
            if change.key[:end] == around:
                return f"--set {change.text}"
    return source


@dataclass(frozen=True)
class _Override:
    """One ``--set``: the text as given, the key it names, and the value."""

    text: str
    key: Key
    value: object

    @classmethod
    def parse(cls, text: str) -> _Override:
        name, equals, raw = text.partition("=")
        parts = [part.strip() for part in name.split(".")]
        if not equals or not all(parts):
            raise InputError(f"--set {text}", expected="section.key=value", found=repr(text))
        key = tuple(int(part) if part.isdecimal() else part for part in parts)
        return cls(text, key, _literal(raw.strip()))

    def apply(self, data: dict[str, Any]) -> None:
        node: Any = data
        for at, part in enumerate(self.key):
            is_last = at == len(self.key) - 1
            if isinstance(node, dict) and isinstance(part, str):
                follows_index = not is_last and isinstance(self.key[at + 1], int)
                node.setdefault(part, [] if follows_index else {})
            elif isinstance(node, list) and isinstance(part, int) and part <= len(node):
                if part == len(node):
                    node.append({})
            else:
                raise InputError(f"--set {self.text}", **_misfit(node, part))
            if is_last:
                node[part] = self.value
            else:
                node = node[part]


def _misfit(node: object, part: str | int) -> dict[str, str]:
    """Say why `part` of an override's key leads nowhere."""
    if isinstance(node, list):
        return {"expected": f"the number of an item, 0 to {len(node)}", "found": f"'{part}'"}
    if isinstance(node, dict):
        return {"expected": "the name of a key", "found": f"'{part}'"}
    return {"expected": f"a table around '{part}'", "found": show(node)}


def _literal(text: str) -> object:
    """Return a value written in TOML, or the text itself where it is none."""
    try:
        table = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return table["value"] if len(table) == 1 else text


def _absolute(experiment: Experiment, base: Path) -> Experiment:
    """Return the experiment with absolute paths."""
    data = experiment.data
    train = tuple(entry.model_copy(update=_paths(entry, base)) for entry in data.train)
    apply = tuple(entry.model_copy(update=_paths(entry, base)) for entry in data.apply)
    return experiment.model_copy(
        update={"data": data.model_copy(update={"train": train, "apply": apply})}
    )


def _paths(entry: TrainImage | ApplyImage, base: Path) -> dict[str, str]:
    """Return the settings of an image that are set, as absolute paths: all of them are paths."""
    return {name: absolute(path, base) for name, path in entry if path}


def absolute(path: str, base: Path) -> str:
    """Return a path or glob seen from `base` as an absolute one; URLs stay as they are."""
    if "://" in path:
        return path
    return os.path.normpath(Path(base).absolute() / Path(path).expanduser())
