"""``images`` and ``masks`` with the same file names, alone or below ``train``, ``val``, ``test``.

The layout of EmbedSeg (Lalit et al. 2022, doi:10.1016/j.media.2022.102523). Its stacks are
volumes, whether their files say so or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellulus.data import readers
from cellulus.data.layouts.base import Layer, Sample, image_files, require_single_channel
from cellulus.data.readers.base import stem
from cellulus.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

_SPLITS = ("train", "val", "test")


def accepts(path: Path) -> bool:
    """Return whether ``images`` or ``masks`` lie in it or in one of the splits."""
    return bool(_parts(path))


def samples(path: Path, axes: str, scratch: Path) -> list[Sample]:
    """Return every image with its mask; nothing is unpacked to `scratch`.

    Raises
    ------
    InputError
        If an image or a mask has no partner.
    """
    found = []
    for prefix, folder in _parts(path).items():
        images, masks = _by_stem(folder / "images"), _by_stem(folder / "masks")
        _check_partners(folder, images, masks)
        for name, file in images.items():
            image = readers.open_image(file, axes=axes or "zyx")
            layers: tuple[Layer, ...] = ()
            if name in masks:
                mask = readers.open_image(masks[name], axes=axes or "zyx")
                layers = (Layer("masks", require_single_channel(mask)),)
            found.append(Sample(prefix + name, image, layers))
    return found


def _parts(path: Path) -> dict[str, Path]:
    folders = {"": path} | {f"{split}/": path / split for split in _SPLITS}
    return {
        prefix: folder
        for prefix, folder in folders.items()
        if (folder / "images").is_dir() or (folder / "masks").is_dir()
    }


def _by_stem(folder: Path) -> dict[str, Path]:
    return {stem(file.name): file for file in image_files(folder)} if folder.is_dir() else {}


def _check_partners(folder: Path, images: dict[str, Path], masks: dict[str, Path]) -> None:
    # No masks at all is fine: the truth of a test split is often kept secret.
    for name in sorted(masks.keys() - images.keys()):
        raise InputError(
            masks[name], expected=f"an image {folder / 'images' / name}.*", found="none"
        )
    for name in sorted(images.keys() - masks.keys() if masks else ()):
        raise InputError(images[name], expected=f"a mask {folder / 'masks' / name}.*", found="none")
    if not images:
        raise InputError(folder / "images", expected="TIFF or PNG files", found="none")
