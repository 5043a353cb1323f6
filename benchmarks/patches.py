"""The score of the cell-cutter paper: cell and background of patches, not counting what is missed.

    python benchmarks/patches.py runs/dsb-points

Around every true cell that some label overlaps lies a patch of 2.5 object diameters. Of all patches
together, the IoU of the cells and that of what is not the cell are averaged (a mean IoU of two
classes). Detection errors do not count, and background counts a half: the published 82.1 % is of
other images, which are not public, and not comparable.

Reads what `benchmarks/quality.py` left there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from cellulus.data.readers import open_volumes
from cellulus.experiment.load import parse
from cellulus.ops.measures import measure_objects
from cellulus.pipeline.prediction import Prediction
from cellulus.pipeline.samples import open_samples

PATCH = 2.5
"""Edge of a patch [object diameter]."""


def main(folder: Path) -> None:
    """Print the score."""
    run = folder / "run"
    experiment = parse((run / "experiment.toml").read_text(), source="run", base=Path())
    cell, ground, count, missed = np.zeros(2), np.zeros(2), 0, 0
    for sample in open_samples(experiment):
        name = sample.volume.name
        labels = open_volumes(run / "labels" / f"{name}.zarr")[0].read()[0]
        facts = Prediction.open(run / "predictions" / f"{name}.zarr").facts
        half = PATCH / 2 * facts.object_voxels / np.array(facts.zoom)
        truth = sample.truth.read()[0] if sample.truth else labels
        objects = measure_objects(truth.astype(np.uint32))
        for number, centre in zip(objects.ids, objects.centroids, strict=True):
            low = np.maximum(np.rint(centre - half).astype(int), 0)
            high = np.rint(centre + half).astype(int) + 1
            patch = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            is_cell = truth[patch] == number
            found = np.bincount(labels[patch][is_cell])[1:]
            if not found.any():
                missed += 1
                continue
            is_found = labels[patch] == found.argmax() + 1
            for total, a, b in ((cell, is_cell, is_found), (ground, ~is_cell, ~is_found)):
                total += (a & b).sum(), (a | b).sum()
            count += 1
    ious = cell[0] / cell[1], ground[0] / ground[1]
    print(f"{count} cells, {missed} without a label: mean IoU {np.mean(ious):.3f} "
          f"(cells {ious[0]:.3f}, background {ious[1]:.3f})")  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
