"""The memory that steps take, beside what the plan says they take at most.

    python benchmarks/memory.py FOLDER      FOLDER is one of drawn_volume.py, of 310 planes or more
    python benchmarks/memory.py FOLDER --quick   a small image only, as JSON; what the tests do

Every row is one part of real size, done in a process of its own that has imported all that
`cellulus run` imports. Images of two dimensions are lattices of discs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from drawn_volume import experiment_of

import cellulus.pipeline.run  # noqa: F401 - a process of `cellulus run` has all of it
from cellulus.data import writer
from cellulus.experiment.sections import (
    ApplyImage,
    Data,
    Experiment,
    Network,
    Postprocess,
    Predict,
    Segment,
)
from cellulus.methods import ObjectCentric
from cellulus.pipeline import memory, model
from cellulus.pipeline.cuts import Subject, reshaping
from cellulus.pipeline.decoding import Decoding, SurveyWork, grid_of, survey_grids
from cellulus.pipeline.measuring import StoredLabels
from cellulus.pipeline.prediction import Facts, Prediction
from cellulus.pipeline.reshaping import Reshaping
from cellulus.pipeline.tiling import Tiling
from cellulus.space import Block, Blocks, VoxelSize

FACTS = {"time": 0, "level": 0, "unit": "um", "low": (0.0,), "high": (200.0,), "channels": (0,)}
PITCH = 24


def discs(folder: Path, shape: tuple[int, ...], zoom: tuple[float, ...]) -> None:
    """Write an image of touching discs or balls, and a prediction of it, with their labels."""
    ndim, size = len(shape), VoxelSize(tuple(0.5 * z for z in zoom), "um")
    axes = "zyx"[-ndim:]
    grid = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij", sparse=True)
    away = [np.mod((g + 0.5) * z, PITCH) - PITCH / 2 for g, z in zip(grid, zoom, strict=True)]
    share = np.sqrt(sum(a**2 for a in away)) / 10
    image = writer.create(
        folder / "image.zarr", writer.Spec("image", axes, shape, np.dtype(np.uint16), size),
        overwrite=True,
    )  # fmt: skip
    image.write((slice(None),) * ndim, np.where(share < 1, 150, 20).astype(np.uint16))
    image.publish()
    rank = [np.floor((g + 0.5) * z / PITCH) for g, z in zip(grid, zoom, strict=True)]
    ids = sum(r * 1000**k for k, r in enumerate(rank)) + 1
    labels = writer.create(
        folder / "truth.zarr", writer.Spec("labels", axes, shape, np.dtype(np.uint32), size),
        overwrite=True,
    )  # fmt: skip
    labels.write((slice(None),) * ndim, np.where(share < 1, ids, 0).astype(np.uint32))
    labels.publish()
    canonical = tuple(int(np.ceil(n * z)) for n, z in zip(shape, zoom, strict=True))
    fine = np.meshgrid(
        *(np.arange(n, dtype=np.float32) for n in canonical), indexing="ij", sparse=True
    )
    offsets = [PITCH / 2 - np.mod(g + 0.5, PITCH) for g in fine]
    far = np.sqrt(sum(o**2 for o in offsets)) / 10
    said = [np.broadcast_to(o, canonical) * np.clip(2 - far, 0, 1) for o in offsets]
    facts = Facts(
        **FACTS, image=str(folder / "image.zarr"), shape=shape, zoom=zoom, object_voxels=20.0,
        voxel_size=size.values, method="object_centric", model="drawn",
    )  # fmt: skip
    spec = writer.Spec(
        "image", "c" + axes, (ndim + 1, *canonical), np.dtype(np.float16),
        VoxelSize((0.5,) * ndim, "um"), attributes=facts.model_dump(mode="json"),
    )  # fmt: skip
    prediction = writer.create(folder / "prediction.zarr", spec, overwrite=True)
    prediction.write(
        (slice(None),) * (ndim + 1),
        np.stack([*said, np.clip(1 + 8 * (far - 1), 0.3, 8)]).astype(np.float16),
    )
    prediction.publish()


def middle(grid: Blocks) -> int:
    """Return the number of the block in the middle; never one that the far edge cuts."""
    return int(np.ravel_multi_index([(n - 1) // 2 for n in grid.counts], grid.counts))


def predict(folder: Path, experiment: Experiment) -> int:
    """Predict the tile in the middle, and return the estimate."""
    facts = Prediction.open(folder / "prediction.zarr").facts
    network = experiment.network
    card = model.Card(
        method=experiment.method, network=network, ndim=len(facts.shape), inputs=1,
        outputs=len(facts.shape), percentiles=(1, 99),
    )  # fmt: skip
    torch.manual_seed(0)
    file = model.save(folder / "model", model.new_network(card).state_dict(), card)
    out = Path(tempfile.mkdtemp(dir=folder)) / "0"
    tiling = Tiling(file, "", experiment, "cpu", facts, out)
    tiles = tiling.tiles
    zarr.create_array(
        out, shape=(len(facts.shape) + 1, *tiles.shape), dtype=np.float16,
        chunks=(1, *tiles.core), shards=(len(facts.shape) + 1, *tiles.core),
    )  # fmt: skip
    tiling.open()(middle(tiles))
    return memory.predicting(experiment, Subject.of(facts, facts.open_image()))


def survey(folder: Path, experiment: Experiment) -> int:
    """Survey the block in the middle, and return the estimate."""
    prediction = Prediction.open(folder / "prediction.zarr")
    grid = survey_grids(prediction, experiment)[0]
    decoding = Decoding(folder / "prediction.zarr", experiment, folder / "work")
    SurveyWork(decoding, 0, grid).open()(middle(grid))
    return memory.segmenting(experiment, Subject.of(prediction.facts, prediction.image))[0]


def segment(folder: Path, experiment: Experiment) -> int:
    """Decode the block in the middle, after its survey, and return the estimate."""
    prediction = Prediction.open(folder / "prediction.zarr")
    grid = grid_of(prediction, experiment)
    decoding = Decoding(folder / "prediction.zarr", experiment, folder / "work")
    if not decoding.stage(0).parts():
        other = multiprocessing.get_context("spawn").Process(
            target=survey, args=(folder, experiment)
        )
        other.start()
        other.join()
    decoding.open()(grid[middle(grid)])
    return memory.segmenting(experiment, Subject.of(prediction.facts, prediction.image))[-1]


def postprocess(folder: Path, experiment: Experiment) -> int:
    """Reshape the block in the middle, and return the estimate."""
    facts = Prediction.open(folder / "prediction.zarr").facts
    subject = Subject.of(facts, facts.open_image())
    cut = reshaping(experiment, subject)
    halo = tuple(max(0, (o - c) // 2) for o, c in zip(cut.outer, cut.core, strict=True))
    grid = Blocks(facts.shape, cut.core, halo)
    image = facts if experiment.postprocess.kind == "intensity" else None
    labels = StoredLabels(str(folder / "truth.zarr"), 0)
    source = Reshaping(labels, experiment.postprocess, facts.zoom, facts.object_voxels, image)
    block: Block = grid[middle(grid)]
    source.open()(block)
    return memory.postprocessing(experiment, subject)


STEPS = {"predict": predict, "survey": survey, "segment": segment, "postprocess": postprocess}
SMALL = Network(features=12, head_features=24)
SIZES = {2: ((512, 128), (2048, 1024)), 3: ((96, 48), (256, 128))}
"""Edges of tiles and of blocks."""


def trials(ndim: int, *, quick: bool) -> list[tuple[str, str, dict[str, Any]]]:
    """Return what is tried: a step, what is told of it, and settings."""
    tiles, blocks = ((256,), (512,)) if quick else SIZES[ndim]
    fast = {"method": ObjectCentric(passes=4)}
    networks = [("fp32", "", {})]
    if not quick:
        networks += [("bf16", "", {}), ("fp32", ", small", {"network": SMALL})]
    reshapings = [
        ("cell", Postprocess(kind="cell")),
        ("none", Postprocess()),
        ("intensity", Postprocess(kind="intensity")),
        ("pieces and holes", Postprocess(keep_largest=True, fill_holes=True)),
    ]
    made: list[tuple[str, str, dict[str, Any]]] = [
        (
            "predict",
            f"tile {tile}, {how}{note}",
            {"predict": Predict(tile=tile, precision=how, empty=0), **more, **fast},
        )
        for tile in tiles
        for how, note, more in networks
    ]
    for block in blocks:
        cut = {"segment": Segment(block=block)}
        made += [(step, f"block {block}", cut) for step in ("survey", "segment")]
        made += [
            ("postprocess", f"block {block}, {name}", {**cut, "postprocess": settings})
            for name, settings in reshapings[: 1 if quick else None]
        ]
    return made


def peak() -> int:
    """Return the most memory that this process has had in RAM so far [byte]."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def do(folder: Path, ndim: int, number: int, *, quick: bool) -> dict[str, Any]:
    """Do one row in this process, and return what it took and what was estimated."""
    step, told, more = trials(ndim, quick=quick)[number]
    if ndim == 2:
        folder = folder / "discs"
        data = Data(apply=(ApplyImage(image=str(folder / "image.zarr")),))
        experiment = Experiment(data=data, **more)
    else:
        experiment = experiment_of(folder, **more)
    base = peak()
    estimate = STEPS[step](folder, experiment)
    row = {"step": step, "what": told, "ndim": ndim}
    return row | {"peak": peak(), "at_most": estimate, "base": base}


