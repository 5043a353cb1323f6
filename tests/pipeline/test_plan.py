import math

import numpy as np
import PIL.Image
import pytest

from cellulus.data.volume import Volume
from cellulus.errors import InputError, MissingError
from cellulus.experiment.load import parse
from cellulus.experiment.sections import (
    Data,
    Experiment,
    Network,
    Postprocess,
    Predict,
    Segment,
    Train,
)
from cellulus.nn import shapes
from cellulus.nn.unet import UNet
from cellulus.pipeline.memory import BASE
from cellulus.pipeline.plan import parameters, plan, plan_volumes
from cellulus.pipeline.tiling import tiles_of
from cellulus.space import VoxelSize, blocks

SIZES = (("train", "crop"), ("predict", "tile"), ("segment", "block"))


def volume(shape, size=None, name="a", channels=1):
    array = np.zeros((channels, *shape), np.uint8)
    axes = "c" + "zyx"[-len(shape) :]
    return Volume.of(array, axes=axes, name=name, voxel_size=size and VoxelSize(size, "um"))


def spots(shape=(128, 128), diameter=18):
    grid = np.indices(shape)
    image = np.zeros(shape, np.uint8)
    for y in range(diameter, shape[0], 2 * diameter):
        for x in range(diameter, shape[1], 2 * diameter):
            image[np.hypot(grid[0] - y, grid[1] - x) < diameter / 2] = 200
    return image


def build(network, ndim, inputs, outputs):
    names = ("features", "growth", "depth", "head_features")
    return UNet(ndim, inputs, outputs, **{name: getattr(network, name) for name in names})


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("inputs", [1, 3])
def test_parameters_are_those_of_the_network(ndim, depth, inputs):
    network = Network(features=3, growth=2, depth=depth, head_features=5)
    real = sum(weights.numel() for weights in build(network, ndim, inputs, 4).parameters())
    assert parameters(network, ndim, inputs, 4) == real


def test_an_anisotropic_volume():
    experiment = Experiment(
        data=Data(object_diameter="9.6 um"),
        predict=Predict(tile=32),
        segment=Segment(block=64),
        train=Train(crop=41),
    )
    made = plan_volumes(experiment, [volume((20, 100, 130), (2.0, 0.8, 0.8))], [])
    (image,) = made.images
    assert image.diameter == pytest.approx((4.8, 12, 12))
    # 12 canonical voxels per object: 12 / 4.8 in z, 12 / 12 in y and x.
    assert image.canonical_shape == (50, 100, 130)
    assert (made.view, made.crop, made.tile, made.block) == (shapes.view(1), 42, 32, 64)
    tiles = image.steps["predict"].cut.count
    assert tiles == len(tiles_of(experiment, image.canonical_shape))
    assert tiles == sum(1 for _ in blocks((50, 100, 130), (32,) * 3, (0, 0, 0)))
    # Blocks of 64 cubed voxels, as thick as wide in um: 35 x 87 x 87, cut and rounded.
    assert image.steps["segment"].cut.core == (20, 80, 80)
    assert image.steps["segment"].cut.count == 1 * 2 * 2
    assert list(image.steps) == ["predict", "survey 1", "segment", "postprocess"]
    assert image.disk["labels"] == image.disk["segments"] == 4 * 20 * 100 * 130
    assert image.disk["predictions"] == 2 * 4 * 50 * 100 * 130
    assert image.disk["staging"] == 4 * 20 * 100 * 130
    assert made.outputs == ("offset_z", "offset_y", "offset_x", "uncertainty")


@pytest.mark.parametrize(("ndim", "sizes"), [(2, (128, 512, 2048)), (3, (36, 96, 256))])
def test_sizes_left_to_the_program_are_those_of_the_docstrings(ndim, sizes):
    made = plan_volumes(Experiment(data=Data(object_diameter=9)), [volume((32,) * ndim)], [])
    assert (made.crop, made.tile, made.block) == sizes
    for place, (section, key) in enumerate(SIZES):
        field = Experiment.model_fields[section].annotation.model_fields[key]
        assert f"{sizes[place]} in {ndim}D" in field.description


def test_memory_grows_with_what_bounds_it():
    def memory(**sections):
        experiment = Experiment(data=Data(object_diameter=9), **sections)
        return plan_volumes(experiment, [volume((5000, 4096))], []).memory

    base = memory()
    assert memory(train=Train(batch_size=16))["train"] - BASE > 1.8 * (base["train"] - BASE)
    assert memory(predict=Predict(tile=1024))["predict"] > 2 * base["predict"]
    many = memory(predict=Predict(batch_size=16))["predict"] - BASE
    assert many > 3 * (base["predict"] - BASE)
    assert memory(predict=Predict(batch_size=64))["predict"] - BASE == many, "16 passes are all"
    wide = memory(segment=Segment(block=4096))
    assert wide["segment"] - BASE > 3 * (base["segment"] - BASE)
    assert memory(postprocess=Postprocess(grow=0.0)).keys() == base.keys()
    assert min(base.values()) > BASE
    assert all(isinstance(count, int) and count > 0 for count in base.values())


def test_training_memory_is_at_least_what_autograd_keeps():
    import torch

    network = Network(features=4, growth=2, depth=1, head_features=6)
    train = Train(batch_size=2, crop=32)
    experiment = Experiment(data=Data(object_diameter=9), network=network, train=train)
    made = plan_volumes(experiment, [volume((64, 64))], [])
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    model = build(network, 2, 1, 3)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.zeros(2, 1, 32, 32)).sum()
    assert sum(kept.values()) <= made.memory["train"] - BASE <= 3 * sum(kept.values())


