"""A small work on real arrays that can go wrong in every way; workers import it by its name."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zarr

from cellulus.errors import InputError, UnwritableError

EDGE = 4
"""Voxels per block."""


class Stubborn(Exception):
    """Does not survive pickling."""

    def __init__(self, first, second):
        super().__init__(first)


@dataclass(frozen=True)
class Squares:
    """Squares the numbers of an array, block by block, and notes what happens in a folder.

    Blocks that are `shaky` or `lethal` are so at the first attempt only; `bad`, `refused`,
    `stubborn`, `full` and `deadly` ones always.
    """

    folder: Path
    shaky: tuple = ()
    bad: tuple = ()
    refused: tuple = ()
    stubborn: tuple = ()
    full: tuple = ()
    lethal: tuple = ()
    deadly: tuple = ()
    pause: float = 0.0

    @classmethod
    def on(cls, folder, count, **trouble):
        made = cls(folder, **trouble)
        zarr.create_array(made.target, shape=(EDGE * count,), chunks=(EDGE,), dtype=np.int64)
        return made

    @property
    def target(self):
        return self.folder / "squares.zarr"

    def open(self):
        self.note(f"open {os.getpid()}")
        target = zarr.open_array(self.target, mode="r+")

        def do(index):
            is_first = f"begin {index}" not in self.noted()
            self.note(f"begin {index}")
            time.sleep(self.pause)
            if index in self.deadly or (index in self.lethal and is_first):
                os._exit(1)
            if index in self.bad or (index in self.shaky and is_first):
                raise ValueError(f"block {index}")
            if index in self.refused:
                raise InputError("here", expected="this", found=f"that, {index}", remedy="do so")
            if index in self.full:
                raise UnwritableError("disk", expected="room", found="none")
            if index in self.stubborn:
                raise Stubborn("a", "b")
            numbers = np.arange(EDGE * index, EDGE * (index + 1))
            target[EDGE * index : EDGE * (index + 1)] = numbers**2
            self.note(f"end {index}")
            return {"sum": int(numbers.sum())}

        return do

    def note(self, line):
        """Add a line; short ones are added whole, whoever else adds at the same time."""
        with (self.folder / "notes").open("a") as file:
            file.write(f"{line}\n")

    def noted(self, word=""):
        """Every line that begins so."""
        path = self.folder / "notes"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if line.startswith(word)]

    def attempts(self, index):
        return self.noted().count(f"begin {index}")

    def done(self):
        """Which blocks hold what they should; the others must hold nothing."""
        found = np.asarray(zarr.open_array(self.target, mode="r")[:]).reshape(-1, EDGE)
        wanted = np.arange(found.size).reshape(-1, EDGE) ** 2
        is_done = (found == wanted).all(axis=1)
        is_done[0] = "end 0" in self.noted()  # squares of the first may well be zeros
        assert not found[~is_done].any()
        return set(np.flatnonzero(is_done).tolist())
