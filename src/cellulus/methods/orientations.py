"""What the network says of an image; if asked, the mean over orientations of the image.

Test-time augmentation: the network is shown the image turned and flipped in its plane, and
flipped along z, but never tilted, for microscopes sample z differently. Its answers are turned
back, vectors with their axes, and averaged before they are activated. Images of legal extents
(`cellulus.nn.shapes`) are pooled in the same groups of voxels from either end of an axis, so a
tile gives in every orientation what the whole would give there.

Source: Lalit et al. 2022, arXiv 2101.10033, and the code published with it. Knows nothing of
tiles or files.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, groupby
from typing import TYPE_CHECKING

import torch

from cellulus.methods.answers import activate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn


@dataclass(frozen=True)
class Orientation:
    """A way to hold an image.

    Attributes
    ----------
    exchanged
        Whether y and x change places.
    flipped
        Axes that are flipped then, counted from the last: -1 is x.
    """

    exchanged: bool
    flipped: tuple[int, ...]

    def exchange(self, image: Tensor) -> Tensor:
        """Return a view of ``(C, *S)`` with y and x in their places."""
        return image.transpose(-2, -1) if self.exchanged else image

    def turn(self, image: Tensor) -> Tensor:
        """Return ``(C, *S)`` as the network is shown it."""
        return self.exchange(image).flip(self.flipped)

    def restore(self, answer: Tensor) -> Tensor:
        """Return a raw answer about the turned image, ``(outputs, *S)``, as about the image.

        A flipped component of an offset points the other way; margins, if there are any, have no
        direction, and the last component has no axis at all.
        """
        ndim = answer.ndim - 1
        sense = [-1.0 if axis in self.flipped else 1.0 for axis in range(-ndim, 0)]
        signs = answer.new_tensor([*sense, *[1.0] * (len(answer) - ndim)]).view(-1, *[1] * ndim)
        order = list(range(ndim))
        if self.exchanged:
            order[-2], order[-1] = order[-1], order[-2]
        upright = self.exchange(answer.flip(self.flipped) * signs)
        vectors = range(0, len(answer) - 1, ndim)
        return upright[[*(first + axis for first in vectors for axis in order), -1]]


def orientations(ndim: int) -> list[Orientation]:
    """Return the 8 orientations of a plane, and of a volume those upside down too; as is first."""
    return [
        Orientation(exchanged, flipped)
        for exchanged in (False, True)
        for count in range(ndim + 1)
        for flipped in combinations(range(-ndim, 0), count)
    ]


class OrientedViews:
    """Ask the network once, or once per orientation of the image.

    Parameters
    ----------
    object_voxels
        Width of an object [canonical voxel].
    batch_size
        Orientations sent through the network together.
    tta
        Whether all orientations are asked for, not just the image as it is.
    """

    def __init__(self, object_voxels: float, batch_size: int, *, tta: bool) -> None:
        self.object_voxels, self.batch_size, self.tta = object_voxels, batch_size, tta

    def __call__(self, network: nn.Module, image: Tensor, origin: tuple[int, ...]) -> Tensor:
        """Return what is predicted; see `cellulus.methods.answers.activate`."""
        ndim = image.ndim - 1
        views = orientations(ndim) if self.tta else orientations(ndim)[:1]
        answers = self._answers(network, image, views)
        total = next(answers)
        for answer in answers:
            total += answer
        return activate(total / len(views), ndim, self.object_voxels)

    def _answers(
        self, network: nn.Module, image: Tensor, views: list[Orientation]
    ) -> Iterator[Tensor]:
        """Yield raw answers, upright, in the order of the views whatever the batches."""
        # A batch holds images of one shape: not those of a long tile and of the same across.
        for _, alike in groupby(views, key=lambda view: view.exchange(image).shape):
            same = list(alike)
            for start in range(0, len(same), self.batch_size):
                some = same[start : start + self.batch_size]
                answers = network(torch.stack([view.turn(image) for view in some])).float()
                for view, answer in zip(some, answers, strict=True):
                    yield view.restore(answer)
