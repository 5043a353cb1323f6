"""Chunks that cannot be read, or are gone: each by its name and place, and nothing else."""

import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from cellulus.data import readers, writer
from cellulus.data.chunks import LISTED, ChunkedArray
from cellulus.data.writer import Spec
from cellulus.errors import ChunkError, StorageError
from cellulus.space import VoxelSize

SHAPE, CHUNKS, SHARDS = (13, 20, 25), (4, 5, 6), (8, 10, 12)
LAYOUTS = {"sharded": (3, SHARDS), "chunked": (3, None), "0.4": (2, None)}
GZIP = {"id": "gzip", "level": 1}


def make(folder, layout="chunked", data=None, **options):
    """Write an array; return it as read, and its voxels."""
    version, shards = LAYOUTS[layout]
    rng = np.random.default_rng(0)
    data = rng.integers(1, 999, SHAPE).astype(np.uint16) if data is None else data
    # Deflate notices what Blosc does not: a single changed byte.
    packing = GZIP if version == 2 else zarr.codecs.GzipCodec(level=1)
    keys = {"chunk_key_encoding": {"name": "v2", "separator": "/"}} if version == 2 else {}
    group = zarr.open_group(folder, mode="w", zarr_format=version)
    array = group.create_array(
        "0", shape=data.shape, dtype=data.dtype, chunks=CHUNKS, shards=shards,
        compressors=options.pop("compressors", packing), **keys, **options,
    )  # fmt: skip
    array[:] = data
    return ChunkedArray(zarr.open_group(folder, mode="r")["0"], str(folder), "zyx"), data


def edges_of(array):
    return array.shards or array.chunks


def file_of(array, place):
    return Path(array.path) / array._key(place)


def places(array, region=None):
    """All files that a region lies in."""
    region = region or [slice(0, n) for n in array.shape]
    return set(itertools.product(*(
        range(r.start // e, -(-r.stop // e)) for r, e in zip(region, edges_of(array), strict=True)
    )))  # fmt: skip


def named(error):
    return set(re.findall(r"0/(?:c/)?\d+/\d+/\d+", str(error)))


def rubbish(path):
    path.write_bytes(b"rubbish")


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-9])


def empty(path):
    path.write_bytes(b"")


def flipped(path):
    content = bytearray(path.read_bytes())
    for at in range(len(content) // 3, len(content), 50):
        content[at] ^= 0xFF
    path.write_bytes(content)


WHOLE = (slice(None),) * 3


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("damage", [rubbish, cut_off, empty, flipped])
def test_a_damaged_chunk_is_named_with_its_place(tmp_path, layout, damage):
    array, data = make(tmp_path / "a.zarr", layout)
    place = (1, 0, 1)
    damage(file_of(array, place))
    with pytest.raises(ChunkError, match=r"a\.zarr") as caught:
        array[WHOLE]
    assert named(caught.value) == {array._key(place)}
    assert re.search(r"z \d+:\d+, y \d+:\d+, x \d+:\d+ \[voxel\]", str(caught.value))
    numbers = [int(n) for n in re.findall(r"\d+(?=:)|(?<=:)\d+", str(caught.value))[-6:]]
    said = [slice(*numbers[i : i + 2]) for i in (0, 2, 4)]
    own = [
        slice(p * e, min((p + 1) * e, n))
        for p, e, n in zip(place, edges_of(array), SHAPE, strict=True)
    ]
    assert all(o.start <= s.start < s.stop <= o.stop for s, o in zip(said, own, strict=True))
    # Everything else can still be read.
    good = np.ones(SHAPE, bool)
    good[tuple(own)] = False
    for other in places(array) - {place}:
        region = tuple(
            slice(p * e, min((p + 1) * e, n))
            for p, e, n in zip(other, edges_of(array), SHAPE, strict=True)
        )
        assert np.array_equal(array[region], data[region])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("damage", [cut_off, empty, rubbish])
def test_blosc_is_not_trusted(tmp_path, layout, damage):
    """It reads whatever memory follows a chunk that was cut off, and says nothing."""
    packing = {"id": "blosc", "cname": "zstd"}
    if layout != "0.4":
        packing = zarr.codecs.BloscCodec(cname="zstd")
    array, data = make(tmp_path / "a.zarr", layout, compressors=packing)
    assert np.array_equal(array[WHOLE], data)
    damage(file_of(array, (0, 1, 1)))
    with pytest.raises(ChunkError, match=re.escape(array._key((0, 1, 1)))) as caught:
        array[WHOLE]
    assert named(caught.value) == {array._key((0, 1, 1))}


def test_a_checksum_that_does_not_fit_is_named(tmp_path):
    packing = [zarr.codecs.ZstdCodec(checksum=True), zarr.codecs.Crc32cCodec()]
    array, _ = make(tmp_path / "a.zarr", compressors=packing)
    path = file_of(array, (0, 0, 0))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ChunkError, match=r"0/c/0/0/0 .*hecksum"):
        array[WHOLE]


