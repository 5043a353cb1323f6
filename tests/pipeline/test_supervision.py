"""From masks on disk to crops with objects, and what is said of masks that are odd."""

import logging

import numpy as np
import PIL.Image
import pytest
import tifffile

from cellulus.data.crops import Crops, Part
from cellulus.data.masks import IGNORED
from cellulus.data.normalise import Normalisation
from cellulus.errors import InputError, MissingError
from cellulus.experiment.sections import ApplyImage, Data, Experiment, Network, Train, TrainImage
from cellulus.methods import ObjectCentric
from cellulus.pipeline.convert import convert
from cellulus.pipeline.extents import crop_extent
from cellulus.pipeline.samples import canonical, open_training
from cellulus.pipeline.supervision import annotate


@pytest.fixture(autouse=True)
def _needs_masks(monkeypatch):
    monkeypatch.setattr(ObjectCentric, "needs", "masks")


def discs(shape=(60, 70), radius=5, pitch=16):
    """Discs or balls on a lattice, with ids above 65,535."""
    drawn = np.zeros(shape, np.uint32)
    away = sum((axis % pitch - pitch // 2) ** 2 for axis in np.indices(shape))
    cells = [axis // pitch for axis in np.indices(shape)]
    lattice = tuple(-(-n // pitch) for n in shape)
    inside = away <= radius**2
    drawn[inside] = 70_000 + np.ravel_multi_index(cells, lattice)[inside]
    return drawn


def picture(drawn, seed=0):
    noise = np.random.default_rng(seed).normal(0, 8, drawn.shape)
    return np.clip(np.where(drawn > 0, 150, 30) + noise, 0, 255).astype(np.uint8)


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        PIL.Image.fromarray(data).save(path)
    else:
        tifffile.imwrite(path, data)
    return str(path)


def experiment(*entries, crop="auto", **data):
    return Experiment(
        data=Data(object_diameter=10, train=tuple(TrainImage(**e) for e in entries), **data),
        network=Network(object_voxels=10),
        train=Train(crop=crop),
    )


def folder(tmp_path, masks, ignores=()):
    """Write images and masks; return what names them in an experiment."""
    for number, drawn in enumerate(masks):
        put(tmp_path / "images" / f"a{number}.png", picture(np.nan_to_num(drawn) > 0))
        put(tmp_path / "masks" / f"a{number}.tif", drawn)
    for number, drawn in enumerate(ignores):
        put(tmp_path / "ignore" / f"a{number}.tif", drawn)
    found = {"image": f"{tmp_path}/images/*.png", "masks": f"{tmp_path}/masks/*.tif"}
    return found | ({"ignore": f"{tmp_path}/ignore/*.tif"} if len(ignores) else {})


def annotations_of(made, centre="medoid"):
    samples = open_training(made)
    plain = Normalisation((0.0,), (255.0,))
    images = [canonical(s.volume, made.data, made.network.object_voxels, plain) for s in samples]
    return images, annotate(made, images, [s.masks for s in samples], centre)


def said(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def test_masks_are_paired_with_images_in_natural_order(tmp_path):
    masks = [np.full((20, 24), 10 * n, np.uint16) for n in range(1, 12)]
    samples = open_training(experiment(folder(tmp_path, masks)))
    assert [s.volume.name for s in samples] == [f"a{n}" for n in range(11)]
    assert [int(s.masks.read().max()) for s in samples] == [10 * n for n in range(1, 12)]


def test_what_is_annotated_reaches_the_crops(tmp_path, caplog):
    drawn = discs()
    over = np.zeros(drawn.shape, np.uint8)
    over[:30] = 255
    drawn[-3:] = 9
    made = experiment(folder(tmp_path, [drawn], [over]), ignore_label=9)
    images, annotations = annotations_of(made)
    whole = tuple(slice(0, n) for n in images[0].shape)
    labels = annotations[0].read(whole)
    assert images[0].shape == drawn.shape
    assert (labels[:30] == IGNORED).all()
    assert (labels[-3:] == IGNORED).all()
    assert np.array_equal(labels[30:-3] > 0, drawn[30:-3] > 0)
    assert annotations[0].objects.ids.min() > 65_535
    assert not said(caplog)


@pytest.mark.parametrize("kind", ["medoid", "centroid"])
def test_embedseg_folders_train_after_conversion_alone(tmp_path, kind):
    """Images and masks per split; the experiment names the labels inside of the images."""
    for split, count in (("train", 3), ("test", 1)):
        for number in range(count):
            drawn = discs((40 + number, 52))
            put(tmp_path / "dsb" / split / "images" / f"im{number}.tif", picture(drawn, number))
            put(tmp_path / "dsb" / split / "masks" / f"im{number}.tif", drawn)
    convert([tmp_path / "dsb"], tmp_path / "out")
    images = f"{tmp_path}/out/train/*.zarr"
    made = experiment({"image": images, "masks": f"{images}/labels/masks"}, crop=32)
    found, annotations = annotations_of(made, kind)
    assert [i.volume.shape for i in found] == [(40, 52), (41, 52), (42, 52)]
    parts = [
        Part(image, tuple(slice(0, n) for n in image.shape), annotation)
        for image, annotation in zip(found, annotations, strict=True)
    ]
    crops = Crops(parts, crop_extent(made, 2), 0)
    batch = crops.batch(0, range(4))
    assert batch.image.shape[:2] == (4, 1)
    assert batch.labels.max() >= 2
    for image, labels, centres in zip(*batch, strict=True):
        inside = (labels > 0) & (image[0] < 90 / 255)
        assert inside.sum() < 0.01 * labels.size
        for number, centre in enumerate(centres[np.isfinite(centres[:, 0])], start=1):
            at = tuple(np.floor(centre).astype(int))
            if all(0 <= a < n for a, n in zip(at, labels.shape, strict=True)):
                assert labels[at] in (number, IGNORED)


def test_volumes_of_embedseg_train_too(tmp_path):
    drawn = discs((20, 40, 40))
    for name, data in (("images", picture(drawn)), ("masks", drawn)):
        put(tmp_path / "in" / "train" / name / "v.tif", data)
    convert([tmp_path / "in"], tmp_path / "out")
    image = f"{tmp_path}/out/train/v.zarr"
    _, (annotation,) = annotations_of(
        experiment({"image": image, "masks": f"{image}/labels/masks"})
    )
    rows = np.arange(len(annotation.objects.ids))
    assert annotation.centres(rows).shape == (len(rows), 3)
    assert np.allclose(annotation.centres(rows)[0], 8.5)


def test_an_image_without_objects_is_background(tmp_path, caplog):
    made = experiment(folder(tmp_path, [discs(), np.zeros((60, 70), np.uint8)]))
    _, (full, empty) = annotations_of(made)
    assert len(full.objects.ids) > 10
    assert not len(empty.objects.ids)
    assert not said(caplog)


@pytest.mark.parametrize("kind", [np.float32, np.int64, np.uint8])
def test_whole_numbers_of_any_type_are_masks(tmp_path, kind):
    drawn = (discs() > 0).astype(kind)
    _, (annotation,) = annotations_of(experiment(folder(tmp_path, [drawn])))
    assert annotation.objects.ids.tolist() == [1]


def test_masks_without_whole_numbers_are_refused_all_at_once(tmp_path):
    wrong = np.full((60, 70), 0.5, np.float32)
    with pytest.raises(InputError) as caught:
        annotations_of(experiment(folder(tmp_path, [wrong, discs(), wrong])))
    assert "a0.tif" in caught.value.found
    assert "a2.tif" in caught.value.found
    assert "a1.tif" not in caught.value.found
    one = experiment(folder(tmp_path / "other", [discs(), wrong]))
    with pytest.raises(InputError, match=r"a1\.tif.*whole number.*fractions"):
        annotations_of(one)


def test_objects_in_several_pieces_are_reported(tmp_path, caplog):
    drawn = discs()
    drawn[8, 8] = 5
    drawn[0, 0] = 5
    drawn[30, 30:32] = 6
    other = discs()
    other[0, ::2] = np.arange(1, 36)
    other[-1, ::2] = np.arange(1, 36)
    annotations_of(experiment(folder(tmp_path, [drawn, discs(), other]), crop=128))
    (message,) = said(caplog)
    assert message.startswith("36 of ")
    assert "several pieces" in message
    assert message.endswith(": a0 (5), a2 (1, 2, 3, 4, 5 and 30 more)")


def test_objects_wider_than_a_crop_are_reported_with_the_crop_that_would_do(tmp_path, caplog):
    drawn = np.zeros((200, 210), np.uint16)
    drawn[5:10, 20:121] = 1
    made = experiment(folder(tmp_path, [drawn]), crop=64)
    annotations_of(made)
    (message,) = said(caplog)
    assert "1 objects are wider" in message
    wanted = int(message.split("train.crop = ")[1].split()[0])
    caplog.clear()
    annotations_of(made.model_copy(update={"train": Train(crop=wanted)}))
    assert not said(caplog)
    annotations_of(made.model_copy(update={"train": Train(crop=wanted - 2)}))
    assert said(caplog)


def test_images_of_which_every_object_is_ignored_are_reported(tmp_path, caplog):
    drawn = discs()
    nothing, all_of_it = np.zeros(drawn.shape, np.uint8), np.ones(drawn.shape, np.uint8)
    annotations_of(experiment(folder(tmp_path, [drawn, drawn], [nothing, all_of_it])))
    assert said(caplog) == ["every object is ignored in a1"]


def test_a_data_set_without_an_object_is_refused(tmp_path):
    drawn, over = discs(), np.ones((60, 70), np.uint8)
    with pytest.raises(InputError, match="every object is ignored"):
        annotations_of(experiment(folder(tmp_path / "a", [drawn, drawn], [over, over])))
    with pytest.raises(InputError, match="background alone"):
        annotations_of(experiment(folder(tmp_path / "b", [0 * drawn])))
    with pytest.raises(InputError, match="at least one object"):
        annotations_of(experiment(folder(tmp_path / "c", [0 * drawn + 4]), ignore_label=4))


def test_an_image_that_is_all_ignored_by_its_label_is_reported(tmp_path, caplog):
    drawn = discs()
    annotations_of(experiment(folder(tmp_path, [drawn, 0 * drawn + 4]), ignore_label=4))
    assert said(caplog) == ["nothing is annotated, and learnt, in a1"]


def test_masks_in_colour_are_refused_all_at_once(tmp_path):
    named = folder(tmp_path, [discs()] * 3)
    colour = np.random.default_rng(0).integers(0, 255, (60, 70, 3)).astype(np.uint8)
    for number in range(3):
        put(tmp_path / "masks" / f"a{number}.png", colour)
    with pytest.raises(InputError, match=r"3 files.*one number per voxel.*3 channels"):
        open_training(experiment(named | {"masks": f"{tmp_path}/masks/*.png"}))
    with pytest.raises(InputError, match=r"a1\.png.*one number per voxel.*3 channels"):
        open_training(
            experiment({"image": f"{tmp_path}/images/a1.png", "masks": f"{tmp_path}/masks/a1.png"})
        )


@pytest.mark.parametrize("which", ["masks", "ignore"])
def test_other_shapes_are_refused_all_at_once(tmp_path, which):
    named = folder(tmp_path, [discs()] * 3, [discs()] * 3)
    for number in (0, 2):
        put(tmp_path / which / f"a{number}.tif", discs((60, 71)))
    with pytest.raises(InputError) as caught:
        open_training(experiment(named))
    assert "a0.tif: shape (60, 71); " in caught.value.found
    assert "a2.tif" in caught.value.found
    assert "a1.tif" not in caught.value.found
    put(tmp_path / which / "a0.tif", discs())
    with pytest.raises(InputError, match=r"a2\.tif.*shape of .*a2\.png"):
        open_training(experiment(named))


def test_images_without_masks_are_refused(tmp_path):
    named = folder(tmp_path, [discs()])
    with pytest.raises(InputError, match=r"masks = .*none for .*\.png"):
        open_training(experiment(named, {"image": named["image"]}))
    bare = Experiment(data=Data(apply=(ApplyImage(image=named["image"]),)))
    with pytest.raises(InputError, match="no image to learn from"):
        open_training(bare)


@pytest.mark.parametrize(("lost", "said_"), [("images", "an image"), ("masks", "a mask")])
def test_what_has_no_partner_is_named(tmp_path, lost, said_):
    named = folder(tmp_path, [discs()] * 3)
    next((tmp_path / lost).glob("a1.*")).unlink()
    with pytest.raises(InputError, match="one mask for each") as caught:
        open_training(experiment(named))
    assert caught.value.remedy.endswith(f"without {said_}: a1")


def test_masks_that_are_not_there_are_missed(tmp_path):
    named = folder(tmp_path, [discs()])
    with pytest.raises(MissingError, match="none"):
        open_training(experiment(named | {"masks": f"{tmp_path}/none/*.tif"}))


def test_masks_are_not_opened_where_nothing_is_learnt_from_them(tmp_path, monkeypatch):
    monkeypatch.setattr(ObjectCentric, "needs", "nothing")
    named = folder(tmp_path, [discs()])
    (sample,) = open_training(experiment(named | {"masks": f"{tmp_path}/none/*.tif"}))
    assert sample.masks is None


def test_masks_are_read_at_the_level_of_their_image(tmp_path):
    drawn = np.kron(discs((120, 140)), np.ones((8, 8), np.uint32))
    for name, data in (("images", picture(drawn)), ("masks", drawn)):
        put(tmp_path / "in" / "train" / name / "v.tif", data)
    convert([tmp_path / "in"], tmp_path / "out")
    image = f"{tmp_path}/out/train/v.zarr"
    made = experiment({"image": image, "masks": f"{image}/labels/masks"}, level=1)
    (sample,) = open_training(made)
    assert sample.masks.labels.shape == sample.volume.shape == (480, 560)
    assert np.array_equal(sample.masks.read(), drawn[::2, ::2])
