"""How nuclei become voxels: who owns each, how much light it sends, what is said of it.

Every voxel is computed from its place in the whole volume alone, and its noise hashed from that.
Knows nothing of where nuclei lie.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

BLUR = (0.8, 0.25, 0.25)  # z, y, x; standard deviation of the point-spread function [um]
PHOTONS, BACKGROUND = 60.0, 6.0  # of a nucleus and around it, per voxel, in full light
GLARE = 1.5  # where nuclei overlap, their light grows towards this, not to its sum
OFFSET, GAIN, READ_NOISE = 100.0, 2.0, 2.0  # of the camera; the noise in electrons
FADE = 0.4  # of the light, on its way across the sheet
ERROR, CHAOS = 1.0, 7.0  # of offsets in and outside of nuclei, at most [voxel of the prediction]

_STEP, _A, _B = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)
_16, _LOW = np.uint64(16), np.uint64(0xFFFF)
_EDGE = 65536  # longer than any axis, so that the number of a voxel depends on its place alone


@njit(cache=True)
def mixed(number: Any) -> Any:
    """Return 64 random bits for a number: splitmix64 (Steele et al. 2014, OOPSLA)."""
    x = (number + np.uint64(1)) * _STEP
    x = (x ^ (x >> _30)) * _A
    x = (x ^ (x >> _27)) * _B
    return x ^ (x >> _31)


@njit(cache=True)
def _span(middle: float, reach: float, voxel: float, start: int, size: int) -> tuple[int, int]:
    """Return the voxels of a part of an axis that may lie closer to a point than `reach`."""
    low = math.floor((middle - reach) / voxel) - start
    high = math.ceil((middle + reach) / voxel) - start
    return max(low, 0), min(high, size)


@njit(cache=True)
def claim(nuclei: Any, width: float, start: Any, voxel: Any, share: Any, owner: Any) -> None:
    """Give each voxel to the nucleus that it is deepest in; the first of two that are equal."""
    for n in range(len(nuclei.number)):
        c, r, m = nuclei.centre[n], width * nuclei.half[n], nuclei.to_ball[n]
        x0, x1 = _span(c[2], r[2], voxel[2], start[2], share.shape[2])
        for z in range(*_span(c[0], r[0], voxel[0], start[0], share.shape[0])):
            dz = (start[0] + z + 0.5) * voxel[0] - c[0]
            for y in range(*_span(c[1], r[1], voxel[1], start[1], share.shape[1])):
                dy = (start[1] + y + 0.5) * voxel[1] - c[1]
                for x in range(x0, x1):
                    dx = (start[2] + x + 0.5) * voxel[2] - c[2]
                    u = m[0, 0] * dz + m[0, 1] * dy + m[0, 2] * dx
                    v = m[1, 0] * dz + m[1, 1] * dy + m[1, 2] * dx
                    w = m[2, 0] * dz + m[2, 1] * dy + m[2, 2] * dx
                    square = np.float32(u * u + v * v + w * w)
                    if square < share[z, y, x]:
                        share[z, y, x], owner[z, y, x] = square, n


@njit(cache=True)
def shine(nuclei: Any, width: float, start: Any, voxel: Any, light: Any) -> None:
    """Add the light of every nucleus, blurred, with a dark spot in it."""
    for n in range(len(nuclei.number)):
        c, r, m = nuclei.centre[n], width * nuclei.half[n], nuclei.to_ball[n]
        s, full = nuclei.spot[n], nuclei.light[n]
        x0, x1 = _span(c[2], r[2], voxel[2], start[2], light.shape[2])
        for z in range(*_span(c[0], r[0], voxel[0], start[0], light.shape[0])):
            dz = (start[0] + z + 0.5) * voxel[0] - c[0]
            for y in range(*_span(c[1], r[1], voxel[1], start[1], light.shape[1])):
                dy = (start[1] + y + 0.5) * voxel[1] - c[1]
                for x in range(x0, x1):
                    dx = (start[2] + x + 0.5) * voxel[2] - c[2]
                    u = m[0, 0] * dz + m[0, 1] * dy + m[0, 2] * dx
                    v = m[1, 0] * dz + m[1, 1] * dy + m[1, 2] * dx
                    w = m[2, 0] * dz + m[2, 1] * dy + m[2, 2] * dx
                    square = u * u + v * v + w * w
                    if square >= width * width:
                        continue
                    inside = 1.0
                    if square > 0.16:
                        inside = _edge(u, v, w, square, m)
                    dark = (u - s[0]) ** 2 + (v - s[1]) ** 2 + (w - s[2]) ** 2
                    texture = 1.0 - 0.6 * max(0.0, 1.0 - 8.0 * dark)
                    added, before = full * inside * texture, light[z, y, x]
                    light[z, y, x] = before + added * (1.0 - before / GLARE)


@njit(cache=True)
def _edge(u: float, v: float, w: float, square: float, m: Any) -> float:
    """Return how much light the blur leaves of a voxel, by its distance from the surface."""
    slope = 0.0
    for i in range(3):
        along = (m[0, i] * u + m[1, i] * v + m[2, i] * w) * BLUR[i]
        slope += along * along
    root = math.sqrt(square)
    deep = (1.0 - root) * root / math.sqrt(slope)  # [standard deviations of the blur]
    t = min(max(deep / 4.0 + 0.5, 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@njit(cache=True)
def expose(light: Any, start: Any, width: int, image: Any) -> None:
    """Turn light into grey values of a camera, with photon and read noise."""
    for z in range(image.shape[0]):
        for y in range(image.shape[1]):
            row = ((start[0] + z) * _EDGE + start[1] + y) * _EDGE + start[2]
            for x in range(image.shape[2]):
                sheet = 1.0 - FADE * (start[2] + x + 0.5) / width
                electrons = sheet * (PHOTONS * light[z, y, x] + BACKGROUND)
                bits = mixed(np.uint64(row + x))
                total = 0.0  # of four even numbers: nearly a normal one, variance 1 / 3
                for _ in range(4):
                    total += np.float64(bits & _LOW) / 65536.0
                    bits >>= _16
                noise = (total - 2.0) * math.sqrt(3.0 * (electrons + READ_NOISE**2))
                image[z, y, x] = np.uint16(max(0.0, OFFSET + GAIN * (electrons + noise) + 0.5))


@njit(cache=True)
def answer(share: Any, owner: Any, centre: Any, start: Any, voxel: Any, said: Any) -> None:
    """Say where the middle is, and how sure that is."""
    for z in range(share.shape[0]):
        pz = (start[0] + z + 0.5) * voxel[0]
        for y in range(share.shape[1]):
            py = (start[1] + y + 0.5) * voxel[1]
            row = ((start[0] + z) * _EDGE + start[1] + y) * _EDGE + start[2]
            for x in range(share.shape[2]):
                bits = mixed(~np.uint64(row + x))  # not the noise of the image
                n, out = owner[z, y, x], math.sqrt(share[z, y, x])
                error = (ERROR if n >= 0 else CHAOS) / 32768.0
                # The rim points to the middle too; farther out there is nothing to point to.
                weight = min(1.0, 2.0 - out) if n >= 0 else 0.0
                c = centre[n]
                said[0, z, y, x] = weight * (c[0] - pz) / voxel[0]
                said[1, z, y, x] = weight * (c[1] - py) / voxel[1]
                said[2, z, y, x] = weight * (c[2] - (start[2] + x + 0.5) * voxel[2]) / voxel[2]
                for i in range(3):
                    said[i, z, y, x] += error * (np.float64(bits & _LOW) - 32768.0)
                    bits >>= _16
                doubt = 0.5 * np.float64(bits & _LOW) / 65536.0
                said[3, z, y, x] = min(max(1.0 + 9.0 * (out - 1.0), 0.3), 8.0) + doubt
                if n < 0:
                    said[3, z, y, x] = 8.0 + doubt
