import json
import subprocess
import sys
from pathlib import Path

import pytest

from cellulus.blocks.slurm import Slurm
from cellulus.errors import ExistsError, InputError, MissingError
from cellulus.experiment.sections import ApplyImage, Data, Experiment, Train
from cellulus.runs import Run

FIRST = Experiment(data=Data(apply=(ApplyImage(image="/a.tif"),), object_diameter="9.61234567 um"))
OTHER = FIRST.model_copy(update={"train": Train(steps=7, elastic=0.25), "seed": 3})


def start(folder, experiment=FIRST, text="# as given\n", **how):
    return Run.start(folder, experiment, text, **how)


def test_a_new_run_records_everything(tmp_path):
    run = start(tmp_path / "runs" / "x")
    assert run.experiment.read_text() == "# as given\n"
    record = json.loads(run.resolved.read_text())
    assert record["experiment"]["train"]["steps"] == 2000
    assert record["seed"] == 0
    assert {"python", "torch", "cellulus", "zarr"} <= set(record["versions"])
    assert run.recorded() == FIRST


def test_everything_lies_in_the_folder(tmp_path):
    run = Run(tmp_path)
    places = [
        run.experiment, run.resolved, run.model, run.state, run.log, run.predictions,
        run.segments, run.labels, run.scores, run.report,
    ]  # fmt: skip
    assert {place.parent for place in places} == {tmp_path}
    assert len(set(places)) == len(places)
    assert not list(tmp_path.iterdir())


def test_the_same_experiment_comes_back_to_its_run(tmp_path):
    start(tmp_path)
    before = (tmp_path / "resolved.json").stat().st_mtime_ns
    start(tmp_path)
    start(tmp_path, resume=True)
    start(tmp_path, overwrite=True)
    assert (tmp_path / "resolved.json").stat().st_mtime_ns == before


def test_resuming_with_other_settings_lists_what_differs(tmp_path):
    start(tmp_path)
    with pytest.raises(InputError) as caught:
        start(tmp_path, OTHER, resume=True)
    text = str(caught.value)
    assert "train.steps: 2000 then, 7 now" in text
    assert "train.elastic: 0.5 then, 0.25 now" in text
    assert "seed: 0 then, 3 now" in text
    assert text.count(" then, ") == 3
    assert Run(tmp_path).recorded() == FIRST


def test_what_no_result_depends_on_may_change(tmp_path):
    start(tmp_path)
    start(tmp_path, FIRST.model_copy(update={"memory": 2**31}), resume=True)
    start(tmp_path, FIRST.model_copy(update={"slurm": Slurm(jobs=7)}), resume=True)


def test_other_images_are_a_difference_too(tmp_path):
    start(tmp_path)
    data = FIRST.data.model_copy(
        update={"apply": (*FIRST.data.apply, ApplyImage(image="/b.tif", truth="/t"))}
    )
    with pytest.raises(InputError, match=r'data\.apply\.1\.image: null then, "/b\.tif" now'):
        start(tmp_path, FIRST.model_copy(update={"data": data}), resume=True)


def test_results_of_other_settings_are_not_mixed_unasked(tmp_path):
    run = start(tmp_path)
    run.labels.mkdir()
    with pytest.raises(ExistsError, match=r"train\.steps"):
        start(tmp_path, OTHER)
    assert Run(tmp_path).recorded() == FIRST
    start(tmp_path, OTHER, overwrite=True)
    assert Run(tmp_path).recorded() == OTHER
    assert run.labels.exists(), "a step replaces its results when it is done, not before"


def test_a_record_without_results_may_be_replaced(tmp_path):
    start(tmp_path)
    start(tmp_path, OTHER)
    assert Run(tmp_path).recorded() == OTHER


@pytest.mark.parametrize("result", ["model", "state"])
def test_an_earlier_result_is_in_the_way(tmp_path, result):
    run = start(tmp_path)
    getattr(run, result).mkdir()
    with pytest.raises(ExistsError, match="--resume goes on"):
        start(tmp_path, results=("model", "state"))
    start(tmp_path, results=("model", "state"), resume=True)
    start(tmp_path, results=("model", "state"), overwrite=True)
    start(tmp_path)


def test_fingerprints_add_up(tmp_path):
    run = start(tmp_path)
    run.record_data({"a": "1"})
    run.record_data({"b": "2"})
    assert json.loads(run.resolved.read_text())["data"] == {"a": "1", "b": "2"}
    assert run.recorded() == FIRST


def test_no_run_there(tmp_path):
    with pytest.raises(MissingError, match="run folder"):
        Run(tmp_path).recorded()


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"experiment": {"old": 1}}', "\xff"])
def test_a_damaged_record(tmp_path, text):
    (tmp_path / "resolved.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError):
        Run(tmp_path).recorded()


def test_the_run_around_a_result(tmp_path):
    run = start(tmp_path / "x")
    inside = run.predictions / "a.zarr"
    inside.mkdir(parents=True)
    for path in (run.folder, run.model, run.predictions, inside):
        assert Run.around(path).folder == run.folder
    assert Run.around(tmp_path) is None
    assert Run.around(Path("/")) is None


def test_versions_are_known_without_importing_torch():
    code = "import sys, cellulus.runs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
