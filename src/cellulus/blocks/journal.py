"""What is done and what is not: one marker per block, written when the block's data lie on disk.

A folder beside the result. A block without a marker is done anew, whatever of it is there; that
an array holds nothing at a place says nothing, because background is not stored. Markers are not
flushed to the disk, nor are the arrays: they outlive a killed process, not a power failure.

The first file written says what the work was begun with, and work begun with something else is not
gone on with. Knows nothing of what a block is.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellulus.errors import InputError
from cellulus.files import storage, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

BEGUN = "begun.json"
"""Says what the work was begun with; a folder without it is no journal."""

Record = dict[str, Any]
"""What is noted of a block that is done; JSON."""


@dataclass(frozen=True)
class Stage:
    """The blocks of one stage of the work.

    Attributes
    ----------
    folder
        Holds ``<index>.json`` per block that is done, ``<index>.failed.json`` per one that failed;
        beside it lies what blocks found, for whoever puts it together.
    """

    folder: Path

    def part(self, index: int) -> Path:
        """Return where a block keeps what it found."""
        return self._parts / f"{index}.npz"

    def parts(self) -> list[Path]:
        """Return what blocks kept, in their order; one that was left out kept nothing."""
        return sorted(self._parts.glob("*.npz"), key=lambda path: int(path.stem))

    def done(self) -> set[int]:
        """Return which blocks are done."""
        names = (path.name for path in self.folder.glob("*.json"))
        return {int(name[:-5]) for name in names if name[:-5].isdigit()}

    def is_done(self, index: int) -> bool:
        """Return whether a block is done."""
        return self._marker(index).exists()

    def mark(self, index: int, record: Record) -> None:
        """Note that a block is done; call it when its data lie on disk.

        Raises
        ------
        StorageError
            If the disk is full or refuses.
        """
        write_json(self._marker(index), record, flush=False)
        self._failure(index).unlink(missing_ok=True)

    def unmark(self, index: int) -> None:
        """Let a block be done anew."""
        self._marker(index).unlink(missing_ok=True)

    def record(self, index: int) -> Record:
        """Return what was noted of a block that is done."""
        record: Record = json.loads(self._marker(index).read_text())
        return record

    def mark_failed(self, index: int, reason: str) -> None:
        """Note why a block could not be done."""
        write_json(self._failure(index), {"reason": reason})

    def failed(self) -> dict[int, str]:
        """Return which blocks could not be done, and why."""
        found = {}
        for path in sorted(self.folder.glob("*.failed.json")):
            found[int(path.name.split(".")[0])] = str(json.loads(path.read_text())["reason"])
        return found

    def forget(self) -> None:
        """Do everything anew."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _parts(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}-parts")

    def _marker(self, index: int) -> Path:
        return self.folder / f"{index}.json"

    def _failure(self, index: int) -> Path:
        return self.folder / f"{index}.failed.json"


@dataclass(frozen=True)
class Journal:
    """The stages of the work on one result.

    Attributes
    ----------
    folder
        Beside the result; goes when the result is whole.
    """

    folder: Path

    @property
    def is_begun(self) -> bool:
        """Whether there is something to go on with."""
        return (self.folder / BEGUN).exists()

    @classmethod
    def open(cls, folder: Path, facts: Mapping[str, Any], *, resume: bool) -> Journal:
        """Begin, or go on with what was begun.

        Parameters
        ----------
        folder
            Where the journal lies.
        facts
            What the result depends on: input, settings, model, blocks; JSON.
        resume
            Whether to go on; otherwise what is there is removed.

        Raises
        ------
        InputError
            If what was begun depends on something else; names what changed.
        StorageError
            If the disk is full or refuses.
        """
        journal = cls(folder)
        begun = folder / BEGUN
        wanted = dict(_flat(json.loads(json.dumps(facts))))
        if resume and journal.is_begun:
            known = json.loads(begun.read_text())
            changed = sorted(
                k for k in {*known, *wanted} if known.get(k, _ABSENT) != wanted.get(k, _ABSENT)
            )
            if changed:
                raise InputError(
                    folder,
                    expected="to go on with the same data, model and settings",
                    found="others: " + "; ".join(
                        f"{k} was {known.get(k)}, is {wanted.get(k)}" for k in changed
                    ),
                    remedy="undo the change, or start anew with --overwrite",
                )  # fmt: skip
            return journal
        with storage(folder):
            if folder.exists():
                shutil.rmtree(folder)
            write_json(begun, wanted)
        return journal

    def stage(self, name: str) -> Stage:
        """Return a stage by its name."""
        return Stage(self.folder / name)

    def close(self) -> None:
        """Remove the journal, and all that lies in its folder."""
        # First of all what makes it one: killed on the way, it must not tell of a half.
        (self.folder / BEGUN).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested facts by dotted names, so that a change is named exactly."""
    for key, value in facts.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


_ABSENT = object()
