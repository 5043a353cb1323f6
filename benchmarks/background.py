"""How well a rough foreground, found from the image alone, covers the true objects.

    python benchmarks/background.py dsb      dsb2018_train447.npz  runs/dsb
    python benchmarks/background.py bbbc050  bbbc050_train39.npz   runs/bbbc050

Images are held out as `quality.py` does it; no constant was chosen by these. As many of the others
as some were chosen by are shown too. All is done on the grid that networks see. Per image, and
averaged: IoU, precision and recall of the foreground. Then the most that could be scored with it:
every voxel of it within half a diameter is given to the nearest true object. Found are objects with
an IoU above 0.5, whose mean is shown; SEG is that of all objects.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from quality import CASES, experiment_of, images_of
from scipy import ndimage
from skimage.filters import threshold_otsu

from cellulus.data.readers import open_volumes
from cellulus.ops.background import graph_cut, otsu
from cellulus.ops.scores import evaluate_labels, pool
from cellulus.ops.smoothing import smooth
from cellulus.pipeline.extents import object_width
from cellulus.pipeline.samples import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from cellulus.experiment.sections import Experiment

OTHERS = {"dsb": 60, "bbbc050": 6}
"""Images that the constants were chosen by; they follow those that are held out."""


class Seen(NamedTuple):
    """An image as a network sees it, its true objects there, and how wide they are [voxel]."""

    image: NDArray[np.float32]
    truth: NDArray[Any]
    width: float


def plain(seen: Seen) -> NDArray[np.bool_]:
    """Return what Otsu's threshold of smoothed intensities gives."""
    even = smooth(seen.image, (seen.width / 20,) * seen.image.ndim)
    found: NDArray[np.bool_] = even > threshold_otsu(even)
    return found


def marked(seen: Seen) -> NDArray[np.bool_]:
    """Return the cut with a marker in the middle of each true object."""
    ids = np.unique(seen.truth)
    middles = ndimage.center_of_mass(seen.truth > 0, seen.truth, ids[ids > 0])
    markers = np.zeros(seen.image.shape, np.bool_)
    markers[tuple(np.rint(middles).astype(int).reshape(-1, seen.image.ndim).T)] = True
    return graph_cut(seen.image, seen.width, markers=markers)


WAYS: dict[str, Callable[[Seen], NDArray[np.bool_]]] = {
    "Otsu of intensities": plain,
    "otsu": lambda seen: otsu(seen.image, seen.width),
    "graph_cut": lambda seen: graph_cut(seen.image, seen.width),
    "graph_cut, true markers": marked,
}


def looked_at(experiment: Experiment, paths: list[Path]) -> Iterator[Seen]:
    """Open images and their truth."""
    for path in paths:
        size = experiment.data.voxel_size
        volume = open_volumes(str(path), voxel_size=size)[0]
        labels = open_volumes(str(path / "labels/labels"), voxel_size=size)[0].read()[0]
        width = object_width(experiment.network, volume.ndim)
        view = canonical(volume, experiment.data, width)
        index = [
            np.clip(np.rint((np.arange(n) + 0.5) / z - 0.5).astype(int), 0, most - 1)
            for n, z, most in zip(view.shape, view.scale.zoom, volume.shape, strict=True)
        ]
        yield Seen(
            view.read(tuple(slice(0, n) for n in view.shape))[0], labels[np.ix_(*index)], width
        )


def owned(foreground: NDArray[np.bool_], seen: Seen) -> NDArray[np.uint32]:
    """Return the foreground shared out to the nearest true objects."""
    distance, place = ndimage.distance_transform_edt(seen.truth == 0, return_indices=True)
    near = foreground & (distance <= seen.width / 2)
    return np.where(near, seen.truth[tuple(place)], 0).astype(np.uint32)


def show(what: str, images: list[Seen]) -> None:
    """Print a table of all ways."""
    print(f"{what}, {len(images)} images")
    print(f"{'':26s} IoU | least | precision | recall | found |   SEG | mean IoU |   s")
    for name, way in WAYS.items():
        began = time.perf_counter()
        found = [way(seen) for seen in images]
        spent = (time.perf_counter() - began) / len(images)
        rows, scores = [], []
        for foreground, seen in zip(found, images, strict=True):
            true = seen.truth > 0
            both = (foreground & true).sum()
            parts = (foreground | true).sum(), foreground.sum(), true.sum()
            rows.append([both / max(1, part) for part in parts])
            scores.append(evaluate_labels(owned(foreground, seen), seen.truth, (0.5,)))
        pooled = pool(scores).pooled
        match = pooled.matches[0]
        iou, precision, recall = np.mean(rows, axis=0)
        print(
            f"{name:24s} {iou:5.3f} | {min(row[0] for row in rows):5.3f} | {precision:9.3f} "
            f"| {recall:6.3f} | {match.recall:5.3f} | {pooled.seg:5.3f} "
            f"| {match.mean_iou:8.3f} | {spent:.2f}"
        )


def main(name: str, archive: Path, folder: Path) -> None:
    """Measure one data set."""
    paths = images_of(archive, folder)
    experiment, held = experiment_of(CASES[name], paths), CASES[name].held_out
    order = [paths[i] for i in np.random.default_rng(0).permutation(len(paths))]
    graph_cut(np.zeros((4, 4), np.float32), 2.0)  # compile
    show(f"{name}, held out", list(looked_at(experiment, order[:held])))
    some = order[held : held + OTHERS[name]]
    show(f"{name}, others", list(looked_at(experiment, some)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
