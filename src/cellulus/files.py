"""Writing files whole or not at all: a temporary name beside the target, then a rename.

A reader, or a run that was cut, never meets half a file. Knows nothing of what is written.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from cellulus.errors import CellulusError, MissingError, StorageError, UnwritableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

CLIENTS = {"aiohttp", "azure", "botocore", "fsspec", "gcsfs", "google", "paramiko"}
"""Packages that speak to stores, and raise errors of their own."""
LASTING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
"""What a disk says that will not take anything else either."""


@contextlib.contextmanager
def replacing(path: Path, *, flush: bool = True) -> Iterator[BinaryIO]:
    """Write a file atomically, bit by bit, making the folder it lies in.

    Parameters
    ----------
    path
        Gets what the body writes to the file it is given, once the body is through with it.
    flush
        Whether to wait until the disk has it, so that it outlives a power failure and not only a
        killed process. Waiting takes tens of milliseconds.

    Raises
    ------
    StorageError
        If the disk is full, or the place cannot be written to; what was there stays as it was.
    """
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                if flush:
                    file.flush()
                    os.fsync(file.fileno())
            Path(name).chmod(0o666 & ~_umask())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def write_bytes(path: Path, data: bytes, *, flush: bool = True) -> None:
    """Write `data` to `path` atomically; see `replacing`."""
    with replacing(path, flush=flush) as file:
        file.write(data)


def write_text(path: Path, text: str, *, flush: bool = True) -> None:
    """Write `text` as UTF-8; see `write_bytes`."""
    write_bytes(path, text.encode(), flush=flush)


def write_json(path: Path, data: object, *, flush: bool = True) -> None:
    """Write `data` as readable JSON; see `write_bytes`.

    Raises
    ------
    ValueError
        If `data` holds NaN or an infinity, which JSON cannot say.
    """
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(path, text, flush=flush)


def write_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Write arrays by name as ``.npz``, for a block's journal; see `write_bytes`, no flush."""
    data = io.BytesIO()
    np.savez(data, **arrays)  # type: ignore[arg-type]
    write_bytes(path, data.getvalue(), flush=False)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays that `write_arrays` wrote, by name."""
    with np.load(path) as found:
        return dict(found)


@contextlib.contextmanager
def storage(place: object) -> Iterator[None]:
    """Turn what a disk or a store refuses to the body into a `StorageError` about a place.

    It is an `UnwritableError` where writing something else would be refused too. A store whose
    client gave up, which tries again by itself, counts as such.
    """
    try:
        yield
    except CellulusError:
        raise
    except Exception as error:
        if not is_refusal(error):
            raise
        is_store = "://" in str(place)
        lasts = is_store or getattr(error, "errno", None) in LASTING
        remedy = (
            "see that it is there and that your credentials permit writing"
            if is_store
            else "free some space or permit writing there, or choose another with --output"
        )
        raise (UnwritableError if lasts else StorageError)(
            place, expected="a place that can be written to", found=_reason(error), remedy=remedy
        ) from error


@contextlib.contextmanager
def reading(place: object) -> Iterator[None]:
    """Turn what a disk or a store refuses to the body into a `StorageError`; all but absence."""
    try:
        yield
    except (CellulusError, FileNotFoundError):
        raise
    except ImportError as error:
        if "://" not in str(place):
            raise
        raise MissingError(
            place,
            expected="the package for URLs of this kind",
            found=str(error),
            remedy='pip install "cellulus[cloud]" has the one for s3://',
        ) from error
    except Exception as error:
        if not is_refusal(error):
            raise
        raise StorageError(
            place, expected="a place that can be read", found=_reason(error)
        ) from error


def is_refusal(error: Exception) -> bool:
    """Return whether it is a disk or a store that failed, and not a program."""
    packages = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError | NotImplementedError) or bool(packages & CLIENTS)


def _reason(error: Exception) -> str:
    """Return what an error says, or what it is called where it says nothing."""
    if isinstance(error, NotImplementedError):  # what a store that cannot do it raises
        return "a store that offers no such thing"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _umask() -> int:
    """Return the permissions that new files are denied (temporary files get none at all)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
