"""Counting overlaps block by block: any cutting, any crew, cut short, and in parts unreadable."""

import logging

import numpy as np
import pytest
from counted import Counted

from cellulus.blocks import cluster
from cellulus.data import writer
from cellulus.data.readers import open_volumes
from cellulus.data.volume import Volume
from cellulus.errors import InputError, StorageError
from cellulus.ops.overlap import overlap_table
from cellulus.ops.scores import score_table
from cellulus.pipeline import overlaps as module
from cellulus.pipeline.overlaps import WORK, Pair, overlaps
from cellulus.space import VoxelSize


@pytest.fixture(scope="module")
def crew():
    """Two processes."""
    with cluster.start(2) as pair:
        yield pair


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(module, "portion_of", lambda labels, _: (16,) * labels.ndim)


def store(path, array):
    spec = writer.Spec(
        kind="labels", axes="zyx"[-array.ndim :], shape=array.shape, dtype=np.dtype(np.uint32),
        voxel_size=VoxelSize((1.0,) * array.ndim), chunks=(8,) * array.ndim,
        shards=(8,) * array.ndim,
    )  # fmt: skip
    pending = writer.create(path, spec)
    pending.write((slice(None),) * array.ndim, array)
    return open_volumes(pending.publish())[0]


def drawn(shape, seed):
    """Labels of boxes that lie across blocks."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint32)
    for number in range(1, 40):
        start = [int(rng.integers(0, n)) for n in shape]
        labels[tuple(slice(a, a + int(rng.integers(2, 14))) for a in start)] = number
    return labels


@pytest.fixture
def pairs(tmp_path):
    """Two images, of other shapes, with labels that are partly right."""
    made = []
    for number, shape in enumerate([(50, 41), (20, 33, 30)]):
        truth = drawn(shape, number)
        labels = np.where(drawn(shape, 9) % 3 == 0, drawn(shape, 5), truth)
        made.append(
            (
                store(tmp_path / f"l{number}.zarr", labels),
                store(tmp_path / f"t{number}.zarr", truth),
            )
        )
    return made


def rows(table):
    return np.stack([table.labels, table.truth, table.counts]).tolist()


def wholes(pairs):
    return [rows(overlap_table(a.read()[0], b.read()[0])) for a, b in pairs]


def found(pairs, folder=None, **more):
    with overlaps([Pair(*pair) for pair in pairs], folder, **more) as tables:
        return [rows(table) for table in tables]


@pytest.mark.parametrize("edge", [5, 16, 37, 100])
def test_any_cutting_counts_the_same(pairs, monkeypatch, edge):
    monkeypatch.setattr(module, "portion_of", lambda labels, _: (edge,) * labels.ndim)
    assert found(pairs) == wholes(pairs)


def test_blocks_follow_the_chunks_of_what_is_read(pairs, monkeypatch):
    monkeypatch.undo()
    assert found(pairs) == wholes(pairs)


def test_workers_count_what_one_process_counts(pairs, crew, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    assert found(pairs, crew=crew) == wholes(pairs)
    assert found(pairs, tmp_path / "run", crew=crew) == wholes(pairs)
    assert set(tmp_path.iterdir()) - before == {tmp_path / "run"}
    assert list((tmp_path / "run").iterdir()) == []


def test_what_nobody_annotated_counts_on_neither_side(pairs, tmp_path):
    expected, asked = [], []
    for number, (labels, truth) in enumerate(pairs):
        hidden = (np.random.default_rng(number).random(truth.shape) < 0.3).astype(np.uint32)
        ignore = store(tmp_path / f"i{number}.zarr", hidden)
        asked.append((labels, truth, ignore, 7))
        counts = (hidden == 0) & (truth.read()[0] != 7)
        both = [np.where(counts, side.read()[0], 0) for side in (labels, truth)]
        expected.append(rows(overlap_table(*both)))
    assert found(asked) == expected
    assert found([(*pair[:2], None, 7) for pair in asked]) != found(pairs)


def test_other_marks_of_what_is_ignored_are_counted_anew(pairs, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        found(pairs, tmp_path, crew=Counted(7))
    again = Counted()
    marked = [(*pair, None, 7) for pair in pairs]
    assert found(marked, tmp_path, crew=again, resume=True) == found(marked)
    assert len(again.asked) == len(Counted().asked) + sum(
        np.prod([-(-n // 16) for n in labels.shape]) for labels, _ in pairs
    )


@pytest.mark.parametrize("stop", [0, 1, 7, 20])
def test_a_run_that_was_cut_counts_on(pairs, tmp_path, stop):
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        found(pairs, run, crew=Counted(stop))
    assert (run / WORK).exists()
    rest = Counted()
    assert found(pairs, run, crew=rest, resume=True) == wholes(pairs)
    assert len(rest.asked) == 4 * 3 + 2 * 3 * 2 - stop
    assert list(run.iterdir()) == []


def test_without_resume_all_is_counted_anew(pairs, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        found(pairs, tmp_path / "run", crew=Counted(7))
    again = Counted()
    assert found(pairs, tmp_path / "run", crew=again) == wholes(pairs)
    assert len(again.asked) == 24


def test_other_labels_are_counted_anew(pairs, tmp_path, caplog):
    """Those of the first run were made again, otherwise, before it is gone on with."""
    with pytest.raises(KeyboardInterrupt):
        found(pairs, tmp_path / "run", crew=Counted(7))
    (_, truth), second = pairs
    changed = [(store(tmp_path / "other.zarr", drawn((50, 41), 77)), truth), second]
    with caplog.at_level(logging.WARNING):
        assert found(changed, tmp_path / "run", resume=True) == wholes(changed)
    assert "counted anew" in caplog.text


class Torn:
    """An array that cannot be read behind a line."""

    def __init__(self, array, line):
        self.array, self.shape, self.dtype, self.line = array, array.shape, array.dtype, line

    def __getitem__(self, key):
        if key[0].stop > self.line:
            raise OSError("torn")
        return self.array[key]


def test_a_block_that_cannot_be_read_leaves_no_score(tmp_path):
    truth = drawn((200, 41), 3)
    torn = Torn(truth, 192)
    volume = Volume("torn", torn, "yx", VoxelSize((1.0, 1.0)))
    whole = Volume.of(truth)
    with pytest.raises(StorageError, match=r"3 of 39 blocks.*block 36.*torn"):
        found([(whole, volume)], tmp_path / "run")
    torn.line = 200
    rest = Counted()
    assert found([(whole, volume)], tmp_path / "run", crew=rest, resume=True) == wholes(
        [(whole, whole)]
    )
    assert rest.asked == [36, 37, 38]


def test_what_is_no_label_is_refused_before_anything_is_read(tmp_path):
    labels = Volume.of(np.zeros((50, 41), np.int32), name="labels")
    torn = Volume("torn", Torn(np.zeros((50, 41), np.float32), 0), "yx", VoxelSize((1.0, 1.0)))
    with pytest.raises(InputError, match="float32") as error:
        found([(labels, torn)], tmp_path / "run")
    assert error.value.where == "torn"
    assert not (tmp_path / "run").exists()


def test_negative_ids_name_their_file(tmp_path):
    ids = np.zeros((50, 41), np.int32)
    ids[:, :] = -3
    with pytest.raises(InputError, match="negative") as error:
        found([(Volume.of(np.zeros((50, 41), np.int32)), Volume.of(ids, name="bad"))], tmp_path)
    assert error.value.where == "bad"
    assert list(tmp_path.iterdir()) == []


def test_nothing_but_background(tmp_path):
    nothing = Volume.of(np.zeros((50, 41), np.uint32))
    with overlaps([Pair(nothing, nothing)], None) as tables:
        scores = score_table(next(tables), (0.5,), name="nothing")
    assert (scores.n_true, scores.n_pred) == (0, 0)
