"""An experiment on an image of discs, with a network that is trained and asked in a moment."""

import numpy as np
import PIL.Image

from cellulus.experiment.sections import ApplyImage, Data, Experiment, Network, Train
from cellulus.methods import ObjectCentric


def experiment_on(folder, shape, **sections):
    """Write ``a.png`` of this shape into a folder, and return an experiment on it."""
    away = np.hypot(*(axis % 24 - 12 for axis in np.indices(shape)))
    PIL.Image.fromarray(np.where(away < 6, 200, 20).astype(np.uint8)).save(folder / "a.png")
    return Experiment(
        data=Data(object_diameter=12, apply=(ApplyImage(image=str(folder / "a.png")),)),
        method=ObjectCentric(passes=2, pairs=2),
        network=Network(features=2, growth=1, head_features=2),
        train=Train(steps=1, batch_size=1, crop=32, validate_every=1),
        **sections,
    )
