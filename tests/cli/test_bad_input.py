"""Images, settings and folders that cannot be worked with, through the real command line."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from cellulus.cli import main


@pytest.mark.parametrize("name", ["run", "train", "check"])
def test_a_path_that_is_not_there(name, place, refused):
    place.experiment(image="gone.png")
    refused([name, "x.toml"], "gone.png")


def test_a_glob_that_means_nothing(place, refused):
    place.experiment(image="images/*.tif")
    refused(["train", "x.toml"], "images/*.tif")


def test_a_folder_that_is_no_image(place, refused):
    Path("a.zarr").mkdir()
    refused(["train", "a.zarr"], "a.zarr")


def test_a_zarr_group_without_multiscales(place, refused):
    zarr.open_group("a.zarr", mode="w").create_array("0", shape=(8, 8), dtype="u1")
    place.experiment(image="a.zarr")
    refused(["train", "x.toml"], "a.zarr", "multiscales")


@pytest.mark.parametrize("name", ["a.tif", "c.png"])
def test_a_text_file_with_the_name_of_an_image(name, place, refused):
    Path(name).write_text("no image")
    place.experiment(image=name)
    refused(["train", "x.toml"], name)


def test_an_image_that_is_cut_short(place, refused):
    place.save("c.png", np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
    content = Path("c.png").read_bytes()
    Path("c.png").write_bytes(content[: len(content) // 2])
    place.experiment(image="c.png")
    refused(["train", "x.toml"], "c.png")


def test_a_file_that_may_not_be_read(place, refused, monkeypatch):
    real = Path.open

    def guarded(self, *arguments, **options):
        if self.name == "a.png":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", guarded)
    refused(["train", "x.toml"], "a.png", "Permission denied")


def test_labels_given_as_an_image_to_segment(place, refused):
    refused(["segment", "a.png"], "a.png")


# Settings


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("train.step=3", "did you mean 'steps'?"),
        ("train.steps=many", "train.steps"),
        ("train.crop=9", "at least 18, the view of a network of depth 1"),
        ("train.crop=[16, 32, 32]", "train.crop"),
        ("method.name=magic", "object_centric"),
        ("method.passes=3", "method.passes"),
        ("data.percentiles=[90, 10]", "ascending"),
        ("data.object_diameter=-3", "positive"),
        ("data.voxel_size=[2.0, 0.5, 0.5]", "2 values, along y, x"),
        ("data.channels=[1]", "channel"),
        ("data.level=3", "level"),
        ("data.object_diameter=9 um", "voxel_size"),
    ],
)
@pytest.mark.parametrize("command", ["train", "check"])
def test_settings_that_do_not_hold(command, change, said, place, refused):
    message = refused([command, "x.toml", "--set", change])
    assert said in message


def test_a_channel_of_a_name_that_is_not_there(place, refused):
    stack = np.stack([place.discs(), place.discs()])
    tifffile.imwrite(
        "c.ome.tif", stack, metadata={"axes": "CYX", "Channel": {"Name": ["DNA", "GFP"]}}
    )
    place.experiment(image="c.ome.tif", data='object_diameter = 12\nchannels = ["DAPI"]')
    refused(["train", "x.toml"], "DAPI", "DNA", "GFP")


def test_images_of_different_kinds(place, refused):
    tifffile.imwrite("v.tif", place.discs((24, 48, 48)), metadata={"axes": "ZYX"}, imagej=True)
    place.experiment(more='[[data.apply]]\nimage = "v.tif"\n' + place.SMALL)
    refused(["train", "x.toml", "--set", "data.train=[]"], "v", "3 axes")


# Intensities


def test_nan(place, refused):
    image = place.discs().astype(np.float32)
    image[9, 9] = np.nan
    tifffile.imwrite("n.tif", image, metadata={"axes": "YX"})
    place.experiment(image="n.tif")
    refused(["train", "x.toml"], "n.tif", "NaN")


@pytest.mark.parametrize("diameter", ["12", '"auto"'])
def test_a_constant_image_to_learn_from(diameter, place, refused):
    place.save("c.png", np.full((64, 64), 7, np.uint8))
    place.experiment(image="c.png", data=f"object_diameter = {diameter}")
    refused(["train", "x.toml"], "c.png")


def test_an_image_smaller_than_a_crop_is_padded(place, refused):
    place.save("tiny.png", place.discs((20, 30)))
    place.experiment(image="tiny.png", more=place.SMALL.replace("crop = 32", "crop = 64"))
    assert main(["train", "x.toml", "-d", "cpu"]) == 0
    assert main(["predict", "x.toml", "-d", "cpu"]) == 0
    made = zarr.open_group("runs/x/predictions/tiny.zarr", mode="r")["0"]
    assert np.isfinite(made[:]).all()


def test_nan_in_an_image_to_apply_to(place, model, refused):
    image = place.discs((200, 200)).astype(np.float32)
    image[190, 190] = np.inf
    tifffile.imwrite("n.tif", image, metadata={"axes": "YX"})
    refused(["predict", "n.tif", "-m", "runs/x", "-d", "cpu"], "n.tif")


# What is there already


def test_results_are_not_replaced_unasked(model, refused):
    before = model.read_bytes()
    refused(["train", "x.toml"], "model.safetensors", "--overwrite", "--resume")
    refused(["run", "x.toml"], "model.safetensors", "--overwrite", "--resume")
    assert model.read_bytes() == before


def test_predictions_are_not_replaced_unasked(model, refused):
    assert main(["predict", "x.toml", "-d", "cpu"]) == 0
    there = Path("runs/x/predictions/a.zarr")
    stamp = there.stat().st_ino
    refused(["predict", "x.toml"], "a.zarr")
    assert there.stat().st_ino == stamp
    assert main(["predict", "x.toml", "--resume", "-d", "cpu"]) == 0
    assert there.stat().st_ino == stamp
    assert main(["predict", "x.toml", "--overwrite", "-d", "cpu"]) == 0
    assert there.stat().st_ino != stamp


def test_a_run_of_other_settings_is_not_gone_on_with(model, refused):
    message = refused(["train", "x.toml", "--set", "train.steps=5", "--resume"])
    assert "train.steps: 4 then, 5 now" in message


def test_an_experiment_is_not_replaced_unasked(place, refused):
    refused(["init", "a.png", "-o", "x.toml"], "x.toml", "--overwrite")
