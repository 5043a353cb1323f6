"""What goes wrong on the way: a full disk, Ctrl-C, nothing to be found."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

import cellulus
from cellulus.cli import main
from cellulus.pipeline import model as models

SOURCE = Path(cellulus.__file__).parents[1]


def process(*arguments, before=""):
    code = f"import sys\n{before}\nfrom cellulus.cli import main\nsys.exit(main(sys.argv[1:]))\n"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def full_disk(largest):
    """Let no file grow beyond a size [byte]: what is written then fails in the middle."""
    return f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({largest}, {largest}))"


def leftovers():
    return [path.name for path in Path().rglob(".*") if path.is_file()]


def test_a_full_disk_in_training(place):
    wide = ["--set", "network.features=24", "-d", "cpu"]  # a model of more than 9 kB
    done = process("train", "x.toml", *wide, before=full_disk(9_000))
    out, err = done.communicate(timeout=60)
    assert (done.returncode, out) == (2, "")
    assert "StorageError: runs/x/model.safetensors" in err
    assert "--output" in err
    assert not Path("runs/x/model.safetensors").exists()
    assert leftovers() == []
    assert main(["train", "x.toml", *wide, "--resume"]) == 0


def test_a_full_disk_in_prediction(place, model):
    place.save("c.png", np.random.default_rng(0).integers(0, 255, (128, 128), np.uint8))
    arguments = ["predict", "c.png", "-m", "runs/x", "-d", "cpu"]
    full_from_the_first_tile = (
        "import zarr\nwrite = zarr.Array.__setitem__\n"
        f"def limited(*arguments):\n    {full_disk(100).replace(chr(10), '; ')}\n"
        "    return write(*arguments)\n"
        "zarr.Array.__setitem__ = limited\n"
    )
    done = process(*arguments, before=full_from_the_first_tile)
    out, err = done.communicate(timeout=60)
    assert (done.returncode, out) == (2, "")
    assert "StorageError: runs/c/predictions/c.zarr" in err
    assert not Path("runs/c/predictions/c.zarr").exists()
    assert main([*arguments, "--resume"]) == 0
    assert [path.name for path in Path("runs/c/predictions").iterdir()] == ["c.zarr"]


def test_a_full_disk_in_conversion(place):
    place.save("c.png", np.random.default_rng(0).integers(0, 255, (256, 256), np.uint8))
    done = process("convert", "c.png", before=full_disk(20_000))
    out, err = done.communicate(timeout=60)
    assert (done.returncode, out) == (2, "")
    assert "c.zarr" in err
    assert not list(Path("converted").glob("*"))


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(place):
    """A real signal to a real process; steps are slowed down, so that it comes in between."""
    long = ["train", "x.toml", "-d", "cpu", "--set", "train.steps=40"]
    slow = (
        "import time\nfrom cellulus.pipeline.learning import Learning\nquick = Learning.step\n"
        "def step(*arguments):\n    time.sleep(0.2)\n    return quick(*arguments)\n"
        "Learning.step = step\n"
    )
    running = process(*long, before=slow)
    state = Path("runs/x/state/last.pt")
    until = time.monotonic() + 60
    while not state.exists() and running.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "")
    assert "--resume" in err
    assert "Traceback" not in err
    assert leftovers() == []
    done = torch.load(state, weights_only=True)["history"]["step"]
    assert 2 <= done < 40

    assert main([*long, "--resume", "-q"]) == 0
    assert main([*long, "-o", "runs/uncut", "-q"]) == 0
    cut, uncut = (models.load(Path(f"runs/{name}/model.safetensors")) for name in ("x", "uncut"))
    pairs = zip(cut.network.parameters(), uncut.network.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("command", ["segment", "run"])
def test_no_object_found_is_a_valid_empty_result(command, place, capsys):
    nothing = ["--set", "segment.min_size=1000", "-d", "cpu"]
    if command == "segment":
        assert main(["train", "x.toml", *nothing]) == main(["predict", "x.toml", *nothing]) == 0
        nothing = nothing[:2]
    capsys.readouterr()
    assert main([command, "x.toml", *nothing]) == 0
    shown = capsys.readouterr()
    assert "a: no object found" in shown.err
    folder = "segments" if command == "segment" else "labels"
    labels = zarr.open_group(f"runs/x/{folder}/a.zarr", mode="r")["0"]
    assert labels.shape == (64, 64)
    assert labels.dtype == np.uint32
    assert not labels[:].any()
    if command == "run":
        assert "No object was found" in Path("runs/x/report.html").read_text()
