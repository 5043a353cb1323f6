"""How good a network is at finding objects: images kept aside are predicted and decoded.

The network answers once; then its answers are decoded with every choice of thresholds. The best
score tells which model is the best, and the choice that gave it goes with the model. Knows nothing
of steps or files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellulus.methods.decoder import Observation, Tunable
from cellulus.ops.overlap import OverlapTable, overlap_table, total
from cellulus.ops.scores import pool, score_table
from cellulus.pipeline.extents import object_width, tile_extent
from cellulus.pipeline.tiling import Predictor
from cellulus.space import Block, Blocks, ball_volume

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from cellulus.data.canonical import Canonical
    from cellulus.data.crops import Part
    from cellulus.experiment.sections import Experiment
    from cellulus.ops.scores import ImageScores
    from cellulus.pipeline.model import Model
    from cellulus.space import Region

Choice = tuple[tuple[str, float], ...]
"""Thresholds, by the names of their settings."""

MOST = 2**22
"""Voxels that are predicted and decoded at most; of larger images the middle."""
MIN_SIZE = "min_size"
"""What `segment` calls the size below which objects are dropped; the other names are a method's."""
SIZES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3)
"""Smallest objects that are tried [volume of a ball of the object diameter]."""


@dataclass(frozen=True)
class Verdict:
    """How good a network is.

    Attributes
    ----------
    aps
        ``TP / (TP + FP + FN)`` by the experiment's IoU thresholds, objects of all images together;
        0 to 1.
    tuned
        The thresholds that gave it, by the names of their settings.
    """

    aps: dict[float, float]
    tuned: dict[str, float]

    @property
    def ap(self) -> float:
        """Mean over the IoU thresholds."""
        return float(np.mean([*self.aps.values()]))


class Tuning:
    """What images kept aside say of a network.

    Parameters
    ----------
    experiment
        The settings; test-time augmentation is left out here, for it would take most of the time.
    parts
        What is kept aside, with annotations.
    """

    def __init__(self, experiment: Experiment, parts: Sequence[Part]) -> None:
        once = experiment.predict.model_copy(update={"tta": False})
        self.experiment = experiment.model_copy(update={"predict": once})
        self.shown = [(part, _middle(part.region, MOST // len(parts))) for part in parts]

    def __call__(self, model: Model) -> Verdict:
        """Return how good a model is, asked where its network lies."""
        place = next(model.network.parameters()).device
        predict = Predictor(model, self.experiment, str(place))
        scored: dict[Choice, list[ImageScores]] = {}
        for part, region in self.shown:
            said = _predicted(predict, part.image, region)
            for choice, scores in self._scores(said, part, region):
                scored.setdefault(choice, []).append(scores)
        verdicts = [
            Verdict(_aps(pool(scores).pooled), dict(choice)) for choice, scores in scored.items()
        ]
        best = max(verdict.ap for verdict in verdicts)
        tied = [verdict for verdict in verdicts if verdict.ap == best]
        # Of choices that do as well, one from the middle is the farthest from those that do not.
        return tied[len(tied) // 2]

    def _scores(
        self, said: NDArray[np.float32], part: Part, region: Region
    ) -> Iterator[tuple[Choice, ImageScores]]:
        """Yield how good each choice of thresholds is on one image."""
        width = object_width(self.experiment.network, len(region))
        decoder = self.experiment.method.decoder(len(region), width)
        if part.annotation is None or not isinstance(decoder, Tunable):
            raise TypeError("only a method that learns from masks can be tuned on them")
        seen = Observation(
            prediction=said,
            image=np.broadcast_to(np.float32(0), (1, *said.shape[1:])),
            spacing=(1.0,) * len(region),
            origin=tuple(side.start for side in region),
        )
        truth = part.annotation.read(region)
        is_known, unit = truth >= 0, ball_volume(width, len(region))
        for choice, objects in decoder.sweep(seen):
            table = overlap_table(
                np.where(is_known, objects.labels, 0), np.where(is_known, truth, 0)
            )
            for size in self._sizes:
                scores = score_table(
                    _without_small(table, size * unit), self.experiment.evaluate.iou
                )
                yield (*sorted(choice.items()), (MIN_SIZE, size)), scores

    @property
    def _sizes(self) -> tuple[float, ...]:
        least = self.experiment.segment.min_size
        return SIZES if least == "auto" else (least,)


def _middle(region: Region, most: int) -> Region:
    """Return the middle of a region, of as many voxels at most."""
    extents = [side.stop - side.start for side in region]
    edge, left = math.inf, sorted(extents)
    # The shortest axes are kept whole as long as the others can still be as long.
    for number, extent in enumerate(left):
        edge = (most / math.prod(left[:number])) ** (1 / (len(left) - number))
        if extent > edge:
            break
    else:
        return region
    lengths = [min(extent, max(1, int(edge))) for extent in extents]
    starts = [
        side.start + (n - m) // 2 for side, n, m in zip(region, extents, lengths, strict=True)
    ]
    return tuple(slice(a, a + n) for a, n in zip(starts, lengths, strict=True))


def _predicted(predict: Predictor, image: Canonical, region: Region) -> NDArray[np.float32]:
    """Return the prediction of a region, ``(channels, *S)``; NaN where nothing was predicted."""
    shape = tuple(side.stop - side.start for side in region)
    extent = tile_extent(predict.experiment, image.shape)
    core = tuple(min(n, most) for n, most in zip(shape, extent, strict=True))
    channels = len(predict.experiment.method.channels(len(shape)))
    said = np.full((channels, *shape), np.nan, np.float32)
    for tile in Blocks(shape, core, (0,) * len(shape)):
        place = tuple(
            slice(a.start + side.start, a.stop + side.start)
            for a, side in zip(tile.core, region, strict=True)
        )
        answer = predict(image, Block(place, place))
        if answer is not None:
            said[(slice(None), *tile.core)] = answer
    return said


def _without_small(table: OverlapTable, least: float) -> OverlapTable:
    """Return the table without predicted objects below a size [voxel]: background is there."""
    ids = np.unique(table.labels[table.labels > 0])
    small = ids[table.label_sizes < least]
    kept = np.where(np.isin(table.labels, small), np.uint64(0), table.labels)
    return total([OverlapTable(kept, table.truth, table.counts)])


def _aps(scores: ImageScores) -> dict[float, float]:
    """Return the AP by threshold; 1 where there is nothing and nothing was found."""
    return {match.iou: 1.0 if match.ap is None else match.ap for match in scores.matches}
