"""How much disk an image takes, at most: before compression, which saves most of it in labels.

Arithmetic on shapes. Knows nothing of files.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cellulus.data import pyramid
from cellulus.pipeline import cuts
from cellulus.space import ball_volume

if TYPE_CHECKING:
    from cellulus.experiment.sections import Experiment
    from cellulus.pipeline.cuts import Subject
    from cellulus.space import VoxelSize


def needed(experiment: Experiment, subject: Subject, voxel_size: VoxelSize) -> dict[str, int]:
    """Return what each result takes [byte], and what is there only while it is made.

    Parameters
    ----------
    experiment
        The settings.
    subject, voxel_size
        The image.

    Returns
    -------
    needed
        ``predictions``: float16, with pyramid. ``segments``, ``labels``: uint32, with pyramid.
        ``staging``: labels under the numbers of blocks, until they are joined. ``parts``: what
        blocks tell of their objects, if these filled the image.
    """
    ndim, channels = len(subject.shape), len(experiment.method.channels(len(subject.shape)))
    fine = tuple(v / z for v, z in zip(voxel_size.values, subject.zoom, strict=True))
    labels = 4 * _with_pyramid(subject.shape, voxel_size.values)
    ball = ball_volume(subject.object_voxels, ndim) / math.prod(subject.zoom)
    objects = cuts.decoding(experiment, subject).overhead * math.prod(subject.shape) / ball
    return {
        "predictions": 2 * channels * _with_pyramid(subject.canonical, fine),
        "segments": labels,
        "labels": labels,
        "staging": 4 * math.prod(subject.shape),
        # An anchor and a mode, a size, and both ends of the bounding box; integers of 8 bytes.
        "parts": math.ceil(8 * (1 + 4 * ndim) * objects),
    }


def _with_pyramid(shape: tuple[int, ...], extents: tuple[float, ...]) -> int:
    """Return the voxels of all levels."""
    grids = pyramid.plan("zyx"[-len(shape) :], shape, extents)
    return sum(math.prod(grid.shape) for grid in grids)
