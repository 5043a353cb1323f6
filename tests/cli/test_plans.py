"""What ``check`` and ``--dry-run`` show, what ``--memory`` changes, and what ``--probe`` adds."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cellulus.cli import main
from cellulus.runs import Run

STEPS = ["predict", "survey 1", "segment", "postprocess"]


@pytest.fixture
def said(capsys):
    """Run a command that must succeed, and return what it wrote to stdout."""

    def run(*arguments):
        capsys.readouterr()
        assert main(list(arguments)) == 0
        return capsys.readouterr().out

    return run


def test_a_row_per_step_and_the_disk(place, said):
    text = said("check", "x.toml", "--set", "segment.block=48")
    rows = {line.split("  ")[1].strip(): line for line in text.splitlines() if " x " in line}
    assert [name for name in rows if name in STEPS] == STEPS
    assert re.search(r"predict +16 +32 x 32 +48 x 48 +3\.22", rows["predict"])
    for word in ("halo overhead", "per process", "before compression", "predictions"):
        assert word in text
    assert "cap on memory" not in text


def test_a_cap_is_told_to_be_per_process(place, said):
    text = said("check", "x.toml", "--memory", "900MB")
    assert re.search(r"cap on memory +900 MB per process", text)


@pytest.mark.parametrize(
    "command",
    [["run", "x.toml"], ["predict", "x.toml"], ["segment", "x.toml"], ["postprocess", "x.toml"]],
)
def test_every_dry_run_takes_the_cap_and_writes_nothing(command, place, said):
    before = sorted(Path().rglob("*"))
    assert "cap on memory" in said(*command, "--memory", "2 GB", "--dry-run")
    assert sorted(Path().rglob("*")) == before


def test_the_flag_is_short_for_the_setting(place, said):
    flag = said("check", "x.toml", "--memory", "1.5GB", "--json")
    assert flag == said("check", "x.toml", "--set", "memory=1.5GB", "--json")
    Path("x.toml").write_text('memory = "1.5 GB"\n' + Path("x.toml").read_text())
    assert flag == said("check", "x.toml", "--json")
    assert json.loads(flag)["cap"] == 1_500_000_000


@pytest.mark.parametrize("command", ["check", "run", "predict", "segment", "postprocess"])
@pytest.mark.parametrize("size", ["8", "8 apples"])
def test_a_cap_without_a_unit(command, size, place, refused):
    refused([command, "x.toml", "--memory", size], "memory", '"8 GB"')


def test_a_cap_that_nothing_fits_or_that_what_was_set_does_not_fit(place, refused):
    refused(["check", "x.toml", "--memory", "1 MB"], "memory", "at least", "1 MB")
    place.save("a.png", place.discs((600, 600)))
    more = ["--set", "predict.tile=4096", "--set", "network.features=64"]
    refused(["check", "x.toml", "--memory", "900 MB", *more], "predict.tile", "at most", "4096")


def test_everything_is_there_for_machines(place, said):
    plan = json.loads(said("check", "x.toml", "--json"))
    (image,) = plan["images"]
    assert list(image["steps"]) == STEPS
    cut = image["steps"]["predict"]["cut"]
    assert (cut["count"], cut["core"], cut["outer"]) == (16, [32, 32], [48, 48])
    assert cut["voxels"] == 16 * 48 * 48
    assert set(plan["memory"]) == {"train", *STEPS}
    assert set(plan["disk"]) == {"predictions", "segments", "labels", "staging", "parts"}
    assert plan["cap"] is None
    assert "probe" not in plan


def test_a_probe_without_a_model(place, said):
    before = sorted(Path().rglob("*"))
    tried = json.loads(said("check", "x.toml", "--probe", "--json", "-d", "cpu"))["probe"]
    assert [step["name"] for step in tried["steps"]] == STEPS
    assert [step["seconds"] is None for step in tried["steps"]] == [False, True, True, True]
    assert tried["machine"]
    text = said("check", "x.toml", "--probe", "-d", "cpu", "--workers", "2")
    assert "unknown" in text
    assert "2 workers" in text
    assert sorted(Path().rglob("*")) == before


def test_a_probe_with_the_model_of_the_run_or_one_that_is_named(model, said):
    own = json.loads(said("check", "x.toml", "--probe", "--json", "-d", "cpu"))
    assert all(step["seconds"] > 0 for step in own["probe"]["steps"])
    assert str(model) in own["probe"]["steps"][0]["note"]
    model.parent.rename("runs/other")
    named = json.loads(
        said("check", "x.toml", "--probe", "--json", "-d", "cpu", "-m", "runs/other")
    )
    assert all(step["seconds"] > 0 for step in named["probe"]["steps"])
    assert named["training"] == 0, "with a model nothing is left to be learnt"


def test_a_cap_does_not_stand_in_the_way_of_the_next_step(model, said):
    """The run was trained without a cap; what is predicted under one is its result all the same."""
    said("predict", "x.toml", "-q", "-d", "cpu", "--memory", "2GB")
    said("segment", "x.toml", "-q")
    said("postprocess", "x.toml", "-q", "--memory", "2GB")
    assert Run(Path("runs/x")).recorded().memory == "any"


POINTS = """
[network]
features = 2
growth = 1
depth = 1
head_features = 2
[train]
steps = 1
crop = 48
[method]
name = "point_marker"
"""


def test_check_looks_at_markers_and_says_what_is_odd(place, said):
    place.experiment(more=POINTS)
    text = said("check", "x.toml")
    assert "markers in 1 image, found automatically" in text
    before = sorted(Path().rglob("*"))
    seen = json.loads(said("check", "x.toml", "--json"))["markers"]
    assert seen["summary"] in text
    assert seen["looked_at"][0]["name"] == "a"
    assert all(finding["text"] in text for finding in seen["findings"])
    assert sorted(Path().rglob("*")) == before


def test_only_check_looks_at_markers_and_only_where_points_are_learnt_from(place, said):
    assert "Markers" not in said("check", "x.toml")
    assert "markers" not in json.loads(said("check", "x.toml", "--json"))
    place.experiment(more=POINTS)
    assert "Markers" not in said("run", "x.toml", "--dry-run")
    Path("none.safetensors").write_bytes(b"")
    assert "Markers" not in said("check", "x.toml", "-m", "none.safetensors")


@pytest.mark.parametrize("as_json", [True, False])
def test_hopeless_markers_fail_the_check_and_are_refused_by_train(place, refused, capsys, as_json):
    place.experiment(more=POINTS)
    Path("a.csv").write_text("label,y,x\n1,0,0\n2,0,63\n3,12,12\n")
    place.save("rough.png", place.discs() // 100)
    text = Path("x.toml").read_text()
    train = 'image = "a.png"\npoints = "a.csv"\nforeground = "rough.png"'
    Path("x.toml").write_text(text.replace('image = "a.png"', train, 1))
    assert main(["check", "x.toml", *(["--json"] if as_json else [])]) == 1
    shown = capsys.readouterr()
    assert "GateError" in shown.err
    assert "3 markers" in shown.out
    if as_json:
        findings = json.loads(shown.out)["markers"]["findings"]
        assert findings[0]["hopeless"]
        assert findings[0]["kind"] == "background"
    else:
        assert "2 of 3 markers in the background: a (2)" in shown.out
    refused(["train", "x.toml", "-q", "-d", "cpu"], "data.train", "markers in the foreground")


@pytest.mark.parametrize("command", [["check", "x.toml"], ["train", "x.toml", "-d", "cpu"]])
@pytest.mark.parametrize("channel", ["marker", "cell"])
def test_a_role_of_a_channel_that_is_not_there(place, refused, command, channel):
    place.experiment(data=f'object_diameter = 12\n{channel} = "DAPI"', more=POINTS)
    refused([*command, "-q"], f"data.{channel}", "DAPI")


def test_a_plan_needs_nothing_heavy(place):
    code = (
        "import sys\nfrom cellulus.cli import main\n"
        "code = main(['check', 'x.toml', '--memory', '2GB'])\n"
        "heavy = {'torch', 'numba', 'dask'} & set(sys.modules)\n"
        "sys.exit(code or ', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
