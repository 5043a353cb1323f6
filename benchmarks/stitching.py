"""What stitching gives, against other rules and against what the whole image gives.

    python benchmarks/stitching.py [DATA]

First labels: every block sees the true objects of a drawn or a real volume, each on its own, with
rims that wander by a voxel and a half and one object in fifty missed. The whole is seen so twice:
how far these agree is what any rule can reach. Drawn are 2,744 touching cells; DATA is a folder
with real volumes (gonuclear_1135.npz, bbbc050_train39.npz, salivary/), and those that are not there
are left out. F1 is at IoU 0.5; a cell is split if two labels hold a tenth of it each, and merged if
one label holds most of it and of another.

Then mean-shift: a drawn prediction is decoded block by block and whole, and whole but turned over,
which makes mean-shift draw another sample.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import ndimage, spatial

from cellulus.methods import ObjectCentric
from cellulus.methods.decoder import Observation
from cellulus.methods.object_centric import decoding
from cellulus.ops.joining import compact, extents_of, together
from cellulus.ops.overlap import overlap_table
from cellulus.ops.scores import evaluate_labels
from cellulus.ops.stitching import Links, find_links, unite
from cellulus.pipeline.extents import SEEN
from cellulus.pipeline.stitching import WIDEST, Stitching
from cellulus.space import Block, Blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from cellulus.space import Region

PITCH, CELLS, CORE = 192 / 14, 14, 64
WANDER, SMOOTH, MISSED = 1.5, 4.0, 0.02
"""Of the rims: deviation and scale [voxel]; share of the objects that a block does not see."""
PER_BLOCK = 2**32
AGREED = (0.5, 0.8, 0.9, 0.95)
SEEDS = 3
SAMPLED = 2000
"""Embeddings that mean-shift is fitted to at least; a fifth of the usual, to save time."""


class Scene(NamedTuple):
    """A volume to be cut.

    Attributes
    ----------
    name
        For people.
    truth
        Labels.
    diameter
        Of an object along each axis [voxel].
    core
        Of a block [voxel].
    """

    name: str
    truth: NDArray[np.uint32]
    diameter: tuple[float, ...]
    core: tuple[int, ...]

    @property
    def grid(self) -> Blocks:
        """The blocks, with the margin that stitching takes."""
        around = tuple(math.ceil(SEEN * d) + 1 for d in self.diameter)
        return Blocks(self.truth.shape, self.core, around)

    def look(self, region: Region, chance: np.random.Generator) -> NDArray[np.uint32]:
        """Return what is seen of a region that is decoded alone."""
        shape = tuple(part.stop - part.start for part in region)
        places = []
        for part, n, d in zip(region, self.truth.shape, self.diameter, strict=True):
            scale = d / max(self.diameter)
            away = ndimage.gaussian_filter(chance.normal(size=shape), SMOOTH)
            away *= scale * WANDER / away.std()
            line = np.arange(part.start, part.stop).reshape(
                [-1 if axis == len(places) else 1 for axis in range(len(shape))]
            )
            places.append(np.clip(np.rint(line + away).astype(np.int64), 0, n - 1))
        numbers, seen = np.unique(self.truth[tuple(places)], return_inverse=True)
        kept = (numbers > 0) & (chance.random(len(numbers)) >= MISSED)
        table = np.zeros(len(numbers), np.uint32)
        table[kept] = chance.permutation(int(kept.sum())) + 1
        return table[seen.reshape(shape)]


def drawn(seed: int) -> Scene:
    """Return touching cells on a jittered lattice."""
    chance = np.random.default_rng(seed)
    middles = (np.indices((CELLS,) * 3).reshape(3, -1).T + 0.5) * PITCH
    middles += chance.uniform(-2, 2, middles.shape)
    edge = round(CELLS * PITCH)
    points = np.indices((edge,) * 3).reshape(3, -1).T + 0.5
    away, owner = spatial.cKDTree(middles).query(points, distance_upper_bound=8.0)
    truth = np.where(np.isfinite(away), owner + 1, 0).reshape((edge,) * 3).astype(np.uint32)
    return Scene(f"{len(middles):,} drawn cells", truth, (14.0,) * 3, (CORE,) * 3)


def real(folder: Path) -> Iterator[list[Scene]]:
    """Yield the volumes of each real set that is there, cut in two along every axis."""
    single = sorted([*folder.glob("gonuclear*.npz")]), sorted(folder.glob("salivary/*.npz"))
    for name, paths in zip(("gonuclear", "salivary gland"), single, strict=True):
        stores = [np.load(path) for path in paths]
        yield [_cut(name, s["labels"], s["voxel_size"]) for s in stores]
    for path in folder.glob("bbbc050*.npz"):
        with np.load(path) as store:
            shapes, starts, labels = store["shapes"], store["offsets"], store["labels"]
            size = store["voxel_size"]
        yield [
            _cut("embryos", labels[a : a + math.prod(shape)].reshape(shape), size)
            for a, shape in zip(starts[:10], shapes[:10].tolist(), strict=True)
        ]


def _cut(name: str, labels: NDArray[Any], size: NDArray[np.float64]) -> Scene:
    volume = np.median(np.bincount(labels.ravel())[1:][np.bincount(labels.ravel())[1:] > 0])
    diameter = (6 * volume * math.prod(size) / math.pi) ** (1 / 3) / np.asarray(size)
    core = tuple(-(-n // 2) for n in labels.shape)
    return Scene(name, labels.astype(np.uint32), tuple(diameter.tolist()), core)


def overlapping(grid: Blocks, views: list[NDArray[np.uint32]]) -> Links:
    """Link by the overlap of what two blocks saw."""
    cut = Stitching(None, grid, Path(), ())  # type: ignore[arg-type]
    found = []
    for a in range(len(grid)):
        for b, region in cut.neighbours(a).items():
            if b > a:
                sides = [views[k][Block(region, grid[k].outer).inner] for k in (a, b)]
                first, second, iou = find_links(*sides)
                found.append(Links(first + a * PER_BLOCK, second + b * PER_BLOCK, iou))
    return Links.of(found)


def touching(grid: Blocks, views: list[NDArray[np.uint32]]) -> Links:
    """Link whatever touches across a plane between blocks."""
    found = []
    for a in range(len(grid)):
        for axis in range(len(grid.shape)):
            step = math.prod(grid.counts[axis + 1 :])
            if grid[a].core[axis].stop == grid.shape[axis]:
                continue
            b = a + step
            sides = [views[k][grid[k].inner] for k in (a, b)]
            table = overlap_table(sides[0].take(-1, axis), sides[1].take(0, axis))
            both = (table.labels > 0) & (table.truth > 0)
            first, second = (side[both].astype(np.int64) for side in (table.labels, table.truth))
            ends = first + a * PER_BLOCK, second + b * PER_BLOCK
            found.append(Links(*ends, np.ones(int(both.sum()))))
    return Links.of(found)


def nothing(_grid: Blocks, _views: list[NDArray[np.uint32]]) -> Links:
    """Link nothing."""
    return Links.of([])


ENDLESS = (2**40,) * 3
RULES: dict[str, Callable[[Blocks, list[NDArray[np.uint32]]], Links]] = {
    "none": nothing,
    "face touch": touching,
    "face touch, capped": touching,
    "overlap, no cap": overlapping,
    "overlap": overlapping,
}


def stitch(
    grid: Blocks, views: list[NDArray[np.uint32]], links: Links, widest: tuple[int, ...]
) -> tuple[NDArray[np.uint32], int]:
    """Return the labels of blocks, joined by links, and how many of these were refused."""
    names, parts, cores = [], [], []
    for index, (block, view) in enumerate(zip(grid, views, strict=True)):
        own = np.arange(1, int(view.max(initial=0)) + 1)[:, None] + index * PER_BLOCK
        labels, kept = compact(view[block.inner], own)
        cores.append(labels)
        names.append(kept[:, 0])
        parts.append(extents_of(labels, len(kept), [part.start for part in block.core]))
    ids = np.concatenate(names)
    united = unite(links, ids, together(parts, np.arange(len(ids))), widest)
    numbers = np.unique(united.names, return_inverse=True)[1].astype(np.uint32) + 1
    whole, start = np.zeros(grid.shape, np.uint32), 0
    for block, labels, own in zip(grid, cores, names, strict=True):
        whole[block.core] = np.append(np.uint32(0), numbers[start : start + len(own)])[labels]
        start += len(own)
    return whole, len(united.refused)


def faults(labels: NDArray[np.uint32], truth: NDArray[np.uint32]) -> tuple[int, int, int]:
    """Return how many cells are split, how many are merged, and how many are in one label."""
    pairs = overlap_table(labels, truth).pairs
    sizes = np.bincount(truth.ravel())
    share = pairs.overlap / sizes[sizes > 0][1:][pairs.truth]
    parts = np.bincount(pairs.truth[share >= 0.1])
    held = np.bincount(pairs.label[share > 0.5])
    return int((parts > 1).sum()), int(held[held > 1].sum()), int(held.max(initial=0))


def f1(labels: NDArray[np.uint32], truth: NDArray[np.uint32], iou: float = 0.5) -> float:
    """Return F1."""
    return evaluate_labels(labels, truth, [iou]).matches[0].f1 or 0.0


def compare(scenes: list[Scene], seed: int) -> dict[str, NDArray[np.float64]]:
    """Return F1 to truth and whole, split, merged, largest, refused, for each rule."""
    told: dict[str, list[list[float]]] = {rule: [] for rule in ["whole, again", *RULES]}
    for number, scene in enumerate(scenes):
        chance = np.random.default_rng((seed, number))
        truth, grid = scene.truth, scene.grid
        whole, again = (scene.look(tuple(slice(0, n) for n in truth.shape), chance) for _ in "ab")
        views = [scene.look(block.outer, chance) for block in grid]
        cap = tuple(math.ceil(WIDEST * d) + 1 for d in scene.diameter)
        told["whole, again"].append([f1(again, truth), f1(again, whole), *faults(again, truth), 0])
        for rule, link in RULES.items():
            widest = cap if rule in {"overlap", "face touch, capped"} else ENDLESS
            found, refused = stitch(grid, views, link(grid, views), widest)
            row = [f1(found, truth), f1(found, whole), *faults(found, truth), refused]
            told[rule].append(row)
    return {
        rule: np.r_[np.mean(rows, axis=0)[:2], np.sum(rows, axis=0)[2:4],
                    np.max(rows, axis=0)[4], np.sum(rows, axis=0)[5]]
        for rule, rows in told.items()
    }  # fmt: skip


def show(scenes: list[Scene], seeds: int) -> None:
    """Print what the rules give, mean over seeds."""
    shape, cells = scenes[0].truth.shape, sum(len(np.unique(s.truth)) - 1 for s in scenes)
    print(f"\n{scenes[0].name}: {len(scenes)} x {shape}, {cells} objects,"
          f" {len(scenes[0].grid)} blocks, halo {scenes[0].grid.halo}, {seeds} seeds")  # fmt: skip
    head = ("F1 to truth", "to whole", "split", "merged", "largest", "refused")
    print(f"{'rule':20}" + "".join(f"{name:>12}" for name in head))
    rows = [compare(scenes, seed) for seed in range(seeds)]
    for rule in rows[0]:
        found = np.mean([row[rule] for row in rows], axis=0)
        numbers = "".join(f"{value:12.3f}" for value in found[:2])
        print(f"{rule:20}{numbers}" + "".join(f"{value:12.0f}" for value in found[2:]), flush=True)


def predicted(edge: int, diameter: float, seed: int) -> Observation:
    """Return discs that touch, and what a network might say of them: noisy, unsure outside."""
    chance = np.random.default_rng(seed)
    count = int(edge / (0.9 * diameter))
    middles = (np.indices((count, count)).reshape(2, -1).T + 0.5) * edge / count
    middles += chance.uniform(-0.15, 0.15, middles.shape) * diameter
    middles = middles[chance.random(len(middles)) < 0.8]
    points = np.indices((edge, edge)) + 0.5
    away, owner = spatial.cKDTree(middles).query(points.reshape(2, -1).T)
    share = (2 * away / diameter).reshape(edge, edge)
    offsets = np.moveaxis(middles[owner].reshape(edge, edge, 2), -1, 0) - points
    offsets *= np.clip(2 - share, 0.2, 1)
    offsets += chance.normal(size=offsets.shape) * np.where(share < 1.2, 0.1, 0.3) * diameter
    unsure = np.clip(1 + 6 * (share - 1), 0.3, 8) + 0.5 * chance.random(share.shape)
    image = ndimage.gaussian_filter(np.where(share < 1, 0.8, 0.05), 1.0)
    image += 0.03 * chance.normal(size=image.shape)
    prediction = np.concatenate([offsets, unsure[None]]).astype(np.float32)
    return Observation(prediction, image[None].astype(np.float32), (1.0, 1.0), (0, 0))


def decode(foreground: str, edge: int = 384, core: int = 128, diameter: float = 20.0) -> None:
    """Print how mean-shift of blocks agrees with mean-shift of the whole."""
    scene = predicted(edge, diameter, seed=0)
    around = (math.ceil(SEEN * diameter) + 1,) * 2
    grid = Blocks((edge, edge), (core, core), around)
    settings = ObjectCentric(clustering="meanshift", foreground=foreground)
    decoder = decoding.EmbeddingDecoder(settings, 2, diameter)
    began = time.perf_counter()
    whole = decoder(scene).labels
    middle = time.perf_counter()
    turned = scene.prediction[:, ::-1] * np.array([-1, 1, 1], np.float32)[:, None, None]
    again = decoder(replace(scene, prediction=turned, image=scene.image[:, ::-1])).labels[::-1]
    restart = time.perf_counter()
    everything = (slice(None), slice(None))
    for _ in decoder.surveys:
        decoder.learn([decoder.survey(scene, everything)])
    views = []
    for block in grid:
        part = (slice(None), *block.outer)
        origin = tuple(side.start for side in block.outer)
        seen = Observation(scene.prediction[part], scene.image[part], scene.spacing, origin)
        views.append(decoder(seen).labels)
    cap = (math.ceil(WIDEST * diameter) + 1,) * 2
    found, refused = stitch(grid, views, overlapping(grid, views), cap)
    ended = time.perf_counter()
    alone, _ = stitch(grid, views, nothing(grid, views), cap)
    least = 0.1 * math.pi * (diameter / 2) ** 2
    whole, again, found, alone = (_large(each, least) for each in (whole, again, found, alone))
    for name, labels, spent in (
        ("turned over", again, restart - middle),
        ("stitched", found, ended - restart),
        ("not stitched", alone, ended - restart),
    ):
        scores = "".join(f"{f1(labels, whole, iou):9.3f}" for iou in AGREED)
        print(f"{foreground:14}{name:14}{len(np.unique(whole)) - 1:8}{len(np.unique(labels)) - 1:8}"
              f"{scores}{middle - began:10.1f}{spent:10.1f}", flush=True)  # fmt: skip
    print(f"links refused: {refused}")


def _large(labels: NDArray[np.uint32], least: float) -> NDArray[np.uint32]:
    return np.where((np.bincount(labels.ravel()) >= least)[labels], labels, np.uint32(0))


def main() -> None:
    """Print the tables."""
    for scenes in [[drawn(0)], *(real(Path(sys.argv[1])) if len(sys.argv) > 1 else ())]:
        if scenes:
            show(scenes, SEEDS)
    decoding.SAMPLED = SAMPLED
    print("\nmean-shift of 3 x 3 blocks of 128 x 128 against the whole of 384 x 384")
    head = "".join(f"{f'F1@{iou}':>9}" for iou in AGREED)
    head = f"{'whole':>8}{'these':>8}{head}{'whole [s]':>10}{'[s]':>10}"
    print(f"{'foreground':14}{'labels':14}{head}")
    for foreground in ("contrast", "uncertainty"):
        decode(foreground)


if __name__ == "__main__":
    main()
