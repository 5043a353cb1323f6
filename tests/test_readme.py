"""What the README says: its commands run (shortened), its Python runs, what it names exists."""

import ast
import itertools
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer.main

from cellulus.cli import app, main
from cellulus.experiment.faults import ExperimentError, models_in
from cellulus.experiment.load import load, parse
from cellulus.experiment.sections import Experiment, Network
from cellulus.methods import AnyMethod
from cellulus.nn import shapes
from cellulus.pipeline.extents import object_width
from cellulus.runs import Run

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
FEW = ("train.steps=2", "method.passes=2", "network.features=4", "network.head_features=4")
SHORT = [word for change in FEW for word in ("--set", change)]


def blocks(language, text=TEXT):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def command_lines():
    """Return every command line, and those of the examples' pages, as words without comments."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    for page in (ROOT / "examples").glob("*/README.md"):
        lines += re.findall(r"^ {4}((?:cellulus|python) .*)$", page.read_text(), re.MULTILINE)
    return [
        part for line in lines for part in _parts(shlex.split(line, comments=True))
        if part and Path(part[0]).name == "cellulus"
    ]  # fmt: skip


def _parts(words):
    """Split at ``&&``."""
    part = []
    for word in words:
        if word == "&&":
            yield part
            part = []
        else:
            part.append(word)
    yield part


COMMANDS = command_lines()
GROUP = typer.main.get_command(app)


def test_there_are_commands():
    assert {words[1] for words in COMMANDS} >= {"run", "predict", "segment", "convert", "init"}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_and_option_exists(words):
    command = GROUP.commands[words[1]]
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_setting_exists(words):
    changes = [value for flag, value in itertools.pairwise(words) if flag == "--set"]
    refused = []
    for method in models_in(AnyMethod):
        name = method.model_fields["name"].default
        text = f'[method]\nname = "{name}"\n[[data.apply]]\nimage = "a"\n'
        try:
            parse(text, source="a", base=Path(), overrides=changes)
        except ExperimentError as error:
            refused.append(error)
    assert len(refused) < len(list(models_in(AnyMethod))), refused


def test_every_option_named_in_the_text_exists():
    known = {o for command in GROUP.commands.values() for p in command.params for o in p.opts}
    prose = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    named = {word for word in re.findall(r"`(-[-a-z]+)`", prose) if word != "--help"}
    assert named
    assert named <= known


def test_every_file_named_exists():
    for link in re.findall(r"\]\(([^):]+)\)", TEXT):
        assert (ROOT / link).exists(), link
    for path in re.findall(r"examples/[\w/.]*\w", TEXT):
        assert (ROOT / path).exists(), path


def test_results_are_called_what_the_table_says():
    names = set(re.findall(r"`([\w.]+(?:/|\.jsonl?|\.html|\.safetensors))`", TEXT))
    run = Run(Path())
    places = [run.model, run.log, run.scores, run.report]
    folders = [run.state, run.predictions, run.segments, run.labels]
    assert {p.name for p in places} | {f"{p.name}/" for p in folders} <= names


def test_the_view_is_the_networks():
    assert f"({shapes.view(Experiment().network.depth)} voxels)" in TEXT
    widths = tuple(f"{object_width(Network(), ndim):g}" for ndim in (2, 3))
    assert "are {} voxels wide (2D) or {} (3D)".format(*widths) in TEXT


def test_the_exit_codes_are_those_of_the_help(capsys):
    main(["--help"])
    flat = re.sub(r"\s+", " ", capsys.readouterr().out)
    said = re.search(r"Exit codes: .*?130 interrupted\.", re.sub(r"\s+", " ", TEXT)).group()
    assert said in flat


@pytest.mark.parametrize("block", blocks("toml"))
def test_the_experiment_file_is_valid(block):
    experiment = parse(block, source="README.md", base=Path())
    drawn = [entry.truth for entry in experiment.data.apply]
    drawn += [entry.masks or entry.points for entry in experiment.data.train]
    assert any(drawn)


def test_the_checks_are_those_of_the_project():
    """The command that ends in pytest installs what the checks need, and is the only such."""
    (line,) = re.findall(r"^python3 -m venv .*pytest$", TEXT, re.MULTILINE)
    tools = {Path(part[0]).name for part in _parts(shlex.split(line))}
    assert tools == {"python3", "pip", "ruff", "mypy", "pytest"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.match(r"[\w-]+", need).group() for need in project["optional-dependencies"]["dev"]}
    assert {"ruff", "mypy", "pytest"} <= wanted


def test_what_the_checks_install_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needs = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    lines = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0] for line in lines if "==" in line}
    assert {re.match(r"[\w-]+", need).group().lower() for need in needs} <= pinned


def test_the_checks_stop_at_the_first_that_fails():
    script = (ROOT / ".ci" / "run").read_text()
    assert "set -euo pipefail" in script
    assert subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=False).returncode == 0


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """Stand in a folder with what the README's commands name, and nothing else."""
    made = shutil.ignore_patterns("runs", "*.zarr")
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=made)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_first_command_gives_the_report(clone, capsys):
    words = COMMANDS[0]
    assert words[0] == ".venv/bin/cellulus"
    assert main([*words[1:], *SHORT]) == 0
    report = Path(capsys.readouterr().out.strip())
    assert str(report) in TEXT
    assert report.is_file()


def test_the_python_runs(clone):
    (code,) = blocks("python")
    ast.parse(code)
    # The same code, with fewer steps and passes, in an interpreter of its own.
    few = ", ".join(repr(change) for change in FEW)
    shorter = code.replace('["train.steps=500"]', f"[{few}]")
    assert shorter != code
    done = subprocess.run(
        [sys.executable, "-c", shorter], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\(1, \d+, \d+\)$", done.stdout.strip())
    assert load(Path("runs/python/experiment.toml")).data.apply