def main() -> None:
    """Measure every step and print its row."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ndim", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--only", choices=STEPS, nargs="+", default=list(STEPS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--do", type=int, nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.do:
        print(json.dumps(do(asked.folder, *asked.do, quick=asked.quick)))
        return
    sizes = [2] if asked.quick else asked.ndim
    if 2 in sizes:
        discs(asked.folder / "discs", ((700,) if asked.quick else (2200,)) * 2, (1.0, 1.0))
    if not asked.quick:
        print(f"{'step':<13}{'':<28}{'ndim':>5}{'peak MB':>9}{'at most MB':>12}{'ratio':>7}")
    for ndim in sizes:
        for number, (step, told, _) in enumerate(trials(ndim, quick=asked.quick)):
            if step not in asked.only:
                continue
            order = [sys.executable, __file__, str(asked.folder), "--do", str(ndim), str(number)]
            order += ["--quick"] if asked.quick else []
            done = subprocess.run(order, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(done.stderr)
            line = done.stdout.splitlines()[-1]
            if not asked.quick:
                row = json.loads(line)
                found, most = row["peak"] / 1e6, row["at_most"] / 1e6
                line = (
                    f"{step:<13}{told:<28}{ndim:>5}{found:>9.0f}{most:>12.0f}{most / found:>7.2f}"
                )
            print(line, flush=True)


if __name__ == "__main__":
    main()
