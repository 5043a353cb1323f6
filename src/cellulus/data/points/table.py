"""A table in a text file: names, rows and the lines that they stand on; numbers when asked for.

The separator is the one that the header has most of. Knows nothing of what the columns mean.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellulus.errors import InputError, MissingError
from cellulus.files import reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SEPARATORS = ",;\t"
LISTED = 3
"""Faults that are told one by one."""
_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")


@dataclass(frozen=True)
class Table:
    """What is in a file.

    Attributes
    ----------
    where
        The file.
    header
        Names of the columns.
    rows
        Entries, one per column.
    lines
        On which line of the file each row ends, from 1.
    """

    where: str
    header: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]

    def only(self, rows: NDArray[np.int64]) -> Table:
        """Return the table with these rows alone."""
        kept = rows.tolist()
        return replace(self, rows=[self.rows[i] for i in kept], lines=[self.lines[i] for i in kept])

    def numbers(self, columns: Sequence[int]) -> NDArray[np.float64]:
        """Return what is in some columns, ``(n, columns)``.

        Raises
        ------
        InputError
            If an entry is no finite number.
        """
        values = np.array([[_number(row[c]) for c in columns] for row in self.rows], np.float64)
        values = values.reshape(len(self.rows), len(columns))
        wrong = np.argwhere(~np.isfinite(values)).tolist()
        if wrong:
            entries = [self.rows[row][columns[column]] for row, column in wrong]
            names = dict.fromkeys(self.header[columns[column]] for _, column in wrong)
            has_commas = any(_COMMA.fullmatch(entry) for entry in entries)
            lines = (self.lines[row] for row, _ in wrong)
            raise InputError(
                self.where,
                expected=f"finite numbers in {', '.join(names)}",
                found=faults([(n, repr(entry)) for n, entry in zip(lines, entries, strict=True)]),
                remedy="write decimals with a point, not with a comma" if has_commas else "",
            )
        return values


def read_table(path: str) -> Table:
    """Read a text file with a header; lines without entries are left out.

    Raises
    ------
    MissingError
        If there is no such file.
    StorageError
        If it cannot be read.
    InputError
        If it has no header, or a row that is longer than it.
    """
    text = _text(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    header: tuple[str, ...] = ()
    rows, lines, longer = [], [], []
    try:
        for row in reader:
            if not any(entry.strip() for entry in row):
                continue
            if not header:
                header = tuple(name.strip() for name in row)
                continue
            if any(entry.strip() for entry in row[len(header) :]):
                longer.append((reader.line_num, f"{len(row)} entries"))
            rows.append((row + [""] * len(header))[: len(header)])
            lines.append(reader.line_num)
    except csv.Error as error:  # an entry without end: no table at all
        raise InputError(path, expected="a CSV file", found=str(error)) from error
    _refuse_nameless(path, header)
    if longer:
        raise InputError(
            path,
            expected=f"{len(header)} entries per line, as the header has",
            found=faults(longer),
            remedy="write decimals with a point, not with a comma" if separator == "," else "",
        )
    return Table(path, header, rows, lines)


def faults(found: Sequence[tuple[int, str]]) -> str:
    """Tell what was found on which lines; the first few, and how many more there are."""
    told = ", ".join(f"{what} in line {line}" for line, what in found[:LISTED])
    more = len(found) - LISTED
    return f"{told} and {more} more" if more > 0 else told


def _text(path: str) -> str:
    try:
        with reading(path):
            data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise MissingError(path, expected="a CSV file of points", found="nothing") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # "Unicode text" of Excel
        return data.decode("utf-16", errors="replace").removeprefix("\ufeff")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Programs on Windows write a micron sign as one byte; digits are the same in all of them.
        return data.decode("latin-1")


def _refuse_nameless(path: str, header: tuple[str, ...]) -> None:
    """Refuse a file whose first line is no header."""
    if not header or all(not name or math.isfinite(_number(name)) for name in header):
        raise InputError(
            path,
            expected="a header, a line with the names of the columns",
            found=", ".join(header[:LISTED]) or "an empty file",
            remedy="put one first, such as: label,z,y,x",
        )


def _number(entry: str) -> float:
    try:
        # Python reads 1_000, which nobody writes into a table.
        return math.nan if "_" in entry else float(entry)
    except ValueError:
        return math.nan
