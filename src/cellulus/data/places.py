"""Where an image lies, and how a new one appears there: the one file that tells disk from store.

On a disk an image grows beside its name, and a rename makes it appear, whole; an old one of that
name goes only then. A store at a URL, any that fsspec knows, has no rename, and copying inside of
it would cost as much as writing. So there an image grows where it will lie, and what makes it an
image to readers, the metadata of its root group, is written last; an old one goes first.

A result of a run that lies in a store has its name in the run folder all the same, as a link: a
small file that holds the URL. The link grows and appears like a result on a disk, so the run
folder tells what is begun and what is whole, and every reader follows it. Credentials are found
as fsspec finds them, in the environment and in ``~/.config/fsspec``. Knows nothing of what is
written.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import zarr

from cellulus.data.addresses import (
    Address,
    filesystem_of,
    follow,
    holds,
    inside,
    is_array,
    is_url,
    read_link,
)
from cellulus.errors import InputError
from cellulus.files import is_refusal, storage, write_text

_log = logging.getLogger(__name__)


class Place(Protocol):
    """Where an image is, or will be."""

    @property
    def shown(self) -> Address:
        """What people call it."""

    @property
    def final(self) -> Address:
        """Where its data are when it is whole."""

    @property
    def growing(self) -> Address:
        """Where its data are until then; under a link, the name that leads to them."""

    def obstacles(self) -> list[Address]:
        """Return what lies where the image is to be, and was not begun for it."""

    def is_begun(self) -> bool:
        """Return whether an interrupted run left something to go on with."""

    def clear(self) -> None:
        """Make room for an image that is about to grow."""

    def appear(self, *, replace: bool) -> None:
        """Let an image whose metadata are written have its name; an old one goes if told so."""

    def reopen(self) -> None:
        """Turn a whole image back into one that grows."""

    def discard(self) -> None:
        """Remove what has grown so far."""


def place_of(target: Address, store: str = "") -> Place:
    """Return the place of an image.

    Parameters
    ----------
    target
        A path, or a URL.
    store
        URL where the data go, while `target` on the disk becomes a link to them.
    """
    if store:
        return Store(store, Path(target))
    return Store(str(target)) if is_url(target) else Folder(Path(target))


def may_go(address: Address) -> bool:
    """Return whether something may go to make room: an image, one that is unfinished, or a link."""
    is_link = not is_url(address) and read_link(Path(address)) is not None
    return is_link or _is_image(_attributes(address)) or is_unfinished(address)


def is_unfinished(address: Address) -> bool:
    """Return whether a group was begun by this package, and is no image yet."""
    attributes = _attributes(address)
    return "cellulus" in attributes and not _is_image(attributes)


@dataclass(frozen=True)
class Folder:
    """A place on a disk.

    Attributes
    ----------
    path
        Of the image.
    """

    path: Path

    @property
    def shown(self) -> Address:
        """The path."""
        return self.path

    @property
    def final(self) -> Address:
        """The path."""
        return self.path

    @property
    def growing(self) -> Address:
        """A name beside it."""
        return _temporary(self.path)

    def obstacles(self) -> list[Address]:
        """Return what has the name."""
        return [self.path] if self.path.exists() else []

    def is_begun(self) -> bool:
        """Return whether an array was begun under the temporary name."""
        return is_array(inside(self.growing, "0"))

    def clear(self) -> None:
        """Remove what an interrupted run left, and make the folder around it."""
        _remove(_temporary(self.path))
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def appear(self, *, replace: bool) -> None:
        """Rename."""
        for half in _temporary(self.path).rglob("*.partial"):
            half.unlink()  # what zarr was writing when an earlier process was killed
        _move(_temporary(self.path), self.path, replace=replace)

    def reopen(self) -> None:
        """Rename back."""
        with storage(self.path):
            _remove(_temporary(self.path))
            self.path.rename(_temporary(self.path))

    def discard(self) -> None:
        """Remove the temporary folder."""
        _remove(_temporary(self.path))


@dataclass(frozen=True)
class Store:
    """A place in a store.

    Attributes
    ----------
    url
        Of the image.
    link
        Its name on the disk; None where it has none.
    """

    url: str
    link: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", self.url.rstrip("/"))
        filesystem, path = filesystem_of(self.url)
        if "file" in filesystem.protocol:
            raise InputError(
                self.url, expected="the URL of a store, or a path", found="a URL of this disk",
                remedy=f"name it {path}",
            )  # fmt: skip

    @property
    def shown(self) -> Address:
        """The link, or the URL."""
        return self.link or self.url

    @property
    def final(self) -> Address:
        """The URL."""
        return self.url

    @property
    def growing(self) -> Address:
        """The link's temporary name, or the URL."""
        return _temporary(self.link) if self.link else self.url

    def obstacles(self) -> list[Address]:
        """Return what has the name of the link, or lies at the URL and is not claimed."""
        found: list[Address] = [self.link] if self.link and self.link.exists() else []
        return found if self._is_claimed or not holds(self.url) else [*found, self.url]

    def is_begun(self) -> bool:
        """Return whether an array was begun there."""
        return self._is_claimed and is_array(inside(self.url, "0"))

    def clear(self) -> None:
        """Claim the URL with a link, then remove what lies there."""
        is_replaced = self.link is not None and read_link(self.link) == self.url
        if self.link is not None:
            if is_replaced:
                self.link.unlink()
            _remove(_temporary(self.link))
            write_text(_temporary(self.link), f"{self.url}\n")
        if not holds(self.url):
            return
        if is_replaced or not is_unfinished(self.url):
            _log.warning("%s: what is there goes before the new one is whole", self.url)
        filesystem, path = filesystem_of(self.url)
        with storage(self.url):
            filesystem.rm(path, recursive=True)

    def appear(self, *, replace: bool) -> None:
        """Rename the link: with its metadata the image has appeared already."""
        if self.link is not None:
            _move(_temporary(self.link), self.link, replace=replace)

    def reopen(self) -> None:
        """Rename the link back, and take away what makes it an image."""
        if self.link is not None:
            Folder(self.link).reopen()
        with storage(self.url):
            group = zarr.open_group(self.url, mode="r+")
            group.attrs.put({"cellulus": group.attrs.get("cellulus")})

    def discard(self) -> None:
        """Remove everything at the URL, and the link to it."""
        try:
            filesystem, path = filesystem_of(self.url)
            filesystem.rm(path, recursive=True)
        except Exception as error:
            if not is_refusal(error):
                raise
        if self.link is not None:
            _remove(_temporary(self.link))

    @property
    def _is_claimed(self) -> bool:
        """Whether it was begun to write there: a link says so or, without one, what is there."""
        if self.link is None:
            return is_unfinished(self.url)
        return read_link(_temporary(self.link)) == self.url


def _temporary(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")


def _remove(path: Path) -> None:
    """Remove a folder or a link, as far as that can be done."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _move(source: Path, target: Path, *, replace: bool) -> None:
    """Rename; an old target is put aside first and removed last."""
    aside = target.with_name(f"{target.name}.replaced")
    if target.exists() and replace:
        _remove(aside)
        target.rename(aside)
    try:
        source.rename(target)
    except OSError:
        if aside.exists() and not target.exists():
            aside.rename(target)
        raise
    _remove(aside)


def _attributes(address: Address) -> dict[str, Any]:
    """Return the attributes of a group; none where there is no group."""
    with storage(address):
        try:
            return dict(zarr.open_group(follow(address), mode="r").attrs.asdict())
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return {}


def _is_image(attributes: dict[str, Any]) -> bool:
    inner = attributes.get("ome", attributes)
    return isinstance(inner, dict) and "multiscales" in inner
