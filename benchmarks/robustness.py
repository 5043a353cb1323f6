"""What bad points do to point markers: some are left out, or none is where it should be.

    python benchmarks/robustness.py runs/robustness [--steps 300]

Learns from the thirty images of examples/05_points, and scores the twelve others. The points of the
images learnt from are found, then some are dropped or all are moved in a random direction; images
are segmented with the points that are found in them (scored first) and with points spoilt in the
same way (scored last). Prints a table; F1 at IoU 0.5.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellulus.data.points import Points, read_points, write_points
from cellulus.experiment.load import load
from cellulus.pipeline.evaluate import evaluate
from cellulus.pipeline.marking import find_points
from cellulus.pipeline.postprocess import postprocess
from cellulus.pipeline.predict import predict
from cellulus.pipeline.prediction import Prediction, points_path
from cellulus.pipeline.samples import canonical, open_training
from cellulus.pipeline.segment import segment
from cellulus.pipeline.train import train
from cellulus.runs import Run

if TYPE_CHECKING:
    from cellulus.experiment.sections import Experiment

EXAMPLE = Path(__file__).parents[1] / "examples" / "05_points" / "experiment.toml"
CASES = ((0.0, 0.0), (0.1, 0.0), (0.2, 0.0), (0.4, 0.0), (0.0, 0.1), (0.0, 0.2), (0.0, 0.3))
"""Share of points dropped, and how far they are moved [object diameter]."""
WIDTH = 20.0


def spoil(
    points: Points,
    zoom: tuple[float, ...],
    dropped: float,
    moved: float,
    shape: tuple[int, ...],
    seed: int,
) -> Points:
    """Return points of which some are left out, and the others moved by a fixed distance."""
    rng = np.random.default_rng(seed)
    kept = points.positions[rng.random(len(points)) >= dropped]
    away = rng.normal(size=kept.shape)
    away *= moved * WIDTH / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-9)
    return Points.of(np.clip(kept + away / np.array(zoom), 0, np.array(shape) - 1))


def spoilt_training(experiment: Experiment, folder: Path, dropped: float, moved: float) -> Path:
    """Write the points to learn from, a table per image, and return their folder."""
    target = folder / f"points-{dropped:g}-{moved:g}"
    target.mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(open_training(experiment)):
        image = canonical(sample.volume, experiment.data, WIDTH)
        found = find_points(experiment, image)
        bad = spoil(found, image.scale.zoom, dropped, moved, sample.volume.shape, number)
        write_points(target / f"{sample.volume.name}.csv", bad)
    return target


def spoil_applied(paths: list[Path], dropped: float, moved: float) -> None:
    """Spoil the points that images are segmented with."""
    for number, path in enumerate(paths):
        made = Prediction.open(path)
        points = read_points(points_path(path), made.image)
        bad = spoil(points, made.facts.zoom, dropped, moved, made.image.shape, number)
        write_points(points_path(path), bad)


def f1(experiment: Experiment, run: Run) -> float:
    """Segment and score."""
    segment(experiment, run, overwrite=True)
    postprocess(experiment, run, overwrite=True)
    return float(evaluate(experiment, run).pooled.at(0.5).f1 or 0)


def main(folder: Path, steps: int) -> None:
    """Print the table."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    print("dropped  moved  | found points  spoilt points   (F1@0.5)")
    for dropped, moved in CASES:
        experiment = load(EXAMPLE, [f"train.steps={steps}"])
        points = spoilt_training(experiment, folder, dropped, moved)
        data = experiment.data
        entry = data.train[0].model_copy(update={"points": f"{points}/*.csv"})
        experiment = experiment.model_copy(
            update={"data": data.model_copy(update={"train": (entry,)})}
        )
        where = folder / f"run-{dropped:g}-{moved:g}"
        run = Run.start(where, experiment, EXAMPLE.read_text(), overwrite=True)
        train(experiment, run)
        paths = predict(experiment, run, overwrite=True)
        found = f1(experiment, run)
        spoil_applied(paths, dropped, moved)
        print(
            f"{dropped:7.0%}  {moved:5.0%}  | {found:12.3f}  {f1(experiment, run):13.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        int(sys.argv[sys.argv.index("--steps") + 1]) if "--steps" in sys.argv else 300,
    )
