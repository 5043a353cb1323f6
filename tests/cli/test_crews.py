"""Who works: ``--workers`` and ``--scheduler``, and what is said of blocks that were left out."""

import re
import subprocess
import sys
import types
from contextlib import nullcontext
from pathlib import Path

import pytest

from cellulus.blocks import cluster, slurm
from cellulus.blocks.crew import Alone
from cellulus.cli import crews, main
from cellulus.errors import InputError

STEPS = ["predict", "segment", "postprocess", "run"]


@pytest.fixture
def step(tmp_path, monkeypatch):
    """Stand in for a step; return a function that says what it does with its crew."""
    monkeypatch.chdir(tmp_path)
    Path("x.toml").write_text('[[data.apply]]\nimage = "a.png"\n')

    def install(name, act):
        def function(*_arguments, crew, **_options):
            act(crew)
            return "out.zarr" if name == "run" else ["out.zarr"]

        for known in (name, *(["fuse"] if name == "predict" else [])):
            module = types.ModuleType(f"cellulus.pipeline.{known}")
            setattr(module, known, function)
            monkeypatch.setitem(sys.modules, module.__name__, module)

    return install


@pytest.mark.parametrize("name", STEPS)
def test_this_process_works_unless_others_are_asked_for(name, step):
    seen = []
    step(name, seen.append)
    assert main([name, "x.toml"]) == 0
    assert [type(crew) for crew in seen] == [Alone]


@pytest.mark.parametrize("name", STEPS)
def test_processes_are_started(name, step, monkeypatch):
    asked, seen = [], []

    class Started:
        def __enter__(self):
            return Alone()

        def __exit__(self, *_):
            seen.append("gone")

    def start(count, gpus):
        asked.append((count, gpus))
        return Started()

    monkeypatch.setattr(cluster, "start", start)
    monkeypatch.setattr(cluster, "gpus", lambda: ["0", "1"])
    step(name, seen.append)
    assert main([name, "x.toml", "--workers", "3"]) == 0
    assert asked == [(3, ["0", "1"] if name in {"predict", "run"} else ())]
    assert [type(crew) for crew in seen] == [Alone, str]


@pytest.mark.parametrize("name", STEPS)
def test_a_scheduler_that_does_not_answer_is_named_and_nothing_is_written(
    name, step, monkeypatch, capsys
):
    monkeypatch.setattr(cluster, "TIMEOUT", 0.3)
    step(name, lambda _crew: pytest.fail("nobody works"))
    assert main([name, "x.toml", "--scheduler", "tcp://127.0.0.1:9"]) == 2
    shown = capsys.readouterr()
    assert "tcp://127.0.0.1:9: expected a dask scheduler" in shown.err
    assert re.search(r"found none \(.+\)", shown.err)
    assert "Unexpected failure" not in shown.err
    assert not shown.out
    assert [path.name for path in Path().iterdir()] == ["x.toml"]


@pytest.mark.parametrize("device", ["cpu", "cuda:1", "mps"])
def test_no_gpus_are_dealt_out_where_a_device_is_named(device, step, monkeypatch):
    asked = []

    def start(_count, gpus):
        asked.append(gpus)
        return nullcontext(Alone())

    monkeypatch.setattr(cluster, "start", start)
    monkeypatch.setattr(cluster, "gpus", lambda: pytest.fail("nobody asks"))
    step("predict", lambda _crew: None)
    assert main(["predict", "x.toml", "--workers", "3", "-d", device]) == 0
    assert asked == [()]


@pytest.mark.parametrize("address", ["http://127.0.0.1:8786", "sge", "tcp://here"])
def test_what_is_no_address_is_named_and_nothing_is_written(address, step, capsys):
    step("segment", lambda _crew: pytest.fail("nobody works"))
    assert main(["segment", "x.toml", "--scheduler", address]) == 2
    shown = capsys.readouterr()
    assert "--scheduler: expected slurm, or the address of a dask scheduler" in shown.err
    assert address in shown.err
    assert "Unexpected failure" not in shown.err
    assert [path.name for path in Path().iterdir()] == ["x.toml"]


@pytest.mark.parametrize("name", STEPS)
def test_slurm_is_asked_for_what_the_experiment_says(name, step, monkeypatch):
    asked, seen = [], []

    def submit(settings, logs):
        asked.append((settings, logs))
        return nullcontext(Alone())

    monkeypatch.setattr(slurm, "submit", submit)
    with Path("x.toml").open("a") as file:
        file.write('[slurm]\njobs = 7\npartition = "gpu"\n')
    step(name, seen.append)
    changes = ["--set", "slurm.memory=64GB", "-o", "there"]
    assert main([name, "x.toml", "--scheduler", "slurm", *changes]) == 0
    wanted = slurm.Slurm(jobs=7, partition="gpu", memory="64GB")
    assert asked == [(wanted, Path("there/slurm"))]
    assert len(seen) == 1


