"""From embeddings to objects: which voxels vote, where their modes are, which object each is in.

Published: voxels whose uncertainty is below Otsu's threshold are foreground, and mean-shift
groups their embeddings. Default: the certain voxels are grouped by the modes of their density,
and what of each group is object is decided object by object (`foreground`), because certainty
as a threshold lets background specks through and cuts no outlines.

Source: Wolf et al. 2023, arXiv 2310.08501, section 3.2; the local decoder is ours. Knows nothing
of blocks: `halo` says what a result depends on.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cellulus.methods.base import Objects, Observation
from cellulus.methods.object_centric.foreground import Rule, objects_of
from cellulus.ops import clustering
from cellulus.ops.thresholds import otsu_of_histogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellulus.methods.object_centric.settings import ObjectCentric

FARTHEST = 1.0
"""Embeddings farther from their voxel than this are no embeddings [object diameter]."""
CERTAIN = 0.25
"""A voxel whose embedding deviates less than this under noise votes [object diameter]."""
SAMPLED = 10_000
"""Embeddings that mean-shift is fitted to at least; a tenth of them if there are more."""
HISTOGRAM_BINS = 4096


class EmbeddingDecoder:
    """A local operator from embeddings to labels.

    Parameters
    ----------
    settings
        Foreground, clustering, bandwidth.
    ndim
        Spatial dimensions.
    object_voxels
        Object diameter [canonical voxel].
    """

    def __init__(self, settings: ObjectCentric, ndim: int, object_voxels: float) -> None:
        self.settings, self.ndim, self.object_voxels = settings, ndim, object_voxels
        self.farthest = FARTHEST * object_voxels
        self.bandwidth = settings.bandwidth * object_voxels
        self.rule = Rule.of(settings, ndim, object_voxels)
        self.certain = CERTAIN * object_voxels
        self._counts = np.zeros(HISTOGRAM_BINS, np.int64)

    @property
    def halo(self) -> float:
        """How far around a voxel the result can depend on [canonical voxel]; inf for mean-shift."""
        if self.settings.clustering == "meanshift":
            return math.inf
        modes = 2 * self.farthest + clustering.reach(self.bandwidth)
        return modes + self.rule.reach

    @property
    def is_global(self) -> bool:
        """Whether Otsu's threshold is asked for, which is one of the whole image."""
        return self.settings.foreground == "uncertainty"

    def survey(self, observation: Observation) -> NDArray[np.int64]:
        """Return the histogram of the uncertainties of a part, for Otsu's threshold."""
        share = observation.prediction[-1] / self.farthest
        share = share[np.isfinite(share)]
        bins = np.clip(share * HISTOGRAM_BINS, 0, HISTOGRAM_BINS - 1).astype(np.int64)
        return np.bincount(bins, minlength=HISTOGRAM_BINS)

    def learn(self, statistics: NDArray[np.int64]) -> None:
        """Take the histogram of the whole image."""
        self._counts = statistics

    def __call__(self, observation: Observation) -> Objects:
        """Return the objects of a region; see `cellulus.methods.base.Decoder`."""
        observation = _known(observation)
        limit = self._otsu() if self.is_global else self.certain
        certain = observation.prediction[-1] < limit
        clusters, anchors = self.cluster(observation, certain)
        if self.settings.foreground == "uncertainty":
            labels = np.where(certain, clusters, np.uint32(0))
        else:
            labels, summits = objects_of(clusters, observation, self.rule)
            anchors = summits + np.asarray(observation.origin, np.int64)
        return Objects(labels, anchors)

    def _otsu(self) -> float:
        middles = (np.arange(HISTOGRAM_BINS) + 0.5) * self.farthest / HISTOGRAM_BINS
        return float(otsu_of_histogram(self._counts, middles))

    def cluster(
        self, observation: Observation, certain: NDArray[np.bool_]
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Return the cluster of every voxel from 1, ``(*S)``, and the clusters' anchors."""
        embeddings = embed(observation)
        offsets = observation.prediction[:-1]
        near = (offsets**2).sum(axis=0) <= self.farthest**2
        if self.settings.clustering == "meanshift":
            return mean_shift(embeddings, certain & near, self.bandwidth)
        reach = math.ceil(self.farthest)
        corner = np.floor(np.multiply(observation.origin, observation.spacing)).astype(np.int64)
        corner -= reach
        extent = np.multiply(certain.shape, observation.spacing)
        lattice = tuple(int(n) for n in np.ceil(extent) + 2 * reach + 2)
        column = corner.astype(np.float32).reshape(-1, *[1] * self.ndim)
        bins = np.floor(embeddings - column).astype(np.int32).reshape(self.ndim, -1)
        counts = clustering.histogram(bins, (certain & near).ravel(), lattice)
        modes = clustering.find_modes(counts, self.bandwidth)
        labels = clustering.assign(bins, modes, self.bandwidth, lattice).reshape(certain.shape)
        return np.where(near, labels, np.uint32(0)), modes + corner


def _known(observation: Observation) -> Observation:
    """Let voxels without a prediction be wholly uncertain."""
    unknown = np.isnan(observation.prediction).any(axis=0)
    if not unknown.any():
        return observation
    prediction = np.where(unknown, np.float32(0), observation.prediction)
    prediction[-1][unknown] = np.inf
    return replace(observation, prediction=prediction)


def embed(observation: Observation) -> NDArray[np.float64]:
    """Return the embedding of every voxel, global, ``(D, *S)`` [canonical voxel]."""
    shape = observation.image.shape[1:]
    axes = [
        (start + np.arange(n) + 0.5) * step
        for start, n, step in zip(observation.origin, shape, observation.spacing, strict=True)
    ]
    # float64, so that a voxel falls into the same bin whatever region it was read in.
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    return grid + observation.prediction[:-1]


def mean_shift(
    embeddings: NDArray[np.float64], foreground: NDArray[np.bool_], bandwidth: float
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Group embeddings by scikit-learn's mean-shift with a flat kernel: the published procedure.

    Parameters
    ----------
    embeddings
        ``(D, *S)`` [canonical voxel].
    foreground
        ``(*S)``; fitted to a tenth of these, the others follow.
    bandwidth
        [canonical voxel].

    Returns
    -------
    labels, centres
        ``(*S)`` from 1, 0 outside of the foreground; ``(n, D)``.
    """
    from sklearn.cluster import MeanShift

    labels = np.zeros(foreground.shape, np.uint32)
    points = embeddings[:, foreground].T
    if len(points) == 0:
        return labels, np.zeros((0, len(embeddings)), np.int64)
    count = min(len(points), max(SAMPLED, len(points) // 10))
    chosen = np.random.default_rng(0).choice(len(points), count, replace=False)
    found = MeanShift(bandwidth=bandwidth, cluster_all=False).fit(points[np.sort(chosen)])
    # An anchor is an identity: centres in one bin are one object.
    bins = np.floor(found.cluster_centers_).astype(np.int64)
    centres, rank = np.unique(bins, axis=0, return_inverse=True)
    labels[foreground] = rank.ravel()[found.predict(points)] + 1
    return labels, centres
