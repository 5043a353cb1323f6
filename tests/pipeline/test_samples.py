"""Opening the images of an experiment: names, partners, levels, diameters."""

import numpy as np
import PIL.Image
import pytest
import tifffile

from cellulus.data import writer
from cellulus.errors import InputError, MissingError
from cellulus.experiment.sections import ApplyImage, Data, Experiment, TrainImage
from cellulus.pipeline.samples import (
    canonical,
    common_kind,
    diameter_of,
    fingerprint,
    open_samples,
    open_training,
)
from cellulus.space import Length, VoxelSize


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)


def png(path, data=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(noise(20, 24) if data is None else data).save(path)
    return str(path)


def zarr(path, data, size, *, kind="image", axes="zyx"):
    spec = writer.Spec(kind, axes[-data.ndim :], data.shape, data.dtype, size)
    pending = writer.create(path, spec)
    pending.write((slice(None),) * data.ndim, data)
    return str(pending.publish())


def experiment(apply=(), train=(), **data):
    return Experiment(
        data=Data(
            apply=tuple(ApplyImage(image=i, truth=t) for i, t in apply),
            train=tuple(TrainImage(image=i) for i in train),
            **data,
        )
    )


def test_images_and_truths_are_paired_in_natural_order(tmp_path):
    for number in (1, 2, 10):
        png(tmp_path / "images" / f"t{number}.png", noise(20, 24, seed=number))
        png(tmp_path / "truths" / f"mask_{number}.png", np.full((20, 24), number, np.uint8))
    samples = open_samples(experiment([(f"{tmp_path}/images/*.png", f"{tmp_path}/truths/*.png")]))
    assert [s.volume.name for s in samples] == ["t1", "t2", "t10"]
    assert [int(s.truth.read().max()) for s in samples] == [1, 2, 10]


def test_as_many_truths_as_images_are_needed(tmp_path):
    for number in range(3):
        png(tmp_path / "images" / f"{number}.png")
    png(tmp_path / "truths" / "0.png")
    with pytest.raises(InputError, match="one truth for each of the 3 images"):
        open_samples(experiment([(f"{tmp_path}/images/*.png", f"{tmp_path}/truths/*.png")]))


def test_every_time_point_is_a_sample_with_a_truth_of_its_own(tmp_path):
    image = zarr(tmp_path / "i.zarr", noise(3, 20, 24), VoxelSize((1.0, 1.0)), axes="tyx")
    labels = np.arange(3, dtype=np.uint32)[:, None, None] * np.ones((1, 20, 24), np.uint32)
    truth = zarr(tmp_path / "l.zarr", labels, VoxelSize((1.0, 1.0)), kind="labels", axes="tyx")
    samples = open_samples(experiment([(image, truth)]))
    assert [s.volume.time for s in samples] == [0, 1, 2]
    assert [int(s.truth.read().max()) for s in samples] == [0, 1, 2]
    assert len({s.volume.name for s in samples}) == 3


def test_names_of_twins_are_told_apart_by_their_folders(tmp_path):
    paths = [png(tmp_path / folder / "cells.png") for folder in ("one", "two")]
    paths.append(png(tmp_path / "one" / "other.png"))
    samples = open_samples(experiment([(p, None) for p in paths]))
    assert [s.volume.name for s in samples] == ["one_cells", "two_cells", "other"]


def test_an_image_named_twice_is_refused(tmp_path):
    path = png(tmp_path / "one" / "cells.png")
    with pytest.raises(InputError, match="names differ"):
        open_samples(experiment([(path, None), (path, None)]))


def test_what_is_not_given_is_what_the_other_list_says(tmp_path):
    path = png(tmp_path / "a.png")
    assert [s.volume.path for s in open_samples(experiment(train=[path]))] == [path]
    assert [s.volume.path for s in open_training(experiment([(path, None)]))] == [path]


def test_images_of_two_kinds_are_refused(tmp_path):
    flat = png(tmp_path / "flat.png")
    tifffile.imwrite(tmp_path / "deep.tif", noise(4, 20, 24), metadata={"axes": "ZYX"}, imagej=True)
    with pytest.raises(InputError) as caught:
        open_samples(experiment([(flat, None), (str(tmp_path / "deep.tif"), None)]))
    assert "flat: 2 axes" in caught.value.found
    assert "deep: 3 axes" in caught.value.found


def test_no_image_is_refused(tmp_path):
    with pytest.raises(InputError, match="no image"):
        common_kind([])
    with pytest.raises(MissingError):
        open_samples(experiment([(f"{tmp_path}/*.png", None)]))


UM = VoxelSize((0.5, 0.5), "um")


@pytest.mark.parametrize(
    ("diameter", "level"), [("40 um", 3), ("20 um", 2), ("10.1 um", 1), ("3 um", 0), (40, 0)]
)
def test_the_coarsest_level_that_resolves_the_objects_is_taken(tmp_path, diameter, level):
    """Objects keep ten voxels; a diameter in voxels is one of the level itself."""
    path = zarr(tmp_path / "i.zarr", noise(2048, 2048), UM)
    (sample,) = open_samples(experiment([(path, None)], level="auto", object_diameter=diameter))
    assert sample.level == level
    assert sample.volume.shape == (2048 >> level,) * 2
    assert sample.volume.voxel_size.values == (0.5 * 2**level,) * 2


def test_a_voxel_size_that_is_given_counts_for_the_level_too(tmp_path):
    path = zarr(tmp_path / "i.zarr", noise(1024, 1024), VoxelSize((1.0, 1.0)))
    (sample,) = open_samples(
        experiment([(path, None)], level="auto", object_diameter="11 um", voxel_size=(0.5, 0.5))
    )
    assert sample.level == 1
    assert sample.volume.voxel_size == VoxelSize((1.0, 1.0), "um")


def test_an_unknown_diameter_takes_the_finest_level(tmp_path):
    path = zarr(tmp_path / "i.zarr", noise(1024, 1024), UM)
    assert open_samples(experiment([(path, None)], level="auto"))[0].level == 0


def test_a_truth_is_read_at_the_level_of_its_image(tmp_path):
    image = zarr(tmp_path / "i.zarr", noise(1024, 1024), UM)
    truth = zarr(tmp_path / "l.zarr", np.ones((1024, 1024), np.uint32), UM, kind="labels")
    (sample,) = open_samples(experiment([(image, truth)], level=1))
    assert sample.level == 1
    assert sample.truth.shape == sample.volume.shape == (512, 512)


def discs(count=5, radius=8):
    grid = np.indices((160, 160))
    image = np.zeros((160, 160))
    for k in range(count * count):
        centre = np.array(divmod(k, count)) * 32 + 16
        image += ((grid - centre[:, None, None]) ** 2).sum(axis=0) < radius**2
    return (200 * image).astype(np.uint8)


def opened(path, **data):
    return open_samples(experiment([(path, None)], **data))[0].volume


def test_a_diameter_that_is_set_is_taken(tmp_path):
    volume = opened(png(tmp_path / "a.png"))
    assert diameter_of(volume, Data(object_diameter=13.0)) == Length(13.0, "voxel")


@pytest.mark.parametrize(("size", "unit"), [((), "voxel"), ((0.25, 0.25), "um")])
def test_a_diameter_is_measured_in_the_unit_of_the_image(tmp_path, size, unit):
    volume = opened(png(tmp_path / "a.png", discs()), voxel_size=size)
    found = diameter_of(volume, Data())
    assert found.unit == unit
    in_voxels = found.in_voxels(volume.voxel_size)
    assert in_voxels == pytest.approx((16, 16), rel=0.3)


def test_a_measured_diameter_sets_the_scale_of_a_coarse_level(tmp_path):
    """Voxel sizes that are mere proportions are those of the finest level."""
    path = zarr(tmp_path / "i.zarr", np.kron(discs(), np.ones((4, 4), np.uint8)), VoxelSize((1, 1)))
    zooms = [
        canonical(opened(path, level=level), Data(level=level), 20.0).scale.zoom[0]
        for level in (0, 1, 2)
    ]
    assert zooms[1] == pytest.approx(2 * zooms[0], rel=0.2)
    assert zooms[2] == pytest.approx(4 * zooms[0], rel=0.2)


def test_an_image_in_which_nothing_stands_out_is_refused(tmp_path):
    volume = opened(png(tmp_path / "a.png", np.full((40, 40), 9, np.uint8)))
    with pytest.raises(InputError, match="objects that stand out") as caught:
        diameter_of(volume, Data())
    assert caught.value.where.endswith("a.png")


def test_fingerprints_follow_the_content(tmp_path):
    same = [fingerprint(opened(png(tmp_path / f / "a.png"))) for f in ("one", "two")]
    other = noise(20, 24)
    other[10, 12] += 1
    assert same[0] == same[1] != fingerprint(opened(png(tmp_path / "three.png", other)))
    assert same[0] != fingerprint(opened(png(tmp_path / "a.png"), voxel_size=(1.0, 1.0)))
