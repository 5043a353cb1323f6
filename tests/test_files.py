import errno
import json
import os

import pytest

from cellulus.errors import StorageError
from cellulus.files import storage, write_bytes, write_json, write_text


def test_what_is_written_is_there(tmp_path):
    write_text(tmp_path / "new" / "a.txt", "µ\n")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "µ\n".encode()
    write_json(tmp_path / "a.json", {"b": [1, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": [1, None]}


def test_files_may_be_read_by_whom_the_umask_allows(tmp_path):
    mask = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(mask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, step):
    file = tmp_path / "a.txt"
    write_text(file, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    target = "os.fsync" if step == "fsync" else "pathlib.Path.replace"
    monkeypatch.setattr(target, full)
    with pytest.raises(StorageError, match="No space left") as caught:
        write_text(file, "new")
    assert isinstance(caught.value, OSError)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "a.txt", "new")
    assert not list(tmp_path.iterdir())


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(StorageError):
        write_text(tmp_path / "a" / "b.txt", "")


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", float("nan"))
    assert not list(tmp_path.iterdir())


def test_storage_errors_are_not_wrapped_twice():
    first = StorageError("a", expected="b", found="c")
    with pytest.raises(StorageError) as caught, storage("other"):
        raise first
    assert caught.value is first
