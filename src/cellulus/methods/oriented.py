"""The settings of methods that ask the network once, or once per orientation of the image.

Imports no torch.
"""

from __future__ import annotations

from typing import ClassVar

from cellulus.methods.base import Inference, MethodSettings


class OrientedSettings(MethodSettings):
    """What `spatial_embedding` and `point_marker` have in common: how the network is asked."""

    has_tta: ClassVar[bool] = True

    def views(self, ndim: int, *, tta: bool = False) -> int:
        """Return the number of orientations."""
        return 2 ** (ndim + 1) if tta else 1

    def inference(
        self, object_voxels: float, seed: int, batch_size: int, *, tta: bool = False
    ) -> Inference:
        """Return a single answer, or the mean over turns and flips."""
        from cellulus.methods.orientations import OrientedViews

        return OrientedViews(object_voxels, batch_size, tta=tta)
