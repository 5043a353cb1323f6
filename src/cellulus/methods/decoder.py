"""What a decoder is: how predictions become labels, block by block, after surveys of the whole.

Knows nothing of files, blocks or training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from cellulus.space import Region


@dataclass(frozen=True)
class Observation:
    """What a decoder sees: one region of one image, everything on the image's own grid.

    Attributes
    ----------
    prediction
        What the network said, ``(channels, *S)`` float32; lengths in canonical voxels, NaN where
        nothing was predicted.
    image
        Normalised intensities, ``(image channels, *S)`` float32.
    spacing
        Canonical voxels per voxel of this grid, per axis (the `zoom` of the scale).
    origin
        Index of the region's first voxel in the whole image [voxel]; makes the result
        independent of how the image was cut.
    points
        Of the cells of the whole image, ``(n, ndim)`` float64, whole numbers being the middles of
        voxels of the whole image [voxel]; None where the method needs none.
    """

    prediction: NDArray[np.float32]
    image: NDArray[np.float32]
    spacing: tuple[float, ...]
    origin: tuple[int, ...]
    points: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Objects:
    """Decoded objects of one region.

    Attributes
    ----------
    labels
        ``(*S)`` uint32; 0 is background, ``i`` belongs to ``anchors[i - 1]``.
    anchors
        ``(n, ndim)`` int64, ascending and unique. The same object has the same anchor in every
        region that sees it whole: the anchor is its identity across blocks.
    """

    labels: NDArray[np.uint32]
    anchors: NDArray[np.int64]


class Decoder(Protocol):
    """A local operator from predictions to labels, after surveys of the whole image.

    A survey gathers, block by block, what must be known of the whole before a block can be
    decoded: a histogram, the places of all objects. A decoder that has not learnt takes the region
    that it is given for the whole image.
    """

    @property
    def surveys(self) -> tuple[float, ...]:
        """The surveys to make, in order: how far around a block each must see [canonical voxel]."""

    def survey(self, observation: Observation, core: Region) -> dict[str, NDArray[Any]]:
        """Return what a block has to say to the next survey.

        Parameters
        ----------
        observation
            The block with the survey's margin around it; without intensities, which are zero.
        core
            The block, slices in the whole image [voxel]; open where the image ends.
        """

    def learn(self, parts: Sequence[dict[str, NDArray[Any]]]) -> None:
        """Take what all blocks had to say, in any order; ends the survey."""

    @property
    def halo(self) -> float:
        """How far around a voxel the result there can depend on, then [canonical voxel].

        Infinite where a decoder cannot be local: then what it makes of blocks is stitched.
        """

    def __call__(self, observation: Observation) -> Objects:
        """Return the objects of a region; right wherever `halo` lies inside the region."""


@runtime_checkable
class Tunable(Decoder, Protocol):
    """A decoder with thresholds that annotated images can tune."""

    def sweep(self, observation: Observation) -> Iterator[tuple[dict[str, float], Objects]]:
        """Yield thresholds, by their settings' names, and what they find in a whole image.

        A threshold that was set is the only choice; of one that is "auto" there are several.
        """


@dataclass(frozen=True)
class Reach:
    """How far around a block its decoder must see, known before there is a decoder.

    Attributes
    ----------
    surveys, halo
        As of a `Decoder` [canonical voxel].
    recall
        How far from a region that is decoded what surveys found still matters [canonical voxel];
        infinite where all of it does, as it does to a threshold of the whole image.
    """

    surveys: tuple[float, ...]
    halo: float
    recall: float = math.inf
