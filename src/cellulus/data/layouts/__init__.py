"""How others arrange images and labels on disk.

This file holds the list; a new layout is one file in this folder and one name here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellulus.data.layouts import (
    archive,
    object_masks,
    paired_folders,
    plain_files,
    tracking_challenge,
)
from cellulus.errors import InputError, MissingError

if TYPE_CHECKING:
    from pathlib import Path

    from cellulus.data.layouts.base import Layout, Sample

# The first that accepts a path reads it: the more specific ones come first.
LAYOUTS: tuple[Layout, ...] = (
    archive,
    tracking_challenge,
    paired_folders,
    object_masks,
    plain_files,
)

__all__ = ["LAYOUTS", "find_samples"]


def find_samples(path: Path, axes: str, scratch: Path) -> list[Sample]:
    """Return the images and labels that a file or folder holds, unread.

    Parameters
    ----------
    path
        A file or folder in one of the known layouts.
    axes
        One letter per axis, out of ``tczyx``, for files that do not tell theirs.
    scratch
        A folder for what must be unpacked to be read in parts.

    Raises
    ------
    MissingError
        If there is nothing at `path`.
    InputError
        If it has none of the layouts, or what is in it does not fit together.
    StorageError
        If it is damaged.
    """
    if not path.exists():
        raise MissingError(path, expected="images to convert", found="nothing of that name")
    for layout in LAYOUTS:
        if layout.accepts(path):
            return layout.samples(path, axes, scratch)
    raise InputError(
        path,
        expected="a TIFF, PNG or npz file, a folder of images, train/images and train/masks, "
        "a Cell Tracking Challenge folder, or one folder per image with images and masks",
        found="a folder with none of these" if path.is_dir() else f"a {path.suffix!r} file",
    )
