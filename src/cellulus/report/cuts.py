"""Which planes of an image are drawn, how large, and how a plane becomes pixels.

A 2D image is one cut; a volume is three orthogonal ones that share one physical scale. Knows
nothing of colours or of HTML.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellulus.space import Region, VoxelSize

CANVAS = 840
"""Longest edge of what is drawn of one image [pixel]: twice what a page shows, for sharp lines."""
WINDOW = 1024
"""Most voxels shown along an axis; of larger images the densest part is shown."""


@dataclass(frozen=True)
class Cut:
    """A plane through an image, and the size at which it is drawn.

    Attributes
    ----------
    down, across
        Spatial axes drawn down and across the page.
    key
        Per spatial axis the voxels drawn, one for the axis across the plane.
    size
        Rows and columns of the picture [pixel]; their ratio is the physical one.
    """

    down: int
    across: int
    key: Region
    size: tuple[int, int]

    @property
    def normal(self) -> tuple[int, ...]:
        """The axes not drawn: none in 2D, one in 3D."""
        return tuple(a for a in range(len(self.key)) if a not in (self.down, self.across))

    def take(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the plane of an array ``(*S)``, rows down the page."""
        plane = array[self.key].squeeze(self.normal)
        return plane if self.down < self.across else plane.T

    def name(self) -> str:
        """Return what plane this is, as ``"xy at z = 25"``; empty for a 2D image."""
        letters = "zyx"[-len(self.key) :]
        plane = letters[self.across] + letters[self.down]
        return "".join(f"{plane} at {letters[a]} = {self.key[a].start}" for a in self.normal)


def plan(labels: NDArray[Any], voxel_size: VoxelSize, canvas: int = CANVAS) -> tuple[Cut, ...]:
    """Return the cuts to draw: through the planes and the window that hold most labelled voxels.

    Parameters
    ----------
    labels
        ``(*S)``; 0 is background.
    voxel_size
        Extents along the axes of `labels`; they set the proportions.
    canvas
        Longest edge of all cuts together [pixel].

    Returns
    -------
    cuts
        One in 2D. In 3D: ``xy``, ``zy`` (to stand on its right) and ``xz`` (below it).
    """
    filled = labels != 0
    axes = range(filled.ndim)
    counts = [filled.sum(axis=tuple(b for b in axes if b != a)) for a in axes]
    window = tuple(_densest(c) for c in counts)
    fine = min(voxel_size.values)
    extent = [(w.stop - w.start) * v / fine for w, v in zip(window, voxel_size.values, strict=True)]
    y, x = filled.ndim - 2, filled.ndim - 1
    depth = extent[0] if filled.ndim == 3 else 0.0
    zoom = canvas / max(extent[y] + depth, extent[x] + depth)
    zoom = float(int(zoom)) if zoom >= 2 else zoom
    pixels = [max(1, round(e * zoom)) for e in extent]
    if filled.ndim == 2:
        return (Cut(y, x, window, (pixels[y], pixels[x])),)
    middle = tuple(_fullest(c, w) for c, w in zip(counts, window, strict=True))
    return (
        Cut(y, x, (middle[0], window[1], window[2]), (pixels[y], pixels[x])),
        Cut(y, 0, (window[0], window[1], middle[2]), (pixels[y], pixels[0])),
        Cut(0, x, (window[0], middle[1], window[2]), (pixels[0], pixels[x])),
    )


def draw_field(field: NDArray[Any], size: tuple[int, int], coarse: int = 2) -> NDArray[np.float32]:
    """Return intensities at `size`: voxels stay visible, what is too fine is averaged.

    Parameters
    ----------
    field
        A plane of values, ``(rows, columns)``; what is not a number counts as 0.
    size
        Of the picture [pixel].
    coarse
        Least edge of what is drawn in one value [pixel]; bounds the weight of the page.
    """
    rows, columns = size
    wanted = (min(field.shape[0], -(-rows // coarse)), min(field.shape[1], -(-columns // coarse)))
    image = Image.fromarray(np.nan_to_num(np.ascontiguousarray(field, np.float32)))
    if wanted != field.shape:
        image = image.resize(wanted[::-1], Image.Resampling.HAMMING)
    return magnify(np.asarray(image), size)


def magnify(plane: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Return the nearest value at each pixel of `size`; never mixes values, so fit for labels."""
    rows, columns = (
        ((np.arange(s) + 0.5) * n / s).astype(np.intp)
        for s, n in zip(size, plane.shape[:2], strict=True)
    )
    enlarged: NDArray[Any] = plane[rows[:, None], columns[None, :]]
    return enlarged


def _densest(counts: NDArray[np.intp]) -> slice:
    """Return the window of at most `WINDOW` voxels that holds most labelled ones."""
    if len(counts) <= WINDOW:
        return slice(0, len(counts))
    total = np.concatenate([[0], np.cumsum(counts)])
    start = int(np.argmax(total[WINDOW:] - total[:-WINDOW]))
    return slice(start, start + WINDOW)


def _fullest(counts: NDArray[np.intp], window: slice) -> slice:
    """Return the plane inside the window with most labelled voxels; the middle if all are empty."""
    inside = counts[window]
    at = window.start + (int(np.argmax(inside)) if inside.any() else len(inside) // 2)
    return slice(at, at + 1)
