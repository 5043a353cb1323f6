"""The percentiles of large images: those of numpy, from any blocks, by anybody, cut or not."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from counted import Counted

from cellulus.blocks import cluster
from cellulus.data import normalise, writer
from cellulus.data.readers import open_volumes
from cellulus.data.volume import Volume
from cellulus.errors import InputError, StorageError
from cellulus.pipeline import statistics
from cellulus.pipeline.statistics import normalisation_of
from cellulus.space import VoxelSize

ASKED = (1.0, 99.8)


@pytest.fixture(scope="module")
def pair():
    """Two processes."""
    with cluster.start(2) as crew:
        yield crew


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Let small images count as large ones, of blocks of 16 voxels along each axis."""
    monkeypatch.setattr(normalise, "SAMPLE_VOXELS", 0)
    monkeypatch.setattr(statistics, "portion_of", lambda volume: (16,) * volume.ndim)


def drawn(dtype, *shape, seed=0):
    values = np.random.default_rng(seed).gamma(2.0, 30.0, shape)
    return values.astype(dtype)


def exact(volume):
    """As for an image that is not large."""
    values = volume.read().astype(np.float32).reshape(len(volume.channels), -1)
    found = [np.percentile(channel, ASKED).tolist() for channel in values]
    return [low for low, _ in found], [high for _, high in found]


def told(found):
    return list(found.low), list(found.high)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("shape", [(60, 50), (20, 37, 30)])
def test_the_percentiles_are_those_of_the_whole(tmp_path, dtype, shape):
    volume = Volume.of(drawn(dtype, *shape))
    found = normalisation_of(volume, ASKED, tmp_path / "a.json")
    assert told(found) == exact(volume)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_channels_count_by_themselves(tmp_path, dtype):
    image = np.stack([drawn(dtype, 40, 50, seed=seed) * (1 + 9 * seed) for seed in range(3)])
    volume = Volume.of(image, axes="cyx")
    found = normalisation_of(volume, ASKED, tmp_path / "a.json")
    assert told(found) == exact(volume)
    assert len(set(found.high)) == 3


@pytest.mark.parametrize("dtype", ["u2", "f4"])
@pytest.mark.parametrize(("edge", "most"), [(7, 512), (16, 3), (16, 1), (100, 512)])
def test_any_cutting_gives_the_same(tmp_path, monkeypatch, dtype, edge, most):
    monkeypatch.setattr(statistics, "portion_of", lambda volume: (edge,) * volume.ndim)
    monkeypatch.setattr(statistics, "MOST_BLOCKS", most)
    volume, crew = Volume.of(drawn(dtype, 40, 37, 20)), Counted()
    assert told(normalisation_of(volume, ASKED, tmp_path / "a.json", crew=crew)) == exact(volume)
    assert len(set(crew.asked)) <= most


def test_an_image_that_is_not_large_gives_the_same_and_leaves_nothing(tmp_path, monkeypatch):
    volume = Volume.of(drawn("f4", 40, 50))
    large = normalisation_of(volume, ASKED, tmp_path / "a.json")
    monkeypatch.undo()
    assert normalisation_of(volume, ASKED, tmp_path / "b.json") == large
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_workers_find_what_one_process_finds(tmp_path, monkeypatch, pair, dtype):
    """Of an image on disk, whose path is relative."""
    monkeypatch.chdir(tmp_path)
    spec = writer.Spec(
        kind="image", axes="zyx", shape=(40, 37, 20), dtype=np.dtype(dtype),
        voxel_size=VoxelSize((1.0,) * 3), chunks=(8, 8, 8), shards=(16, 16, 16),
    )  # fmt: skip
    pending = writer.create(Path("image.zarr"), spec)
    pending.write((slice(None),) * 3, drawn(dtype, 40, 37, 20))
    volume = open_volumes(pending.publish())[0]
    found = normalisation_of(volume, ASKED, Path("a.json"), crew=pair)
    assert told(found) == exact(volume)


@pytest.mark.parametrize(
    ("dtype", "stop"),
    [("u2", 0), ("u2", 3), ("u2", 11), ("f4", 3), ("f4", 12), ("f4", 14), ("f4", 23)],
)
def test_what_was_cut_goes_on_to_the_same(tmp_path, dtype, stop):
    volume, path = Volume.of(drawn(dtype, 60, 47)), tmp_path / "a.json"
    passes = {"u2": 1, "f4": 2}[dtype]
    with pytest.raises(KeyboardInterrupt):
        normalisation_of(volume, ASKED, path, crew=Counted(stop))
    assert not path.exists()
    rest = Counted()
    assert told(normalisation_of(volume, ASKED, path, crew=rest, resume=True)) == exact(volume)
    assert len(rest.asked) == 12 * passes - stop
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_what_is_known_is_not_counted_again(tmp_path):
    volume, path = Volume.of(drawn("u2", 60, 47)), tmp_path / "a.json"
    found = normalisation_of(volume, ASKED, path)
    again = Counted()
    assert normalisation_of(volume, ASKED, path, crew=again, resume=True) == found
    assert again.asked == []
    assert normalisation_of(volume, ASKED, path, crew=again) == found
    assert len(again.asked) == 12, "unless one goes on, all is done anew"


