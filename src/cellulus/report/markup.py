"""HTML that cannot be broken by what it shows: text is escaped unless it is already markup.

Knows nothing of the report's contents.
"""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOTHING = "\N{EN DASH}"
"""What stands where a value is unknown."""
_VOID = frozenset({"img", "meta", "br"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def join(*parts: str | Markup, sep: str = "") -> Markup:
    """Return the parts one after the other, plain text escaped."""
    return Markup(
        sep.join(p if isinstance(p, Markup) else html.escape(str(p), quote=True) for p in parts)
    )


def tag(name: str, /, *children: str | Markup, **attributes: str | int | None) -> Markup:
    """Return an element; attributes that are None are left out.

    Parameters
    ----------
    name
        Of the element.
    children
        Text, which is escaped, or markup.
    attributes
        Underscores become hyphens; a trailing one is dropped (``class_``).
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def png(picture: NDArray[np.uint8]) -> str:
    """Return a picture ``(rows, columns, 3)`` as the data URI of a PNG, without loss.

    Pictures of at most 256 colours take one byte per pixel before compression, others three.
    """
    packed = picture.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    colours, index = np.unique(packed, return_inverse=True)
    if len(colours) <= 256:
        image = Image.fromarray(index.reshape(packed.shape).astype(np.uint8))
        image.putpalette(
            bytes(np.stack([colours >> 16, colours >> 8, colours], 1).astype(np.uint8))
        )
    else:
        image = Image.fromarray(picture)
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def number(value: Any, digits: int = 3) -> str:
    """Return a value as people read it: ``0.834``, ``1,204``, an en dash for nothing."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{int(value):,}"
    if isinstance(value, float | np.floating):
        return f"{float(value):.{digits}f}"
    return str(value)
