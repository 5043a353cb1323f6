"""Images appear whole or not at all, on a disk and in a store."""

import fsspec
import numpy as np
import ome_zarr_models
import pytest
import yaozarrs
import zarr

from cellulus.data import readers, writer
from cellulus.data.addresses import follow, is_array, way
from cellulus.data.places import place_of
from cellulus.data.writer import Spec
from cellulus.errors import ExistsError, InputError, MissingError, UnwritableError
from cellulus.space import VoxelSize

UM = VoxelSize((2.0, 0.5, 0.5), "um")
WHOLE = (slice(None),) * 3


def spec(**changes):
    fields = {
        "kind": "image",
        "axes": "zyx",
        "shape": (4, 300, 40),
        "dtype": np.uint16,
        "voxel_size": UM,
        "attributes": {"made": "by hand"},
    }
    return Spec(**{**fields, **changes})


DATA = np.random.default_rng(0).integers(0, 1000, spec().shape).astype(np.uint16)


def write(target, of=None, **options):
    pending = writer.create(target, of or spec(), **options)
    pending.write(WHOLE, DATA)
    pending.publish()
    return pending


def contents(url):
    """Every file below a path or a URL, and its bytes."""
    filesystem, path = fsspec.core.url_to_fs(str(url))
    filesystem.invalidate_cache()
    return {f.removeprefix(path): filesystem.cat_file(f) for f in filesystem.find(path)}


@pytest.fixture(params=["memory", "s3"])
def store(request):
    """The URL of a folder in a store."""
    if request.param == "s3":
        request.getfixturevalue("object_store")
        return "s3://lab/here"
    filesystem = fsspec.filesystem("memory")
    if filesystem.exists("/lab"):
        filesystem.rm("/lab", recursive=True)
    return "memory://lab/here"


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_a_store_gets_what_a_disk_gets(tmp_path, store, ngff):
    of = spec(ngff=ngff, axes="czyx", shape=(1, *DATA.shape))
    for folder in (str(tmp_path), store):
        pending = writer.create(f"{folder}/a.zarr", of)
        pending.write((slice(None),) * 4, DATA[None])
        labels = pending.start_labels("nuclei", np.uint64, {"from": "a"})
        labels.write(WHOLE, DATA % 7)
        labels.publish()
        assert not readers.ome_zarr.is_image(f"{folder}/a.zarr")
        assert pending.publish() == writer.place_of(f"{folder}/a.zarr").shown
    assert contents(f"{store}/a.zarr") == contents(tmp_path / "a.zarr")
    for path, wanted in (("a.zarr", DATA), ("a.zarr/labels/nuclei", DATA % 7)):
        (volume,) = readers.open_volumes(f"{store}/{path}")
        assert np.array_equal(volume.read()[0], wanted)
        assert volume.voxel_size == UM
        group = zarr.open_group(f"{store}/{path}", mode="r")
        # The same bytes, from the disk: in a store it looks for the image of labels elsewhere.
        yaozarrs.validate_zarr_store(str(tmp_path / path))
        ome_zarr_models.open_ome_zarr(group, version=ngff)
    assert readers.levels(f"{store}/a.zarr") == readers.levels(f"{store}/a.zarr/labels/nuclei")


def test_it_is_no_image_before_its_metadata_which_come_last(store, object_store):
    pending = writer.create(f"{store}/a.zarr", spec())
    pending.write(WHOLE, DATA)
    pending.build()
    with pytest.raises(InputError, match="without"):
        readers.open_volumes(f"{store}/a.zarr")
    object_store.seen.clear()
    pending.publish(notes={"objects": 3})
    written = [path for method, path in object_store.seen if method == "PUT"]
    if store.startswith("s3"):
        assert set(written) == {"/lab/here/a.zarr/zarr.json"}
    (volume,) = readers.open_volumes(f"{store}/a.zarr")
    assert np.array_equal(volume.read()[0], DATA)


