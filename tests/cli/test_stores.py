"""Results that lie in an object store: the same ones, and what may go wrong on the way there."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
import zarr

import cellulus
from cellulus.cli import main
from cellulus.data.readers import open_volumes

SOURCE = Path(cellulus.__file__).parents[1]
SLOW = (
    "import time\nfrom cellulus.blocks import journal\nquick = journal.Stage.mark\n"
    "def mark(*arguments):\n    time.sleep(0.3)\n    return quick(*arguments)\n"
    "journal.Stage.mark = mark\n"
)
STORE = ("--set", "output.store=s3://lab/x")


def contents(url):
    """Every file below a path or a URL, and its bytes."""
    filesystem, path = fsspec.core.url_to_fs(str(url))
    filesystem.invalidate_cache()
    return {f.removeprefix(path): filesystem.cat_file(f) for f in filesystem.find(path)}


def process(*arguments, before=""):
    code = f"import sys\n{before}\nfrom cellulus.cli import main\nsys.exit(main(sys.argv[1:]))\n"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


@pytest.fixture
def stored(model, object_store):
    """Predict, segment and postprocess on the disk; return what the three steps wrote."""
    for step in ("predict", "segment", "postprocess"):
        assert main([step, "x.toml", "-q", *(["-d", "cpu"] if step == "predict" else [])]) == 0
    return {
        folder: contents(Path(f"runs/x/{folder}/a.zarr").absolute())
        for folder in ("predictions", "segments", "labels")
    }


def test_every_step_writes_to_the_store_what_it_writes_to_the_disk(stored, object_store, capsys):
    capsys.readouterr()
    run = ["-o", "runs/s", *STORE]
    assert main(["predict", "x.toml", "-m", "runs/x", "-d", "cpu", *run]) == 0
    assert main(["segment", "runs/s"]) == main(["postprocess", "runs/s"]) == 0
    folders = ("predictions", "segments", "labels")
    # What is printed is a name on the disk, which every other step takes.
    assert capsys.readouterr().out.split() == [f"runs/s/{folder}/a.zarr" for folder in folders]
    for folder in folders:
        assert Path(f"runs/s/{folder}/a.zarr").read_text() == f"s3://lab/x/{folder}/a.zarr\n"
        there = contents(f"s3://lab/x/{folder}/a.zarr")
        assert there.keys() == stored[folder].keys()
        differ = {name for name in there if there[name] != stored[folder][name]}
        assert differ == ({"/zarr.json"} if folder == "labels" else set()), folder
    # A store knows no way to an image on a disk.
    label = json.loads(contents("s3://lab/x/labels/a.zarr")["/zarr.json"])
    assert label["attributes"]["ome"]["image-label"] == {"version": "0.5"}
    left = {str(p.relative_to("runs/s")) for p in Path("runs/s").rglob("*") if p.is_file()}
    assert left == {
        "experiment.toml", "resolved.json", "labels/a.csv",
        *(f"{folder}/a.zarr" for folder in folders),
    }  # fmt: skip
    assert Path("runs/s/labels/a.csv").read_text() == Path("runs/x/labels/a.csv").read_text()
    assert main(["evaluate", "s3://lab/x/labels/a.zarr", "runs/x/labels/a.zarr", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pooled"]["seg"] in (1.0, None)
    # Labels may be named by their URL too.
    assert main(["evaluate", "--seams", "s3://lab/x/segments/a.zarr"]) == 0
    assert main(["postprocess", "s3://lab/x/segments/a.zarr", "-o", "runs/p"]) == 0
    again = contents(Path("runs/p/labels/a.zarr").absolute())
    assert all(again[name] == data for name, data in stored["labels"].items() if "/c/" in name)


def test_all_steps_from_an_image_in_a_store(place, object_store, capsys):
    """Its labels name it by the way that leads from them to it."""
    assert main(["convert", "a.png", "-o", "s3://lab/images", "-q"]) == 0
    assert capsys.readouterr().out == "s3://lab/images/a.zarr\n"
    assert main(["convert", "a.png", "-q"]) == 0
    assert contents("s3://lab/images/a.zarr") == contents(Path("converted/a.zarr").absolute())
    place.experiment(image="s3://lab/images/a.zarr")
    assert main(["run", "x.toml", "-q", "-d", "cpu", *STORE]) == 0
    notes = zarr.open_group("s3://lab/x/labels/a.zarr", mode="r").attrs["ome"]
    assert notes["image-label"]["source"] == {"image": "../../../images/a.zarr"}
    assert Path("runs/x/report.html").exists()


def test_what_is_there_is_kept_resumed_or_replaced(stored, object_store, capsys):
    segment = ["segment", "runs/s"]
    assert main(["predict", "x.toml", "-m", "runs/x", "-o", "runs/s", *STORE, "-q"]) == 0
    assert main([*segment, "-q"]) == 0
    before = contents("s3://lab")
    capsys.readouterr()
    assert main(segment) == 2
    assert "ExistsError: runs/s/segments/a.zarr" in capsys.readouterr().err
    assert main([*segment, "--resume"]) == 0
    assert contents("s3://lab") == before
    assert main([*segment, "--overwrite"]) == 0
    assert "s3://lab/x/segments/a.zarr: what is there goes before" in capsys.readouterr().err
    assert contents("s3://lab") == before
    # Another run must not take it for its own.
    assert main([*segment, "-o", "runs/other"]) == 2


def test_workers_write_to_the_store(stored, object_store):
    assert main(["predict", "x.toml", "-m", "runs/x", "-o", "runs/s", *STORE, "-q"]) == 0
    assert main(["segment", "runs/s", "-q", "--workers", "2"]) == 0
    assert contents("s3://lab/x/segments/a.zarr") == stored["segments"]


def test_a_store_that_may_only_be_read_refuses_at_once(model, object_store, refused):
    object_store.refused = ("PUT", "POST", "DELETE")
    said = refused(["predict", "x.toml", "-o", "runs/s", "-m", "runs/x", *STORE], "credentials")
    assert "UnwritableError: s3://lab/x/predictions/a.zarr" in said
    assert "Access Denied" in said
    refused(["convert", "a.png", "-o", "s3://lab/images"], "s3://lab/images/a.zarr")


def test_a_bucket_that_is_not_there_is_said(place, object_store, refused):
    refused(["convert", "a.png", "-o", "s3://none/images"], "s3://none/images/a.zarr", "bucket")


def test_a_path_is_no_store(place, refused):
    refused(["train", "x.toml", "--set", "output.store=/data/here"], "output.store", "a URL")


def test_fused_steps_write_to_the_store_too(stored, object_store):
    fused = ["predict", "x.toml", "-m", "runs/x", "-o", "runs/s", "-d", "cpu", "--fuse", *STORE]
    assert main([*fused, "-q"]) == 0
    there = contents("s3://lab/x/segments/a.zarr")
    assert there.keys() == stored["segments"].keys()
    assert all(there[name] == data for name, data in stored["segments"].items() if "/c/" in name)
    assert main(["postprocess", "runs/s", "-q"]) == 0
    assert Path("runs/s/labels/a.csv").read_text() == Path("runs/x/labels/a.csv").read_text()


@pytest.mark.parametrize("moment", ["begin", "predict"])
def test_a_store_that_goes_away_stops_the_step_which_goes_on_later(moment, stored, object_store):
    arguments = ["predict", "x.toml", "-m", "runs/x", "-o", "runs/s", "-d", "cpu", *STORE]
    marker = Path("runs/s/predictions/a.zarr.work/predict/0.json")
    if moment == "begin":
        object_store.close()
    running = process(*arguments, before=SLOW)
    until = time.monotonic() + 60
    while moment != "begin" and not marker.exists() and time.monotonic() < until:
        time.sleep(0.02)
    if moment != "begin":
        object_store.close()
    out, err = running.communicate(timeout=120)
    object_store.open()
    assert (running.returncode, out) == (2, ""), err
    assert "s3://lab/x/predictions/a.zarr" in err
    assert "Could not connect" in err
    assert "Traceback" not in err
    assert not Path("runs/s/predictions/a.zarr").exists()
    if moment != "begin":
        done = len(list(marker.parent.glob("?.json")))
        assert 1 <= done < 4
        assert not list(marker.parent.glob("*.failed.json")), "no block is at fault"
    assert main([*arguments, "--resume", "-q"]) == 0
    assert contents("s3://lab/x/predictions/a.zarr") == stored["predictions"]
    assert np.isfinite(open_volumes("runs/s/predictions/a.zarr", channels=(0,))[0].read()).any()
