"""What a simple method scores on the images that `quality.py` scores: Otsu and a watershed.

    python benchmarks/watershed.py dsb dsb2018_train447.npz runs/dsb

Says how hard those images are, next to other images of which the same is known. Nothing is learnt
and nothing tuned: the image is smoothed and thresholded by Otsu, and the foreground cut between
the maxima of the distance to its edge.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from quality import CASES, experiment_of, images_of, show
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.measure import label
from skimage.segmentation import watershed

from cellulus.ops.scores import evaluate_labels, pool
from cellulus.pipeline.samples import open_samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIGMA = 1.0
"""Of the Gaussian that image and distances are smoothed with [voxel of the finest axis]."""
APART = 5
"""Least distance between two maxima [voxel]."""


def segment(image: NDArray[Any], spacing: tuple[float, ...]) -> NDArray[np.int32]:
    """Return labels of an image, ``(*S)``."""
    sigma = [SIGMA * min(spacing) / s for s in spacing]
    smooth = gaussian(image.astype(np.float64), sigma)
    mask = ndimage.binary_opening(smooth > threshold_otsu(smooth))
    depth = gaussian(ndimage.distance_transform_edt(mask, spacing), sigma)
    peaks = peak_local_max(depth, min_distance=APART, labels=label(mask))
    seeds = np.zeros(image.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    found: NDArray[np.int32] = watershed(-depth, seeds, mask=mask)
    return found


def main(name: str, archive: Path, folder: Path) -> None:
    """Score one data set."""
    experiment = experiment_of(CASES[name], images_of(archive, folder))
    scores = []
    for sample in open_samples(experiment):
        volume, truth = sample.volume, sample.truth
        if truth is None:
            raise SystemExit(f"nothing of {name} is scored")
        labels = segment(volume.read()[0], volume.voxel_size.values)
        scores.append(evaluate_labels(labels, truth.read()[0], experiment.evaluate.iou))
    show(f"Otsu and watershed, {name}", pool(scores))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
