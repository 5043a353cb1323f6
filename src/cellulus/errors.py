"""What can go wrong, said in four parts: where, what was expected, what was found, what to do.

Every error of this package is a `CellulusError` and a builtin exception too, so that other
programs can catch it without knowing us. Knows nothing of how errors are shown.
"""

from __future__ import annotations

from typing import ClassVar


class CellulusError(Exception):
    """An error that a user can act on.

    Parameters
    ----------
    where
        The file, key or argument at fault.
    expected, found
        What should have been there, and what was.
    remedy
        What to do about it; empty where `expected` says it all.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, where: object, *, expected: str, found: str, remedy: str = "") -> None:
        super().__init__(str(where), expected, found, remedy)
        self.where = str(where)
        self.expected = expected
        self.found = found
        self.remedy = remedy

    def __str__(self) -> str:
        text = f"{self.where}: expected {self.expected}, found {self.found}"
        return f"{text}; {self.remedy}" if self.remedy else text

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling, so that an error raised in a worker process arrives whole."""
        return _rebuild, (type(self), self.where, self.expected, self.found, self.remedy)


def _rebuild(
    kind: type[CellulusError], where: str, expected: str, found: str, remedy: str
) -> CellulusError:
    return kind(where, expected=expected, found=found, remedy=remedy)


class InputError(CellulusError, ValueError):
    """Data or an argument that cannot be worked with."""


class MissingError(CellulusError, FileNotFoundError):
    """Something that should be there is not."""


class ExistsError(CellulusError, FileExistsError):
    """Something is in the way; nothing is overwritten unasked."""


class StorageError(CellulusError, OSError):
    """Reading or writing failed: a full disk, a broken file, no permission."""


class UnwritableError(StorageError):
    """Nothing can be written any more: a disk that is full or read-only, a store that refuses."""


class ChunkError(StorageError):
    """Chunks of an array are damaged or lost; the others can be read."""


class ModelError(InputError):
    """A model file that is damaged, or that does not fit the data or the method."""


class QuarantineError(CellulusError):
    """Blocks that could not be done were left out; the rest is finished."""

    exit_code = 3


class GateError(CellulusError):
    """A check or a quality gate failed; the work itself was done."""

    exit_code = 1
