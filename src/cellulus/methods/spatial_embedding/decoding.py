"""From offsets, margins and seediness to objects: who proposes one, and which voxels each claims.

The first survey finds the candidates: seedy voxels that no more seedy neighbour claims. All of
them, in order of seediness, become claimants unless an earlier one claims them, which is the
published procedure on a sparse list. The second survey counts what each claims: one of whose
voxels most were claimed before is no object. Then a voxel is decided alone: of the objects that
claim it, it belongs to the most probable; published, to the last that was found.

Last, an object keeps its largest piece only, if it is compact: if there is a gap around the window
of `WIDEST` object diameters that holds most of it. What lies beyond the gap is astray, and the
rest is seen whole by every block that sees a part of it. An object that goes on beyond its window
keeps all its pieces.

Source: Lalit et al. 2022, arXiv 2101.10033, section 2, and Neven et al., CVPR 2019; candidates,
ties and the clean-up are ours. Knows nothing of blocks: `halo` says what a result depends on.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus.methods.bounds import FARTHEST, MARGINS, ROUNDING
from cellulus.methods.decoder import Objects, Observation
from cellulus.methods.spatial_embedding.reach import WIDEST
from cellulus.ops.claimants import Claimants, EmbeddingMap
from cellulus.ops.claims import assign, count_claims
from cellulus.ops.pieces import keep_largest
from cellulus.ops.proposals import accept, find_candidates, join
from cellulus.ops.volume import as_volume

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from cellulus.methods.spatial_embedding.settings import SpatialEmbedding
    from cellulus.space import Region

FOREGROUND, SEED = 0.5, 0.9
"""The published thresholds, where none are set or tuned."""
FOREGROUNDS, SEEDS = (0.2, 0.35, 0.5, 0.65), (0.4, 0.6, 0.75, 0.9)
"""The thresholds that are tried on annotated images."""


class SeedDecoder:
    """A local operator from offsets, margins and seediness to labels.

    Parameters
    ----------
    settings
        Thresholds of the seediness.
    ndim
        Spatial dimensions.
    object_voxels
        Object diameter [canonical voxel].
    """

    def __init__(self, settings: SpatialEmbedding, ndim: int, object_voxels: float) -> None:
        self.settings, self.ndim, self.object_voxels = settings, ndim, object_voxels
        self.farthest = FARTHEST * object_voxels * ROUNDING
        self.widest = MARGINS[1] * object_voxels
        self.window = WIDEST / 2 * object_voxels
        self.foreground = FOREGROUND if settings.foreground == "auto" else settings.foreground
        self.seed = SEED if settings.seed == "auto" else settings.seed
        self.claimants: Claimants | None = None
        self.is_counted = False

    @property
    def surveys(self) -> tuple[float, ...]:
        """Candidates need the voxels that touch them, counts nothing around [canonical voxel]."""
        return self.settings.reach(self.object_voxels).surveys

    @property
    def halo(self) -> float:
        """How far the voxels of a compact object can lie apart [canonical voxel]."""
        return self.settings.reach(self.object_voxels).halo

    def survey(self, observation: Observation, core: Region) -> dict[str, NDArray[Any]]:
        """Return the candidates in a block, or what each claimant claims of it."""
        region, part = self._map(observation), _inside(observation, core)
        if self.claimants is None:
            least = max(self.seed, self.foreground)
            margins = observation.prediction[self.ndim : 2 * self.ndim]
            return vars(find_candidates(region, margins, least, self.widest, part))
        region = region.cut(part)
        which = np.flatnonzero(self.claimants.may_claim(region))
        counts = count_claims(region, self.claimants[which], self.foreground, self.window)
        has_any = counts[:, 0] > 0
        return {"which": which[has_any], "counts": counts[has_any]}

    def learn(self, parts: Sequence[dict[str, NDArray[Any]]]) -> None:
        """Take all candidates, or all that is claimed."""
        if self.claimants is None:
            candidates = join([Claimants(**part) for part in parts])
            self.claimants = candidates[accept(candidates, self.widest)]
        else:
            counts = np.zeros((len(self.claimants), 4), np.int64)
            for part in parts:
                counts[part["which"]] += part["counts"]
            self.claimants, self.is_counted = _judge(self.claimants, counts, self.window), True

    def __call__(self, observation: Observation) -> Objects:
        """Return the objects of a region; see `cellulus.methods.decoder.Decoder`."""
        region, claimants = self._map(observation), self._learned(observation)
        near = claimants[claimants.may_claim(region)]
        labels = assign(region, near, self.foreground)
        goes_on = np.append(False, np.isinf(near.reach))  # by label
        cleaned = labels.copy() if goes_on.any() else labels
        keep_largest(as_volume(cleaned), len(near) + 1)
        if goes_on.any():
            np.copyto(cleaned, labels, where=goes_on[labels])
        return Objects(cleaned, near.anchors)

    def sweep(self, observation: Observation) -> Iterator[tuple[dict[str, float], Objects]]:
        """Decode with every choice of thresholds; see `cellulus.methods.decoder.Tunable`.

        Whether a claimant is accepted, and what is new to it, depends on more seedy ones alone:
        a higher threshold only leaves the last ones out.
        """
        foregrounds = FOREGROUNDS if self.settings.foreground == "auto" else (self.foreground,)
        seeds = SEEDS if self.settings.seed == "auto" else (self.seed,)
        whole = (slice(None),) * self.ndim
        proposed = self._at(min(foregrounds), min(seeds))
        proposed.learn([proposed.survey(observation, whole)])
        for foreground in foregrounds:
            made = copy.copy(proposed)
            made.foreground = foreground
            made.learn([made.survey(observation, whole)])
            claimants = made._learned(observation)
            for seed in seeds:
                made.claimants = claimants[claimants.seeds >= np.float32(max(seed, foreground))]
                yield {"foreground": foreground, "seed": seed}, made(observation)

    def _at(self, foreground: float, seed: float) -> SeedDecoder:
        """Return a decoder with these thresholds that has learnt nothing."""
        made = SeedDecoder(self.settings, self.ndim, self.object_voxels)
        made.foreground, made.seed = foreground, seed
        return made

    def _learned(self, observation: Observation) -> Claimants:
        """Return the objects of the whole image, which is this region if nothing was learnt."""
        if self.claimants is not None and self.is_counted:
            return self.claimants
        made = self._at(self.foreground, self.seed)
        for _ in made.surveys:
            made.learn([made.survey(observation, (slice(None),) * self.ndim)])
        return made._learned(observation)

    def _map(self, observation: Observation) -> EmbeddingMap:
        offsets, seeds = observation.prediction[: self.ndim], observation.prediction[-1]
        return EmbeddingMap(
            offsets, seeds, observation.spacing, observation.origin, self.farthest
        )  # fmt: skip


def _inside(observation: Observation, core: Region) -> Region:
    """Return where a block lies in what is seen of it."""
    shape = observation.prediction.shape[1:]
    return tuple(
        slice(0 if part.start is None else part.start - first,
              n if part.stop is None else part.stop - first)
        for part, first, n in zip(core, observation.origin, shape, strict=True)
    )  # fmt: skip


def _judge(claimants: Claimants, counts: NDArray[np.int64], window: float) -> Claimants:
    """Return the claimants that are objects, by their anchors, and how far each can reach."""
    claimed, new, near, at_edge = counts.T
    is_compact = (at_edge == 0) & (2 * near > claimed)
    found = replace(claimants, reach=np.where(is_compact, window, np.inf))[2 * new > claimed]
    return found[np.lexsort(found.anchors.T[::-1])]
