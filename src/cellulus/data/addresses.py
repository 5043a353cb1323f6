"""Addresses of images: paths and URLs alike, and the links that lead from one to the other.

A link is a small file that holds a URL; it stands on the disk for what lies in a store, and
readers follow it. Knows nothing of how an image comes to an address (`cellulus.data.places`).
"""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import Any

from cellulus.errors import InputError
from cellulus.files import reading, storage

Address = Path | str
"""A path on a disk, or a URL as text."""

NAMES = (".zarr", ".zarr.partial")
"""Names of links end like this, as those of images do."""
LONGEST = 4096
"""No link is longer than this [byte]."""


def is_url(address: Address) -> bool:
    """Return whether something is a URL and no path."""
    return "://" in str(address)


def inside(group: Address, *names: str) -> Address:
    """Return the address of something in a group."""
    if isinstance(group, Path):
        return group.joinpath(*names)
    return "/".join([group.rstrip("/"), *names]).rstrip("/")


def follow(address: Address) -> Address:
    """Return where the data of an address are: the URL that a link leads to, or the address."""
    if is_url(address):
        return address
    path = Path(address)
    for part in (path, *path.parents):
        if part.is_dir():
            break
        if part.is_file():
            url = read_link(part)
            return inside(url, *path.relative_to(part).parts) if url else address
    return address


def way(image: str, labels: Address) -> str | None:
    """Return the way from labels to their image, which viewers follow.

    A URL where no other way leads there; None from a store to a disk.
    """
    if is_url(image) != is_url(labels):
        return image if is_url(image) else None
    if not is_url(image):
        return os.path.relpath(image, labels)
    (there, goal), (here, start) = (_halves(str(url)) for url in (image, labels))
    return posixpath.relpath(goal, start) if there == here else image


def is_array(address: Address) -> bool:
    """Return whether an array was begun somewhere; a folder alone is none yet."""
    return holds(follow(address), "zarr.json", ".zarray")


def read_link(path: Path) -> str | None:
    """Return the URL that a link holds; None if it is no link."""
    if not path.name.endswith(NAMES) or not path.is_file() or path.stat().st_size > LONGEST:
        return None
    text = path.read_bytes().decode(errors="replace").strip()
    return text if is_url(text) and len(text.splitlines()) == 1 else None


def holds(address: Address, *names: str) -> bool:
    """Return whether there is any of some names in a folder; without names, the folder itself."""
    if not is_url(address):
        return any((Path(address) / name).exists() for name in names or ("",))
    filesystem, path = filesystem_of(str(address))
    with storage(address):
        return any(filesystem.exists(inside(path, name)) for name in names or ("",))


def filesystem_of(url: str) -> tuple[Any, str]:
    """Return what gives access to a store, and the path of a URL in it."""
    import fsspec  # type: ignore[import-untyped]

    try:
        with reading(url):
            filesystem, path = fsspec.core.url_to_fs(url)
    except ValueError as error:
        raise InputError(url, expected="a URL that fsspec knows", found=str(error)) from error
    filesystem.invalidate_cache()  # others write there too
    return filesystem, path


def _halves(url: str) -> tuple[str, str]:
    """Return what kind of store a URL is of with the store's name, and the path inside of it."""
    kind, _, rest = url.partition("://")
    name, _, path = rest.partition("/")
    return f"{kind}://{name}", f"/{path}"
