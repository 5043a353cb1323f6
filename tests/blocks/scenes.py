"""A drawn scene, stored as predict would have stored its prediction."""

import numpy as np

from cellulus.data import writer
from cellulus.experiment.sections import ApplyImage, Data, Experiment, Segment
from cellulus.methods import ObjectCentric
from cellulus.pipeline.prediction import Facts
from cellulus.runs import Run
from cellulus.space import VoxelSize

DIAMETER = 8.0
"""Of the drawn objects [voxel]; small ones have small halos, and are quickly done."""


def store(folder, scene, repeats, *, block=16, name="img"):
    """Store a scene, repeated along each axis; return an experiment on it, and the run."""
    image = np.tile(scene.image[0], repeats)
    prediction = np.tile(scene.prediction, (1, *repeats)).astype(np.float16)
    axes, size = "zyx"[-image.ndim :], (0.5,) * image.ndim
    path = _write(folder / f"{name}.zarr", image, axes, size)
    facts = Facts(
        image=str(path), time=0, channels=(0,), level=0, shape=image.shape, voxel_size=size,
        unit="um", zoom=(1.0,) * image.ndim, object_voxels=DIAMETER, low=(0.0,), high=(1.0,),
        method="object_centric", model="drawn",
    )  # fmt: skip
    run = Run(folder / "run")
    notes = facts.model_dump(mode="json")
    _write(run.predictions / f"{name}.zarr", prediction, f"c{axes}", size, notes)
    experiment = Experiment(
        data=Data(apply=(ApplyImage(image=str(path)),)),
        method=ObjectCentric(),
        segment=Segment(block=block, min_size=0.02),
    )
    return experiment, run


def _write(path, array, axes, size, notes=None):
    spec = writer.Spec(
        kind="image", axes=axes, shape=array.shape, dtype=array.dtype,
        voxel_size=VoxelSize(size, "um"), attributes=notes or {},
    )  # fmt: skip
    pending = writer.create(path, spec)
    pending.write((slice(None),) * array.ndim, array)
    return pending.publish()
