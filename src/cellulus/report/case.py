"""One image of the report with all that is drawn of it.

Knows nothing of files, of pixels on a page or of HTML.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellulus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from cellulus.space import VoxelSize


@dataclass(frozen=True, eq=False)
class Confidence:
    """How sure the network was, voxel by voxel.

    Attributes
    ----------
    name
        Of the channel: ``"uncertainty"``, ``"seediness"``, ``"presence"``.
    values
        ``(*S)``; an uncertainty is a length [canonical voxel], the others are from 0 to 1.
    """

    name: str
    values: NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Marks:
    """Points that cells were cut out with.

    Attributes
    ----------
    positions
        ``(n, ndim)``, on the grid of the case; voxel ``i`` has its middle at ``i`` [voxel].
    near
        How far from a cut a point is still drawn on it, along each axis [voxel].
    """

    positions: NDArray[np.float64]
    near: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Case:
    """One image, or a part of one, with everything known about it on the same grid.

    Attributes
    ----------
    name
        The image's name.
    image
        Normalised intensities, ``(C, *S)``.
    labels
        Objects found, ``(*S)``; 0 is background.
    voxel_size
        Extent of a voxel of this grid, ``(z,) y, x``.
    offsets
        Predicted offsets, ``(ndim, *S)`` in axis order [canonical voxel], if any.
    confidence
        How sure the network was, if it said so.
    marks
        Points that were given or found, if the method needs any.
    truth
        True objects, ``(*S)``, if known.
    scores
        Of this image by name (``{"f1": 0.83, "seg": 0.71}``), if known.
    why
        Why this image is shown (``"Lowest F1 of 50 images"``).
    part
        Which part of the image this is (``"y 0-1024 of 4096"``); empty for all of it.

    Raises
    ------
    InputError
        If the arrays do not lie on one grid.
    """

    name: str
    image: NDArray[np.float32]
    labels: NDArray[np.unsignedinteger[Any]]
    voxel_size: VoxelSize
    offsets: NDArray[np.floating[Any]] | None = None
    confidence: Confidence | None = None
    marks: Marks | None = None
    truth: NDArray[np.unsignedinteger[Any]] | None = None
    scores: Mapping[str, float | None] | None = None
    why: str = ""
    part: str = ""

    def __post_init__(self) -> None:
        shape, ndim = self.labels.shape, self.voxel_size.ndim
        expected = {
            "labels": (self.labels.shape, ndim == len(shape) and min(shape) > 0),
            "image": (self.image.shape, self.image.shape[1:] == shape and len(self.image) > 0),
        }
        if self.offsets is not None:
            expected["offsets"] = (self.offsets.shape, self.offsets.shape == (ndim, *shape))
        if self.confidence is not None:
            values = self.confidence.values
            expected[self.confidence.name] = (values.shape, values.shape == shape)
        if self.truth is not None:
            expected["truth"] = (self.truth.shape, self.truth.shape == shape)
        if self.marks is not None:
            found = self.marks.positions.shape
            expected["marks"] = (found, found[1:] == (ndim,) == (len(self.marks.near),))
        for what, (found, fits) in expected.items():
            if not fits:
                raise InputError(
                    f"{what} of {self.name}",
                    expected=f"the grid of the labels, {shape}, with {ndim} axes and no empty one",
                    found=f"shape {found}",
                )

    @property
    def ndim(self) -> int:
        """Number of spatial axes, 2 or 3."""
        return self.voxel_size.ndim
