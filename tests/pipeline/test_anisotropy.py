"""One object, however far its planes lie apart, gets the same embeddings [um]."""

import numpy as np
import pytest
import tifffile

from cellulus.data.canonical import Canonical
from cellulus.data.normalise import Normalisation
from cellulus.data.volume import Volume
from cellulus.experiment.sections import Data, Experiment, Network, Train, TrainImage
from cellulus.methods import ObjectCentric
from cellulus.pipeline.model import load
from cellulus.pipeline.tiling import Predictor, tiles_of
from cellulus.pipeline.train import train
from cellulus.runs import Run
from cellulus.space import Length, Scale, VoxelSize

DIAMETER, EDGE = 12.0, 60.0  # [um]
CENTRES = [(z, y, x) for z in (16, 45) for y in (14, 44) for x in (17, 43)]
TOLERANCE = 0.4  # [um], a thirtieth of the diameter


def balls(spacing):
    """Soft balls; a voxel holds the mean over its extent, as a camera would see it."""
    fine = (3, 1, 1)
    axes = [
        (np.arange(round(EDGE / s) * f) + 0.5) * s / f for s, f in zip(spacing, fine, strict=True)
    ]
    grid = np.meshgrid(*axes, indexing="ij")
    image = np.zeros(grid[0].shape)
    for centre in CENTRES:
        away = np.sqrt(sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)))
        image += 1 / (1 + np.exp(away - DIAMETER / 2))
    return image.reshape(-1, 3, *image.shape[1:]).mean(axis=1).astype(np.float32)


@pytest.mark.slow
def test_embeddings_do_not_depend_on_the_distance_of_planes(tmp_path):
    tifffile.imwrite(tmp_path / "balls.tif", balls((1.0,) * 3), metadata={"axes": "ZYX"})
    made = Experiment(
        data=Data(
            object_diameter=Length(DIAMETER, "um"),
            voxel_size=(1.0, 1.0, 1.0),
            train=(TrainImage(image=str(tmp_path / "balls.tif")),),
        ),
        method=ObjectCentric(passes=4),
        network=Network(features=12, head_features=24, object_voxels=DIAMETER),
        train=Train(steps=250, crop=36, batch_size=3, validate_every=250, precision="fp32"),
    )
    run = Run.start(tmp_path / "run", made, "")
    ask = Predictor(load(train(made, run, device="cpu")), made, "cpu")
    said = []
    for spacing in ((1.0, 1.0, 1.0), (3.0, 1.0, 1.0)):
        volume = Volume.of(balls(spacing), voxel_size=VoxelSize(spacing, "um"))
        scale = Scale.of(Length(DIAMETER, "um"), volume.voxel_size, DIAMETER)
        image = Canonical(volume, scale, Normalisation((0.0,), (1.0,)))
        whole = np.zeros((4, *image.shape), np.float32)
        for tile in tiles_of(made, image.shape):
            whole[(slice(None), *tile.core)] = ask(image, tile)
        said.append(whole[:3])  # a canonical voxel is 1 um here
    inside = balls((1.0,) * 3) > 0.5
    lengths = np.sqrt((said[0][:, inside] ** 2).sum(axis=0))
    assert np.median(lengths) > 4 * TOLERANCE, "test invalid: nothing was learnt"
    apart = np.sqrt(((said[0] - said[1])[:, inside] ** 2).sum(axis=0))
    assert np.median(apart) < TOLERANCE