def test_what_is_there_stays_unless_it_may_go(store, caplog):
    write(f"{store}/a.zarr")
    before = contents(store)
    for overwrite, name in ((False, "a.zarr"), (True, "a.zarr/0")):
        with pytest.raises(ExistsError):
            writer.create(f"{store}/{name}", spec(), overwrite=overwrite)
    assert contents(store) == before
    assert not caplog.text
    pending = writer.create(f"{store}/a.zarr", spec(dtype=np.uint8), overwrite=True)
    assert "a.zarr: what is there goes before the new one is whole" in caplog.text
    assert not any("/c/" in name for name in contents(store))
    pending.publish()
    assert readers.open_volumes(f"{store}/a.zarr")[0].dtype == np.uint8


def test_discard_leaves_nothing(store):
    writer.create(f"{store}/b.zarr", spec()).write(WHOLE, DATA)
    pending = writer.create(f"{store}/a.zarr", spec())
    pending.write(WHOLE, DATA)
    pending.discard()
    assert {name.split("/")[1] for name in contents(store)} == {"b.zarr"}


def test_a_cut_write_is_gone_on_with_or_begun_anew(store):
    writer.create(f"{store}/a.zarr", spec()).write(WHOLE, DATA)
    again = writer.create(f"{store}/a.zarr", spec(), resume=True)
    assert np.array_equal(again.array[:], DATA)
    with pytest.raises(InputError, match="otherwise"):
        writer.create(f"{store}/a.zarr", spec(attributes={"made": "otherwise"}), resume=True)
    assert not writer.create(f"{store}/a.zarr", spec()).array[:].any()


# --- under a name on the disk


def test_a_link_leads_to_the_store(tmp_path, store):
    link, url = tmp_path / "labels" / "a.zarr", f"{store}/labels/a.zarr"
    pending = writer.create(link, spec(), store=url)
    assert pending.temporary == tmp_path / "labels" / "a.zarr.partial"
    assert [p.name for p in link.parent.iterdir()] == ["a.zarr.partial"]
    assert is_array(pending.temporary / "0")
    pending.write(WHOLE, DATA)
    assert pending.publish() == pending.path == link
    assert [p.name for p in link.parent.iterdir()] == ["a.zarr"]
    assert link.read_text() == f"{url}\n"
    (volume,) = readers.open_volumes(link)
    assert (volume.name, volume.path) == ("a", url)
    assert np.array_equal(volume.read()[0], DATA)
    assert readers.expand(link.parent / "*.zarr") == [str(link)]
    (elsewhere,) = (write(tmp_path / "b.zarr").path,)
    assert contents(url) == {
        name: data.replace(b'"b"', b'"a"') for name, data in contents(elsewhere).items()
    }


def test_a_linked_image_is_resumed_returned_and_refused(tmp_path, store):
    link, url = tmp_path / "a.zarr", f"{store}/a.zarr"
    writer.create(link, spec(), store=url).write(WHOLE, DATA)
    again = writer.create(link, spec(), store=url, resume=True)
    assert not again.complete
    assert np.array_equal(again.array[:], DATA)
    again.publish()
    assert writer.create(link, spec(), store=url, resume=True).complete
    with pytest.raises(ExistsError, match=r"a\.zarr"):
        writer.create(link, spec(), store=url)
    with pytest.raises(InputError, match="other settings"):
        writer.create(link, spec(dtype=np.uint8), store=url, resume=True)
    place_of(link, url).reopen()
    assert not link.exists()
    with pytest.raises(InputError, match="without"):
        readers.open_volumes(url)
    reopened = writer.create(link, spec(), store=url, resume=True)
    assert np.array_equal(reopened.array[:], DATA)
    reopened.publish()
    assert np.array_equal(readers.open_volumes(link)[0].read()[0], DATA)


