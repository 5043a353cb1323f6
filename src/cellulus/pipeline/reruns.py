"""The second part of the seam audit: parts of an image are decoded again, in shifted blocks.

A sample of corners where blocks meet is drawn; around each a region as large as a block, shifted
by half a block, is decoded from the stored prediction and compared with the stored labels, object
for object. A local decoder must give the same objects, voxel for voxel. Knows nothing of how
labels were joined or numbered.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from cellulus.data.addresses import follow
from cellulus.data.readers import open_volumes
from cellulus.errors import InputError
from cellulus.ops.overlap import overlap_table
from cellulus.pipeline.decoding import (
    decoder_of,
    grid_of,
    observe,
    open_ended,
    smallest,
    survey_grids,
    tuned,
)
from cellulus.pipeline.prediction import Prediction
from cellulus.pipeline.seams import noted_extent
from cellulus.progress import Silent
from cellulus.space import Block

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from cellulus.experiment.sections import Experiment
    from cellulus.methods.decoder import Decoder
    from cellulus.progress import Progress
    from cellulus.space import Blocks, Region

SAMPLE = 8
"""Regions that are decoded again."""
# Corners without objects are passed over, but not for ever [corners per region asked for].
_TRIES = 16


@dataclass(frozen=True)
class Rerun:
    """What decoding a sample again gave.

    Attributes
    ----------
    regions
        Number of regions with objects that were decoded again.
    objects
        Stored and decoded objects in them, counted in each.
    changed
        Of these, objects without one of exactly the same voxels in the region on the other side.
    corners
        The corners of blocks that lie in the middle of regions with such objects [voxel].
    note
        Why nothing was decoded again; empty otherwise.
    """

    regions: int
    objects: int
    changed: int
    corners: tuple[tuple[int, ...], ...]
    note: str = ""

    @property
    def share(self) -> float | None:
        """Share of objects that changed; None without any."""
        return self.changed / self.objects if self.objects else None

    @property
    def passed(self) -> bool:
        """Whether every object is the same."""
        return self.changed == 0

    def to_dict(self) -> dict[str, Any]:
        """Return everything, derived numbers included, fit for JSON."""
        return asdict(self) | {"share": self.share, "passed": self.passed}


def rerun(
    prediction: Path,
    segments: Path,
    experiment: Experiment,
    *,
    sample: int = SAMPLE,
    seed: int = 0,
    progress: Progress | None = None,
) -> Rerun:
    """Decode a sample of regions again, in blocks shifted by half a block.

    Parameters
    ----------
    prediction
        What the labels were decoded from.
    segments
        The labels, as segment wrote them: not post-processed.
    experiment
        With the settings that they were made with.
    sample
        How many regions, at most.
    seed
        Of the choice of regions.
    progress
        One unit per region.

    Returns
    -------
    rerun
        Nothing is decoded again where blocks have no seams or the decoder is not local; the note
        then says so.

    Raises
    ------
    MissingError, StorageError
        If something is gone or damaged.
    InputError
        If the labels were not made from the prediction with these settings.
    """
    source, labels = Prediction.open(prediction), open_volumes(segments)[0]
    source.require_embeddings()
    facts = source.facts
    experiment = tuned(experiment, facts)
    _require_same(segments, labels.shape, source, experiment)
    decoder, grid = decoder_of(source, experiment), grid_of(source, experiment)
    extent = noted_extent(segments)
    if all(e >= n for e, n in zip(extent, facts.shape, strict=True)):
        return Rerun(0, 0, 0, (), "one block: there are no seams")
    if math.isinf(decoder.halo):
        return Rerun(0, 0, 0, (), "the decoder is not local: blocks that are stitched may differ")
    _survey(source, decoder, experiment)
    least = smallest(experiment, facts)
    listener = progress or Silent()
    listener.start(f"decode parts of {source.name} again", sample)
    regions = objects = changed = 0
    faults = []
    for corner, region in _regions(facts.shape, extent, sample, seed):
        stored = labels.read(region)[0]
        decoded = _decode(source, decoder, grid, region) if stored.any() else None
        if decoded is None:
            continue
        total, different = compare(stored, decoded, least)
        regions, objects, changed = regions + 1, objects + total, changed + different
        faults += [corner] if different else []
        listener.advance()
        if regions == sample:
            break
    listener.finish()
    note = "" if regions else "no objects where blocks meet"
    return Rerun(regions, objects, changed, tuple(faults), note)


def compare(
    stored: NDArray[np.integer[Any]], decoded: NDArray[np.integer[Any]], smallest: float
) -> tuple[int, int]:
    """Count objects of either side, and those without an identical one on the other.

    Parameters
    ----------
    stored, decoded
        Labels of one region, ``(*S)``.
    smallest
        Decoded objects with fewer voxels, where nothing is stored, may have been dropped for
        their size and do not count [voxel].

    Returns
    -------
    objects, changed
    """
    table = overlap_table(stored, decoded)
    same = int((table.pairs.overlap == table.pairs.union).sum())
    alone = (table.labels == 0) & (table.truth > 0) & (table.counts < smallest)
    partners = table.truth[table.labels > 0]
    dropped = int((alone & ~np.isin(table.truth, partners)).sum())
    objects = table.label_sizes.size + table.truth_sizes.size - dropped
    return objects, objects - 2 * same


def _regions(
    shape: tuple[int, ...], extent: tuple[int, ...], sample: int, seed: int
) -> Iterator[tuple[tuple[int, ...], Region]]:
    """Yield corners where blocks meet, in a random order, and the shifted block around each."""
    planes = [range(e, n, e) if n > e else range(1) for n, e in zip(shape, extent, strict=True)]
    counts = tuple(len(p) for p in planes)
    total = math.prod(counts)
    tries = min(total, _TRIES * sample)
    for index in np.random.default_rng(seed).choice(total, tries, replace=False):
        places = np.unravel_index(index, counts)
        corner = tuple(p[int(i)] for p, i in zip(planes, places, strict=True))
        yield (
            corner,
            tuple(
                slice(k - e // 2, min(k - e // 2 + e, n)) if n > e else slice(0, n)
                for k, e, n in zip(corner, extent, shape, strict=True)
            ),
        )


def _decode(
    source: Prediction, decoder: Decoder, grid: Blocks, region: Region
) -> NDArray[np.uint32]:
    """Return the labels of a region, which was decoded with the halo around it."""
    outer = tuple(
        slice(max(part.start - h, 0), min(part.stop + h, n))
        for part, h, n in zip(region, grid.halo, grid.shape, strict=True)
    )
    return decoder(observe(source, outer)).labels[Block(region, outer).inner]


def _survey(source: Prediction, decoder: Decoder, experiment: Experiment) -> None:
    for grid in survey_grids(source, experiment):
        decoder.learn(
            [
                decoder.survey(
                    observe(source, block.outer, blind=True), open_ended(block.core, grid.shape)
                )
                for block in grid
            ]
        )


def _require_same(
    segments: Path, shape: tuple[int, ...], source: Prediction, experiment: Experiment
) -> None:
    notes: Any = zarr.open_group(follow(segments), mode="r").attrs.get("cellulus")
    made_by = notes.get("segment") if isinstance(notes, dict) else None
    if shape != source.facts.shape or not isinstance(made_by, dict) or "postprocess" in notes:
        raise InputError(
            segments,
            expected=f"labels that segment made from {source.name}",
            found=f"others, of shape {shape}",
        )
    settings = experiment.method.model_dump(mode="json") | experiment.segment.model_dump(
        mode="json"
    )
    other = [key for key in settings if key != "block" and made_by.get(key) != settings[key]]
    if other:
        raise InputError(
            segments,
            expected="labels made with the experiment's settings",
            found=f"others for {', '.join(other)}",
            remedy="segment again, or give the experiment that was used",
        )
