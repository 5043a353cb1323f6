"""Which axes an array without metadata has, as far as what comes with it tells.

Knows nothing of archives or files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellulus.errors import InputError

if TYPE_CHECKING:
    import numpy as np

_ORDERS = ("yx", "zyx", "cyx", "yxc", "czyx", "zyxc")


@dataclass(frozen=True)
class Member:
    """What the header of an array says."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def infer_axes(
    where: str,
    image: tuple[int, ...],
    labels: tuple[int, ...] | None,
    told: tuple[bool, int, str],
) -> str:
    """Return the axes of an image array, ``n`` first where it holds several images.

    Parameters
    ----------
    where
        For messages.
    image, labels
        Shapes; labels have no channels, so that the two tell where the channels are.
    told
        Whether the name speaks of several images, the number of spatial axes that the voxel size
        has (0 if there is none), and the axes that the user gave (maybe none).

    Raises
    ------
    InputError
        If no order fits, or several do.
    """
    several, space, hint = told
    orders = [hint, f"n{hint}"] if hint else [*_ORDERS, *(f"n{order}" for order in _ORDERS)]
    fitting = [
        axes
        for axes in orders
        if len(axes) == len(image)
        and (hint or _fits_name(axes, several, space))
        and space in {0, sum(a in "zyx" for a in axes)}
        and (labels is None or labels == _without_channels(axes, image))
    ]
    if len(fitting) == 1:
        return fitting[0]
    shapes = f"shape {image}" + (f" and labels of {labels}" if labels is not None else "")
    raise InputError(
        where,
        expected="arrays that fit each other and tell their axes",
        found=f"{shapes}, which could be {' or '.join(fitting) or 'nothing known'}",
        remedy="add an array voxel_size with one value per axis of space, or give the axes",
    )


def _fits_name(axes: str, several: bool, space: int) -> bool:
    """Several images have an ``n`` axis, unless the voxel size says that all axes are space."""
    is_one_volume = space == len(axes)
    return axes.startswith("n") == (several and not is_one_volume)


def _without_channels(axes: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for a, n in zip(axes, shape, strict=True) if a != "c")