@pytest.mark.parametrize("name", STEPS)
def test_a_machine_without_slurm_is_told_so_and_nothing_is_written(
    name, step, monkeypatch, capsys, tmp_path
):
    monkeypatch.setenv("PATH", str(tmp_path))
    step(name, lambda _crew: pytest.fail("nobody works"))
    assert main([name, "x.toml", "--scheduler", "slurm"]) == 2
    assert "--scheduler slurm: expected the command sbatch, found none" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["x.toml"]


def test_wrong_words_for_slurm_are_named(step, capsys):
    step("segment", lambda _crew: pytest.fail("nobody works"))
    Path("x.toml").write_text(
        '[[data.apply]]\nimage = "a.png"\n'
        '[slurm]\nmemory = "lots"\nwalltime = "4h"\ndirectives = ["gres=gpu:1"]\njob = 3\n'
    )
    assert main(["segment", "x.toml", "--scheduler", "slurm"]) == 2
    said = capsys.readouterr().err
    assert 'x.toml:4  slurm.memory: expected a whole number of KB, MB, GB or TB, as "16GB"' in said
    assert "slurm.walltime: expected a time as Slurm writes it" in said
    assert "slurm.directives: expected options of sbatch" in said
    assert "did you mean 'jobs'" in said


def test_without_an_experiment_slurm_is_asked_for_nothing():
    with pytest.raises(InputError, match=r"\[slurm\]"), crews.hired(None, "slurm"):
        pass


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_a_number_of_workers_that_is_none(count, step, capsys):
    step("segment", lambda _crew: pytest.fail("nobody works"))
    assert main(["segment", "x.toml", "--workers", count]) == 2
    assert "--workers" in capsys.readouterr().err


def test_processes_and_a_scheduler_exclude_each_other(step, capsys):
    step("segment", lambda _crew: pytest.fail("nobody works"))
    assert main(["segment", "x.toml", "--workers", "2", "--scheduler", "tcp://h:1"]) == 2
    assert "expected one of the two, found both" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["x.toml"]


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("count", [1, 25])
def test_blocks_that_were_left_out_are_listed_after_the_results(name, count, step, capsys):
    lines = [f"img: label of block {index}: ValueError: bad" for index in range(count)]
    step(name, lambda crew: crew.left_out.extend(lines))
    assert main([name, "x.toml"]) == 3
    shown = capsys.readouterr()
    assert shown.out == "out.zarr\n"
    assert "QuarantineError" in shown.err
    assert f"{count} that had to be left out" in shown.err
    assert "--resume" in shown.err
    listed = re.findall(r"label of block (\d+)", shown.err)
    assert listed == [str(index) for index in range(min(count, crews.LISTED))]
    assert ("and 5 more" in shown.err) == (count == 25)


def test_a_step_that_fails_says_so_and_not_what_was_left_out(step, capsys):
    def fail(crew):
        crew.left_out.append("img: label of block 3: bad")
        raise ZeroDivisionError("division by zero")

    step("segment", fail)
    assert main(["segment", "x.toml"]) == 2
    assert "left out" not in capsys.readouterr().err


@pytest.mark.parametrize("name", STEPS)
def test_help_names_both_and_imports_no_dask(name):
    code = (
        "import sys\nfrom cellulus.cli import main\nmain([sys.argv[1], '--help'])\n"
        "heavy = {'torch', 'zarr', 'numpy', 'dask', 'distributed'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--workers" in done.stdout
    assert "--scheduler" in done.stdout


def test_two_processes_predict_and_segment_what_one_does(place, model, capsys):
    """For real, from images to labels; paths are relative, as one types them."""
    more = ["--set", "segment.block=32", "--set", "predict.tile=32", "-q"]
    for folder, crew in (("one", []), ("two", ["--workers", "2"])):
        arguments = ["-o", f"runs/{folder}", *more, *crew]
        assert main(["predict", "a.png", "b.png", "-m", "runs/x", "-d", "cpu", *arguments]) == 0
        assert main(["segment", f"runs/{folder}", *more, *crew]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "runs/two/segments/a.zarr" in shown.out
    for step in ("predictions", "segments"):
        one, two = ({
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()
        } for folder in (Path("runs/one", step), Path("runs/two", step)))  # fmt: skip
        assert one == two
        assert one
