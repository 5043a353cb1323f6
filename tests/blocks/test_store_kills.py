"""Killed at any moment, what goes to a store is gone on with, and comes out the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
from scenes import store as draw_and_store

import cellulus
from cellulus.blocks.crew import Alone
from cellulus.errors import StorageError
from cellulus.experiment.sections import Output
from cellulus.pipeline import decoding
from cellulus.pipeline.segment import segment
from cellulus.runs import Run

SOURCE = Path(cellulus.__file__).parents[1]
URL = "s3://lab/run/segments/img.zarr"


def contents(url):
    """Every file below a path or a URL, and its bytes."""
    filesystem, path = fsspec.core.url_to_fs(str(url))
    filesystem.invalidate_cache()
    return {f.removeprefix(path): filesystem.cat_file(f) for f in filesystem.find(path)}


@pytest.fixture
def drawn(tmp_path, draw):
    """An experiment whose results go to the store, its run, and the labels on a disk."""
    scene = draw((16, 32, 32), sizes=(0.35, 0.45))
    experiment, run = draw_and_store(tmp_path, scene, repeats=(1, 2, 2))
    local = Run(tmp_path / "local")
    (path,) = segment(experiment, local, predictions=list(run.predictions.iterdir()))
    output = experiment.model_copy(update={"output": Output(store="s3://lab/run")})
    return output, run, contents(path)


@pytest.mark.parametrize("kills", [4, pytest.param(15, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_goes_on_where_it_was(kills, drawn, tmp_path, object_store):
    experiment, run, whole = drawn
    (tmp_path / "experiment.json").write_text(experiment.model_dump_json())
    script = Path(__file__).parent / "killings.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(kills), "0"],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["kills"] > kills / 2
    assert told["again"] == 0
    assert contents(URL) == whole
    assert [path.name for path in run.segments.iterdir()] == ["img.zarr"]


class Cut:
    """Interrupts when a stage has done so many blocks."""

    def __init__(self, what, count):
        self.what, self.count, self.on = what, count, False

    def start(self, what, total):
        self.on = what.startswith(self.what)

    def advance(self, amount=1, **values):
        self.count -= self.on
        if self.count < 0:
            raise KeyboardInterrupt

    def finish(self):
        pass


def test_until_it_is_whole_it_is_no_image_and_then_it_is_the_same(drawn, object_store):
    experiment, run, whole = drawn
    for stage, count in (("survey", 1), ("segment", 3), ("number", 2)):
        with pytest.raises(KeyboardInterrupt):
            segment(experiment, run, resume=True, progress=Cut(stage, count))
        assert not (run.segments / "img.zarr").exists()
        assert b"multiscales" not in contents(URL)["/zarr.json"]
    segment(experiment, run, resume=True)
    assert contents(URL) == whole
    # Begun anew over what is whole, and cut: the old one is gone, and nothing looks like it.
    with pytest.raises(KeyboardInterrupt):
        segment(experiment, run, overwrite=True, progress=Cut("segment", 1))
    assert contents(URL).keys() == {"/zarr.json", "/0/zarr.json"}
    segment(experiment, run, resume=True)
    assert contents(URL) == whole


def test_killed_between_metadata_and_name_it_is_finished(drawn, object_store, monkeypatch):
    experiment, run, whole = drawn

    def die(self, *, replace):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("cellulus.data.places.Store.appear", die)
        with pytest.raises(KeyboardInterrupt):
            segment(experiment, run)
    assert contents(URL) == whole
    assert sorted(p.name for p in run.segments.iterdir()) == ["img.zarr.partial", "img.zarr.work"]
    segment(experiment, run, resume=True)
    assert contents(URL) == whole
    assert [path.name for path in run.segments.iterdir()] == ["img.zarr"]


def test_blocks_that_were_left_out_are_done_later_in_place(drawn, object_store, monkeypatch):
    experiment, run, whole = drawn
    observe = decoding.observe

    def breaks(prediction, region, **how):
        if all(part.start <= 4 < part.stop for part in region):
            raise StorageError("chunk 3", expected="readable data", found="rubbish")
        return observe(prediction, region, **how)

    with monkeypatch.context() as patch:
        patch.setattr(decoding, "observe", breaks)
        crew = Alone()
        segment(experiment, run, crew=crew)
    assert crew.left_out
    holes = contents(URL)
    assert b"quarantined" in holes["/zarr.json"]
    assert holes.get("/0/c/0/0/0") != whole["/0/c/0/0/0"]
    segment(experiment, run, resume=True)
    assert contents(URL) == whole
