import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from skimage import measure

from cellulus.errors import InputError, MissingError
from cellulus.experiment.load import parse
from cellulus.pipeline.init import init, name_of
from cellulus.pipeline.samples import open_training


def discs(diameter, shape=(160, 160), seed=0):
    """Draw bright discs on a grid, so that none touch."""
    rng = np.random.default_rng(seed)
    grid = np.indices(shape)
    image = rng.normal(20, 3, shape)
    step = 2 * diameter
    for y in range(step // 2, shape[0], step):
        for x in range(step // 2, shape[1], step):
            image[np.hypot(grid[0] - y, grid[1] - x) < diameter / 2] += 150
    return image.clip(0, 255).astype(np.uint8)


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(image).save(path)
    return str(path)


def reads_back(proposal, base):
    return parse(proposal.text, source="x.toml", base=base) == proposal.experiment


def test_images_alike_get_one_diameter(tmp_path):
    for number in range(3):
        write(tmp_path / "images" / f"{number}.png", discs(18, seed=number))
    proposal = init([str(tmp_path / "images")], base=tmp_path)
    length = proposal.experiment.data.object_diameter
    assert length.unit == "voxel"
    assert 13 < length.value < 24
    assert 'image = "images/*.png"' in proposal.text
    assert "3 images: 160 y x 160 x, uint8, voxel size unknown" in proposal.summary
    assert all(line in proposal.text for line in proposal.summary)
    assert reads_back(proposal, tmp_path)


def test_images_that_differ_are_measured_one_by_one(tmp_path):
    images = [write(tmp_path / "a.png", discs(10)), write(tmp_path / "b.png", discs(30))]
    proposal = init(images)
    assert proposal.experiment.data.object_diameter == "auto"
    assert "measured image by image" in proposal.text
    assert reads_back(proposal, Path())


def test_a_known_voxel_size_gives_micrometres(tmp_path):
    file = tmp_path / "a.tif"
    tifffile.imwrite(
        file, discs(18), imagej=True, resolution=(2.0, 2.0), metadata={"unit": "um", "axes": "YX"}
    )
    length = init([str(file)]).experiment.data.object_diameter
    assert length.unit == "um"
    assert 6.5 < length.value < 12


def test_every_file_of_a_folder_becomes_a_glob_and_some_do_not(tmp_path):
    paths = [write(tmp_path / f"{name}.png", discs(18)) for name in "abc"]
    assert [e.image for e in init(paths).experiment.data.apply] == [str(tmp_path / "*.png")]
    assert [e.image for e in init(paths[:2]).experiment.data.apply] == paths[:2]


def test_a_choice_of_channels_is_made_and_said(tmp_path):
    file = tmp_path / "a.tif"
    stack = np.stack([discs(18), discs(18) // 2])
    tifffile.imwrite(file, stack, imagej=True, metadata={"axes": "CYX"})
    proposal = init([str(file)])
    assert proposal.experiment.data.channels == (0,)
    assert any("channel 0 of 2" in line for line in proposal.summary)
    assert "\nchannels = [0]" in proposal.text


def test_an_image_in_which_nothing_stands_out(tmp_path):
    path = write(tmp_path / "a.png", np.full((64, 64), 7, np.uint8))
    proposal = init([path])
    assert proposal.experiment.data.object_diameter == "auto"
    assert "nothing stands out" in proposal.text


def test_flat_images_and_volumes_do_not_mix(tmp_path):
    flat = write(tmp_path / "a.png", discs(18))
    deep = tmp_path / "b.tif"
    tifffile.imwrite(deep, np.zeros((5, 32, 32), np.uint8), imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(InputError, match="2 axes"):
        init([flat, str(deep)])


def test_volumes_get_settings_that_two_cores_can_do(tmp_path):
    deep = tmp_path / "b.tif"
    stack = np.stack([discs(18) // 4, discs(18), discs(18) // 4])
    tifffile.imwrite(deep, stack, imagej=True, metadata={"axes": "ZYX"})
    flat = init([write(tmp_path / "a.png", discs(18))]).experiment
    proposal = init([str(deep)])
    made = proposal.experiment
    assert 2 * made.network.features == flat.network.features
    assert 2 * made.network.head_features == flat.network.head_features
    assert 2 * made.train.batch_size == flat.train.batch_size
    assert 2 * made.method.passes == flat.method.passes
    for line in ("features = 12", "batch_size = 4", "passes = 8", "because volumes are costly"):
        assert line in proposal.text
    assert reads_back(proposal, Path())


@pytest.fixture
def drawn(tmp_path):
    """Two images and their masks, in folders of their own."""
    for number in range(2):
        image = discs(18, seed=number)
        write(tmp_path / "images" / f"{number}.png", image)
        write(tmp_path / "masks" / f"{number}.png", measure.label(image > 90).astype(np.uint8))
    return tmp_path


def test_masks_are_what_is_learnt_from(drawn):
    proposal = init([str(drawn / "images")], masks=[str(drawn / "masks")], base=drawn)
    made = proposal.experiment
    assert made.method.name == "spatial_embedding"
    assert made.network.depth == 2
    assert not made.data.apply
    assert '\nimage = "images/*.png"' in proposal.text
    assert '\nmasks = "masks/*.png"' in proposal.text
    assert reads_back(proposal, drawn)
    assert [sample.masks is not None for sample in open_training(made)] == [True, True]


def test_masks_named_one_by_one_stay_beside_their_images(drawn):
    images, masks = (
        [str(drawn / kind / f"{n}.png") for n in (1, 0)] for kind in ("images", "masks")
    )
    write(drawn / "images" / "2.png", discs(18))  # so that no glob names the others alone
    made = init(images, masks=masks).experiment
    assert [(e.image, e.masks) for e in made.data.train] == list(zip(images, masks, strict=True))


def test_masks_given_one_by_one_are_not_paired_by_name(drawn):
    images = [str(drawn / "images" / f"{n}.png") for n in (0, 1)]
    masks = [str(drawn / "masks" / f"{n}.png") for n in (1, 0)]
    made = init(images, masks=masks).experiment
    assert [(e.image, e.masks) for e in made.data.train] == list(zip(images, masks, strict=True))
    assert [s.masks.labels.path for s in open_training(made)] == masks


def test_masks_that_do_not_fit_are_refused(drawn):
    images = [str(drawn / "images" / f"{n}.png") for n in range(2)]
    with pytest.raises(InputError, match="one for each of"):
        init(images, masks=[str(drawn / "masks" / "0.png")])
    with pytest.raises(InputError, match="one mask for each of the 2 images"):
        init([str(drawn / "images" / "*.png")], masks=[str(drawn / "masks" / "0.png")])
    write(drawn / "masks" / "1.png", np.ones((20, 20), np.uint8))
    with pytest.raises(InputError, match="shape"):
        init([str(drawn / "images")], masks=[str(drawn / "masks")])


def test_points_are_what_is_learnt_from(drawn):
    for number in range(2):
        (drawn / "points").mkdir(exist_ok=True)
        (drawn / "points" / f"{number}.csv").write_text("y,x\n5,5\n9,9\n")
    proposal = init([str(drawn / "images")], points=[str(drawn / "points")], base=drawn)
    assert proposal.experiment.method.name == "point_marker"
    assert '\npoints = "points/*.csv"' in proposal.text
    assert reads_back(proposal, drawn)
    found = [sample.points for sample in open_training(proposal.experiment)]
    assert found == [str(drawn / "points" / f"{number}.csv") for number in range(2)]
    with pytest.raises(InputError, match="found both"):
        init([str(drawn / "images")], masks=[str(drawn / "masks")], points=[str(drawn / "points")])
    (drawn / "points" / "1.csv").unlink()
    with pytest.raises(InputError, match="one table of points for each of the 2 images"):
        init([str(drawn / "images")], points=[str(drawn / "points")])


def test_nothing_to_look_at(tmp_path):
    with pytest.raises(MissingError):
        init([str(tmp_path / "none.png")])
    with pytest.raises(InputError, match="without any"):
        init([str(tmp_path)])


@pytest.mark.parametrize(
    ("images", "name"),
    [
        (["/data/embryo.ome.zarr"], "embryo"),
        (["/data/a.ome.tif"], "a"),
        (["/data/nuclei/*.png"], "nuclei"),
        (["/data/nuclei/a.png", "/data/nuclei/b.png"], "nuclei"),
        (["/data/nuclei"], "nuclei"),
    ],
)
def test_names_of_runs(images, name):
    assert name_of(images) == name


def test_looking_imports_no_torch():
    code = "import sys, cellulus.pipeline.init; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
