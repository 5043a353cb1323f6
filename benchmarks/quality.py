"""Scores on real images that were not learnt from, and by which no parameter was chosen.

    python benchmarks/quality.py dsb            dsb2018_train447.npz   runs/dsb
    python benchmarks/quality.py bbbc050        bbbc050_train39.npz    runs/bbbc050
    python benchmarks/quality.py hela           hela01_first11.npz     runs/hela
    python benchmarks/quality.py dsb-masks      dsb2018_train447.npz   runs/dsb-masks
    python benchmarks/quality.py bbbc050-masks  bbbc050_train39.npz    runs/bbbc050-masks
    python benchmarks/quality.py salivary-masks salivary/              runs/salivary-masks
    python benchmarks/quality.py ovule-masks    gonuclear_1135.npz     runs/ovule-masks
    python benchmarks/quality.py dsb-points     dsb2018_train447.npz   runs/dsb-points
    python benchmarks/quality.py bbbc050-points bbbc050_train39.npz    runs/bbbc050-points

The images are converted to OME-Zarr; with seed 0, some are held out and scored, the others are
learnt from: without labels, from their masks, or from points that are found in the images
(`--centroids` takes the true centroids, to learn from and to decode with). HeLa has no trustworthy
truth: all images are learnt from and shown, none is scored. Of the ovule there is one volume: it is
cut in two along y.
`--trained` goes on from the model that is there, and `--set section.key=value` changes a setting.
Prints a table and leaves the report beside it.
"""

from __future__ import annotations

import logging
import resource
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cellulus.experiment.load import parse
from cellulus.experiment.render import render
from cellulus.experiment.sections import ApplyImage, Data, Experiment, Network, Train, TrainImage
from cellulus.methods import AnyMethod, ObjectCentric, PointMarker, SpatialEmbedding
from cellulus.pipeline.convert import convert
from cellulus.pipeline.evaluate import evaluate
from cellulus.pipeline.pages import write_report
from cellulus.pipeline.postprocess import postprocess
from cellulus.pipeline.predict import predict
from cellulus.pipeline.segment import segment
from cellulus.pipeline.train import train
from cellulus.runs import Run
from cellulus.space import Length

if TYPE_CHECKING:
    from cellulus.ops.scores import Scores

FLAT = Network(features=24, head_features=48)
DEEP = Network(features=12, head_features=24)
SHOWN = (0.5, 0.7, 0.8, 0.9)


class Case(NamedTuple):
    """One data set: how it is measured."""

    held_out: int
    data: dict[str, Any]
    network: Network
    train: Train
    method: AnyMethod


EMBRYO: dict[str, Any] = {
    "object_diameter": Length(15.0, "um"),
    "voxel_size": (1.75, 0.8, 0.8),
}
CASES = {
    "dsb": Case(50, {}, FLAT, Train(steps=3200), ObjectCentric()),
    "bbbc050": Case(8, EMBRYO, DEEP, Train(steps=1500, batch_size=4), ObjectCentric(passes=8)),
    "hela": Case(
        0, {"voxel_size": (0.645, 0.645)}, FLAT, Train(steps=1500), ObjectCentric(passes=8)
    ),
    # Fifty of 397 images are kept aside to tell which model is the best.
    "dsb-masks": Case(
        50, {}, FLAT, Train(steps=4500, validation=0.126, validate_every=500), SpatialEmbedding()
    ),
    "bbbc050-masks": Case(
        8,
        EMBRYO,
        DEEP,
        Train(steps=2200, batch_size=2, validation=0.13, validate_every=250),
        SpatialEmbedding(),
    ),
    "salivary-masks": Case(
        1,
        {"object_diameter": Length(26.0, "voxel")},
        DEEP,
        Train(steps=1000, batch_size=2, validation=0.2, validate_every=250),
        SpatialEmbedding(),
    ),
    "dsb-points": Case(50, {}, FLAT, Train(steps=1000), PointMarker()),
    "bbbc050-points": Case(8, EMBRYO, DEEP, Train(steps=600, batch_size=2), PointMarker()),
    "ovule-masks": Case(
        1,
        {"object_diameter": Length(3.1, "um"), "voxel_size": (0.284, 0.127, 0.127)},
        DEEP,
        Train(steps=1000, batch_size=2, validate_every=250),
        SpatialEmbedding(),
    ),
}


