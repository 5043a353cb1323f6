"""How well points that are found automatically agree with the objects there are.

    python benchmarks/markers.py dsb       dsb2018_train447.npz        runs/dsb
    python benchmarks/markers.py bbbc050   bbbc050_train39.npz         runs/bbbc050
    python benchmarks/markers.py celegans  celegans_t133_centroids.npz runs/celegans

A point is right if it lies within half a diameter of the centroid of an object, one for one. The
images that `quality.py` holds out stand apart from those that blobs were developed on: all others.
Beside blobs stand two simple methods, with the parameters that were best on 66 of these: maxima of
the smoothed image, and maxima that stand out by a tenth of its threshold. Where FOLDER holds the
labels of a run of `quality.py`, the centroids of these are scored too. `--noise 0.3` adds noise of
that standard deviation to the normalised images.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from quality import CASES, images_of
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial.distance import cdist
from skimage.filters import threshold_otsu
from skimage.morphology import h_maxima

from cellulus.data.readers import open_volumes
from cellulus.experiment.sections import Data, Network
from cellulus.ops.blobs import find_blobs
from cellulus.ops.measures import measure_objects
from cellulus.pipeline.convert import convert
from cellulus.pipeline.extents import object_width
from cellulus.pipeline.samples import canonical
from cellulus.space import Length

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Points = NDArray[np.float64]

NUCLEI = Data(object_diameter=Length(15.0, "um"), voxel_size=(4.0, 1.0, 1.0))
"""Of C. elegans: the voxel size is relative, and the diameter as seen in the image."""


class Image(NamedTuple):
    """An image on the canonical grid, with the centroids of its objects there [voxel]."""

    values: NDArray[np.float32]
    truth: Points
    width: float
    labels: Points | None


def maxima(image: NDArray[np.float32], width: float) -> Points:
    """Return maxima of the smoothed image above Otsu's threshold, a quarter of a diameter apart."""
    smooth = ndimage.gaussian_filter(image, 0.15 * width)
    top = ndimage.maximum_filter(smooth, 2 * round(width / 4) + 1)
    return np.argwhere((smooth == top) & (smooth > threshold_otsu(smooth))).astype(np.float64)


def tall_maxima(image: NDArray[np.float32], width: float) -> Points:
    """Return maxima of the smoothed image that stand out by a tenth of Otsu's threshold."""
    smooth = ndimage.gaussian_filter(image, 0.1 * width)
    smooth -= smooth.min()
    limit = threshold_otsu(smooth)
    tops, count = ndimage.label(
        (h_maxima(smooth, 0.1 * limit) > 0) & (smooth > limit), np.ones((3,) * image.ndim)
    )
    centres = ndimage.center_of_mass(tops > 0, tops, range(1, count + 1))
    return np.array(centres, np.float64).reshape(-1, image.ndim)


METHODS: dict[str, Callable[[NDArray[np.float32], float], Points]] = {
    "blobs": lambda image, width: find_blobs(image, width).positions,
    "maxima": maxima,
    "tall maxima": tall_maxima,
}


def right(found: Points, truth: Points, near: float) -> int:
    """Return how many points can be given an object each, within a distance."""
    if not len(found) or not len(truth):
        return 0
    pairs = csr_array(cdist(found, truth) <= near)
    return int((maximum_bipartite_matching(pairs, perm_type="column") >= 0).sum())


def open_image(path: Path, data: Data, truth: Points | None, labels: Path, noise: float) -> Image:
    """Open an image, its truth, and what a run has found in it, if it was there."""
    volume = open_volumes(str(path), voxel_size=data.voxel_size)[0]
    width = object_width(Network(), volume.ndim)
    view = canonical(volume, data, width)
    values = view.read(tuple(slice(0, n) for n in view.shape))[0]
    values += noise * np.random.default_rng(0).normal(size=values.shape).astype(np.float32)
    zoom = np.array(view.scale.zoom)
    truth = centroids(path / "labels/labels") if truth is None else truth
    known = centroids(labels) if labels.exists() else None
    return Image(
        values,
        (truth + 0.5) * zoom - 0.5,
        width,
        None if known is None else (known + 0.5) * zoom - 0.5,
    )


def centroids(labels: Path) -> Points:
    """Return the centroids of all objects [voxel]."""
    return measure_objects(open_volumes(str(labels))[0].read()[0]).centroids


def show(what: str, images: Sequence[Image]) -> None:
    """Print a table: of all objects together, and the mean of images."""
    print(f"{what}: {len(images)} images, {sum(len(image.truth) for image in images)} objects")
    print(" " * 14 + "found  | precision | recall | F1     | F1, mean of images")
    rows = {name: [find(i.values, i.width) for i in images] for name, find in METHODS.items()}
    known = [image.labels for image in images if image.labels is not None]
    if len(known) == len(images):
        rows["labels of run"] = known
    for name, points in rows.items():
        hits = [right(p, i.truth, i.width / 2) for p, i in zip(points, images, strict=True)]
        found, there = ([len(p) for p in points], [len(i.truth) for i in images])
        each = [2 * h / max(1, f + t) for h, f, t in zip(hits, found, there, strict=True)]
        n, f, t = sum(hits), max(1, sum(found)), sum(there)
        values = (n / f, n / t, 2 * n / (f + t), float(np.mean(each)))
        print(f"{name:14s}{sum(found):6d} | " + " | ".join(f"{v:.3f}   " for v in values))


def main() -> None:
    """Print the tables of one data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=["dsb", "bbbc050", "celegans"])
    parser.add_argument("archive", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--noise", type=float, default=0.0)
    options = parser.parse_args()
    found = options.folder / "run/labels"
    if options.name == "celegans":
        store = options.folder / "data"
        if not store.exists():
            convert([str(options.archive)], store)
        with np.load(options.archive) as file:
            truth = file["centroids_zyx"] - [1, 0, 0]  # z counts from 1 there
        path = next(store.glob("*.zarr"))
        show("all", [open_image(path, NUCLEI, truth, found / path.name, options.noise)])
        return
    case, paths = CASES[options.name], images_of(options.archive, options.folder)
    order = np.random.default_rng(0).permutation(len(paths))
    for what, part in (
        ("developed on", order[case.held_out :]),
        ("held out", order[: case.held_out]),
    ):
        images = [
            open_image(paths[i], Data(**case.data), None, found / paths[i].name, options.noise)
            for i in part
        ]
        show(what, images)


if __name__ == "__main__":
    main()
