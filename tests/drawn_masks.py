"""Touching ellipsoids, and what a network that learnt from masks would say of them.

Offsets that err by a smooth and a rough part, margins that differ from voxel to voxel, a seediness
that is high in the middle of objects and lower where they touch. Knows nothing of decoding.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cellulus.methods.decoder import Observation

DIAMETER = 16.0
"""Of the drawn objects, unless asked otherwise [canonical voxel]."""


@dataclass(frozen=True)
class Masks:
    """Objects, numbered, and a prediction of them."""

    truth: np.ndarray
    prediction: np.ndarray
    spacing: tuple
    diameter: float = DIAMETER

    @property
    def whole(self):
        return tuple(slice(0, n) for n in self.truth.shape)

    def observe(self, region=None):
        region = region or self.whole
        part = self.prediction[(slice(None), *region)]
        image = np.broadcast_to(np.float32(0), (1, *part.shape[1:]))
        return Observation(part, image, self.spacing, tuple(s.start for s in region))


def ellipsoids(shape, spacing, diameter, rng, tries):
    """Centres, and what maps each ellipsoid to the unit ball, of objects that hardly overlap."""
    ndim, extent = len(shape), np.multiply(shape, spacing)
    centres, maps, widths = [], [], []
    for _ in range(tries):
        centre = rng.random(ndim) * extent
        semi = diameter / 2 * np.exp(rng.normal(0, 0.2, ndim))
        width = np.prod(semi) ** (1 / ndim)
        if all(
            np.linalg.norm(centre - other) > 0.95 * (width + wide)
            for other, wide in zip(centres, widths, strict=True)
        ):
            turn = np.linalg.qr(rng.normal(size=(ndim, ndim)))[0]
            centres.append(centre)
            maps.append(turn / semi)
            widths.append(width)
    return np.array(centres), np.array(maps)


def draw(shape, spacing=None, *, diameter=DIAMETER, seed=0, noise=1.0, tries=600):
    """Draw as many as find room; `noise` scales how much the prediction errs."""
    rng = np.random.default_rng(seed)
    ndim, spacing = len(shape), spacing or (1.0,) * len(shape)
    centres, maps = ellipsoids(shape, spacing, diameter, rng, tries)
    grid = [(np.arange(n) + 0.5) * s for n, s in zip(shape, spacing, strict=True)]
    points = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1)
    out, owner = np.full(shape, np.inf), np.zeros(shape, np.int64)
    for number, (centre, to_ball) in enumerate(zip(centres, maps, strict=True)):
        share = np.linalg.norm((points - centre) @ to_ball, axis=-1)
        closer = share < out
        out[closer], owner[closer] = share[closer], number
    inside = out <= 1

    def error(*leading):
        rough = rng.normal(size=(*leading, *shape))
        smooth = ndimage.gaussian_filter(rough, (*(0,) * len(leading), *np.divide(2.0, spacing)))
        return noise * (0.7 * smooth / max(smooth.std(), 1e-9) + 0.3 * rough)

    offsets = np.moveaxis(centres[owner] - points, -1, 0) * np.where(inside, 1, 0.3)
    offsets += 0.05 * diameter * error(ndim)
    margins = 0.3 * diameter * np.exp(0.15 * error(ndim))
    # As it is learnt: the membership of a voxel, lower at the rim, and little outside.
    seeds = np.where(inside, 1 - 0.25 * out**3, 0.6 - 2.0 * (out - 1)) + 0.04 * error()
    prediction = np.concatenate([offsets, margins, seeds.clip(0.02, 1)[None]])
    stored = prediction.astype(np.float16).astype(np.float32)
    truth = np.where(inside, owner + 1, 0).astype(np.uint32)
    return Masks(truth, stored, spacing, diameter)
