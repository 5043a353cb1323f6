"""What of each cluster is object: decided cluster by cluster, from intensity and certainty.

A cluster says which voxels belong together, and is too wide: rim and background voxels point to
the middle too. Its outline is where the intensity passes a share of the way from the local
background to the object's own level. Background is measured on the rim around the object, its
level first on the certain voxels near the middle, then on the outline itself; between rounds,
clusters are cut at necks and joined where they are one body. What has no contrast, or is
uncertain throughout, is no object. In volumes, voxels must also be brighter than their
surroundings: light from other planes makes a glare that no single rim shows.

No threshold is shared by the image: a dim nucleus beside a bright one keeps its outline.
Source: ours. Lengths are canonical voxels unless said otherwise. Knows nothing of clustering.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from cellulus.methods.object_centric.reach import RIM
from cellulus.ops.bodies import regroup
from cellulus.ops.groups import quantile_by_group, sizes_of
from cellulus.ops.holes import fill
from cellulus.ops.nearest import spread
from cellulus.ops.pieces import keep_largest
from cellulus.ops.smoothing import smooth, stands_out
from cellulus.ops.volume import as_volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellulus.methods.decoder import Observation
    from cellulus.methods.object_centric.settings import ObjectCentric

ROUNDS = 3
CONTRAST = 0.1
"""An object stands out from its background by more [range of the image's percentiles]."""
FLOOR, TOP, CORE_TOP = 0.25, 0.5, 0.9
"""Quantiles: of the rim, its background; of an object, its level; the brightest of its core."""
THIN = 0.1
"""A rim smaller than this share of its object tells no background (tissue without gaps)."""
OPENNESS = 0.88
"""Pieces are one body if their neck is wider than this share of the narrower piece."""
ROUNDING = 1e-9
"""Must not decide whether a voxel at exactly the distance belongs."""
_AUTO = {2: (0.4, 0.025, 0.0), 3: (0.35, 0.075, 1.25)}


@dataclass(frozen=True)
class Rule:
    """How outlines are drawn; lengths follow from the object diameter [canonical voxel].

    Attributes
    ----------
    object_voxels
        Object diameter [canonical voxel].
    outline, smoothing, surround
        As in the settings, without "auto".
    """

    object_voxels: float
    outline: float
    smoothing: float
    surround: float

    @classmethod
    def of(cls, settings: ObjectCentric, ndim: int, object_voxels: float) -> Rule:
        """Return the rule that the settings ask for in `ndim` dimensions."""
        asked = (settings.outline, settings.smoothing, settings.surround)
        values = (a if a != "auto" else b for a, b in zip(asked, _AUTO[ndim], strict=True))
        return cls(object_voxels, *values)

    @property
    def rim(self) -> float:
        """How far around a cluster its background is looked for."""
        return RIM * self.object_voxels

    @property
    def core(self) -> float:
        """Voxels whose offsets are shorter are the middle of their object."""
        return 0.4 * self.object_voxels

    @property
    def certain(self) -> float:
        """Uncertainty below which a voxel of the core counts."""
        return 0.2 * self.object_voxels

    @property
    def doubtful(self) -> float:
        """Uncertainty above which a voxel starts no object, and an object is none."""
        return 0.3 * self.object_voxels

    @property
    def window(self) -> float:
        """Width of the surroundings of a voxel."""
        return 2 * self.object_voxels


def objects_of(
    clusters: NDArray[np.uint32], observation: Observation, rule: Rule
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return the objects in clusters.

    Parameters
    ----------
    clusters
        ``(*S)``; 0 belongs to none.
    observation
        Prediction and image on the same grid; channels of the image are averaged.
    rule
        How outlines are drawn.

    Returns
    -------
    labels, summits
        ``(*S)`` uint32 from 1; a voxel of each object that names it, ``(n, D)``, relative to the
        region, in lexicographic order.
    """
    spacing = observation.spacing
    uncertainty = _uncertainty(observation)
    value, is_possible = _relief(observation, rule)
    labels = clusters * (uncertainty < rule.doubtful)  # four times as fast as `np.where`
    del clusters  # arrays of the whole region: what is not needed any more goes
    body = labels * _middle(observation, rule)
    summits = np.zeros((0, labels.ndim), np.int64)
    count = int(labels.max(initial=0)) + 1
    for number in range(ROUNDS):
        sizes = sizes_of(labels, count)
        owner = spread(labels, rule.rim**2 * (1 + ROUNDING), spacing)
        floor = _floor(value, owner, labels, sizes)
        if number == 0:
            _keep_bright(value, body, floor)
            sizes = sizes_of(body, count)
        else:
            body = labels
        top = quantile_by_group(value, body, TOP, sizes)
        del body, labels
        outline = np.where(top - floor > CONTRAST, floor + rule.outline * (top - floor), np.inf)
        _cut(owner.ravel(), value.ravel(), is_possible.ravel(), outline)
        keep_largest(as_volume(owner), count)
        # Filled before it is cut: a dark speck in an object would make necks of its sides.
        fill(as_volume(owner))
        labels, summits = regroup(owner, spacing, OPENNESS, 0.05 * rule.object_voxels)
        del owner
        count = len(summits) + 1
    doubt = quantile_by_group(uncertainty, labels, 0.5, sizes_of(labels, count))
    kept = np.concatenate([[False], doubt[1:] < rule.doubtful])
    labels = np.where(kept, np.cumsum(kept), 0).astype(np.uint32)[labels]
    fill(as_volume(labels))
    return labels, summits[kept[1:]]


def _uncertainty(observation: Observation) -> NDArray[np.float32]:
    """Return the uncertainty; where nothing was predicted it is infinite."""
    uncertainty: NDArray[np.float32] = observation.prediction[-1]
    if not np.isnan(np.min(uncertainty, initial=0)):  # takes no memory
        return uncertainty
    return np.where(np.isnan(uncertainty), np.float32(np.inf), uncertainty)


def _relief(observation: Observation, rule: Rule) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the smoothed intensities, and where they exceed their surroundings."""
    sigma = [rule.smoothing * rule.object_voxels / s for s in observation.spacing]
    image = observation.image
    value = smooth(image[0] if len(image) == 1 else image.mean(axis=0), sigma)
    if rule.surround == 0:
        return value, np.ones(value.shape, bool)
    window = [2 * round(rule.window / s / 2) + 1 for s in observation.spacing]
    return value, stands_out(value, window, rule.surround)


def _middle(observation: Observation, rule: Rule) -> NDArray[np.bool_]:
    """Mark the certain voxels that point to somewhere near."""
    said = observation.prediction
    close = np.empty(said.shape[1:], np.bool_)
    _mark(said.reshape(len(said), -1), np.float32(rule.certain), np.float32(rule.core**2),
          close.ravel())  # fmt: skip
    return close


def _floor(
    value: NDArray[np.float32],
    owner: NDArray[np.uint32],
    labels: NDArray[np.uint32],
    sizes: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return each object's background: of its rim, or of the darkest of itself without one.

    What each owns is its rim for a while: a region's memory less.
    """
    _take_out(owner.ravel(), labels.ravel())
    around = sizes_of(owner, len(sizes))
    floor = quantile_by_group(value, owner, FLOOR, around)
    np.maximum(owner, labels, out=owner)  # as it was: labelled voxels own themselves
    is_thin = around <= THIN * sizes
    is_thin[0] = False
    whole = np.where(is_thin, around + sizes, 0)
    darkest = quantile_by_group(value, owner, 1 - CORE_TOP, whole)
    return np.where(is_thin, darkest, floor)


@njit(cache=True, nogil=True)
def _take_out(owner: Any, labels: Any) -> None:
    """Leave to each owner what is not labelled."""
    for voxel in range(owner.size):
        owner[voxel] = 0 if labels[voxel] > 0 else owner[voxel]


def _keep_bright(
    value: NDArray[np.float32], middle: NDArray[np.uint32], floor: NDArray[np.float32]
) -> None:
    """Take from the middle of each object what is dark."""
    sizes = sizes_of(middle, len(floor))
    bright = (floor + quantile_by_group(value, middle, CORE_TOP, sizes)) / 2
    is_possible = np.broadcast_to(np.True_, middle.size)
    _cut(middle.ravel(), value.ravel(), is_possible, bright)


@njit(cache=True, nogil=True)
def _mark(said: Any, certain: Any, squared_reach: Any, close: Any) -> None:
    for voxel in range(close.size):
        squared = np.float32(0)
        for axis in range(len(said) - 1):
            squared += said[axis, voxel] * said[axis, voxel]
        close[voxel] = said[-1, voxel] < certain and squared < squared_reach


@njit(cache=True, nogil=True)
def _cut(owner: Any, value: Any, is_possible: Any, outline: Any) -> None:
    """Leave to each owner what may be object and is brighter than its outline."""
    for voxel in range(owner.size):
        if not (is_possible[voxel] and value[voxel] > outline[owner[voxel]]):
            owner[voxel] = 0
