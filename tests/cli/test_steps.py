"""Each command against a step that only records what it was asked: the wiring, not the work."""

import errno
import json
import sys
import types
from pathlib import Path

import pytest

from cellulus.cli import main
from cellulus.errors import GateError
from cellulus.experiment.sections import ApplyImage, Data, Experiment
from cellulus.ops.scores import ImageScores, Matches, Scores
from cellulus.runs import Run

SCORES = Scores(
    tuple(ImageScores(name, 4, 5, 3.0, (Matches(0.5, 3, 2, 1, 2.5),)) for name in ("a", "b"))
)


@pytest.fixture
def step(tmp_path, monkeypatch):
    """Stand in for a step of the library; `step.calls` is what it was asked to do."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.toml").write_text('[[data.apply]]\nimage = "a.png"\n')
    calls = []

    def install(name, answer):
        def function(*arguments, **options):
            calls.append((arguments, options))
            if isinstance(answer, BaseException):
                raise answer
            return answer

        module = types.ModuleType(f"cellulus.pipeline.{name}")
        setattr(module, name, function)
        module.evaluate_paths = function
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return calls

    return install


def recorded(folder="runs/x"):
    return Run(Path(folder)).recorded()


def test_train(step, capsys):
    calls = step("train", Path("runs/x/model.safetensors"))
    assert main(["train", "x.toml", "-d", "cpu", "--set", "train.steps=3", "--seed", "5"]) == 0
    assert capsys.readouterr().out == "runs/x/model.safetensors\n"
    ((experiment, run), options) = calls[0]
    assert (experiment.train.steps, experiment.seed) == (3, 5)
    assert run.folder == Path("runs/x")
    assert (options["device"], options["resume"]) == ("cpu", False)
    assert recorded() == experiment


def test_train_does_not_replace_a_model_unasked(step, capsys):
    calls = step("train", Path("m"))
    main(["train", "x.toml"])
    Path("runs/x/model.safetensors").write_text("precious")
    assert main(["train", "x.toml"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert len(calls) == 1
    assert main(["train", "x.toml", "--resume"]) == 0
    assert main(["train", "x.toml", "--overwrite"]) == 0
    assert [options["resume"] for _, options in calls] == [False, True, False]
    assert Path("runs/x/model.safetensors").read_text() == "precious", "replaced when done"


def test_resume_with_other_settings(step, capsys):
    step("train", Path("m"))
    main(["train", "x.toml"])
    assert main(["train", "x.toml", "--resume", "--set", "train.steps=4"]) == 2
    assert "train.steps: 2000 then, 4 now" in capsys.readouterr().err


def test_convert(step, capsys):
    calls = step("convert", [Path("converted/a.zarr")])
    arguments = ["convert", "a.tif", "b", "--ngff", "0.4", "--axes", "zyx", "--overwrite"]
    assert main(arguments) == 0
    assert capsys.readouterr().out == "converted/a.zarr\n"
    ((files, output), options) = calls[0]
    assert (files, output) == (["a.tif", "b"], "converted")
    assert (options["ngff"], options["axes"], options["overwrite"]) == ("0.4", "zyx", True)


@pytest.mark.parametrize("name", ["segment", "postprocess"])
def test_labels_are_printed_one_per_line(name, step, capsys):
    calls = step(name, [Path("runs/x/labels/a.zarr"), Path("runs/x/labels/b.zarr")])
    assert main([name, "x.toml", "--overwrite"]) == 0
    assert capsys.readouterr().out == "runs/x/labels/a.zarr\nruns/x/labels/b.zarr\n"
    assert calls[0][1]["overwrite"] is True


def test_run(step, capsys):
    calls = step("run", Path("runs/y/report.html"))
    assert main(["run", "x.toml", "-o", "runs/y", "-q"]) == 0
    assert capsys.readouterr() == ("runs/y/report.html\n", "")
    assert calls[0][0][1].folder == Path("runs/y")


def test_predict_an_image_with_the_model_of_a_run(step):
    trained = Experiment(
        seed=3, data=Data(apply=(ApplyImage(image="/old.png", truth="/t.png"),), object_diameter=9)
    )
    run = Run.start(Path("runs/old"), trained, "")
    run.model.write_text("")
    calls = step("predict", [])
    for model in ("runs/old", "runs/old/model.safetensors"):
        assert main(["predict", "new/b.png", "-m", model, "--overwrite"]) == 0
        ((experiment, target), options) = calls.pop()
        assert options["model"] == run.model
        assert target.folder == Path("runs/b")
        assert experiment.seed == 3
        assert experiment.data.object_diameter == trained.data.object_diameter
        assert experiment.data.apply == (ApplyImage(image=str(Path("new/b.png").absolute())),)
    assert run.recorded() == trained


def test_predict_with_the_run_of_the_experiment(step):
    calls = step("predict", [])
    assert main(["predict", "x.toml"]) == 0
    assert calls[0][1]["model"] is None
    assert main(["predict", "runs/x"]) == 0
    assert calls[1][0] == calls[0][0]


def test_segment_a_prediction_of_a_run(step):
    trained = Experiment(seed=8, data=Data(apply=(ApplyImage(image="/a"),)))
    run = Run.start(Path("runs/old"), trained, "")
    inside = run.predictions / "a.zarr"
    inside.mkdir(parents=True)
    calls = step("segment", [])
    assert main(["segment", str(inside)]) == 0
    ((experiment, target), options) = calls[0]
    assert experiment.seed == 8
    assert target.folder.absolute() == run.folder.absolute()
    assert options["predictions"] == [inside]


def test_postprocess_labels_that_no_run_made(step):
    Path("labels.tif").write_text("")
    calls = step("postprocess", [])
    changes = ["--set", "postprocess.kind=cell", "--set", "data.object_diameter=9"]
    assert main(["postprocess", "labels.tif", *changes]) == 0
    ((experiment, target), options) = calls[0]
    assert experiment.postprocess.kind == "cell"
    assert target.folder == Path("runs/labels")
    assert options["labels"] == ["labels.tif"]


def test_evaluate_prints_a_row_per_image_and_one_of_all(step, capsys):
    step("evaluate", SCORES)
    assert main(["evaluate", "x.toml"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "0." in line]
    assert [row[0] for row in rows[-3:]] == ["a", "b", "pooled"]
    assert rows[-1] == ["pooled", "8", "10", "0.750", "0.667", "0.500"]


def test_evaluate_two_paths_as_json(step, capsys):
    calls = step("evaluate", SCORES)
    arguments = ["evaluate", "a.tif", "b.tif", "--json", "--set", "evaluate.iou=[0.3]", "-o", "s"]
    assert main(arguments) == 0
    assert calls[0][0] == ("a.tif", "b.tif", (0.3,))
    printed = json.loads(capsys.readouterr().out)
    assert printed["pooled"]["n_true"] == 8
    assert json.loads(Path("s/scores.json").read_text()) == printed


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (GateError("f1", expected="at least 0.9", found="0.5"), 1, "GateError: f1"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "Disk full"),
        (MemoryError(), 2, "predict.tile"),
        (ZeroDivisionError("division by zero"), 2, "Unexpected failure: ZeroDivisionError"),
        (KeyboardInterrupt(), 130, "kept in runs/x"),
    ],
)
def test_what_goes_wrong_becomes_a_message_and_a_code(failure, code, said, step, capsys):
    step("train", failure)
    assert main(["train", "x.toml"]) == code
    shown = capsys.readouterr()
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert not shown.out


def test_where_a_failure_happened_is_shown_when_asked(step, capsys):
    step("train", ZeroDivisionError("division by zero"))
    assert main(["train", "x.toml", "-v"]) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "ZeroDivisionError" in shown


def test_an_interrupted_command_says_how_to_go_on(step, capsys, monkeypatch):
    step("train", KeyboardInterrupt())
    monkeypatch.setattr(sys, "argv", ["cellulus", "train", "x.toml", "--overwrite", "--set", "a b"])
    main(["train", "x.toml"])
    assert "cellulus train x.toml --set 'a b' --resume" in capsys.readouterr().err
