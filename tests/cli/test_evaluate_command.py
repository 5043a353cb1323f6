"""``cellulus evaluate`` on label files: who counts, what is kept, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellulus.blocks import cluster
from cellulus.blocks.crew import Alone
from cellulus.cli import main
from cellulus.ops.scores import evaluate_labels
from cellulus.pipeline import overlaps


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Stand in a folder with labels and a truth, each of 16 blocks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(overlaps, "portion_of", lambda *_: (16, 16))
    truth = np.kron(np.arange(64).reshape(8, 8), np.ones((8, 8), int)).astype(np.uint16)
    labels = np.roll(truth, 3, axis=1)
    for name, array in (("labels.tif", labels), ("truth.tif", truth)):
        tifffile.imwrite(name, array, metadata={"axes": "YX"})
    return evaluate_labels(labels, truth, (0.5, 0.75), name="labels")


def test_two_processes_score_what_one_does(files, capsys):
    outputs = []
    for more in ([], ["--workers", "2"], ["--workers", "2", "-o", "kept"]):
        assert main(["evaluate", "labels.tif", "truth.tif", "--json", "-q", *more]) == 0
        outputs.append(capsys.readouterr().out)
    assert len(set(outputs)) == 1
    assert json.loads(outputs[0])["pooled"]["n_true"] == files.n_true
    assert Path("kept/scores.json").read_text() == outputs[0]
    assert sorted(p.name for p in Path().iterdir()) == ["kept", "labels.tif", "truth.tif"]
    assert [p.name for p in Path("kept").iterdir()] == ["scores.json"]


def test_an_interrupted_evaluation_is_gone_on_with(files, monkeypatch, capsys):
    command = ["evaluate", "labels.tif", "truth.tif", "--json", "-o", "kept"]
    asked = []
    do = Alone.do

    def cut(self, tasks):
        for end in do(self, tasks):
            asked.append(end.task.index)
            yield end
            if len(asked) == 5:
                raise KeyboardInterrupt

    monkeypatch.setattr(Alone, "do", cut)
    assert main(command) == 130
    assert "--resume" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    assert asked == list(range(16))
    assert json.loads(capsys.readouterr().out)["pooled"]["n_true"] == files.n_true


def test_seams_are_looked_for_in_one_process(files, capsys):
    assert main(["evaluate", "labels.tif", "--seams", "--workers", "2"]) == 2
    assert "--seams: expected neither --workers nor --scheduler" in capsys.readouterr().err


def test_a_scheduler_that_does_not_answer_is_named(files, monkeypatch, capsys):
    monkeypatch.setattr(cluster, "TIMEOUT", 0.3)
    arguments = ["evaluate", "labels.tif", "truth.tif", "--scheduler", "tcp://127.0.0.1:9"]
    assert main(arguments) == 2
    assert "tcp://127.0.0.1:9" in capsys.readouterr().err
