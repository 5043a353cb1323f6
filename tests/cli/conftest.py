"""A folder with two small images and an experiment that trains in a second."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from cellulus.cli import main

RECORD = {"experiment.toml", "resolved.json"}


class Place:
    """What tests put into the current folder."""

    SMALL = """
[network]
features = 2
growth = 1
head_features = 2
[train]
steps = 4
batch_size = 1
crop = 32
validate_every = 2
[method]
name = "object_centric"
passes = 2
pairs = 4
[predict]
tile = 32
"""

    @staticmethod
    def discs(shape=(64, 64), diameter=12):
        grid = np.indices(shape)
        away = np.sqrt(sum((axis % (2 * diameter) - diameter) ** 2.0 for axis in grid))
        return np.where(away < diameter / 2, 200, 20).astype(np.uint8)

    @staticmethod
    def save(path, image):
        PIL.Image.fromarray(image).save(path)

    @staticmethod
    def experiment(image="a.png", data="object_diameter = 12", more=SMALL):
        tables = f'[[data.train]]\nimage = "{image}"\n[[data.apply]]\nimage = "{image}"\n'
        Path("x.toml").write_text(f"[data]\n{data}\n{tables}{more}")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Stand in a folder with the images ``a.png`` and ``b.png`` and ``x.toml`` on the first."""
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        Place.save(f"{name}.png", Place.discs())
    Place.experiment()
    return Place


@pytest.fixture
def model(place):
    """Train in the folder, and return the model file."""
    assert main(["train", "x.toml", "-q", "-d", "cpu"]) == 0
    return Path("runs/x/model.safetensors")


@pytest.fixture
def refused(capsys):
    """Check that a command is refused with a clear message and leaves nothing but a record."""

    def contents():
        return {path for path in Path().rglob("*") if path.is_file()}

    def check(arguments, *said):
        before = contents()
        capsys.readouterr()
        assert main(arguments) == 2
        shown = capsys.readouterr()
        for word in ("expected", "found", *said):
            assert word in shown.err
        assert "Unexpected failure" not in shown.err
        assert not shown.out
        assert {path.name for path in contents() - before} <= RECORD
        return shown.err

    return check