def test_small_images_need_no_more_memory_than_they_have_voxels():
    def memory(edge):
        experiment = Experiment(data=Data(object_diameter=20))
        return plan_volumes(experiment, [volume((edge, edge))], []).memory

    small, large, larger = memory(64), memory(1024), memory(8192)
    assert small["train"] == large["train"]
    assert small["predict"] - BASE < (large["predict"] - BASE) / 10
    assert large["predict"] == larger["predict"], "bounded by the tile"
    assert small["segment"] < large["segment"] < larger["segment"]
    assert larger["segment"] < 3 * large["segment"], "bounded by the block"


def test_without_images_to_apply_to_only_training_is_planned():
    experiment = Experiment(data=Data(object_diameter=9))
    made = plan_volumes(experiment, [], [volume((64, 64))])
    assert set(made.memory) == {"train"}
    assert made.images == ()


def test_diameters_are_measured_where_none_is_given():
    images = [Volume.of(spots(), name=f"{n}") for n in range(12)]
    made = plan_volumes(Experiment(), images, [])
    assert made.images[0].diameter == pytest.approx((18, 18), rel=0.4)
    assert made.images[-1].diameter is None
    assert made.images[-1].steps == made.images[-1].disk == {}
    assert made.disk["labels"] == 8 * made.images[0].disk["labels"], "of those that are known"


def test_an_image_in_which_nothing_stands_out():
    made = plan_volumes(Experiment(), [volume((64, 64))], [])
    assert made.images[0].canonical_shape is None


def test_images_must_be_of_one_kind():
    with pytest.raises(InputError, match="b: 3 axes"):
        plan_volumes(Experiment(), [volume((64, 64))], [volume((9, 9, 9), name="b")])
    with pytest.raises(InputError, match="2 channels"):
        plan_volumes(Experiment(), [volume((64, 64)), volume((64, 64), channels=2, name="b")], [])


def test_micrometres_without_a_voxel_size():
    with pytest.raises(InputError, match="voxel_size"):
        plan_volumes(Experiment(data=Data(object_diameter="9 um")), [volume((64, 64))], [])


def test_the_plan_of_an_experiment(tmp_path):
    for name in "ab":
        PIL.Image.fromarray(spots()).save(tmp_path / f"{name}.png")
    text = '[data]\nobject_diameter = 18\n[[data.apply]]\nimage = "*.png"\n'
    made = plan(parse(text, source="x.toml", base=tmp_path))
    assert [image.name for image in made.images] == ["a", "b"]
    assert made.training == 2, "without images to learn from, those to apply to are learnt from"
    assert made.images[0].shape == (128, 128)
    assert math.prod(made.images[0].canonical_shape) == 143**2
    assert made.to_dict()["images"][1]["name"] == "b"


def test_images_that_are_not_there(tmp_path):
    text = '[[data.apply]]\nimage = "none.png"\n'
    with pytest.raises(MissingError):
        plan(parse(text, source="x.toml", base=tmp_path))


def test_predicting_needs_no_images_to_learn_from(tmp_path):
    PIL.Image.fromarray(spots()).save(tmp_path / "a.png")
    text = '[[data.train]]\nimage = "gone.png"\n[[data.apply]]\nimage = "a.png"\n'
    experiment = parse(text, source="x.toml", base=tmp_path)
    assert plan(experiment, training=False).training == 0
    with pytest.raises(MissingError, match="gone"):
        plan(experiment)


def test_predicting_needs_images(tmp_path):
    experiment = parse('[[data.train]]\nimage = "a.png"\n', source="x.toml", base=tmp_path)
    with pytest.raises(InputError, match=r"data\.apply"):
        plan(experiment, training=False)


def test_disk_counts_every_level_of_the_pyramids(tmp_path):
    """Against arrays that are really made, of the same shape."""
    from cellulus.data import writer

    size = VoxelSize((2.0, 0.5, 0.5), "um")
    experiment = Experiment(data=Data(object_diameter="10 um"))
    (image,) = plan_volumes(experiment, [volume((40, 600, 520), (2.0, 0.5, 0.5))], []).images
    spec = writer.Spec("labels", "zyx", (40, 600, 520), np.dtype(np.uint32), size)
    assert len(spec.grids) > 1
    assert image.disk["labels"] == sum(4 * math.prod(grid.shape) for grid in spec.grids)
    fine = VoxelSize(tuple(0.5 for _ in range(3)), "um")
    spec = writer.Spec(
        "image", "czyx", (4, *image.canonical_shape), np.dtype(np.float16), fine
    )  # fmt: skip
    assert image.disk["predictions"] == sum(2 * math.prod(grid.shape) for grid in spec.grids)


def test_results_add_up_and_what_passes_does_not():
    experiment = Experiment(data=Data(object_diameter=9))
    alone = plan_volumes(experiment, [volume((64, 64))], []).disk
    both = plan_volumes(experiment, [volume((64, 64)), volume((64, 64), name="b")], []).disk
    for key in ("predictions", "segments", "labels"):
        assert both[key] == 2 * alone[key]
    for key in ("staging", "parts"):
        assert both[key] == alone[key] > 0
