"""What is wrong with an experiment, fault by fault: where, what was expected, what was found.

Turns the errors of pydantic into the words of this package, once and for every setting. Knows
nothing of files; the caller says where a key stands.
"""

from __future__ import annotations

import difflib
import json
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from cellulus.errors import CellulusError, InputError
from cellulus.experiment.sections import Experiment
from cellulus.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from cellulus.experiment.positions import Key

_EXPECTED = {
    "bool_type": "true or false",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number of at most {le:g}",
    "literal_error": "{expected}",
    "missing": "a value",
    "model_type": "a table",
    "multiple_of": "a multiple of {multiple_of:g}",
    "string_type": "text in quotes",
    "too_long": "at most {max_length} items",
    "too_short": "at least {min_length} items",
    "tuple_type": "a list",
    "union_tag_invalid": "{expected_tags}",
    "union_tag_not_found": "a name",
}


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with an experiment.

    Attributes
    ----------
    where
        ``"nuclei.toml:17"``, or the ``--set`` that brought it in.
    key
        Dotted, ``"train.learning_rate"``; empty where the text is no TOML at all.
    expected, found
        What should have been there, and what was.
    nearest
        The valid key that was probably meant; empty where none comes near.
    """

    where: str
    key: str
    expected: str
    found: str
    nearest: str = ""

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        text = f"{self.where}  {key}expected {self.expected}, found {self.found}"
        return f"{text}; did you mean '{self.nearest}'?" if self.nearest else text


class ExperimentError(InputError):
    """An experiment that cannot be run, with every fault that was found."""

    def __init__(self, where: object, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        count = len(self.faults)
        super().__init__(
            where,
            expected="a valid experiment",
            found="one fault" if count == 1 else f"{count} faults",
            remedy="\n".join(str(fault) for fault in self.faults),
        )

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling with the faults."""
        return type(self), (self.where, self.faults)


@dataclass(frozen=True)
class Finding:
    """A fault that does not know yet where its key stands."""

    key: Key
    expected: str
    found: str
    nearest: str = ""

    def at(self, where: str) -> Fault:
        """Return the fault, standing at `where`."""
        return Fault(where, dotted(self.key), self.expected, self.found, self.nearest)


def dotted(key: Key) -> str:
    """Write a key as in ``--set``: ``data.apply.0.image``."""
    return ".".join(str(part) for part in key)


def show(value: object) -> str:
    """Return a value as TOML would nearly write it, cut to a readable length."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def findings(error: ValidationError, data: Mapping[str, Any]) -> Iterator[Finding]:
    """Return what pydantic found wrong with `data`, one finding per key."""
    expected: dict[Key, list[str]] = {}
    found: dict[Key, str] = {}
    for detail in error.errors():
        key = _key(detail, data)
        if detail["type"] == "extra_forbidden":
            yield _unknown(key, data)
            continue
        words = expected.setdefault(key, [])
        if (word := _expected(detail, key)) not in words:
            words.append(word)
        found[key] = "nothing" if detail["type"] == "missing" else show(_value(data, key))
    for key, words in expected.items():
        yield Finding(key, " or ".join(words), found[key])


def _key(detail: ErrorDetails, data: object) -> Key:
    """Return the key of an error: its location without the branches of unions."""
    key: list[str | int] = []
    node = data
    for part in detail["loc"]:
        is_there = part in node if isinstance(node, dict) else isinstance(node, list)
        if is_there and (isinstance(node, dict) or isinstance(part, int)):
            node = node[part]  # type: ignore[index]
            key.append(part)
    if detail["type"] == "missing":
        key.append(detail["loc"][-1])
    if detail["type"] == "union_tag_invalid":
        key.append("name")
    return tuple(key)


def _value(data: Any, key: Key) -> object:
    for part in key:
        data = data[part]
    return data


def _expected(detail: ErrorDetails, key: Key) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "value_error":
        error = context["error"]
        return error.expected if isinstance(error, CellulusError) else str(error)
    if kind == "tuple_type" and isinstance(detail["input"], dict):
        return f"a list of tables, each headed [[{dotted(key)}]]"
    template = _EXPECTED.get(kind)
    return template.format(**context) if template else detail["msg"]


def _unknown(key: Key, data: Mapping[str, Any]) -> Finding:
    """Return the finding about an unknown key, with the valid one that comes nearest."""
    *path, last = key
    models = list(_models_at(tuple(path), data))
    valid = sorted({name for model in models for name in model.model_fields})
    near = difflib.get_close_matches(str(last), valid, n=1, cutoff=0.65)
    if near:
        return Finding(key, "a known key", f"'{last}'", near[0])
    elsewhere = [
        f"{section}.{last}"
        for section, field in Experiment.model_fields.items()
        for model in models_in(field.annotation)
        if last in model.model_fields and (section, last) != key  # it may be another method's
    ]
    return Finding(key, f"one of {', '.join(valid)}", f"'{last}'", *elsewhere[:1])


def _models_at(path: Key, data: Mapping[str, Any]) -> Iterable[type[Settings]]:
    """Return the settings classes that may stand at `path`."""
    models: list[type[Settings]] = [Experiment]
    node: Any = data
    for part in path:
        node = node[part]
        if isinstance(part, str):
            models = [
                found
                for model in models
                if part in model.model_fields
                for found in models_in(model.model_fields[part].annotation)
            ]
    named = [m for m in models if isinstance(node, dict) and _is_named(m, node.get("name"))]
    return named or models


def _is_named(model: type[Settings], name: object) -> bool:
    return "name" in model.model_fields and model.model_fields["name"].default == name


def models_in(annotation: object) -> Iterator[type[Settings]]:
    """Return the settings classes that a type annotation mentions."""
    if isinstance(annotation, TypeVar | types.NoneType):
        return
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)
