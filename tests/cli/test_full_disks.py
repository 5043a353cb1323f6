"""A disk that fills up, or becomes read-only, stops a step at once, and the step goes on later."""

import errno
import os
from contextlib import contextmanager
from pathlib import Path

import pytest
import zarr

from cellulus.cli import main

FOLDERS = {"predict": "predictions", "segment": "segments", "postprocess": "labels"}
BLOCKS = ["--set", "predict.tile=16", "--set", "segment.block=16", "-q"]
ROOM = 5
"""How often an array may be written to before the disk is full."""


def tree(folder):
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@contextmanager
def full_disk(monkeypatch):
    """Let the disk be full after a few writes; yield a list that grows with every refusal."""
    write, writes, refusals = zarr.Array.__setitem__, [], []

    def limited(*arguments):
        if len(writes) == ROOM:
            refusals.append(arguments)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        writes.append(arguments)
        return write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(zarr.Array, "__setitem__", limited)
        yield refusals


def test_each_step_stops_at_once_and_goes_on_later(model, capsys, monkeypatch):
    for step, folder in FOLDERS.items():
        command = [step, "x.toml", *BLOCKS]
        command += ["-d", "cpu", "-m", "runs/x"] if step == "predict" else []
        assert main([*command, "-o", "runs/whole"]) == 0
        command += ["-o", "runs/y"]
        capsys.readouterr()
        with full_disk(monkeypatch) as refusals:
            assert main(command) == 2
        shown = capsys.readouterr()
        assert not shown.out
        assert f"UnwritableError: runs/y/{folder}/a.zarr" in shown.err
        assert "No space left on device" in shown.err
        assert len(refusals) == 3, "one block, tried again twice, and none after it"
        assert not Path(f"runs/y/{folder}/a.zarr").exists()
        work = Path(f"runs/y/{folder}/a.zarr.work")
        assert not list(work.rglob("*.failed.json")), "no block is at fault"
        assert len(list(work.glob("[pl]*/?.json"))) == ROOM
        assert main([*command, "--resume"]) == 0
        assert tree(f"runs/y/{folder}") == tree(f"runs/whole/{folder}")


def test_a_disk_that_may_only_be_read_is_named(model, refused, monkeypatch):
    """Said before anything is predicted."""
    make = os.mkdir

    def refuse(path, *arguments, **options):
        if "predictions" in str(path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return make(path, *arguments, **options)

    monkeypatch.setattr(os, "mkdir", refuse)
    said = refused(["predict", "x.toml", "-m", "runs/x", "-o", "runs/y", "-d", "cpu"], "--output")
    assert "UnwritableError: runs/y/predictions/a.zarr" in said
    assert "Read-only file system" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_of_somebody_else_is_named(model, refused):
    Path("runs/y").mkdir(mode=0o500)
    refused(["predict", "x.toml", "-m", "runs/x", "-o", "runs/y", "-d", "cpu"], "runs/y")
