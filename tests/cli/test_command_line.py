import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import cellulus
from cellulus.cli import main

COMMANDS = [
    "run",
    "train",
    "predict",
    "segment",
    "postprocess",
    "evaluate",
    "init",
    "check",
    "convert",
]
SOURCE = Path(cellulus.__file__).parents[1]


def command(*arguments, **more):
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "COLUMNS": "100", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", "cellulus", *arguments],
        capture_output=True, text=True, check=False, env=environment, **more,
    )  # fmt: skip


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "x.toml"
    file.write_text('[[data.apply]]\nimage = "a.png"\n')
    return file


def test_help_lists_the_commands_and_the_exit_codes(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(re.search(rf"^│ {name} ", text, re.MULTILINE) for name in COMMANDS)
    flat = re.sub(r"\s+", " ", text)
    for said in ("0 done", "1 a gate", "2 bad usage", "3 finished", "130 interrupted"):
        assert said in flat


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name, capsys):
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"cellulus {name}" in text
    assert "--verbose" in text


def test_help_is_quick_and_imports_no_torch():
    best = 9.0
    for _ in range(3):
        began = time.perf_counter()
        done = command("--help")
        best = min(best, time.perf_counter() - began)
        assert done.returncode == 0
    assert best < 2, "help takes a fraction of a second; this machine would need a slow day"
    code = (
        "import sys\nfrom cellulus.cli import main\nmain(['train', '--help'])\n"
        "heavy = {'torch', 'zarr', 'numpy', 'scipy', 'skimage'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_version():
    done = command("--version")
    assert (done.stdout.strip(), done.returncode) == (cellulus.__version__, 0)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["train"],
        ["train", "x.toml", "--nonsense"],
        ["train", "x.toml", "--device", "gpu"],
        ["train", "x.toml", "--seed", "-1"],
        ["train", "none.toml"],
        ["train", "none.png"],
        ["train", "x.toml", "y.toml"],
        ["train", "x.toml", "--resume", "--overwrite"],
        ["predict", "a.png"],
        ["predict", "x.toml", "-m", "none"],
        ["segment", "none.zarr"],
        ["segment", "x"],
        ["evaluate", "a.png"],
        ["check", "none.toml"],
        ["check", "."],
        ["init", "none.png"],
        ["init", "."],
        ["convert", "none.tif", "--ngff", "0.3"],
    ],
)
def test_bad_usage_and_bad_input_exit_with_2_and_write_nothing(arguments, experiment, capsys):
    (experiment.parent / "x").mkdir()
    before = sorted(experiment.parent.rglob("*"))
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.err
    assert "Unexpected failure" not in shown.err
    assert not shown.out
    assert sorted(experiment.parent.rglob("*")) == before


def test_all_faults_at_once_with_lines_and_the_nearest_key(tmp_path):
    file = tmp_path / "bad.toml"
    tables = '[[data.train]]\nimage = "a"\n[[data.train]]\nimagee = "b"\n'
    file.write_text(f"{tables}[train]\nstep = 3\n")
    done = command("check", str(file), "--set", "train.elastic=-1")
    assert done.returncode == 2
    assert not done.stdout
    lines = done.stderr.splitlines()
    assert any(line.endswith("did you mean 'image'?") and "bad.toml:4" in line for line in lines)
    assert any(line.endswith("did you mean 'steps'?") and "bad.toml:6" in line for line in lines)
    assert any("bad.toml:3  data.train.1.image: expected a value" in line for line in lines)
    assert any(line.startswith("--set train.elastic=-1  train.elastic") for line in lines)


def test_a_seed_is_an_override(experiment, capsys):
    experiment.write_text("[train]\nsteps = 0\n" + experiment.read_text())
    assert main(["train", "x.toml", "--seed", "7", "--set", "seed=nonsense"]) == 2
    text = capsys.readouterr().err
    assert "x.toml:2" in text
    assert "nonsense" not in text, "the flag comes last"


