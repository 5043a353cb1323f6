"""Draws two light-sheet volumes of touching nuclei, with their truth, as OME-Zarr.

What makes real ones hard is in them: nuclei that touch, texture inside them, voxels four times
longer in z, blur that is wider in z, light that fades across the sheet and with depth, photon and
camera noise. The truth is the drawing before blur and noise.

Usage: python make_data.py [FOLDER]; the folder of this file by default. Needs some seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage, spatial

from cellulus.data import writer
from cellulus.space import VoxelSize

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHAPE = (40, 192, 192)  # z, y, x [voxel]
VOXEL = np.array([2.0, 0.5, 0.5])  # [um]
NUCLEI = 100
DIAMETER = 8.0  # [um]
BLUR = (1.6, 0.45, 0.45)  # standard deviation of the point-spread function [um]
PHOTONS = 60.0  # of a nucleus, per voxel, where the light is brightest
BACKGROUND = 6.0  # photons
OFFSET, READ_NOISE = 100.0, 3.0  # of the camera [grey values]
SEEDS = {"train": 0, "apply": 1}


def place(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return centres ``(n, 3)`` and semi-axes ``(n, 3)`` [um] of nuclei, most in clumps."""
    extent = SHAPE * VOXEL
    axes = DIAMETER / 2 * rng.lognormal(0, 0.12, (NUCLEI, 3))
    centres = np.empty((0, 3))
    while len(centres) < NUCLEI:
        size = axes[len(centres)].mean()
        centre = rng.uniform(0.3 * DIAMETER, extent - 0.3 * DIAMETER)
        if len(centres) and rng.random() < 0.75:  # beside one that is there
            neighbour = rng.integers(len(centres))
            step = rng.normal(size=3)
            gap = size + axes[neighbour].mean()
            centre = centres[neighbour] + 0.95 * gap * step / np.linalg.norm(step)
        is_inside = ((centre > 2) & (centre < extent - 2)).all()
        reach = size + axes[: len(centres)].mean(axis=1)
        if is_inside and (np.linalg.norm(centres - centre, axis=1) > 0.88 * reach).all():
            centres = np.vstack([centres, centre])
    return centres, axes


def draw(
    centres: NDArray[np.float64], axes: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.uint32]:
    """Return labels ``SHAPE``: tilted ellipsoids; a voxel in two belongs to the nearer one."""
    labels = np.zeros(SHAPE, np.uint32)
    nearest = np.full(SHAPE, 1.0)
    for number, (centre, semi) in enumerate(zip(centres, axes, strict=True), start=1):
        reach = 1.05 * semi.max()
        low = np.maximum(0, np.floor((centre - reach) / VOXEL)).astype(int)
        high = np.minimum(SHAPE, np.ceil((centre + reach) / VOXEL) + 1).astype(int)
        part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        points = (np.moveaxis(np.mgrid[part], 0, -1) + 0.5) * VOXEL - centre
        tilt = spatial.transform.Rotation.random(random_state=rng.integers(2**31)).as_matrix()
        distance = np.linalg.norm(points @ tilt / semi, axis=-1)
        is_nearer = distance < nearest[part]
        nearest[part][is_nearer] = distance[is_nearer]
        labels[part][is_nearer] = number
    _, dense = np.unique(labels, return_inverse=True)
    return dense.reshape(SHAPE).astype(np.uint32)


def photograph(labels: NDArray[np.uint32], rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return what a camera would have seen of the labels."""
    texture = ndimage.gaussian_filter(rng.normal(size=SHAPE), 0.8 / VOXEL)
    texture = 1 + 0.3 * texture / texture.std()
    brightness = np.append(0, rng.uniform(0.6, 1.4, labels.max()))
    light = brightness[labels] * np.clip(texture, 0.2, None)
    light = ndimage.gaussian_filter(light, BLUR / VOXEL)
    z, _, x = (np.arange(n) / n for n in SHAPE)
    sheet = np.exp(-0.5 * z)[:, None, None] * np.exp(-0.7 * x)[None, None, :]
    electrons = rng.poisson(PHOTONS * light * sheet + BACKGROUND * sheet)
    grey = OFFSET + 2 * electrons + rng.normal(0, READ_NOISE, SHAPE)
    return np.clip(np.rint(grey), 0, 65535).astype(np.uint16)


def write(path: Path, image: NDArray[np.uint16], labels: NDArray[np.uint32]) -> None:
    """Write an OME-Zarr image with its truth as the label group ``nuclei``."""
    spec = writer.Spec(
        "image", "zyx", SHAPE, np.dtype(np.uint16), VoxelSize(tuple(VOXEL.tolist()), "um")
    )
    everything = (slice(None),) * 3
    made = writer.create(path, spec, overwrite=True)
    made.write(everything, image)
    made.publish()
    truth = writer.create_labels(path, "nuclei")
    truth.write(everything, labels)
    truth.publish()


def main(folder: Path) -> None:
    """Draw both volumes."""
    for name, seed in SEEDS.items():
        rng = np.random.default_rng(seed)
        labels = draw(*place(rng), rng)
        path = folder / f"{name}.zarr"
        write(path, photograph(labels, rng), labels)
        print(f"{path}: {labels.max()} nuclei")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
