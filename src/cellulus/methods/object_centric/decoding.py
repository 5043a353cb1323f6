"""From embeddings to objects: which voxels vote, where their modes are, which object each is in.

Published: voxels whose uncertainty is below Otsu's threshold are foreground, and mean-shift
groups their embeddings. Default: a survey finds the modes of the density of all certain voxels,
every voxel goes to the mode that its embedding is nearest to, and what of each group is object is
decided object by object (`foreground`), because certainty as a threshold lets background specks
through and cuts no outlines.

Source: Wolf et al. 2023, arXiv 2310.08501, section 3.2; the local decoder is ours. Knows nothing
of blocks: `halo` says what a result depends on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus.methods.decoder import Objects, Observation
from cellulus.methods.object_centric.foreground import Rule, objects_of
from cellulus.methods.object_centric.reach import FARTHEST
from cellulus.ops import clustering
from cellulus.ops.thresholds import otsu_of_histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellulus.methods.object_centric.settings import ObjectCentric
    from cellulus.space import Region

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
        self.is_otsu = settings.foreground == "uncertainty"
        self.certain: float | None = None if self.is_otsu else CERTAIN * object_voxels
        self.modes: NDArray[np.int64] | None = None

    @property
    def surveys(self) -> tuple[float, ...]:
        """The published threshold is one of the whole image; then, the modes [canonical voxel]."""
        return self.settings.reach(self.object_voxels).surveys

    @property
    def halo(self) -> float:
        """How far a voxel looks when modes are known [canonical voxel]; inf for mean-shift."""
        return self.settings.reach(self.object_voxels).halo

    def survey(self, observation: Observation, core: Region) -> dict[str, NDArray[Any]]:
        """Return the histogram of a block's uncertainties, or the modes that lie in it."""
        if self.certain is None:
            share = observation.prediction[-1] / self.farthest
            bins = np.clip(share[np.isfinite(share)] * HISTOGRAM_BINS, 0, HISTOGRAM_BINS - 1)
            return {"counts": np.bincount(bins.astype(np.int64), minlength=HISTOGRAM_BINS)}
        corner, shape = self._lattice(observation, core)
        counts = np.zeros(shape, np.int32)
        doubt = observation.prediction[-1]
        clustering.count_votes(self._embeddings(observation), doubt, self.certain, corner, counts)
        modes = clustering.find_modes(counts, self.bandwidth) + corner
        return {"modes": modes[_inside(modes, core, observation.spacing)]}

    def learn(self, parts: Sequence[dict[str, NDArray[Any]]]) -> None:
        """Take the histogram of the whole image, or all its modes."""
        if self.certain is None:
            counts = np.sum([part["counts"] for part in parts], axis=0)
            middles = (np.arange(HISTOGRAM_BINS) + 0.5) * self.farthest / HISTOGRAM_BINS
            self.certain = float(otsu_of_histogram(counts, middles))
        else:
            self.modes = np.unique(np.concatenate([part["modes"] for part in parts]), axis=0)

    def __call__(self, observation: Observation) -> Objects:
        """Return the objects of a region; see `cellulus.methods.decoder.Decoder`."""
        learned = self._learned(observation)
        if self.is_otsu:
            certain = observation.prediction[-1] < (learned.certain or 0.0)
            clusters, anchors = learned._cluster(observation)
            return Objects(np.where(certain, clusters, np.uint32(0)), anchors)
        # The clusters are not kept here, so that outlines can be decided in their memory.
        labels, summits = objects_of(learned._cluster(observation)[0], observation, self.rule)
        return Objects(labels, summits + np.asarray(observation.origin, np.int64))

    def _learned(self, observation: Observation) -> EmbeddingDecoder:
        """Return a decoder that knows the whole image, which is this region unless it was told."""
        done = (self.is_otsu and self.certain is not None) + (self.modes is not None)
        if done == len(self.surveys):
            return self
        made = EmbeddingDecoder(self.settings, self.ndim, self.object_voxels)
        for _ in made.surveys:
            made.learn([made.survey(observation, (slice(None),) * self.ndim)])
        return made

    def _cluster(self, observation: Observation) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Return the cluster of every voxel from 1, ``(*S)``, and the clusters' anchors."""
        if self.modes is None:
            votes = (observation.prediction[-1] < (self.certain or 0.0)) & self._near(observation)
            return mean_shift(embed(observation), votes, self.bandwidth)
        corner, shape = self._lattice(observation)
        margin = math.ceil(self.bandwidth)
        is_close = (self.modes >= corner - margin) & (self.modes < corner + shape + margin)
        modes = self.modes[is_close.all(axis=1)]
        owner = clustering.territories(modes - corner, self.bandwidth, shape)
        return clustering.look_up(self._embeddings(observation), owner, corner), modes

    def _embeddings(self, observation: Observation) -> clustering.Embeddings:
        positions = tuple(_positions(observation))
        return clustering.Embeddings(positions, observation.prediction[:-1], self.farthest)

    def _near(self, observation: Observation) -> NDArray[np.bool_]:
        """Mark the voxels whose embeddings are not too far to be any."""
        far = np.square(observation.prediction[0])
        for offset in observation.prediction[1:-1]:
            far += np.square(offset)
        return np.asarray(far <= np.float32(self.farthest**2))

    def _lattice(
        self, observation: Observation, core: Region = ()
    ) -> tuple[NDArray[np.int64], tuple[int, ...]]:
        """Return the first bin, and the extent, of a lattice around all embeddings of a region.

        Or of those bins of it only that the modes in a block can depend on.
        """
        reach, margin = math.ceil(self.farthest), math.ceil(clustering.mode_reach(self.bandwidth))
        spacing, shape = observation.spacing, observation.image.shape[1:]
        low = np.floor(np.multiply(observation.origin, spacing)).astype(np.int64) - reach
        high = low + np.ceil(np.multiply(shape, spacing)).astype(np.int64) + 2 * reach + 2
        for axis, part in enumerate(core):
            if part.start is not None:
                low[axis] = max(low[axis], math.floor(part.start * spacing[axis]) - margin)
            if part.stop is not None:
                high[axis] = min(high[axis], math.ceil(part.stop * spacing[axis]) + margin)
        return low, tuple(int(n) for n in high - low)


def embed(observation: Observation) -> NDArray[np.float64]:
    """Return the embedding of every voxel, global, ``(D, *S)`` [canonical voxel]."""
    # float64, so that a voxel falls into the same bin whatever region it was read in.
    grid = np.stack(np.meshgrid(*_positions(observation), indexing="ij"))
    return grid + observation.prediction[:-1]


def _positions(observation: Observation) -> list[NDArray[np.float64]]:
    """Return the canonical coordinates of voxels along each axis."""
    shape = observation.image.shape[1:]
    return [
        (start + np.arange(n) + 0.5) * step
        for start, n, step in zip(observation.origin, shape, observation.spacing, strict=True)
    ]


def _inside(
    modes: NDArray[np.int64], core: Region, spacing: tuple[float, ...]
) -> NDArray[np.bool_]:
    """Mark the modes that lie in a block: each in one, because blocks share their bounds."""
    low = [-math.inf if part.start is None else part.start * s
           for part, s in zip(core, spacing, strict=True)]  # fmt: skip
    high = [math.inf if part.stop is None else part.stop * s
            for part, s in zip(core, spacing, strict=True)]  # fmt: skip
    middles = modes + 0.5
    return np.asarray(((middles >= low) & (middles < high)).all(axis=1))


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
