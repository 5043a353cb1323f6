"""The names of what is being written, and the renames that make it appear or go.

A result grows under a temporary name; an old one of its name goes only when the new one is whole.
Knows nothing of what is written.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from cellulus.data.arrays import failures, is_array

if TYPE_CHECKING:
    from pathlib import Path


def is_begun(path: Path) -> bool:
    """Return whether an interrupted run left something to go on with."""
    return is_array(temporary(path) / "0")


def reopen(path: Path) -> None:
    """Turn a result back into one that is being written.

    Raises
    ------
    StorageError
        If the disk refuses.
    """
    with failures(path):
        shutil.rmtree(temporary(path), ignore_errors=True)
        path.rename(temporary(path))


def temporary(path: Path) -> Path:
    """Return where a result grows until it is whole."""
    return path.with_name(f"{path.name}.partial")


def move(source: Path, target: Path, *, replace: bool) -> None:
    """Rename; an old target is put aside first and removed last."""
    aside = target.with_name(f"{target.name}.replaced")
    if target.exists() and replace:
        shutil.rmtree(aside, ignore_errors=True)
        target.rename(aside)
    try:
        source.rename(target)
    except OSError:
        if aside.exists() and not target.exists():
            aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)
