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
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from cellulus.methods.object_centric.reach import RIM
from cellulus.ops.bodies import regroup
from cellulus.ops.groups import quantile_by_group
from cellulus.ops.labels import fill_holes, grow, keep_largest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellulus.methods.base import Observation
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
    offsets, uncertainty = observation.prediction[:-1], observation.prediction[-1]
    value, is_possible = _relief(observation, rule)
    middle = (uncertainty < rule.certain) & ((offsets**2).sum(axis=0) < rule.core**2)
    labels = np.where(uncertainty < rule.doubtful, clusters, np.uint32(0))
    summits = np.zeros((0, labels.ndim), np.int64)
    for number in range(ROUNDS):
        owner = grow(labels, rule.rim, spacing)
        count = int(owner.max()) + 1
        floor = _floor(value, owner, labels, count)
        body = labels if number else _core(value, np.where(middle, labels, np.uint32(0)), floor)
        top = quantile_by_group(value, body, TOP, count)
        outline = np.where(top - floor > CONTRAST, floor + rule.outline * (top - floor), np.inf)
        is_object = is_possible & (value > outline[owner])
        # Filled before it is cut: a dark speck in an object would make necks of its sides.
        labels = fill_holes(keep_largest(np.where(is_object, owner, np.uint32(0))))
        labels, summits = regroup(labels, spacing, OPENNESS, 0.05 * rule.object_voxels)
    doubt = quantile_by_group(uncertainty, labels, 0.5, len(summits) + 1)
    kept = np.concatenate([[False], doubt[1:] < rule.doubtful])
    labels = np.where(kept, np.cumsum(kept), 0).astype(np.uint32)[labels]
    return fill_holes(labels), summits[kept[1:]]


def _relief(observation: Observation, rule: Rule) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the smoothed intensities, and where they exceed their surroundings."""
    sigma = [rule.smoothing * rule.object_voxels / s for s in observation.spacing]
    value = ndimage.gaussian_filter(observation.image.mean(axis=0), sigma, mode="nearest")
    if rule.surround == 0:
        return value, np.ones(value.shape, bool)
    window = [2 * round(rule.window / s / 2) + 1 for s in observation.spacing]
    around = ndimage.uniform_filter(value, window, mode="reflect")
    return value, value > rule.surround * around


def _floor(
    value: NDArray[np.float32],
    owner: NDArray[np.uint32],
    labels: NDArray[np.uint32],
    count: int,
) -> NDArray[np.float32]:
    """Return each object's background: of its rim, or of the darkest of itself without one."""
    rim = np.where(labels == 0, owner, np.uint32(0))
    sizes = [np.bincount(part.ravel(), minlength=count) for part in (rim, labels)]
    is_thin = sizes[0] <= THIN * sizes[1]
    is_thin[0] = False
    floor = quantile_by_group(value, rim, FLOOR, count)
    if is_thin.any():
        thin = np.where(is_thin[owner], owner, np.uint32(0))
        floor[is_thin] = quantile_by_group(value, thin, 1 - CORE_TOP, count)[is_thin]
    return floor


def _core(
    value: NDArray[np.float32], middle: NDArray[np.uint32], floor: NDArray[np.float32]
) -> NDArray[np.uint32]:
    """Return the bright part of each object's middle."""
    bright = (floor + quantile_by_group(value, middle, CORE_TOP, len(floor))) / 2
    return np.where(value > bright[middle], middle, np.uint32(0))
