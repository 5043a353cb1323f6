"""``cellulus evaluate --seams``: what it says of labels with seams, and of labels without."""

import json
import math

import numpy as np
import pytest

from cellulus.cli import main
from cellulus.data import writer
from cellulus.space import VoxelSize

BLOCK = 64


def cells(edge=512):
    """Round cells, close together, none of which knows of blocks, nor of a lattice."""
    rng = np.random.default_rng(0)
    labels = np.zeros((edge, edge), np.uint32)
    y, x = np.indices(labels.shape)
    for number, (cy, cx) in enumerate(rng.uniform(0, edge, (edge**2 // 150, 2)), start=1):
        box = tuple(slice(max(0, math.floor(c) - 7), math.ceil(c) + 8) for c in (cy, cx))
        inside = (y[box] - cy) ** 2 + (x[box] - cx) ** 2 <= 5.5**2
        labels[box][inside & (labels[box] == 0)] = number
    return labels


def write(path, labels, notes):
    spec = writer.Spec(
        kind="labels", axes="yx", shape=labels.shape, dtype=np.dtype(np.uint32),
        voxel_size=VoxelSize((1.0, 1.0)), attributes=notes,
    )  # fmt: skip
    pending = writer.create(path, spec)
    pending.write((slice(None), slice(None)), labels)
    return pending.publish()


def test_labels_without_seams_pass(tmp_path, capsys):
    path = write(tmp_path / "whole.zarr", cells(), {"cut": [BLOCK, BLOCK]})
    assert main(["evaluate", str(path), "--seams"]) == 0
    assert "passed" in capsys.readouterr().out


def test_labels_that_were_never_joined_fail(tmp_path, capsys):
    labels = cells()
    blocks = np.indices(labels.shape) // BLOCK
    cut = np.where(labels, labels + 10_000 * (blocks[0] * 8 + blocks[1]).astype(np.uint32), 0)
    path = write(tmp_path / "cut.zarr", cut.astype(np.uint32), {"cut": [BLOCK, BLOCK]})
    assert main(["evaluate", str(path), "--seams", "--json"]) == 1
    shown = capsys.readouterr()
    (found,) = json.loads(shown.out)
    assert not found["passed"]
    assert found["seams"]["ratio"] > 1.2
    assert "cut along y" in shown.err


def test_labels_of_unknown_blocks_are_refused(tmp_path, capsys):
    path = write(tmp_path / "foreign.zarr", cells(128), {})
    assert main(["evaluate", str(path), "--seams"]) == 2
    assert "blocks" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["labels", "predictions"])
def test_a_run_without_results_is_refused(tmp_path, capsys, monkeypatch, missing):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "img.zarr", cells(64), {})
    (tmp_path / "x.toml").write_text('[[data.apply]]\nimage = "img.zarr"\n')
    if missing == "predictions":
        for folder in ("labels", "segments"):
            write(tmp_path / f"runs/x/{folder}/img.zarr", cells(64), {"cut": [32, 32]})
    assert main(["evaluate", "x.toml", "--seams"]) == 2
    assert missing in capsys.readouterr().err
