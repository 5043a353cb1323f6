"""Writing files whole or not at all: a temporary name beside the target, then a rename.

A reader, or a run that was cut, never meets half a file. Knows nothing of what is written.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


def write_bytes(path: Path, data: bytes, *, flush: bool = True) -> None:
    """Write `data` to `path` atomically, making the folder it lies in.

    Parameters
    ----------
    path, data
        Where, and what.
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
                file.write(data)
                if flush:
                    file.flush()
                    os.fsync(file.fileno())
            Path(name).chmod(0o666 & ~_umask())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


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
def storage(path: object) -> Iterator[None]:
    """Turn an `OSError` of the body into a `StorageError` about `path`."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            path,
            expected="a place that can be written to",
            found=error.strerror or str(error),
            remedy="free some space or permit writing there, or choose another with --output",
        ) from error


def _umask() -> int:
    """Return the permissions that new files are denied (temporary files get none at all)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
