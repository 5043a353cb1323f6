"""Blocks that are stitched: workers write what one process writes, and killing changes nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from scenes import store

import cellulus
from cellulus.methods import ObjectCentric
from cellulus.pipeline.segment import segment
from cellulus.runs import Run

SOURCE = Path(cellulus.__file__).parents[1]


def tree(folder):
    """Every file of a result and its bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, draw):
    """A run folder with a drawn prediction of four blocks, its experiment, and its labels."""
    folder = tmp_path_factory.mktemp("drawn")
    experiment, run = store(folder, draw((32, 32), sizes=(0.35, 0.45)), repeats=(1, 1))
    method = ObjectCentric(clustering="meanshift", foreground="uncertainty")
    experiment = experiment.model_copy(update={"method": method})
    (path,) = segment(experiment, run)
    return experiment, run, tree(path)


@pytest.fixture
def elsewhere(drawn, tmp_path):
    """A run with the same predictions."""
    made = Run(tmp_path / "run")
    made.predictions.parent.mkdir(parents=True)
    made.predictions.symlink_to(drawn[1].predictions)
    return made


def test_two_workers_stitch_what_one_process_stitches(drawn, pair, elsewhere):
    experiment, _, whole = drawn
    (path,) = segment(experiment, elsewhere, crew=pair)
    assert tree(path) == whole
    assert json.loads(whole["zarr.json"])["attributes"]["cellulus"]["outcome"]["stitched"][
        "objects"
    ]


def test_killed_while_stitching_it_goes_on_where_it_was(drawn, elsewhere, tmp_path):
    experiment, _, whole = drawn
    (tmp_path / "experiment.json").write_text(experiment.model_dump_json())
    script, kills = Path(__file__).parent / "killings.py", 6
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(kills), "0"],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["again"] == 0
    assert tree(elsewhere.segments / "img.zarr") == whole
    assert [path.name for path in elsewhere.segments.iterdir()] == ["img.zarr"]
