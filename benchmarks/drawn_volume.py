"""Writes a drawn volume of nuclei, and what a good network would say of it, as OME-Zarr.

    python benchmarks/drawn_volume.py FOLDER [PLANES]     2,000 planes are a gigavoxel

FOLDER gets ``image.zarr``, ``truth.zarr``, ``prediction.zarr`` on the canonical grid, as predict
would have written it, and last ``scene.json``. Memory is bounded by a shard.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from drawn_nuclei import DIAMETER, VOXEL, Scene

from cellulus.data import writer
from cellulus.data.readers import open_volumes
from cellulus.experiment.sections import ApplyImage, Data, Experiment
from cellulus.pipeline.decoding import SMALLEST
from cellulus.pipeline.extents import object_width, tile_extent
from cellulus.pipeline.prediction import Facts
from cellulus.pipeline.samples import canonical
from cellulus.space import Length, VoxelSize, ball_volume, blocks


def experiment_of(folder: Path, **sections: Any) -> Experiment:
    """Return the experiment on a drawn image: nothing is set but the diameter."""
    image = ApplyImage(image=str(folder / "image.zarr"))
    return Experiment(data=Data(object_diameter=Length(DIAMETER, "um"), apply=(image,)), **sections)


def write(folder: Path, planes: int) -> dict[str, int]:
    """Write image, truth and prediction, and return what was drawn."""
    scene = Scene(planes)
    told = write_image(scene, folder)
    write_prediction(scene, folder)
    (folder / "scene.json").write_text(json.dumps(told))
    return told


def write_image(scene: Scene, folder: Path) -> dict[str, int]:
    """Write image and truth, one shard at a time, and return how much is in them."""
    size, shape = VoxelSize(VOXEL, "um"), scene.shape
    grey_of = writer.Spec("image", "zyx", shape, np.dtype(np.uint16), size)
    labels_of = writer.Spec("labels", "zyx", shape, np.dtype(np.uint32), size)
    image = writer.create(folder / "image.zarr", grey_of, overwrite=True)
    truth = writer.create(folder / "truth.zarr", labels_of, overwrite=True)
    volumes = np.zeros(len(scene.nuclei.number) + 1, np.int64)
    for block in blocks(shape, image.shards, (0, 0, 0)):
        grey, labels = scene.draw(block.core)
        image.write(block.core, grey)
        truth.write(block.core, labels)
        volumes += np.bincount(labels.ravel(), minlength=len(volumes))
    image.publish()
    truth.publish()
    # As segment counts by default: smaller ones, cut at a face, are none.
    least = SMALLEST * ball_volume(DIAMETER, 3) / math.prod(VOXEL)
    return {"voxels": math.prod(shape), "objects": int((volumes[1:] >= least).sum())}


def write_prediction(scene: Scene, folder: Path) -> None:
    """Write what predict would have written, one tile at a time."""
    experiment = experiment_of(folder)
    volume = open_volumes(folder / "image.zarr")[0]
    width = object_width(experiment.network, 3)
    view = canonical(volume, experiment.data, width)
    facts = Facts(
        image=volume.path,
        time=0,
        channels=(0,),
        level=0,
        shape=volume.shape,
        voxel_size=VOXEL,
        unit="um",
        zoom=view.scale.zoom,
        object_voxels=width,
        low=view.normalisation.low,
        high=view.normalisation.high,
        method=experiment.method.name,
        model="drawn",
    )
    voxel = tuple(v / z for v, z in zip(VOXEL, facts.zoom, strict=True))
    tile, names = tile_extent(experiment, view.shape), experiment.method.channels(3)
    spec = writer.Spec(
        kind="image",
        axes="czyx",
        shape=(len(names), *view.shape),
        dtype=np.dtype(np.float16),
        voxel_size=VoxelSize(voxel, "um"),
        translation=tuple((a - b) / 2 for a, b in zip(voxel, VOXEL, strict=True)),
        chunks=(1, *tile),
        shards=(len(names), *tile),
        channel_names=names,
        attributes=facts.model_dump(mode="json"),
    )
    pending = writer.create(folder / "prediction.zarr", spec, overwrite=True)
    for block in blocks(view.shape, tile, (0, 0, 0)):
        pending.write((slice(None), *block.core), scene.answer(block.core, voxel))
    pending.publish()


if __name__ == "__main__":
    print(write(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2000))
