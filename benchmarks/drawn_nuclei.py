"""A volume of touching nuclei as a light sheet sees it, any piece of which can be drawn alone.

    python benchmarks/drawn_nuclei.py     checks that every piece equals that part of the whole

Nuclei are tilted ellipsoids on a jittered lattice. All that varies is hashed from the index of a
nucleus or of a voxel, so that a piece is the same however the volume is cut, and fewer planes are
the same scene, cut. Touching nuclei share their light; it is blurred to first order only, along
the normal of each surface. Knows nothing of files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import drawn_brush as brush
import numpy as np

from cellulus.space import blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellulus.space import Region

VOXEL = (1.0, 0.4, 0.4)  # z, y, x [um]
PLANE = (720, 720)  # y, x [voxel]
DIAMETER = 10.0  # of a nucleus, in the middle of the range [um]
SPREAD = 0.12  # of the logarithm of its semi-axes, which lies within twice that
PITCH, JITTER = 11.0, 1.5  # of the lattice of nuclei, and how far off it one may lie [um]
MARGIN = 28.0  # no nucleus lies closer to the faces in y and x [um]
CAVES, CAVE = 90.0, (20.0, 32.0)  # pitch of the lattice of empty balls, and their radii [um]
SHARE = 0.95  # of the places that hold a nucleus
GLOW = 1.6  # light of a nucleus, blurred, ends within so many times its width
HEARD = 1.5  # voxels within so many times its width point to its middle


def _chances(index: NDArray[np.int64], count: int, stream: int) -> NDArray[np.float64]:
    """Return random numbers between 0 and 1 for cells of a lattice, ``(n, count)``."""
    number = np.full(len(index), stream, np.uint64)
    for column in index.T:
        number = brush.mixed(number + column.astype(np.uint64))
    each = brush.mixed(number[:, None] + np.arange(count, dtype=np.uint64))
    return (each >> np.uint64(11)) * 2.0**-53


class Nuclei(NamedTuple):
    """Nuclei in the order of their planes; every length in micrometres.

    Attributes
    ----------
    number
        From 1, ``(n,)``.
    centre, half
        Middle, and half of the box around it, ``(n, 3)``.
    to_ball
        Takes a displacement from the middle into the unit ball, ``(n, 3, 3)``.
    light
        Brightness, ``(n,)``.
    spot
        Middle of the dark nucleolus, in the unit ball, ``(n, 3)``.
    """

    number: NDArray[np.int64]
    centre: NDArray[np.float64]
    half: NDArray[np.float64]
    to_ball: NDArray[np.float64]
    light: NDArray[np.float64]
    spot: NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """The volume, down to some plane.

    Attributes
    ----------
    planes
        Extent along z [voxel].
    """

    planes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Extent [voxel]."""
        return (self.planes, *PLANE)

    @cached_property
    def nuclei(self) -> Nuclei:
        """All nuclei that may reach into the volume."""
        extent = np.multiply(self.shape, VOXEL)
        index = np.argwhere(np.ones(np.ceil(extent / PITCH).astype(int) + 1))
        chance = _chances(index, 14, stream=1)
        # Layers slide along y and rows along x: no lattice shows, and none come closer for it.
        slide = np.zeros(index.shape)
        slide[:, 1:2] = _chances(index[:, :1], 1, stream=4)
        slide[:, 2:] = _chances(index[:, :2], 1, stream=5)
        centre = (index + slide) * PITCH + JITTER * (2 * chance[:, :3] - 1)
        deviate = 2 * (chance[:, 3:6] + chance[:, 6:9]) - 2
        semi = DIAMETER / 2 * np.exp(SPREAD * deviate)
        turn = _rotations(chance[:, 9:12])
        half = np.sqrt(((turn * semi[:, None, :]) ** 2).sum(axis=2))
        side = np.array(PLANE) * VOXEL[1:]
        low, high = (centre - half)[:, 1:], (centre + half)[:, 1:]
        is_inside = (low > MARGIN).all(axis=1) & (high < side - MARGIN).all(axis=1)
        kept = is_inside & ~_in_cave(centre) & (chance[:, 12] < SHARE)
        return Nuclei(
            number=np.arange(1, kept.sum() + 1),
            centre=centre[kept],
            half=half[kept],
            to_ball=(turn.transpose(0, 2, 1) / semi[:, :, None])[kept],
            light=0.7 + 0.6 * chance[kept, 13],
            spot=0.8 * (_chances(index[kept], 3, stream=2) - 0.5),
        )

    def near(self, region: Region, voxel: tuple[float, ...], width: float) -> Nuclei:
        """Return the nuclei that, made `width` times as wide, may reach into a region."""
        low = np.array([part.start for part in region]) * voxel
        high = np.array([part.stop for part in region]) * voxel
        all_ = self.nuclei
        reach = width * all_.half
        met = ((all_.centre + reach > low) & (all_.centre - reach < high)).all(axis=1)
        return Nuclei(*(column[met] for column in all_))

    def draw(self, region: Region) -> tuple[NDArray[np.uint16], NDArray[np.uint32]]:
        """Return intensities and labels of a region of the image [voxel]."""
        nuclei, start = self.near(region, VOXEL, GLOW), _start(region)
        _, owner = _owned(nuclei, region, VOXEL, 1.0)
        light = np.zeros(owner.shape, np.float32)
        if len(nuclei.number):
            brush.shine(nuclei, GLOW, start, VOXEL, light)
        image = np.empty(owner.shape, np.uint16)
        brush.expose(light, start, PLANE[1], image)
        return image, np.append(nuclei.number, 0)[owner].astype(np.uint32)

    def answer(self, region: Region, voxel: tuple[float, ...]) -> NDArray[np.float16]:
        """Return offsets and uncertainty of a region of a grid, ``(4, *S)`` [voxel of it]."""
        nuclei = self.near(region, voxel, HEARD)
        share, owner = _owned(nuclei, region, voxel, HEARD)
        said = np.empty((4, *share.shape), np.float32)
        centre = np.vstack([nuclei.centre, np.zeros((1, 3))])
        brush.answer(share, owner, centre, _start(region), voxel, said)
        return said.astype(np.float16)


