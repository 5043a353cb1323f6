import errno
from pathlib import Path

import pytest

from cellulus.blocks.journal import Journal
from cellulus.errors import InputError, StorageError

FACTS = {"model": "abc", "segment": {"block": 32, "method": {"sizes": [1.0, 2.0]}}, "cut": (3, 4)}


@pytest.fixture
def journal(tmp_path):
    return Journal.open(tmp_path / "x.work", FACTS, resume=False)


def test_what_is_marked_is_done(journal):
    stage = journal.stage("label")
    assert stage.done() == set()
    stage.mark(12, {"objects": 3})
    stage.mark(0, {})
    assert stage.done() == {0, 12}
    assert stage.record(12) == {"objects": 3}
    assert journal.stage("number").done() == set(), "each stage has its own"


def test_half_a_marker_is_none(journal):
    """A marker is written under another name first: what was cut then counts for nothing."""
    stage = journal.stage("label")
    stage.mark(1, {})
    (stage.folder / ".2.json.k3j9").write_text("{")
    assert stage.done() == {1}


def test_failures_are_told_until_the_block_is_done(journal):
    stage = journal.stage("label")
    stage.mark(3, {})
    stage.mark_failed(11, "OSError: gone")
    stage.mark_failed(2, "ValueError: bad")
    assert stage.failed() == {2: "ValueError: bad", 11: "OSError: gone"}
    assert stage.done() == {3}, "a block that failed is not done"
    stage.mark(2, {})
    assert stage.failed() == {11: "OSError: gone"}
    assert stage.done() == {2, 3}


def test_forgetting(journal):
    stage = journal.stage("label")
    stage.mark(0, {})
    stage.mark_failed(1, "why")
    stage.forget()
    assert (stage.done(), stage.failed()) == (set(), {})
    stage.forget()  # nothing there
    stage.mark(0, {})
    assert stage.done() == {0}


def test_going_on_with_the_same(journal):
    journal.stage("label").mark(7, {})
    same = {"cut": [3, 4], **{key: FACTS[key] for key in ("segment", "model")}}
    again = Journal.open(journal.folder, same, resume=True)
    assert again.stage("label").done() == {7}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "xyz"}, ["model was abc, is xyz"]),
        ({"segment": {"block": 64, "method": {"sizes": [1.0, 2.0]}}}, ["segment.block was 32, is"]),
        ({"segment": {"block": 32, "method": {"sizes": [1.0]}}}, ["segment.method.sizes was [1.0"]),
        ({"cut": (4, 3)}, ["cut was [3, 4], is [4, 3]"]),
        ({"new": 1}, ["new was None, is 1"]),
        ({"new": None}, ["new was None"]),
        ({"model": "xyz", "cut": (1,)}, ["model was abc", "cut was [3, 4]"]),
    ],
)
def test_going_on_with_something_else_is_refused_and_named(changes, said, journal):
    journal.stage("label").mark(7, {})
    with pytest.raises(InputError) as caught:
        Journal.open(journal.folder, {**FACTS, **changes}, resume=True)
    assert all(words in caught.value.found for words in said)
    assert "--overwrite" in caught.value.remedy
    kept = [key for key in ("model", "segment.block", "cut") if f"{key} was" in caught.value.found]
    assert len(kept) == sum(words.startswith(key) for words in said for key in kept), "only these"
    assert Journal.open(journal.folder, FACTS, resume=True).stage("label").done() == {7}


def test_a_fact_that_is_gone_is_a_change(journal):
    fewer = {key: value for key, value in FACTS.items() if key != "model"}
    with pytest.raises(InputError, match="model was abc, is None"):
        Journal.open(journal.folder, fewer, resume=True)


def test_beginning_anew_forgets_everything(journal):
    journal.stage("label").mark(7, {})
    (journal.folder / "staging").mkdir()
    anew = Journal.open(journal.folder, {"model": "xyz"}, resume=False)
    assert anew.stage("label").done() == set()
    assert [path.name for path in journal.folder.iterdir()] == ["begun.json"]
    Journal.open(journal.folder, {"model": "xyz"}, resume=True)


def test_a_journal_that_was_never_begun_is_begun(tmp_path):
    """Killed between making the folder and writing what it is about."""
    folder = tmp_path / "x.work"
    (folder / "label").mkdir(parents=True)
    (folder / "label" / "0.json").write_text("{}")
    journal = Journal.open(folder, FACTS, resume=True)
    assert journal.stage("label").done() == set(), "of whatever that was"


def test_closing_leaves_nothing(journal):
    journal.stage("label").mark(7, {})
    journal.close()
    assert not journal.folder.exists()


def test_a_journal_that_was_half_removed_is_none(journal, monkeypatch):
    """Killed on the way: what is left of it must not be taken for all that was done."""
    journal.stage("label").mark(7, {})
    monkeypatch.setattr("cellulus.blocks.journal.shutil.rmtree", lambda *_, **__: None)
    journal.close()
    monkeypatch.undo()
    assert not journal.is_begun
    again = Journal.open(journal.folder, FACTS, resume=True)
    assert again.is_begun
    assert again.stage("label").done() == set()


def test_a_full_disk_is_named(journal, monkeypatch):
    def refuse(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(StorageError, match="No space left"):
        journal.stage("label").mark(1, {})
    monkeypatch.undo()
    assert journal.stage("label").done() == set()