def test_one_damaged_chunk_of_a_shard_is_told_from_the_others(tmp_path):
    array, data = make(tmp_path / "a.zarr", "sharded")
    path = file_of(array, (0, 0, 0))
    content = bytearray(path.read_bytes())
    content[5:30] = bytes(25)  # the first chunk comes first
    path.write_bytes(content)
    with pytest.raises(ChunkError, match=re.escape("0/c/0/0/0 (z 0:4, y 0:5, x 0:6 [voxel])")):
        array[WHOLE]
    assert np.array_equal(array[4:8, :10, :12], data[4:8, :10, :12])


@settings(max_examples=15)
@given(data=st.data())
def test_exactly_the_damaged_files_that_are_needed_are_named(tmp_path_factory, data):
    layout = data.draw(st.sampled_from(sorted(LAYOUTS)))
    array, voxels = make(tmp_path_factory.mktemp("a") / "a.zarr", layout)
    damaged = data.draw(st.sets(st.sampled_from(sorted(places(array))), max_size=LISTED))
    for place in damaged:
        rubbish(file_of(array, place))
    bounds = [sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2))) for n in SHAPE]
    region = tuple(slice(*b) for b in bounds)
    needed = damaged & places(array, region)
    if not needed:
        assert np.array_equal(array[region], voxels[region])
        return
    with pytest.raises(ChunkError) as caught:
        array[region]
    # A rubbish shard is as many damaged chunks as it has, of which the first few are named.
    expected = {array._key(place) for place in needed}
    found = named(caught.value)
    assert found <= expected
    assert found == expected or "and more" in caught.value.found
    assert found


def test_few_of_many_damaged_chunks_are_looked_for(tmp_path, monkeypatch):
    """A store that fails altogether is not asked for every chunk."""
    array, _ = make(tmp_path / "a.zarr")
    for place in places(array):
        rubbish(file_of(array, place))
    asked, read = [], ChunkedArray._read

    def count(self, region):
        asked.append(region)
        return read(self, region)

    monkeypatch.setattr(ChunkedArray, "_read", count)
    with pytest.raises(ChunkError, match="and more") as caught:
        array[WHOLE]
    assert len(named(caught.value)) == LISTED
    assert len(asked) < 40


def test_what_can_be_read_a_moment_later_is_no_damage(tmp_path, monkeypatch):
    array, data = make(tmp_path / "a.zarr")
    read, fail = zarr.Array.__getitem__, [True]

    def flaky(self, key):
        if fail:
            fail.clear()
            raise ConnectionError("connection reset by peer")
        return read(self, key)

    monkeypatch.setattr(zarr.Array, "__getitem__", flaky)
    with pytest.raises(StorageError, match="reset by peer") as caught:
        array[WHOLE]
    assert not isinstance(caught.value, ChunkError)
    assert np.array_equal(array[WHOLE], data)


_READ = """
import sys, numpy as np, zarr
from cellulus.data.chunks import ChunkedArray
from cellulus.errors import ChunkError
group = zarr.open_group(sys.argv[1], mode="w")
group.create_array("0", data=np.arange(60**3).reshape(60, 60, 60), chunks=(6, 6, 6))
open(sys.argv[1] + "/0/c/0/0/0", "wb").write(bytes(99))
try:
    ChunkedArray(group["0"], sys.argv[1], "zyx")[:, :, :]
except ChunkError as error:
    print("refused", error)
"""


