"""Scores on real images that were not learnt from, and by which no parameter was chosen.

    python benchmarks/quality.py dsb            dsb2018_train447.npz   runs/dsb
    python benchmarks/quality.py bbbc050        bbbc050_train39.npz    runs/bbbc050
    python benchmarks/quality.py hela           hela01_first11.npz     runs/hela
    python benchmarks/quality.py dsb-masks      dsb2018_train447.npz   runs/dsb-masks
    python benchmarks/quality.py bbbc050-masks  bbbc050_train39.npz    runs/bbbc050-masks

The images are converted to OME-Zarr; with seed 0, some are held out and scored, the others are
learnt from: without labels, or from their masks. (HeLa has no trustworthy truth: all images are
learnt from and shown, none is scored.) `--trained` goes on from the model that is there, and
`--set section.key=value` changes a setting. Prints a table and leaves the report beside it.
"""

from __future__ import annotations

import logging
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cellulus.experiment.load import parse
from cellulus.experiment.render import render
from cellulus.experiment.sections import ApplyImage, Data, Experiment, Network, Train, TrainImage
from cellulus.methods import AnyMethod, ObjectCentric, SpatialEmbedding
from cellulus.pipeline.convert import convert
from cellulus.pipeline.evaluate import evaluate
from cellulus.pipeline.pages import write_report
from cellulus.pipeline.postprocess import postprocess
from cellulus.pipeline.predict import predict
from cellulus.pipeline.segment import segment
from cellulus.pipeline.train import train
from cellulus.runs import Run
from cellulus.space import Length

FLAT = Network(features=24, head_features=48)
DEEP = Network(features=12, head_features=24)


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
        Train(steps=1500, batch_size=4, validation=0.13, validate_every=250),
        SpatialEmbedding(),
    ),
}


def experiment_of(case: Case, images: list[Path]) -> Experiment:
    """Return the experiment: learn from the images that are not held out, apply to those."""
    order = np.random.default_rng(0).permutation(len(images))
    held, rest = order[: case.held_out], order[case.held_out :]
    apply = [images[i] for i in (held if case.held_out else rest)]
    is_drawn = case.method.needs == "masks"
    data = Data(
        train=tuple(
            TrainImage(
                image=str(images[i]), masks=str(images[i] / "labels/labels") if is_drawn else None
            )
            for i in rest
        ),
        apply=tuple(
            ApplyImage(
                image=str(path), truth=str(path / "labels/labels") if case.held_out else None
            )
            for path in apply
        ),
        **case.data,
    )
    return Experiment(data=data, network=case.network, train=case.train, method=case.method)


def main(name: str, archive: Path, folder: Path, *options: str) -> None:
    """Measure one data set and print the row."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    case = CASES[name]
    store = folder / "data"
    order = [str(n) for n in np.load(archive)["names"]]
    if not store.exists():
        convert([str(archive)], store)
    changes = [after for before, after in pairwise(options) if before == "--set"]
    text = render(experiment_of(case, [store / f"{n}.zarr" for n in order]))
    experiment = parse(text, source=name, base=Path(), overrides=changes)
    run = Run.start(folder / "run", experiment, text, overwrite=True)
    spent = {}
    for step in (train, predict, segment, postprocess):
        began = time.perf_counter()
        if step is train and "--trained" in options and run.model.exists():
            continue
        again = {} if step is train else {"overwrite": True}
        step(experiment, run, **again)
        spent[step.__name__] = (time.perf_counter() - began) / 60
    print(", ".join(f"{what} {minutes:.1f} min" for what, minutes in spent.items()))
    if case.held_out:
        scores = evaluate(experiment, run).pooled
        row = {f"F1@{iou}": scores.at(iou).f1 for iou in (0.5, 0.7, 0.9)}
        row |= {"SEG": scores.seg} | {f"AP@{iou}": scores.at(iou).ap for iou in (0.5, 0.7, 0.9)}
        print(f"{name}: {scores.n_pred} found of {scores.n_true} in {case.held_out} images")
        print(" | ".join(row))
        print(" | ".join(f"{value:.3f}" for value in row.values()))
    print(write_report(experiment, run))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
