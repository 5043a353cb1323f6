"""Damage on the way: which image, step, block and chunk; the rest is finished, and gone on with."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from cellulus.cli import main
from cellulus.data import writer
from cellulus.space import VoxelSize

BLOCKS = ["--set", "segment.block=64", "-q"]
PREDICT = ["predict", "x.toml", "-m", "runs/x", "-d", "cpu", *BLOCKS]


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-9])


def flipped(path):
    path.write_bytes(bytes(255 - byte for byte in path.read_bytes()))


def emptied(path):
    path.write_bytes(b"")


def lost(path):
    path.unlink()


def tree(folder):
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def trained(place):
    """An OME-Zarr image of discs in 16 shards, and a model."""
    discs = place.discs((128, 128)).astype(np.uint16)
    discs += np.random.default_rng(0).integers(0, 9, discs.shape).astype(np.uint16)
    size = VoxelSize((1.0, 1.0))
    spec = writer.Spec("image", "yx", discs.shape, discs.dtype, size, (), (16, 16), (32, 32))
    pending = writer.create("d.zarr", spec)
    pending.write((slice(None),) * 2, discs)
    pending.publish()
    # Percentiles of the training images, so that they are known whatever happens to an image.
    place.experiment("d.zarr", data='object_diameter = 12\nnormalise = "dataset"')
    assert main(["train", "x.toml", "-q", "-d", "cpu"]) == 0
    return place


@pytest.fixture
def damaged(tmp_path):
    """Damage a file while a test goes on; return what mends it."""

    def damage(path, act):
        shutil.copy(path, tmp_path / "copy")
        act(path)
        return lambda: shutil.copy(tmp_path / "copy", path)

    return damage


@pytest.mark.parametrize("act", [cut_off, lost])
def test_a_damaged_image_costs_the_blocks_that_see_the_chunk(trained, damaged, act, capsys):
    assert main([*PREDICT, "-o", "runs/whole"]) == 0
    mend = damaged(Path("d.zarr/0/c/2/1"), act)
    capsys.readouterr()
    assert main([*PREDICT, "-o", "runs/cut"]) == 3
    shown = capsys.readouterr()
    assert shown.out == "runs/cut/predictions/d.zarr\n"
    said = " ".join(shown.err.split())
    assert re.search(r"d: predict of block \d+: ChunkError: \S*d\.zarr: ", said)
    assert "0/c/2/1 (y 64:96, x 32:64 [voxel])" in said
    assert "--resume" in said
    assert "Traceback" not in said
    whole, cut = (
        zarr.open_group(f"runs/{name}/predictions/d.zarr", mode="r") for name in ("whole", "cut")
    )
    done = np.isfinite(cut["0"][:])
    assert 0.5 < done.mean() < 1
    assert np.array_equal(cut["0"][:][done], whole["0"][:][done])
    left_out = cut.attrs["cellulus"]["outcome"]["quarantined"]["predict"]
    assert f"{len(left_out)} that had to be left out" in said

    mend()
    assert main([*PREDICT, "-o", "runs/cut", "--resume"]) == 0
    assert tree("runs/cut/predictions") == tree("runs/whole/predictions")


@pytest.mark.parametrize("act", [flipped, emptied])
def test_a_damaged_prediction_costs_the_blocks_that_see_the_shard(trained, damaged, act, capsys):
    assert main([*PREDICT, "-o", "runs/cut"]) == 0
    assert main(["segment", "runs/cut", *BLOCKS]) == 0
    whole = tree("runs/cut/segments")
    shutil.rmtree("runs/cut/segments")
    mend = damaged(Path("runs/cut/predictions/d.zarr/0/c/0/5/5"), act)
    capsys.readouterr()
    assert main(["segment", "runs/cut", *BLOCKS]) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(r"d: \w+(-\d)? of block \d: ChunkError: \S*predictions/d\.zarr: ", said)
    assert "0/c/0/5/5 (c 0:" in said
    assert Path("runs/cut/segments/d.zarr/zarr.json").exists()

    mend()
    assert main(["segment", "runs/cut", *BLOCKS, "--resume"]) == 0
    assert tree("runs/cut/segments") == whole


@pytest.mark.parametrize("chunk", ["2/1", "1/1"])
def test_percentiles_leave_out_what_cannot_be_read_and_are_kept(trained, damaged, chunk, capsys):
    """By default each image has its own: once mended, it goes on with those that it began with."""
    row, column = (32 * int(number) for number in chunk.split("/"))
    image = zarr.open_group("d.zarr", mode="r+")["0"]
    image[row : row + 32, column : column + 32] = 3 * image[row : row + 32, column : column + 32]
    trained.experiment("d.zarr")  # percentiles of each image
    assert main(["train", "x.toml", "-q", "-d", "cpu", "-o", "runs/x", "--overwrite"]) == 0
    mend = damaged(Path(f"d.zarr/0/c/{chunk}"), cut_off)
    capsys.readouterr()
    assert main([*PREDICT[:-1], "-o", "runs/cut"]) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(r"percentiles leave out block \d+: ChunkError", said)
    facts = dict(zarr.open_group("runs/cut/predictions/d.zarr", mode="r").attrs["cellulus"])
    mend()
    assert main([*PREDICT, "-o", "runs/cut", "--resume"]) == 0
    group = zarr.open_group("runs/cut/predictions/d.zarr", mode="r")
    assert np.isfinite(group["0"][:]).all()
    assert group.attrs["cellulus"]["low"] == facts["low"]
    assert group.attrs["cellulus"]["high"] == facts["high"]
    assert main([*PREDICT, "-o", "runs/cut", "--overwrite"]) == 0
    group = zarr.open_group("runs/cut/predictions/d.zarr", mode="r")
    assert (group.attrs["cellulus"]["low"], group.attrs["cellulus"]["high"]) != (
        facts["low"], facts["high"],
    )  # fmt: skip


def test_an_image_that_is_damaged_all_over_is_refused(trained, capsys):
    for chunk in Path("d.zarr/0/c").rglob("*"):
        if chunk.is_file():
            cut_off(chunk)
    assert main([*PREDICT, "-o", "runs/cut"]) == 2
    said = capsys.readouterr().err
    assert "0/c/0/0" in said
    assert not Path("runs/cut/predictions/d.zarr").exists()


@pytest.mark.parametrize("step", ["train", "evaluate"])
def test_steps_without_blocks_name_the_chunk_and_stop(trained, step, capsys):
    flipped(Path("d.zarr/0/c/2/1"))
    command = ["train", "x.toml", "-q", "-d", "cpu", "--overwrite"]
    if step == "evaluate":
        command = ["evaluate", "d.zarr", "d.zarr", "-q"]
    capsys.readouterr()
    assert main(command) != 0
    assert "0/c/2/1 (y 64:96, x 32:64 [voxel])" in " ".join(capsys.readouterr().err.split())