def _rotations(chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rotations drawn evenly: Shoemake, Graphics Gems III (1992), pp. 124-132."""
    long, short = np.sqrt(chance[:, 0]), np.sqrt(1 - chance[:, 0])
    a, b = 2 * math.pi * chance[:, 1], 2 * math.pi * chance[:, 2]
    x, y, z, w = short * np.sin(a), short * np.cos(a), long * np.sin(b), long * np.cos(b)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def _in_cave(centre: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which points lie in an empty ball; each fits into its cell of the lattice."""
    cell = np.floor(centre / CAVES).astype(np.int64)
    chance = _chances(cell, 4, stream=3)
    radius = CAVE[0] + (CAVE[1] - CAVE[0]) * chance[:, :1]
    middle = cell * CAVES + radius + (CAVES - 2 * radius) * chance[:, 1:]
    return ((centre - middle) ** 2).sum(axis=1) < radius[:, 0] ** 2


def _start(region: Region) -> NDArray[np.int64]:
    return np.array([part.start for part in region], np.int64)


def _owned(
    nuclei: Nuclei, region: Region, voxel: tuple[float, ...], width: float
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return the square of how far out in its nucleus each voxel lies, and the row of that."""
    shape = tuple(part.stop - part.start for part in region)
    share, owner = np.full(shape, width**2, np.float32), np.full(shape, -1, np.int32)
    if len(nuclei.number):
        brush.claim(nuclei, width, _start(region), voxel, share, owner)
    return share, owner


def check() -> None:
    """Compare pieces, cut in several ways, with the whole; and a scene with a deeper one."""
    scene, deeper = Scene(40), Scene(80)
    shape, voxel = (40, 200, 200), (0.5, 0.5, 0.5)
    corner = np.array((0, 260, 250))
    whole = tuple(slice(a, a + n) for a, n in zip(corner, shape, strict=True))
    image, labels = scene.draw(whole)
    said = scene.answer(whole, voxel)
    for core in ((40, 64, 64), (7, 200, 33), (13, 50, 200)):
        for block in blocks(shape, core, (0, 0, 0)):
            region = tuple(
                slice(a + p.start, a + p.stop) for a, p in zip(corner, block.core, strict=True)
            )
            for drawn in (scene, deeper):
                part = drawn.draw(region)
                np.testing.assert_array_equal(part[0], image[block.core])
                np.testing.assert_array_equal(part[1], labels[block.core])
                answer = drawn.answer(region, voxel)
                np.testing.assert_array_equal(answer, said[(slice(None), *block.core)])
    print(f"every piece equals the whole: {len(np.unique(labels)) - 1} nuclei in {shape} voxels")


if __name__ == "__main__":
    check()