def test_what_another_run_left_at_the_url_is_not_taken(tmp_path, store):
    url = f"{store}/a.zarr"
    writer.create(tmp_path / "one" / "a.zarr", spec(), store=url)
    other = tmp_path / "other" / "a.zarr"
    with pytest.raises(ExistsError, match=url):
        writer.create(other, spec(), store=url)
    assert not other.parent.exists()
    writer.create(other, spec(), store=url, overwrite=True).discard()
    assert not contents(store)
    assert not list(other.parent.iterdir())


def test_a_link_takes_the_place_of_a_folder_and_gives_it_back(tmp_path, store):
    path, url = tmp_path / "a.zarr", f"{store}/a.zarr"
    write(path)
    pending = writer.create(path, spec(), store=url, overwrite=True)
    assert path.is_dir(), "on the disk the old one waits"
    pending.publish()
    assert path.is_file()
    pending = writer.create(path, spec(), overwrite=True)
    assert path.is_file()
    pending.publish()
    assert path.is_dir()
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_a_link_that_leads_nowhere_is_said_and_may_be_replaced(tmp_path, store):
    link, url = tmp_path / "a.zarr", f"{store}/a.zarr"
    write(link, store=url)
    filesystem, path = fsspec.core.url_to_fs(url)
    filesystem.rm(path, recursive=True)
    with pytest.raises(InputError, match=url):
        readers.open_volumes(link)
    write(link, store=url, overwrite=True)
    assert readers.open_volumes(link)


def test_only_links_are_followed(tmp_path):
    texts = {"b.zarr": "no url", "c.zarr": "a://b\nc://d", "d.zarr": "", "e.txt": "s3://lab/e"}
    for name, text in {"a.zarr": "s3://lab/a\n", **texts}.items():
        (tmp_path / name).write_text(text)
    assert follow(tmp_path / "a.zarr") == "s3://lab/a"
    assert follow(str(tmp_path / "a.zarr" / "0" / "c")) == "s3://lab/a/0/c"
    for name in (*texts, "none.zarr", "none.zarr/0"):
        assert follow(tmp_path / name) == tmp_path / name
    assert follow("s3://lab/x") == "s3://lab/x"


@pytest.mark.parametrize(
    ("image", "labels", "found"),
    [
        ("/data/a.zarr", "/data/run/labels/a.zarr", "../../../a.zarr"),
        ("s3://lab/a.zarr", "s3://lab/run/labels/a.zarr", "../../../a.zarr"),
        ("s3://lab/a.zarr", "s3://other/a.zarr", "s3://lab/a.zarr"),
        ("s3://lab/a.zarr", "/data/a.zarr", "s3://lab/a.zarr"),
        ("/data/a.zarr", "s3://lab/a.zarr", None),
    ],
)
def test_the_way_from_labels_to_their_image(image, labels, found):
    assert way(image, labels) == found


# --- what stores refuse


@pytest.mark.parametrize(
    ("url", "kind", "said"),
    [
        ("s3://none/a.zarr", UnwritableError, "bucket does not exist"),
        ("nowhere://lab/a.zarr", InputError, "Protocol not known"),
        ("oci://lab/a.zarr", MissingError, "ocifs"),
        ("file:///lab/a.zarr", InputError, "name it /lab/a.zarr"),
    ],
)
def test_a_place_that_cannot_be_is_said(url, kind, said, object_store):
    with pytest.raises(kind, match=said) as caught:
        writer.create(url, spec())
    assert caught.value.where == url


def test_a_store_that_denies_access_is_said(object_store):
    pending = writer.create("s3://lab/a.zarr", spec())
    object_store.refused = ("PUT",)
    with pytest.raises(UnwritableError, match="Access Denied") as caught:
        pending.write(WHOLE, DATA)
    assert caught.value.where == "s3://lab/a.zarr"
    with pytest.raises(UnwritableError, match="Access Denied"):
        pending.publish()