def test_a_process_that_ends_with_the_error_ends_quietly(tmp_path):
    """Reads that were under way beside the one that failed have ended by then."""
    done = subprocess.run(
        [sys.executable, "-c", _READ, str(tmp_path / "a.zarr")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "0/c/0/0/0 (z 0:6, y 0:6, x 0:6 [voxel])" in done.stdout
    assert done.stderr == ""


# --- chunks that are not there


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("place", [(0, 0, 0), (1, 1, 1), (0, 1, 0)])
def test_a_chunk_missing_amid_data_is_named(tmp_path, layout, place):
    array, data = make(tmp_path / "a.zarr", layout)
    path = file_of(array, place)
    content = path.read_bytes()
    path.unlink()
    key = re.escape(f"{array._key(place)} (z {place[0] * edges_of(array)[0]}:")
    with pytest.raises(ChunkError, match=key) as caught:
        array[WHOLE]
    assert "write_empty_chunks" in caught.value.remedy
    inside = tuple(slice(p * e + 1, p * e + 2) for p, e in zip(place, edges_of(array), strict=True))
    with pytest.raises(ChunkError, match=key):
        array[inside]  # the smallest part of it
    path.write_bytes(content)
    assert np.array_equal(array[WHOLE], data)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_empty_space_is_not_stored_and_no_fault(tmp_path, layout):
    """Margins, corners and holes around which there is nothing, as zarr leaves them out."""
    rng = np.random.default_rng(1)
    for _ in range(5):
        data = np.zeros((30, 30, 30), np.uint16)
        for corner in rng.integers(4, 22, (6, 3)):  # objects amid zeros
            data[tuple(slice(c, c + 4) for c in corner)] = 9
        array, _ = make(tmp_path / "a.zarr", layout, data)
        stored = [file_of(array, place).exists() for place in places(array)]
        assert not all(stored), "test invalid"
        assert any(stored), "test invalid"
        assert np.array_equal(array[WHOLE], data)


def test_a_padded_image_is_fine(tmp_path):
    """Data that end where chunks end: some empty chunks have data on one side, never on all."""
    data = np.zeros((16, 30, 30), np.uint16)
    data[4:12, 5:25, 6:24] = 7
    array, _ = make(tmp_path / "a.zarr", data=data)
    assert not file_of(array, (0, 2, 2)).exists(), "test invalid"
    assert np.array_equal(array[WHOLE], data)


def test_empty_chunks_that_are_stored_are_data(tmp_path):
    data = np.ones(SHAPE, np.uint16)
    data[4:8, 5:10, 6:12] = 0
    array, _ = make(tmp_path / "a.zarr", data=data)
    with pytest.raises(ChunkError, match="0/c/1/1/1"):
        array[WHOLE]
    array, _ = make(tmp_path / "a.zarr", data=data, config={"write_empty_chunks": True})
    assert np.array_equal(array[WHOLE], data)


def test_a_missing_plane_of_a_stack_is_named(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    stack = np.random.default_rng(0).integers(90, 200, (5, 8, 9)).astype(np.uint16)
    group.create_array("0", data=stack, chunks=(1, 8, 9))
    (tmp_path / "a.zarr/0/c/2/0/0").unlink()
    array = ChunkedArray(zarr.open_group(tmp_path / "a.zarr", mode="r")["0"], "a.zarr", "zyx")
    with pytest.raises(ChunkError, match="z 2:3"):
        array[WHOLE]
    assert np.array_equal(array[3:, :, :], stack[3:])


def test_other_channels_and_times_are_no_sides(tmp_path):
    """An image with one chunk per channel says nothing about a channel that is empty."""
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("0", data=np.stack([np.ones((8, 9)), np.zeros((8, 9))]), chunks=(1, 8, 9))
    array = ChunkedArray(zarr.open_group(tmp_path / "a.zarr", mode="r")["0"], "a.zarr", "cyx")
    assert not array[1:, :, :].any()


def test_where_missing_means_unknown_nothing_is_checked(tmp_path):
    """Predictions hold NaN where nothing was predicted."""
    data = np.ones(SHAPE, np.float32)
    array, _ = make(tmp_path / "a.zarr", data=data, fill_value=np.nan)
    file_of(array, (1, 1, 1)).unlink()
    assert np.isnan(array[4:8, 5:10, 6:12]).all()


def test_an_image_that_goes_away_is_not_empty(tmp_path):
    """A disk that is unmounted on the way: every chunk is missing, and all would read as zeros."""
    array, _ = make(tmp_path / "a.zarr")
    shutil.rmtree(tmp_path / "a.zarr")
    with pytest.raises(StorageError, match="gone since"):
        array[WHOLE]


# --- through the reader


def write(path, data, kind="image", ngff="0.5", shards=(8, 8, 8)):
    spec = Spec(
        kind, "zyx", data.shape, data.dtype, VoxelSize((1.0,) * 3), chunks=(4, 4, 4),
        shards=shards if ngff == "0.5" else None, ngff=ngff,
    )  # fmt: skip
    pending = writer.create(path, spec)
    pending.write(WHOLE, data)
    return pending.publish()


@pytest.mark.parametrize(("ngff", "key"), [("0.4", "0/1/1/1"), ("0.5", "0/c/1/1/1")])
def test_images_name_their_chunks(tmp_path, ngff, key):
    path = write(tmp_path / "a.zarr", np.ones((24, 24, 24), np.uint16), ngff=ngff)
    (volume,) = readers.open_volumes(path)
    chunk = path / key
    content = chunk.read_bytes()
    chunk.write_bytes(content[:-5])
    with pytest.raises(ChunkError, match=rf"a\.zarr: .*{key} \(z"):
        volume.read((slice(0, 12),) * 3)
    chunk.unlink()
    with pytest.raises(ChunkError, match=rf"a\.zarr: expected the chunk {key} \(z"):
        volume.read((slice(0, 12),) * 3)


def test_labels_may_lack_chunks_anywhere(tmp_path):
    """A block that was left out holds no object; labels that touch it are cut there."""
    labels = np.arange(1, 24**3 + 1, dtype=np.uint32).reshape(24, 24, 24)
    path = write(tmp_path / "a.zarr", labels, "labels")
    (path / "0/c/1/1/1").unlink()
    (volume,) = readers.open_volumes(path)
    assert not volume.read((slice(8, 16),) * 3).any()