def images_of(archive: Path, folder: Path) -> list[Path]:
    """Convert what is not converted yet; return the images in the order of the archive."""
    store = folder / "data"
    sources = sorted(archive.glob("*.npz")) if archive.is_dir() else [archive]
    with np.load(sources[0]) as first:
        names = [str(name) for name in first["names"]] if "names" in first else []
        if len(sources) == 1 and not names:
            sources = _halves(dict(first), folder)
    if not store.exists():
        convert([str(source) for source in sources], store)
    return [store / f"{name}.zarr" for name in names or [source.stem for source in sources]]


def _halves(volume: dict[str, Any], folder: Path) -> list[Path]:
    """Write a volume as two, cut along y: what a cut goes through is an object in both."""
    cut = volume["image"].shape[1] // 2
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, part in (("low", slice(None, cut)), ("high", slice(cut, None))):
        half = {key: value[:, part] if value.ndim == 3 else value for key, value in volume.items()}
        paths.append(folder / f"{name}.npz")
        np.savez(paths[-1], **half)
    return paths


def experiment_of(case: Case, images: list[Path], *, centroids: bool = False) -> Experiment:
    """Return the experiment: learn from the images that are not held out, apply to those."""
    order = np.random.default_rng(0).permutation(len(images))
    held, rest = order[: case.held_out], order[case.held_out :]
    apply = [images[i] for i in (held if case.held_out else rest)]
    is_drawn = case.method.needs == "masks"
    data = Data(
        train=tuple(
            TrainImage(
                image=str(images[i]),
                masks=str(images[i] / "labels/labels") if is_drawn else None,
                points=str(images[i] / "labels/labels") if centroids else None,
            )
            for i in rest
        ),
        apply=tuple(
            ApplyImage(
                image=str(path),
                truth=str(path / "labels/labels") if case.held_out else None,
                points=str(path / "labels/labels") if centroids else None,
            )
            for path in apply
        ),
        **case.data,
    )
    return Experiment(data=data, network=case.network, train=case.train, method=case.method)


def show(name: str, scores: Scores) -> None:
    """Print a table: of all objects together, and as papers have it, of images one by one."""
    pooled = scores.pooled
    print(f"{name}: {pooled.n_pred} found of {pooled.n_true} in {len(scores.images)} images")
    print(" " * 15 + " | ".join(["F1@0.5", "SEG   ", *(f"AP@{iou}" for iou in SHOWN)]))
    for what, seg, matches in (
        ("all objects", pooled.seg, pooled.matches),
        ("mean of images", scores.mean_seg, scores.means),
    ):
        at = {match.iou: match for match in matches}
        values = [at[0.5].f1, seg, *(at[iou].ap for iou in SHOWN)]
        print(f"{what:15s}" + " | ".join(f"{value:6.3f}" for value in values))
    print(f"mean IoU of the matched, at 0.5: {pooled.at(0.5).mean_iou:.3f}")


def main(name: str, archive: Path, folder: Path, *options: str) -> None:
    """Measure one data set and print the row."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    case = CASES[name]
    changes = [after for before, after in pairwise(options) if before == "--set"]
    images = images_of(archive, folder)
    text = render(experiment_of(case, images, centroids="--centroids" in options))
    experiment = parse(text, source=name, base=Path(), overrides=changes)
    run = Run.start(folder / "run", experiment, text, overwrite=True)
    spent, peak = {}, {}
    for step in (train, predict, segment, postprocess):
        began = time.perf_counter()
        if step is train and "--trained" in options and run.model.exists():
            continue
        again = {} if step is train else {"overwrite": True}
        step(experiment, run, **again)
        spent[step.__name__] = (time.perf_counter() - began) / 60
        # The most so far: of training alone, after it.
        peak[step.__name__] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(", ".join(f"{what} {minutes:.1f} min" for what, minutes in spent.items()))
    print(", ".join(f"{what} {most:.0f} MiB" for what, most in peak.items()))
    if case.held_out:
        show(name, evaluate(experiment, run))
    print(write_report(experiment, run))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