@pytest.fixture
def images(tmp_path):
    """Draw three small images of bright discs, all of one size."""
    folder = tmp_path / "discs"
    folder.mkdir()
    y, x = np.indices((96, 96))
    for number in range(3):
        image = np.full((96, 96), 10 + number, np.uint8)
        for row in range(16, 96, 32):
            for column in range(16, 96, 32):
                image[np.hypot(y - row, x - column) < 9] = 200
        PIL.Image.fromarray(image).save(folder / f"{number}.png")
    return folder


def test_init_then_check(images):
    done = command("init", "discs", cwd=images.parent)
    assert (done.returncode, done.stdout) == (0, "discs.toml\n")
    assert "3 images: 96 y x 96 x, uint8" in done.stderr
    text = (images.parent / "discs.toml").read_text()
    assert 'image = "discs/*.png"' in text

    again = command("init", "discs", cwd=images.parent)
    assert again.returncode == 2
    assert "--overwrite" in again.stderr
    assert (images.parent / "discs.toml").read_text() == text
    assert command("init", "discs", "--overwrite", "-q", cwd=images.parent).stderr == ""

    began = time.perf_counter()
    checked = command("check", "discs.toml", cwd=images.parent)
    assert checked.returncode == 0, checked.stderr
    assert time.perf_counter() - began < 5, "a second, and room for a busy machine"
    assert "96 x 96" in checked.stdout
    assert "memory, estimated" in checked.stdout
    assert sorted(path.name for path in images.parent.iterdir()) == ["discs", "discs.toml"]


def test_check_imports_no_torch(images):
    command("init", "discs", cwd=images.parent)
    code = (
        "import sys\nfrom cellulus.cli import main\n"
        "code = main(['check', 'discs.toml'])\nsys.exit(code or 'torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=False, env=environment, cwd=images.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_init_with_masks_makes_an_experiment_that_learns_from_them(images, monkeypatch, capsys):
    monkeypatch.chdir(images.parent)
    shutil.copytree(images, "drawn")
    assert main(["init", "discs", "--masks", "drawn", "-q"]) == 0
    assert 'masks = "drawn/*.png"' in Path("discs.toml").read_text()
    assert main(["check", "discs.toml", "-q"]) == 0
    assert main(["init", "discs", "--masks", "drawn/0.png", "-q", "--overwrite"]) == 2
    assert "one mask for each of the 3 images" in " ".join(capsys.readouterr().err.split())


def test_a_plan_for_machines(images, monkeypatch, capsys):
    monkeypatch.chdir(images.parent)
    main(["init", "discs", "-q"])
    capsys.readouterr()
    assert main(["check", "discs.toml", "--json", "--set", "predict.tile=64"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["tile"] == 64
    assert [image["shape"] for image in plan["images"]] == [[96, 96]] * 3


@pytest.mark.parametrize("name", ["run", "train"])
def test_a_dry_run_of_images_shows_the_plan_and_writes_nothing(name, images, monkeypatch, capsys):
    monkeypatch.chdir(images.parent)
    assert main([name, "discs/0.png", "discs/1.png", "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert "96 x 96" in shown.out
    assert "2 images" in shown.err
    assert [path.name for path in images.parent.iterdir()] == ["discs"]


def test_an_image_that_is_not_there_is_found_by_check(experiment, capsys):
    assert main(["check", "x.toml"]) == 2
    assert "a.png" in capsys.readouterr().err


def test_an_interrupt_from_the_keyboard(experiment):
    """A real signal to a real process, in the middle of a step that never ends."""
    code = (
        "import sys, time, types\n"
        "step = types.ModuleType('cellulus.pipeline.train')\n"
        "def train(*arguments, **options):\n"
        "    sys.stdout.write('ready\\n')\n    sys.stdout.flush()\n    time.sleep(60)\n"
        "step.train = train\n"
        "sys.modules[step.__name__] = step\n"
        "from cellulus.cli import main\n"
        "sys.argv[1:] = ['train', 'x.toml', '--overwrite']\n"
        "sys.exit(main())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=experiment.parent, env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "cellulus train x.toml --resume" in said
    assert "Traceback" not in said
