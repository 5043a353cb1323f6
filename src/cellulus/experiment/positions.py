"""On which line of a TOML text each key and each list item stands.

`tomllib` says nothing of lines, so the text is read a second time here. It is valid TOML by
then: this reader follows structure only, and knows nothing of values.
"""

from __future__ import annotations

import re
import tomllib

Key = tuple[str | int, ...]

_TOKEN = re.compile(
    r'''
    (?P<blank> [ \t\r]+ | \#[^\n]* )
  | (?P<newline> \n )
  | (?P<string> """(?:\\.|[^\\])*?"{3,5}(?!") | "(?:\\.|[^"\\\n])*"
              | \'\'\'.*?\'{3,5}(?!\') | '[^'\n]*' )
  | (?P<mark> [\[\]{}=,.] )
  | (?P<bare> [^\s\[\]{}=,.\#"']+ )
    ''',
    re.VERBOSE | re.DOTALL,
)  # fmt: skip


def positions(text: str) -> dict[Key, int]:
    r"""Return the line, counted from 1, of every key, table and list item of a valid TOML text.

    Examples
    --------
    >>> positions("a = 1\n[[b]]\nc = 2\n[[b]]\nc = 3")[("b", 1, "c")]
    5
    """
    reader = _Reader(text)
    reader.document()
    return reader.lines


def line_of(lines: dict[Key, int], key: Key) -> int | None:
    """Return the line of `key`, or of the nearest table or list around it."""
    for end in range(len(key), 0, -1):
        if key[:end] in lines:
            return lines[key[:end]]
    return None


class _Reader:
    """A position in the tokens, and the lines found so far."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str, int]] = []
        line = 1
        for match in _TOKEN.finditer(text):
            if match.lastgroup != "blank":
                self.tokens.append((str(match.lastgroup), match.group(), line))
            line += match.group().count("\n")
        self.tokens.append(("end", "", line))
        self.at = 0
        self.lines: dict[Key, int] = {}
        self.tables: dict[Key, int] = {}  # how many tables each array of tables has so far

    @property
    def text(self) -> str:
        return self.tokens[self.at][1]

    @property
    def kind(self) -> str:
        return self.tokens[self.at][0]

    def skip(self, *texts: str) -> None:
        while self.kind != "end" and self.text in texts:
            self.at += 1

    def document(self) -> None:
        table: Key = ()
        self.skip("\n")
        while self.kind != "end":
            if self.text == "[":
                table = self.header()
            else:
                self.assignment(table)
            self.skip("\n")

    def header(self) -> Key:
        line = self.tokens[self.at][2]
        is_array = self.tokens[self.at + 1][1] == "["
        self.skip("[")
        *outer, last = self.name()
        self.skip("]")
        key: Key = ()
        for part in outer:
            key = self.latest((*key, part))
        key = (*key, last)
        self.lines.setdefault(key, line)
        if is_array:
            self.tables[key] = self.tables.get(key, 0) + 1
            key = self.latest(key)
            self.lines[key] = line
        return key

    def latest(self, key: Key) -> Key:
        return (*key, self.tables[key] - 1) if key in self.tables else key

    def name(self) -> list[str]:
        parts = []
        while True:
            parts.append(_unquoted(self.text) if self.kind == "string" else self.text)
            self.at += 1
            if self.text != ".":
                return parts
            self.at += 1

    def assignment(self, table: Key) -> None:
        line = self.tokens[self.at][2]
        key = table
        for part in self.name():
            key = (*key, part)
            self.lines.setdefault(key, line)
        self.skip("=")
        self.value(key)

    def value(self, key: Key) -> None:
        if self.text == "[":
            self.items(key)
        elif self.text == "{":
            self.at += 1
            while self.text != "}":
                self.assignment(key)
                self.skip(",", "\n")
            self.at += 1
        else:
            while self.kind != "end" and self.text not in {"\n", ",", "]", "}"}:
                self.at += 1

    def items(self, key: Key) -> None:
        self.at += 1
        self.skip("\n")
        index = 0
        while self.text != "]":
            self.lines[(*key, index)] = self.tokens[self.at][2]
            self.value((*key, index))
            self.skip(",", "\n")
            index += 1
        self.at += 1


def _unquoted(text: str) -> str:
    return str(tomllib.loads(f"key = {text}")["key"])
