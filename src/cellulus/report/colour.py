"""Colours of the report: direction as hue, uncertainty as a ramp, neighbours kept apart.

Knows nothing of images or of HTML.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

RGB = tuple[int, int, int]

OBJECTS: tuple[RGB, ...] = (
    (255, 82, 82),
    (0, 214, 230),
    (255, 214, 10),
    (112, 146, 255),
    (60, 220, 100),
    (255, 110, 230),
    (255, 150, 40),
    (186, 130, 255),
)
"""Outlines of objects; bright enough for any grey below them."""
MATCHED: RGB = (190, 190, 190)
MISSED: RGB = (255, 166, 0)
FALSE: RGB = (86, 180, 255)
"""Orange and sky blue differ for every common colour vision."""
CHANNELS = ((0, 255, 120), (255, 60, 220), (60, 140, 255), (255, 210, 60))
"""Of images with several channels, in order."""
POINT: RGB = (255, 88, 70)
RIM: RGB = (16, 16, 16)
"""Of rings around points: bright red with a dark rim, which no grey and no channel looks like."""
GREYS = 254
"""Of an image with one channel; rings fit into the same palette."""
LEVELS = 64
"""Greys below outlines; few, so that outlines fit into the same palette."""


def wheel(across: NDArray[Any], down: NDArray[Any], longest: float) -> NDArray[np.uint8]:
    """Return vectors as colours: hue is the direction, brightness and saturation the length.

    Parameters
    ----------
    across, down
        Components to the right and downwards on the page, of one shape.
    longest
        Length at which colours are full; longer ones look the same.

    Returns
    -------
    colours
        ``(*shape, 3)``; no length is black.

    Notes
    -----
    Hues are those of OKLCH (B. Ottosson, 2020), where equal steps look equal: red points right,
    and hues follow the angle anticlockwise as seen.
    """
    across, down = np.nan_to_num(across), np.nan_to_num(down)
    strength = np.clip(np.hypot(across, down) / longest, 0, 1)
    angle = np.arctan2(-down, across) + np.deg2rad(25)  # OKLCH's red
    lightness, chroma = 0.76 * strength, 0.16 * strength
    return _from_oklab(lightness, chroma * np.cos(angle), chroma * np.sin(angle))


def _from_oklab(lightness: NDArray[Any], a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.uint8]:
    """Return OKLab colours as sRGB, clipped to what a screen can show (Ottosson's matrices)."""
    lms = (
        np.stack(
            [
                lightness + 0.3963377774 * a + 0.2158037573 * b,
                lightness - 0.1055613458 * a - 0.0638541728 * b,
                lightness - 0.0894841775 * a - 1.2914855480 * b,
            ],
            axis=-1,
        )
        ** 3
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(lms @ to_linear.T, 0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    colours: NDArray[np.uint8] = np.round(255 * curved).astype(np.uint8)
    return colours


def wheel_legend(edge: int = 96) -> NDArray[np.uint8]:
    """Return the wheel itself, ``(edge, edge, 3)``; the rim stands for the full length."""
    at = (np.arange(edge) + 0.5) / edge * 2 - 1
    return wheel(at[None, :] + 0 * at[:, None], at[:, None] + 0 * at[None, :], 1.0)


def ramp(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return values in 0..1 as colours of a perceptually even ramp, ``(*shape, 3)``."""
    table = matplotlib.colormaps["magma"](np.linspace(0, 1, 256), bytes=True)
    index = 4 * np.round(63 * np.clip(np.nan_to_num(values), 0, 1)).astype(np.uint8) + 2
    colours: NDArray[np.uint8] = np.asarray(table, np.uint8)[index, :3]
    return colours


def grey(values: NDArray[Any], levels: int = 256) -> NDArray[np.uint8]:
    """Return values in 0..1 as `levels` greys, ``(*shape, 3)``."""
    steps = np.round(np.clip(values, 0, 1) * (levels - 1)) * (255 / (levels - 1))
    return np.repeat(np.round(steps).astype(np.uint8)[..., None], 3, axis=-1)


def composite(channels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return channels ``(C, *shape)`` in 0..1 as one picture, each in its own colour."""
    if len(channels) == 1:
        return grey(channels[0], GREYS)
    mixed = np.zeros((*channels.shape[1:], 3), np.float32)
    for k, channel in enumerate(channels):
        colour = np.array(CHANNELS[k % len(CHANNELS)], np.float32)
        mixed += np.clip(channel, 0, 1)[..., None] * colour
    # 32 shades of each primary: the eye sees no more in a photograph, and the page stays light.
    return (np.round(np.clip(mixed, 0, 255) / 8.23) * 8.23).astype(np.uint8)


def assign(planes: Sequence[NDArray[Any]], reach: int = 4) -> dict[int, RGB]:
    """Give every object a colour that no object near it has, the same in every plane.

    Parameters
    ----------
    planes
        Label planes; 0 is background.
    reach
        Objects this far apart are near [voxel].
    """
    near: dict[int, set[int]] = {}
    for plane in planes:
        for i in np.unique(plane):
            near.setdefault(int(i), set())
        for i, j in _neighbours(plane, reach):
            near[i].add(j)
            near[j].add(i)
    near.pop(0, None)
    chosen: dict[int, int] = {}
    used = [0] * len(OBJECTS)
    for rank, i in enumerate(sorted(near)):
        around = [chosen[j] for j in near[i] if j in chosen]
        best = min(
            range(len(OBJECTS)),
            key=lambda c: (around.count(c), used[c], (c - rank) % len(OBJECTS)),
        )
        chosen[i] = best
        used[best] += 1
    return {i: OBJECTS[c] for i, c in chosen.items()}


def _neighbours(plane: NDArray[Any], reach: int) -> set[tuple[int, int]]:
    """Return pairs of ids that lie within `reach`, straight or diagonally."""
    found: set[tuple[int, int]] = set()
    rows, columns = plane.shape
    for step in range(1, reach + 1):
        for dy, dx in ((0, step), (step, 0), (step, step), (step, -step)):
            if dy >= rows or abs(dx) >= columns:
                continue
            a = plane[: rows - dy, max(0, -dx) : columns - max(0, dx)]
            b = plane[dy:, max(0, dx) : columns - max(0, -dx)]
            touch = (a != b) & (a != 0) & (b != 0)
            lists = np.stack([a[touch], b[touch]]).astype(np.uint64)
            pairs = np.unique(lists[0] << np.uint64(32) | lists[1])
            found.update((int(p) >> 32, int(p) & 0xFFFFFFFF) for p in pairs)
    return found
