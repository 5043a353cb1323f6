"""Killed at any moment and resumed, a step gives what it gives uninterrupted, byte for byte."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from scenes import store

import cellulus
from cellulus.blocks.crew import Alone
from cellulus.experiment.sections import Postprocess
from cellulus.pipeline.postprocess import postprocess
from cellulus.pipeline.segment import segment
from cellulus.runs import Run

SOURCE = Path(cellulus.__file__).parents[1]


def tree(folder):
    """Every file of a result and its bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, draw):
    """A run folder with a drawn prediction of many blocks, its experiment, and its labels."""
    folder = tmp_path_factory.mktemp("drawn")
    experiment, run = store(folder, draw((16, 32, 32), sizes=(0.35, 0.45)), repeats=(1, 2, 2))
    (path,) = segment(experiment, run, crew=Alone())
    return experiment, run, tree(path)


def elsewhere(run, folder):
    """A run with the same predictions."""
    made = Run(folder)
    made.predictions.parent.mkdir(parents=True)
    made.predictions.symlink_to(run.predictions)
    return made


def test_two_workers_write_what_one_process_writes(drawn, pair, tmp_path):
    experiment, run, whole = drawn
    (path,) = segment(experiment, elsewhere(run, tmp_path / "run"), crew=pair)
    assert tree(path) == whole
    assert not pair.left_out
    assert len([name for name in whole if "/c/" in name]) > 10


def test_workers_that_die_on_the_way_change_nothing(drawn, pair, tmp_path):
    """One of the two is killed again and again; whoever takes its place goes on."""
    experiment, run, whole = drawn

    class Killing:
        """Kills a worker after every so many blocks."""

        def start(self, what, total):
            self.left = 5

        def advance(self, amount=1, **values):
            self.left -= 1
            if self.left == 0:
                pids = pair._client.run(os.getpid)
                os.kill(min(pids.values()), 9)

        def finish(self):
            pass

    (path,) = segment(experiment, elsewhere(run, tmp_path / "run"), crew=pair, progress=Killing())
    assert tree(path) == whole
    assert not pair.left_out


def results(run):
    """Labels before and after post-processing, and the table."""
    labels = run.labels / "img.zarr"
    return tree(run.segments / "img.zarr"), tree(labels), labels.with_suffix(".csv").read_bytes()


@pytest.mark.parametrize(
    ("killed", "workers"),
    [
        ("run", 0),
        pytest.param("worker", 2, marks=pytest.mark.slow),
        pytest.param("run", 2, marks=pytest.mark.slow),
    ],
)
def test_killed_at_random_moments_it_goes_on_where_it_was(killed, workers, drawn, tmp_path):
    experiment, run, _ = drawn
    experiment = experiment.model_copy(update={"postprocess": Postprocess(kind="intensity")})
    whole, made = (elsewhere(run, tmp_path / name) for name in ("whole", "run"))
    segment(experiment, whole)
    postprocess(experiment, whole)
    kills = 4 if killed == "run" and workers else 20
    (tmp_path / "experiment.json").write_text(experiment.model_dump_json())
    script = Path(__file__).parent / "killings.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(kills), str(workers), killed],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["kills"] > 0.7 * kills
    assert results(made) == results(whole)
    assert results(made)[2].count(b"\n") > 20
    assert [path.name for path in made.segments.iterdir()] == ["img.zarr"]
    assert {path.name for path in made.labels.iterdir()} == {"img.zarr", "img.csv"}
    # How many blocks were done when each kill came, and how many of these were done anew.
    assert len(set(told["done"])) > kills / 3, "the moments differ"
    assert told["again"] == 0
    in_work = workers if killed == "run" and workers else 1
    begun, blocks = told["begun"], told["blocks"]
    assert blocks <= begun <= blocks + told["kills"] * in_work
