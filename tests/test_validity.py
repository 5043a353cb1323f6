"""The judge of what is written, on what is wrong: every defect is seen, and by whom."""

import json
import shutil

import numpy as np
import pytest
import zarr

from cellulus.data import writer
from cellulus.space import VoxelSize
from validity import faults, judge

SHAPE = (2, 6, 300, 290)
US, MODELS, SCHEMAS, YAO = "cellulus", "ome-zarr-models", "ngff-zarr", "yaozarrs"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An image of two channels with labels in its own group, in both versions."""
    folder = tmp_path_factory.mktemp("whole")
    grey = np.random.default_rng(0).integers(0, 99, SHAPE).astype(np.uint16)
    for ngff in ("0.4", "0.5"):
        spec = writer.Spec(
            "image", "czyx", SHAPE, grey.dtype, VoxelSize((2.0, 0.5, 0.5), "um"), ngff=ngff
        )
        pending = writer.create(folder / f"{ngff}.zarr", spec)
        pending.write((slice(None),) * 4, grey)
        pending.publish()
        pending = writer.create_labels(folder / f"{ngff}.zarr", "nuclei")
        pending.write((slice(None),) * 3, np.arange(6 * 300 * 290).reshape(SHAPE[1:]) // 2000)
        pending.publish()
    return folder


@pytest.fixture(params=["0.4", "0.5"])
def ngff(request):
    return request.param


@pytest.fixture
def image(whole, ngff, tmp_path):
    shutil.copytree(whole / f"{ngff}.zarr", tmp_path / "a.zarr")
    return tmp_path / "a.zarr"


def change(group, act):
    """Edit the attributes of a group; those under ``ome``, where there is such a key."""
    path = group / "zarr.json" if (group / "zarr.json").exists() else group / ".zattrs"
    content = json.loads(path.read_text())
    attributes = content.get("attributes", content)
    act(attributes.get("ome", attributes))
    path.write_text(json.dumps(content))


def multiscale(act):
    return lambda attributes: act(attributes["multiscales"][0])


def scale_of(found, level):
    return found["datasets"][level]["coordinateTransformations"][0]["scale"]


def remake(group, level, data):
    """Replace a level by one of the same kind with other voxels."""
    first = zarr.open_group(group, mode="r")["0"].metadata
    kind = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    if first.zarr_format == 3:
        kind = {"dimension_names": first.dimension_names}
    zarr.open_group(group, mode="r+").create_array(str(level), data=data, overwrite=True, **kind)


def voxels(group, level):
    return zarr.open_group(group, mode="r")[str(level)][...]


def fewer_levels(image):
    change(image / "labels/nuclei", multiscale(lambda m: m["datasets"].pop()))


def more_levels(image):
    labels = image / "labels/nuclei"
    remake(labels, 2, voxels(labels, 1)[:, ::2, ::2])
    datasets = [
        {"path": "2", "coordinateTransformations": [{"type": "scale", "scale": [2.0, 2.0, 2.0]},
            {"type": "translation", "translation": [0.0] * 3}]}
    ]  # fmt: skip
    change(labels, multiscale(lambda m: m["datasets"].extend(datasets)))


def missing_level(image):
    shutil.rmtree(image / "labels/nuclei/1")


def missing_labels(image):
    shutil.rmtree(image / "labels/nuclei")


def unlisted_labels(image):
    change(image / "labels", lambda a: a["labels"].clear())


def fractions(image):
    for level in (0, 1):
        remake(image / "labels/nuclei", level, voxels(image / "labels/nuclei", level) / 1.0)


def dangling_source(image):
    change(image / "labels/nuclei", lambda a: a["image-label"]["source"].update(image="../../b"))


def no_image_label(image):
    change(image / "labels/nuclei", lambda a: a.pop("image-label"))


def short_scale(image):
    change(image / "labels/nuclei", multiscale(lambda m: scale_of(m, 0).pop()))


def unordered_levels(image):
    change(image, multiscale(lambda m: m["datasets"].reverse()))


def half_a_window(image):
    change(image, lambda a: a["omero"]["channels"][1]["window"].pop("start"))


def axes_out_of_order(image):
    change(image, multiscale(lambda m: m["axes"].reverse()))


def other_shape(image):
    for level in (0, 1):
        remake(image / "labels/nuclei", level, voxels(image / "labels/nuclei", level)[..., :-8])


def wrong_ratio(image):
    change(image, multiscale(lambda m: scale_of(m, 1).__setitem__(2, 1.5)))


def wrong_place(image):
    def move(found):
        found["datasets"][1]["coordinateTransformations"][1]["translation"][2] += 0.5

    change(image, multiscale(move))


def ids_with_a_gap(image):
    labels = voxels(image / "labels/nuclei", 0)
    labels[labels == 7] = 0
    remake(image / "labels/nuclei", 0, labels)
    remake(image / "labels/nuclei", 1, labels[:, ::2, ::2])


def invented_ids(image):
    remake(image / "labels/nuclei", 1, voxels(image / "labels/nuclei", 1) + 90000)


def ids_wider_than_needed(image):
    for level in (0, 1):
        data = voxels(image / "labels/nuclei", level).astype(np.uint64)
        remake(image / "labels/nuclei", level, data)


def half_a_file(image):
    (image / "0" / "zarr.json.d3adb33f.partial").write_bytes(b"{")


def a_damaged_chunk(image):
    chunk = next(p for p in sorted((image / "1").rglob("*")) if p.is_file() and p.name.isdigit())
    chunk.write_bytes(chunk.read_bytes()[:-20])


def no_version(image):
    change(image / "labels", lambda a: a.pop("version"))


def no_dimension_names(image):
    path = image / "0/zarr.json"
    content = json.loads(path.read_text())
    content.pop("dimension_names")
    path.write_text(json.dumps(content))


def no_version_of_image(image):
    change(image, lambda a: a.pop("version"))


EITHER = {
    fewer_levels: {YAO, US},
    more_levels: {US},
    missing_level: {MODELS, SCHEMAS, US},
    missing_labels: {YAO, US},
    unlisted_labels: {YAO, US},
    fractions: {YAO, US},
    dangling_source: {YAO, US},
    no_image_label: {YAO, US},
    short_scale: {YAO, MODELS, SCHEMAS, US},
    unordered_levels: {MODELS, SCHEMAS, US},
    half_a_window: {YAO, SCHEMAS},
    axes_out_of_order: {YAO, MODELS, SCHEMAS, US},
    other_shape: {US},
    wrong_ratio: {US},
    wrong_place: {US},
    ids_with_a_gap: {US},
    invented_ids: {US},
    ids_wider_than_needed: {US},
    half_a_file: {US},
    a_damaged_chunk: {US},
}
"""Defects that both versions can have, and who sees them in both."""
NEWER = {
    no_version: {MODELS, US},
    no_dimension_names: {YAO, MODELS, US},
    no_version_of_image: {YAO, MODELS, SCHEMAS, US},
}


def test_what_is_sound_passes(image, ngff):
    judge(image, ngff, dense=True)


def test_the_wrong_version_does_not(image, ngff):
    other = {"0.4": "0.5", "0.5": "0.4"}[ngff]
    assert set(faults(image, other)) >= {MODELS, SCHEMAS, US}


@pytest.mark.parametrize("damage", EITHER, ids=lambda act: act.__name__)
def test_every_defect_is_seen(image, ngff, damage):
    damage(image)
    found = faults(image, ngff, dense=True)
    assert set(found) >= EITHER[damage]
    with pytest.raises(AssertionError):
        judge(image, ngff, dense=True)


@pytest.mark.parametrize("ngff", ["0.5"], indirect=True)
@pytest.mark.parametrize("damage", NEWER, ids=lambda act: act.__name__)
def test_every_defect_that_only_the_newer_version_has_is_seen(image, ngff, damage):
    damage(image)
    found = faults(image, ngff)
    assert set(found) >= NEWER[damage]


def test_each_judge_sees_something_and_none_everything():
    table = [*EITHER.values(), *NEWER.values()]
    for who in (US, MODELS, SCHEMAS, YAO):
        assert any(who in seen for seen in table)
        assert any(who not in seen for seen in table)
