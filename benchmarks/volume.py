"""Time and memory of each step on a drawn light-sheet volume, of a gigavoxel by default.

    python benchmarks/volume.py FOLDER [--planes 2000] [--workers 2] [--steps ...]

The volume is drawn into FOLDER if it is not there (10 GB at 2,000 planes, which are 1.04
gigavoxels; fewer are the same scene, cut). Segment and postprocess do all of it, from the drawn
prediction, coarser levels included; predict does the first 16 planes as an image of their own,
with a small untrained network, which is as fast as a trained one. Each process may take 2 GB (the
setting `memory`), and tiles and blocks are cut accordingly. Every step is a process of its own, and
so are workers, which share the cores; without any (`--workers 0`) the step does all itself. The
time is that of the whole, its start included; the peak is the most resident memory that any one
process had, looked at four times a second.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from drawn_nuclei import MARGIN, Scene
from drawn_volume import experiment_of, write, write_image

from cellulus.blocks import cluster
from cellulus.blocks.crew import Alone
from cellulus.data.readers import open_volumes
from cellulus.experiment.render import render
from cellulus.experiment.sections import Experiment, Network, Postprocess
from cellulus.pipeline import model as models
from cellulus.pipeline.postprocess import postprocess
from cellulus.pipeline.predict import predict
from cellulus.pipeline.segment import segment
from cellulus.runs import Run
from cellulus.space import blocks

STEPS = ("draw", "predict", "segment", "postprocess")
NETWORK = Network(features=12, head_features=24)
PART = 16
"""Planes that predict does."""
CAP = "2 GB"
"""What each process may take."""
LOOKS = 0.25
"""Between two looks at the memory [s]."""


class Clock:
    """Listens to a step, and notes how long each of its phases took [s]."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def start(self, what: str, total: int) -> None:
        """Begin a phase."""
        self._what, self._began = f"{what}, {total}", time.perf_counter()

    def advance(self, amount: int = 1, **values: float) -> None:
        """Ignore the progress."""

    def finish(self) -> None:
        """End the phase."""
        self.spent[self._what] = time.perf_counter() - self._began


def do(step: str, folder: Path, planes: int, workers: int) -> dict[str, Any]:
    """Do one step in this process, and return what is to be told of it."""
    if step == "draw":
        write(folder, planes)
        return {}
    if step == "predict":
        folder = folder / "part"
    experiment = experiment_of(
        folder, network=NETWORK, postprocess=Postprocess(kind="intensity"), memory=CAP
    )
    run = Run.start(folder / "run", experiment, render(experiment), overwrite=True)
    clock = Clock()
    work = {"predict": predict, "segment": segment, "postprocess": postprocess}[step]
    how: dict[str, Any] = {"overwrite": True, "progress": clock}
    if step == "predict":
        how |= {"model": _model(experiment, run), "device": "cpu"}
    if step == "segment":
        how["predictions"] = [folder / "prediction.zarr"]
    with cluster.start(workers) if workers else nullcontext(Alone()) as crew:
        path = work(experiment, run, crew=crew, **how)[0]
    told = {"phases": clock.spent, "workers": workers}
    return told if step == "predict" else told | {"labels": str(path)}


def _model(experiment: Experiment, run: Run) -> Path:
    """Write a network that has learnt nothing, and return its file."""
    torch.manual_seed(0)
    card = models.Card(
        method=experiment.method,
        network=experiment.network,
        ndim=3,
        inputs=1,
        outputs=experiment.method.outputs(3),
        percentiles=experiment.data.percentiles,
    )
    return models.save(run.model, models.new_network(card).state_dict(), card)


def measure(step: str, folder: Path, planes: int, workers: int) -> dict[str, Any]:
    """Do one step in a process of its own, and return what it told, its time and its peak."""
    order = [__file__, str(folder), "--do", step]
    order += ["--planes", str(planes), "--workers", str(workers)]
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *order], stdout=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        peak = max([peak, *(_peak(number) for number in _family(process.pid))])
        time.sleep(LOOKS)
    seconds = time.perf_counter() - began
    told = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise SystemExit(f"{step} ended with exit code {process.returncode}")
    return {"seconds": seconds, "peak": peak} | json.loads(told.splitlines()[-1])


def _family(number: int) -> list[int]:
    """Return a process and all that it started."""
    try:
        tasks = list(Path(f"/proc/{number}/task").iterdir())
        children = [int(n) for task in tasks for n in (task / "children").read_text().split()]
    except OSError:  # it has ended
        return []
    return [number, *(n for child in children for n in _family(child))]


def _peak(number: int) -> int:
    """Return the most memory that a process has had in RAM so far [byte]."""
    try:
        lines = Path(f"/proc/{number}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _count(path: Path) -> int:
    """Return the number of objects in labels with dense ids."""
    volume = open_volumes(path)[0]
    cut = blocks(volume.shape, (256,) * 3, (0,) * 3)
    return max(int(volume.read(block.core).max()) for block in cut)


def main() -> None:
    """Measure each step and print its row."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--planes", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", nargs="+", choices=STEPS[1:], default=STEPS[1:])
    parser.add_argument("--do", choices=STEPS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.do:
        print(json.dumps(do(asked.do, asked.folder, asked.planes, asked.workers)))
        return
    folder = asked.folder / str(asked.planes)
    steps = asked.steps if (folder / "scene.json").exists() else ["draw", *asked.steps]
    planes = min(PART, asked.planes)
    part = write_image(Scene(planes), folder / "part") if "predict" in steps else {}
    print(f"{len(os.sched_getaffinity(0))} cores; no nucleus within {MARGIN:g} um of the faces")
    print(f"in y and x; predict: {NETWORK.features} features, untrained, {planes} planes\n")
    print(
        f"{'step':<13}{'workers':>8}{'s':>9}{'Mvoxel':>9}{'Mvoxel/s':>10}{'peak MiB':>10}  objects"
    )
    for step in steps:
        told = measure(step, folder, asked.planes, asked.workers)
        drawn = json.loads((folder / "scene.json").read_text())
        size = (part if step == "predict" else drawn)["voxels"] / 1e6
        seconds, peak = told["seconds"], told["peak"] / 2**20
        line = f"{step:<13}{told.get('workers', 1):>8}{seconds:>9.1f}{size:>9.1f}"
        line += f"{size / seconds:>10.2f}{peak:>10.0f}"
        if "labels" in told:
            line += f"  {_count(Path(told['labels']))} found of {drawn['objects']} drawn"
        print(line, flush=True)
        phases = told.get("phases", {})
        for phase, spent in phases.items():
            print(f"  {phase:<40}{spent:>9.1f} s", flush=True)
        pace = 1e3 * sum(phases.values()) / size
        print(f"  {'all phases, without the start':<40}{pace:>9.1f} ns/voxel", flush=True)


if __name__ == "__main__":
    main()
