import errno
import json
import os

import aiohttp
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from fsspec.exceptions import FSTimeoutError

from cellulus.errors import StorageError, UnwritableError
from cellulus.files import reading, storage, write_bytes, write_json, write_text


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


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_what_takes_nothing_more_is_told_from_what_failed_once(number):
    with pytest.raises(UnwritableError, match=r"a\.txt") as caught, storage("a.txt"):
        raise OSError(number, os.strerror(number))
    assert os.strerror(number) in caught.value.found
    with pytest.raises(StorageError) as caught, storage("a.txt"):
        raise OSError(errno.EIO, "Input/output error")
    assert not isinstance(caught.value, UnwritableError)


CLIENT_ERRORS = [
    ClientError({"Error": {"Code": "SlowDown", "Message": "Reduce your rate"}}, "PutObject"),
    EndpointConnectionError(endpoint_url="http://127.0.0.1:9"),
    NoCredentialsError(),
    aiohttp.ClientPayloadError("cut short"),
    aiohttp.ServerDisconnectedError(),
    FSTimeoutError(),
    PermissionError("Access Denied"),
    FileNotFoundError("The specified bucket does not exist"),
    TimeoutError(),
    NotImplementedError(),
]


@pytest.mark.parametrize("error", CLIENT_ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_the_client_of_a_store_raises_is_a_storage_error(error):
    with pytest.raises(UnwritableError) as caught, storage("s3://lab/a.zarr"):
        raise error
    assert caught.value.where == "s3://lab/a.zarr"
    assert caught.value.found
    assert "credentials" in caught.value.remedy
    kind = FileNotFoundError if isinstance(error, FileNotFoundError) else StorageError
    with pytest.raises(kind) as caught, reading("s3://lab/a.zarr"):
        raise error
    assert not isinstance(caught.value, UnwritableError)


@pytest.mark.parametrize("context", [reading, storage])
def test_faults_of_the_program_are_no_faults_of_the_store(context):
    for kind in (ValueError, KeyError, ZeroDivisionError):
        with pytest.raises(kind), context("s3://lab/a.zarr"):
            raise kind
    with pytest.raises(ImportError), context("a.zarr"):
        raise ImportError


def test_storage_errors_are_not_wrapped_twice():
    first = StorageError("a", expected="b", found="c")
    with pytest.raises(StorageError) as caught, storage("other"):
        raise first
    assert caught.value is first
