"""What is learnt from: which images, or which end of the only one, are kept aside."""

import logging

import numpy as np
import pytest
import tifffile

from cellulus.data.canonical import Canonical
from cellulus.data.crops import Part
from cellulus.data.normalise import Normalisation
from cellulus.data.volume import Volume
from cellulus.errors import InputError
from cellulus.experiment.sections import Data, Experiment, Network, Train, TrainImage
from cellulus.methods import ObjectCentric, SpatialEmbedding
from cellulus.pipeline.material import card_of, fingerprints, open_parts, split
from cellulus.space import Scale, VoxelSize


@pytest.fixture
def images(tmp_path):
    """Three images of boxes, and masks for them."""
    for number in range(3):
        masks = np.zeros((64, 70), np.uint16)
        masks[5 : 15 + number, 5:15], masks[30:42, 40:50] = 3, 9
        tifffile.imwrite(tmp_path / f"flat_{number}.tif", (masks > 0).astype(np.uint8) * 200)
        tifffile.imwrite(tmp_path / f"masks_{number}.tif", masks)
    return tmp_path


def experiment(folder, *, masks=False, data=None, **train):
    entry = {"image": str(folder / "flat_*.tif")}
    if masks:
        entry["masks"] = str(folder / "masks_*.tif")
    return Experiment(
        data=Data(object_diameter=10.0, train=(TrainImage(**entry),), **(data or {})),
        method=SpatialEmbedding() if masks else ObjectCentric(),
        network=Network(features=4, growth=2, head_features=4, object_voxels=10.0),
        train=Train(crop=32, **train),
    )


def places(crops):
    return {
        (part.image.volume.name, *((p.start, p.stop) for p in part.region)) for part in crops.parts
    }


@pytest.mark.parametrize(("share", "kept"), [(0.1, 1), (0.3, 1), (0.5, 2), (0.99, 2)])
def test_whole_images_are_kept_aside(images, caplog, share, kept):
    made = experiment(images, validation=share)
    learnt, aside = split(made, open_parts(made))
    assert len(aside.parts) == kept
    assert len(learnt.parts) == 3 - kept
    assert not places(learnt) & places(aside)
    for part in (*learnt.parts, *aside.parts):
        assert part.shape == part.image.shape
    assert aside.augmentation is None
    assert not caplog.records


def alone(shape, voxel_size=None):
    volume = Volume.of(np.zeros(shape), voxel_size=voxel_size)
    image = Canonical(volume, Scale((1.0,) * len(shape)), Normalisation((0.0,), (1.0,)))
    return Part(image, tuple(slice(0, n) for n in shape))


@pytest.mark.parametrize(("share", "end"), [(0.1, 68), (0.4, 60), (0.99, 32)])
def test_of_a_single_image_one_end_is_kept_aside(images, share, end):
    """It is 32 x 100, and a crop 32 wide."""
    learnt, aside = split(experiment(images, validation=share), [alone((32, 100))])
    assert places(learnt) == {("image", (0, 32), (0, end))}
    assert places(aside) == {("image", (0, 32), (end, 100))}


@pytest.mark.parametrize(("share", "size"), [(0.1, 95), (0.0, 200)])
def test_a_small_image_is_all_learnt_from_which_is_said(images, caplog, share, size):
    with caplog.at_level(logging.WARNING):
        learnt, aside = split(experiment(images, validation=share), [alone((size, size))])
    assert places(learnt) == places(aside)
    assert learnt.seed != aside.seed
    assert "validation loss" in caplog.text


def test_only_axes_that_all_images_sample_alike_are_exchanged(images):
    cubic, flat = ((1.0, 1.0, 1.0), (3.0, 1.0, 1.0))
    made = experiment(images)
    shape = (9, 9, 9)
    for sizes, expected in (([cubic], 3), ([flat], 1), ([cubic, flat], 1)):
        opened = [alone(shape, VoxelSize(s)) for s in sizes]
        turns = split(made, opened)[0].augmentation.turns
        assert len(turns) == expected
        assert (2, 1) in turns


def test_masks_come_with_their_images(images):
    parts = open_parts(experiment(images, masks=True))
    assert [part.image.volume.name for part in parts] == ["flat_0", "flat_1", "flat_2"]
    sizes = [sorted(part.annotation.objects.sizes.tolist()) for part in parts]
    assert sizes == [[100, 120], [110, 120], [120, 120]]


def test_other_masks_are_other_data(images):
    made = experiment(images, masks=True)
    before = fingerprints(open_parts(made))
    assert len(before) == 6
    drawn = tifffile.imread(images / "masks_1.tif")
    drawn[drawn == 9] = 11
    tifffile.imwrite(images / "masks_1.tif", drawn)
    after = fingerprints(open_parts(made))
    assert {name for name in after if after[name] != before[name]} == {"flat_1 masks"}


def test_masks_are_not_opened_where_nothing_needs_them(images):
    made = experiment(images, masks=True).model_copy(update={"method": ObjectCentric()})
    assert all(part.annotation is None for part in open_parts(made))


def test_a_method_that_needs_masks_asks_for_them(images):
    made = experiment(images).model_copy(update={"method": SpatialEmbedding()})
    with pytest.raises(InputError, match=r'data\.train: .* masks = "\.\.\."'):
        open_parts(made)


def test_an_annotation_goes_with_both_ends_of_an_image(images):
    for path in images.glob("*_[12].tif"):
        path.unlink()
    made = experiment(images, masks=True, validation=0.4)
    (part,) = open_parts(made)
    wide = Part(part.image, (slice(0, 64), slice(0, 100)), part.annotation)
    for crops in split(made, [wide]):
        assert [part.annotation for part in crops.parts] == [wide.annotation]


@pytest.mark.parametrize("normalise", ["image", "dataset"])
def test_the_card_tells_what_the_network_is_and_saw(images, normalise):
    made = experiment(images, masks=True, data={"normalise": normalise})
    parts = open_parts(made)
    card = card_of(made, [part.image for part in parts])
    assert (card.ndim, card.inputs, card.outputs) == (2, 1, 5)
    assert set(card.provenance["images"]) == {"flat_0", "flat_1", "flat_2"}
    assert (card.normalisation is None) == (normalise == "image")
    assert card.tuned == {}
