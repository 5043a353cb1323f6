"""What each layout finds, read back through its lazy arrays."""

import json
import zipfile

import numpy as np
import PIL.Image
import pytest
import tifffile

from cellulus.data.layouts import find_samples
from cellulus.data.layouts.archive_axes import infer_axes
from cellulus.errors import CellulusError, InputError, MissingError
from cellulus.space import VoxelSize

RNG = np.random.default_rng(0)


def image(*shape, high=200, dtype=np.uint8):
    return RNG.integers(0, high, shape).astype(dtype)


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        PIL.Image.fromarray(data).save(path)
    else:
        tifffile.imwrite(path, data, photometric="minisblack")
    return data


def find(path, tmp_path, axes=""):
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    return find_samples(path, axes, scratch)


def whole(found):
    """Read an image found by a layout, in the order on disk."""
    array = found.levels[0].array
    data = array[tuple(slice(None) for _ in array.shape)]
    assert data.shape == array.shape
    assert data.dtype == array.dtype
    return data


def layers(sample):
    return {layer.name: whole(layer.image) for layer in sample.layers}


def test_nothing_and_the_unknown(tmp_path):
    with pytest.raises(MissingError):
        find(tmp_path / "none", tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.docx").touch()
    for path in (tmp_path / "empty", tmp_path / "a.docx"):
        with pytest.raises(InputError, match=path.name):
            find(path, tmp_path)


def test_plain_files(tmp_path):
    data = {n: put(tmp_path / "in" / n, image(9, 8)) for n in ("t2.png", "t10.tif")}
    found = find(tmp_path / "in", tmp_path)
    assert [s.name for s in found] == ["t2", "t10"]
    for sample, wanted in zip(found, data.values(), strict=True):
        assert np.array_equal(whole(sample.image), wanted)
        assert not sample.layers


@pytest.mark.parametrize("splits", [("train", "test"), ("",)])
def test_paired_folders(tmp_path, splits):
    wanted = {}
    for split in splits:
        for name in ("a", "b"):
            folder = tmp_path / "in" / split
            x = put(folder / "images" / f"{name}.tif", image(4, 9, 8))
            y = put(folder / "masks" / f"{name}.tif", image(4, 9, 8, dtype=np.uint16))
            wanted[f"{split}/{name}" if split else name] = (x, y)
    found = {s.name: s for s in find(tmp_path / "in", tmp_path)}
    assert found.keys() == wanted.keys()
    for name, (x, y) in wanted.items():
        assert found[name].image.axes == "zyx"
        assert np.array_equal(whole(found[name].image), x)
        assert np.array_equal(layers(found[name])["masks"], y)


@pytest.mark.parametrize("lonely", ["images", "masks"])
def test_paired_folders_need_partners(tmp_path, lonely):
    for part in ("images", "masks"):
        put(tmp_path / "in" / "train" / part / "a.tif", image(9, 8))
    put(tmp_path / "in" / "train" / lonely / "b.tif", image(9, 8))
    other = "masks" if lonely == "images" else "images"
    with pytest.raises(InputError, match=rf"{lonely}/b\.tif.*{other}/b"):
        find(tmp_path / "in", tmp_path)


def test_masks_without_images(tmp_path):
    put(tmp_path / "in" / "masks" / "a.tif", image(9, 8))
    with pytest.raises(InputError, match=r"masks/a\.tif"):
        find(tmp_path / "in", tmp_path)


def test_images_without_masks_are_fine(tmp_path):
    put(tmp_path / "in" / "test" / "images" / "a.tif", image(9, 8))
    assert not find(tmp_path / "in", tmp_path)[0].layers


def test_masks_in_colour_are_refused(tmp_path):
    for part in ("images", "masks"):
        data = image(9, 8, 3) if part == "masks" else image(9, 8)
        put(tmp_path / "in" / part / "a.png", data)
    with pytest.raises(InputError, match="3 channels"):
        find(tmp_path / "in", tmp_path)


def test_object_masks(tmp_path):
    x = put(tmp_path / "in" / "ab12" / "images" / "ab12.png", image(9, 8))
    wanted = np.zeros((9, 8), int)
    for number, name in enumerate(("p", "q", "r"), start=1):
        mask = np.zeros((9, 8), np.uint8)
        mask[number : number + 2, 2 * number : 2 * number + 2] = 255
        wanted[(mask > 0) & (wanted == 0)] = number
        put(tmp_path / "in" / "ab12" / "masks" / f"{name}.png", mask)
    (sample,) = find(tmp_path / "in", tmp_path)
    assert sample.name == "ab12"
    assert np.array_equal(whole(sample.image), x)
    assert np.array_equal(layers(sample)["masks"], wanted)


def test_object_masks_of_another_shape(tmp_path):
    put(tmp_path / "in" / "a" / "images" / "a.png", image(9, 8))
    put(tmp_path / "in" / "a" / "masks" / "m.png", image(8, 9))
    (sample,) = find(tmp_path / "in", tmp_path)
    with pytest.raises(InputError, match=r"m\.png.*images/a\.png"):
        layers(sample)


def test_object_masks_without_an_image(tmp_path):
    put(tmp_path / "in" / "a" / "masks" / "m.png", image(8, 9))
    with pytest.raises(InputError, match=r"a/images.*a/masks"):
        find(tmp_path / "in", tmp_path)


@pytest.mark.parametrize("shape", [(9, 8), (3, 9, 8)])
@pytest.mark.parametrize("start", [0, 5])
def test_tracking_challenge(tmp_path, shape, start):
    root = tmp_path / "Fluo"
    x = np.stack([put(root / "01" / f"t{start + t:03}.tif", image(*shape)) for t in range(4)])
    silver = np.zeros((4, *shape), np.uint16)
    gold, track = silver.copy(), silver.copy()
    for t in range(4):
        silver[t] = put(
            root / "01_ST" / "SEG" / f"man_seg{start + t:03}.tif", image(*shape, dtype=np.uint16)
        )
        track[t] = put(
            root / "01_GT" / "TRA" / f"man_track{start + t:03}.tif", image(*shape, dtype=np.uint16)
        )
    gold[2] = put(
        root / "01_GT" / "SEG" / f"man_seg{start + 2:03}.tif", image(*shape, dtype=np.uint16)
    )
    (root / "01_GT" / "TRA" / "man_track.txt").write_text("1 0 3 0")
    for path in (root, root / "01"):
        (sample,) = find(path, tmp_path)
        assert sample.name == "Fluo_01"
        assert sample.attributes == {"first_frame": start}
        assert np.array_equal(whole(sample.image), x)
        found = layers(sample)
        assert np.array_equal(found["gt_seg"], gold)
        assert np.array_equal(found["st_seg"], silver)
        assert np.array_equal(found["gt_tra"], track)
        attributes = {layer.name: layer.attributes for layer in sample.layers}
        assert attributes["gt_seg"] == {"annotated_frames": [2]}
        json.dumps(attributes)
    array = sample.layers[0].image.levels[0].array
    region = (slice(1, 4), *(slice(None),) * (len(shape) - 1), slice(2, 5))
    assert np.array_equal(array[region], gold[region])


def test_tracking_challenge_with_single_planes(tmp_path):
    for t in range(2):
        put(tmp_path / "D" / "01" / f"t{t:03}.tif", image(5, 9, 8))
    gold = np.zeros((2, 5, 9, 8), np.uint16)
    for t, z in ((0, 3), (1, 1), (1, 4)):
        gold[t, z] = put(
            tmp_path / "D" / "01_GT" / "SEG" / f"man_seg_{t:03}_{z:03}.tif",
            image(9, 8, dtype=np.uint16),
        )
    (sample,) = find(tmp_path / "D", tmp_path)
    (layer,) = sample.layers
    assert np.array_equal(whole(layer.image), gold)
    assert layer.attributes == {
        "annotated_frames": [0, 1],
        "annotated_planes": [[0, 3], [1, 1], [1, 4]],
    }
    array = layer.image.levels[0].array
    assert np.array_equal(array[1, 2:5, 3:6, :], gold[1, 2:5, 3:6])
    assert np.array_equal(array[1, 4, :, :], gold[1, 4])


def test_tracking_challenge_that_does_not_fit(tmp_path):
    root = tmp_path / "D"
    put(root / "01" / "t000.tif", image(9, 8))
    put(root / "01_GT" / "SEG" / "man_seg003.tif", image(9, 8))
    with pytest.raises(InputError, match=r"man_seg003\.tif.*01"):
        find(root, tmp_path)
    (root / "01_GT" / "SEG" / "man_seg003.tif").rename(root / "01_GT" / "SEG" / "man_seg000.tif")
    put(root / "01_GT" / "SEG" / "man_seg000.tif", image(9, 7))
    with pytest.raises(InputError, match=r"man_seg000\.tif.*t000\.tif"):
        find(root, tmp_path)
    put(root / "01" / "t002.tif", image(9, 8))
    with pytest.raises(InputError, match="none for 1"):
        find(root, tmp_path)


def test_tissuenet(tmp_path):
    x, y = image(3, 9, 8, 2, dtype=np.float32), image(3, 9, 8, 2, dtype=np.int32)
    np.savez_compressed(tmp_path / "tn.npz", X=x, y=y, meta=np.array(["a"] * 3))
    found = find(tmp_path / "tn.npz", tmp_path)
    assert [s.name for s in found] == ["tn_0000", "tn_0001", "tn_0002"]
    assert found[0].image.channel_names == ("nuclear", "membrane")
    for i, sample in enumerate(found):
        assert sample.image.axes == "yxc"
        assert np.array_equal(whole(sample.image), x[i])
        assert np.array_equal(layers(sample)["whole_cell"], y[i, ..., 0])
        assert np.array_equal(layers(sample)["nuclear"], y[i, ..., 1])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_one_volume(tmp_path, save):
    x, y = image(4, 9, 8), image(4, 9, 8)
    save(tmp_path / "v.npz", image=x, labels=np.asfortranarray(y), voxel_size=[2.0, 1.0, 1.0])
    (sample,) = find(tmp_path / "v.npz", tmp_path)
    assert sample.image.levels[0].voxel_size == VoxelSize((2.0, 1.0, 1.0))
    assert np.array_equal(whole(sample.image), x)
    assert np.array_equal(layers(sample)["labels"], y)


def test_a_unit_in_an_archive(tmp_path):
    np.savez(tmp_path / "v.npz", image=image(9, 8), voxel_size=[0.5, 0.5], unit="um")
    (sample,) = find(tmp_path / "v.npz", tmp_path)
    assert sample.image.levels[0].voxel_size == VoxelSize((0.5, 0.5), "um")


def test_a_useless_voxel_size_is_none(tmp_path):
    np.savez(tmp_path / "v.npz", image=image(4, 9, 8), voxel_size=[0.0] * 3)
    assert find(tmp_path / "v.npz", tmp_path)[0].image.levels[0].voxel_size.values == (1, 1, 1)


def test_several_images_with_singleton_label_channel(tmp_path):
    x, y = image(3, 9, 8, 2), image(3, 9, 8, 1)
    np.savez(tmp_path / "s.npz", X=x, y=y)
    found = find(tmp_path / "s.npz", tmp_path)
    assert len(found) == 3
    assert np.array_equal(whole(found[1].image), x[1])
    assert np.array_equal(layers(found[1])["labels"], y[1, ..., 0])


def packed(**changes):
    images = [image(9, 8), image(5, 6)]
    labels = [image(9, 8), image(5, 6)]
    fields = {
        "names": np.array(["a", "../b"]),
        "split": np.array(["train", "test"]),
        "shapes": np.array([i.shape for i in images]),
        "offsets": np.cumsum([0, *[i.size for i in images]]),
        "images": np.concatenate([i.ravel() for i in images]),
        "labels": np.concatenate([i.ravel() for i in labels]),
    }
    return images, labels, {**fields, **changes}


def test_packed_images(tmp_path):
    images, labels, fields = packed()
    np.savez_compressed(tmp_path / "p.npz", **fields)
    found = find(tmp_path / "p.npz", tmp_path)
    assert [(s.name, s.attributes) for s in found] == [
        ("a", {"split": "train"}),
        (".._b", {"split": "test"}),
    ]
    for sample, x, y in zip(found, images, labels, strict=True):
        assert np.array_equal(whole(sample.image), x)
        assert np.array_equal(layers(sample)["labels"], y)


@pytest.mark.parametrize(
    "changes",
    [
        {"offsets": np.array([0, 70, 102])},
        {"offsets": np.array([], int)},
        {"images": np.zeros(50)},
        {"labels": np.zeros(50)},
        {"names": np.array(["a"])},
        {"shapes": np.array([[72], [30]])},
    ],
)
def test_packed_images_that_contradict_themselves(tmp_path, changes):
    np.savez(tmp_path / "p.npz", **packed(**changes)[2])
    with pytest.raises(InputError, match=r"p\.npz"):
        find(tmp_path / "p.npz", tmp_path)


def test_archives_without_an_image(tmp_path):
    np.savez(tmp_path / "p.npz", weights=image(9, 8))
    with pytest.raises(InputError, match="weights"):
        find(tmp_path / "p.npz", tmp_path)


@pytest.mark.parametrize("share", [0.3, 0.99])
def test_archives_that_were_cut_off(tmp_path, share):
    path = tmp_path / "p.npz"
    np.savez_compressed(path, image=image(90, 80))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(CellulusError, match=r"p\.npz"):
        find(path, tmp_path)


def test_archives_with_a_damaged_member(tmp_path):
    path = tmp_path / "p.npz"
    np.savez_compressed(path, image=image(900, 800))
    with zipfile.ZipFile(path) as file:
        start = file.infolist()[0].header_offset + 5000
    content = bytearray(path.read_bytes())
    content[start : start + 99] = b"\xff" * 99
    path.write_bytes(content)
    (sample,) = find(path, tmp_path)
    with pytest.raises(CellulusError, match=r"p\.npz"):
        whole(sample.image)


def test_archives_never_run_code(tmp_path):
    np.savez(tmp_path / "p.npz", image=np.array([print, len], dtype=object))
    with pytest.raises(CellulusError, match=r"p\.npz"):
        whole(find(tmp_path / "p.npz", tmp_path, axes="yx")[0].image)


@pytest.mark.parametrize(
    ("shape", "labels", "several", "space", "hint", "axes"),
    [
        ((9, 8), None, False, 0, "", "yx"),
        ((4, 9, 8), (4, 9, 8), False, 0, "", "zyx"),
        ((4, 9, 8), None, False, 3, "", "zyx"),
        ((4, 9, 8), (9, 8), False, 0, "", "cyx"),
        ((9, 8, 3), (9, 8), False, 0, "", "yxc"),
        ((4, 9, 8), None, True, 0, "", "nyx"),
        ((4, 9, 8), (4, 9, 8), True, 0, "", "nyx"),
        ((4, 9, 8), None, True, 3, "", "zyx"),
        ((4, 9, 8), None, True, 2, "", "nyx"),
        ((5, 4, 9, 8), (5, 4, 9, 8), True, 0, "", "nzyx"),
        ((5, 9, 8, 2), (5, 9, 8), True, 0, "", "nyxc"),
        ((5, 2, 9, 8), (5, 9, 8), True, 0, "", "ncyx"),
        ((4, 9, 8), None, False, 0, "tyx", "tyx"),
        ((4, 9, 8), None, True, 0, "zyx", "zyx"),
        ((5, 4, 9, 8), None, True, 0, "zyx", "nzyx"),
    ],
)
def test_axes_follow_from_what_is_known(shape, labels, several, space, hint, axes):
    assert infer_axes("a", shape, labels, (several, space, hint)) == axes


@pytest.mark.parametrize(
    ("shape", "labels", "several", "space"),
    [
        ((4, 9, 8), None, False, 0),
        ((5, 4, 9, 8), None, True, 0),
        ((9, 8), (8, 9), False, 0),
        ((9,), None, False, 0),
        ((3, 3, 3), (3, 3), False, 0),
        ((4, 9, 8), (4, 9, 8), False, 2),
    ],
)
def test_axes_are_never_guessed(shape, labels, several, space):
    with pytest.raises(InputError, match="could be"):
        infer_axes("a", shape, labels, (several, space, ""))