@pytest.mark.parametrize("change", ["image", "percentiles"])
def test_what_is_known_of_something_else_does_not_count(tmp_path, change):
    path = tmp_path / "a.json"
    normalisation_of(Volume.of(drawn("u2", 60, 47)), ASKED, path)
    other = Volume.of(drawn("u2", 60, 47, seed=int(change == "image")))
    asked = (5.0, 90.0) if change == "percentiles" else ASKED
    found = normalisation_of(other, asked, path, resume=True)
    assert (*found.low, *found.high) == tuple(np.percentile(other.read(), asked))
    assert json.loads(path.read_text())["spans"] == [[*found.low, *found.high]]


def test_a_cut_run_of_something_else_is_not_gone_on_with(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(KeyboardInterrupt):
        normalisation_of(Volume.of(drawn("u2", 60, 47)), ASKED, path, crew=Counted(3))
    with pytest.raises(InputError, match="percentiles was"):
        normalisation_of(Volume.of(drawn("u2", 60, 47)), (5.0, 90.0), path, resume=True)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_values_that_are_not_finite_are_counted_and_refused(tmp_path, dtype):
    image = drawn(dtype, 60, 47)
    image[10:50, 20] = np.nan
    image[3, 5:8] = np.inf, -np.inf, np.nan
    with pytest.raises(InputError) as error:
        normalisation_of(Volume.of(image, name="broken"), ASKED, tmp_path / "a.json")
    assert error.value.where == "broken"
    assert error.value.found == "43 NaN or infinite voxels"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_a_constant_channel_is_refused_by_name(tmp_path, dtype):
    image = np.stack([drawn(dtype, 40, 50), np.full((40, 50), 7, dtype)])
    with pytest.raises(InputError, match="7 everywhere in channel 1"):
        normalisation_of(Volume.of(image, axes="cyx"), ASKED, tmp_path / "a.json")


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_a_few_bright_voxels_are_contrast_enough(tmp_path, dtype):
    image = np.zeros((100, 100), dtype)
    image[3, 4] = 200
    found = normalisation_of(Volume.of(image), ASKED, tmp_path / "a.json")
    assert (found.low, found.high) == ((0.0,), (200.0,))


class Torn:
    """An array of which lines cannot be read, from a number of reads on."""

    def __init__(self, array, lines, after=0):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.lines, self.reads, self.after = lines, 0, after

    def __getitem__(self, key):
        self.reads += 1
        if self.reads > self.after and set(range(key[0].start, key[0].stop)) & self.lines:
            raise OSError("torn")
        return self.array[key]


def torn(array, *lines, after=0):
    return Volume("torn", Torn(array, set(lines), after), "yx", VoxelSize((1.0, 1.0)), path="torn")


@pytest.mark.parametrize("dtype", ["u2", "f4"])
@pytest.mark.parametrize("line", [100, 199])
def test_what_cannot_be_read_does_not_count_and_is_said(tmp_path, caplog, dtype, line):
    """In the middle, too, by which images are told apart."""
    image, path = drawn(dtype, 200, 20), tmp_path / "a.json"
    with caplog.at_level(logging.WARNING):
        found = normalisation_of(torn(image, line), ASKED, path)
    start = line - line % 16
    rest = np.delete(image, slice(start, start + 16), axis=0).astype(np.float32)
    assert (*found.low, *found.high) == tuple(np.percentile(rest, ASKED))
    assert "leave out block" in caplog.text
    assert "torn" in caplog.text


def test_a_repaired_image_is_counted_in_full_when_a_cut_run_goes_on(tmp_path):
    image, path = drawn("f4", 200, 20), tmp_path / "a.json"
    image[144:] *= 50
    with pytest.raises(KeyboardInterrupt):
        normalisation_of(torn(image, *range(144, 200)), ASKED, path, crew=Counted(30))
    found = normalisation_of(torn(image), ASKED, path, resume=True)
    assert told(found) == exact(Volume.of(image))


def test_what_could_be_read_once_only_is_an_error(tmp_path):
    volume = torn(drawn("f4", 200, 20), 199, after=27)
    with pytest.raises(StorageError, match="a second time"):
        normalisation_of(volume, ASKED, tmp_path / "a.json")


def test_an_image_that_cannot_be_read_at_all(tmp_path):
    with pytest.raises(StorageError, match="torn"):
        normalisation_of(torn(drawn("u2", 60, 47), *range(60)), ASKED, tmp_path / "a.json")
