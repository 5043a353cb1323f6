"""What happens to a block that is sent away: packed here, done in a worker's process.

Knows nothing of who sends it.
"""

from __future__ import annotations

import io
import pickle
import signal
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellulus import __version__
from cellulus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellulus.blocks.crew import Work

KEPT = 8
"""Works that a worker keeps open."""


class ForeignError(InputError):
    """A worker has another version of this package: it might do something else."""


def pack(work: Work) -> bytes:
    """Return a work as bytes, its paths absolute: a worker may stand in another folder."""
    data = io.BytesIO()
    _Packer(data).dump(work)
    return data.getvalue()


def do(work: bytes, index: int, expected: str) -> None:
    """Do a block.

    Parameters
    ----------
    work
        Packed.
    index
        Which block.
    expected
        The version of this package that asks for it.

    Raises
    ------
    ForeignError
        If this process has another version.
    """
    if expected != __version__:
        from distributed import get_worker

        raise foreign(get_worker().address, expected, __version__)
    _opened(work, threading.get_ident())(index)


def version() -> str:
    """Return the version of this package in this process."""
    return __version__


def dask_setup(_worker: object) -> None:
    """Be deaf to Ctrl-C: whoever sends blocks answers to it. Dask calls this in a new worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def foreign(address: str, expected: str, found: object) -> ForeignError:
    """Return the error of a worker with another version, or without this package.

    Parameters
    ----------
    address
        Of the worker.
    expected
        The version that it should have.
    found
        Its version, or the error of asking for it.
    """
    return ForeignError(
        f"worker {address}",
        expected=f"cellulus {expected}, as here",
        found=f"cellulus {found}" if isinstance(found, str) else f"none ({found})",
        remedy="give all workers the same version, then go on with --resume",
    )


class _Packer(pickle.Pickler):
    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, Path) and not thing.is_absolute():
            return thing.absolute().__reduce__()
        return NotImplemented


# Not a plugin of dask, which would have to be told of each work before its blocks are sent: who
# gets a block opens its work, once, also if it joined late or stands in for one that died. Once
# per thread, because nothing promises that threads may share what is opened.
@lru_cache(maxsize=KEPT)
def _opened(work: bytes, _thread: int) -> Callable[[int], dict[str, Any]]:
    opened: Callable[[int], dict[str, Any]] = pickle.loads(work).open()
    return opened
