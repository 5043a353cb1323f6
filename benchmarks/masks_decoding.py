"""How fast predictions of the method that learns from masks become labels.

    python benchmarks/masks_decoding.py [LARGEST]     LARGEST [voxel] leaves larger volumes out

Drawn are touching ellipsoids on a jittered lattice, and what a trained network would say of them,
with noise. A whole volume is decoded at once, on one core: both surveys, acceptance, labels and
clean-up. Times are of the processor, the best of three. The smallest volume is also given to the
published procedure, as the tests write it (`tests/published_masks_clustering.py`), whose time grows
with objects times voxels.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cellulus.methods.decoder import Observation
from cellulus.methods.spatial_embedding.decoding import SeedDecoder
from cellulus.methods.spatial_embedding.settings import SpatialEmbedding

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from published_masks_clustering import cluster

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellulus.methods.decoder import Objects

JITTER, SEMI = 0.08, (0.42, 0.56)
"""Of the centres and semi-axes [pitch]."""
NOISE = 0.05
"""Of offsets [pitch] and of seediness; margins err by thrice as much of themselves."""


class Case(NamedTuple):
    """A volume, or an image, to be decoded.

    Attributes
    ----------
    cells
        Objects along each axis.
    pitch
        Width of an object [voxel].
    """

    cells: tuple[int, ...]
    pitch: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent [voxel]."""
        return tuple(n * self.pitch for n in self.cells)


SMALL = Case((2, 8, 8), 16)
CASES = [
    SMALL,
    Case((32, 32), 16),
    Case((128, 128), 16),
    Case((4, 16, 16), 16),  # of which the public code was timed: 64 x 256 x 256, 1,024 objects
    Case((8, 32, 32), 16),
    Case((10, 40, 40), 16),
    Case((320, 320), 16),
    Case((25, 64, 64), 10),
]


def predict(case: Case) -> NDArray[np.float32]:
    """Return offsets, margins and seediness, ``(2 D + 1, *S)``."""
    rng = np.random.default_rng(0)
    ndim, pitch = len(case.cells), case.pitch
    said = np.empty((2 * ndim + 1, *case.shape), np.float32)
    shift = JITTER * rng.uniform(-1, 1, (ndim, *case.cells)).astype(np.float32)
    semi = rng.uniform(*SEMI, (ndim, *case.cells)).astype(np.float32)
    for row in range(case.cells[0]):  # a layer of objects at a time, to save memory
        part = (slice(row * pitch, (row + 1) * pitch),)
        layer = said[(slice(None), *part)]
        rng.standard_normal(out=(noise := np.empty_like(layer)), dtype=np.float32)
        out = np.zeros(layer.shape[1:], np.float32)
        for axis in range(ndim):
            extent = [pitch] + [n * pitch for n in case.cells[1:]]
            place = (np.arange(extent[axis]) % pitch + 0.5) / pitch - 0.5
            place = place.reshape([-1 if a == axis else 1 for a in range(ndim)]).astype(np.float32)
            to_centre = _spread(shift[axis, row], pitch) - place
            out += (to_centre / _spread(semi[axis, row], pitch)) ** 2
            layer[axis] = to_centre
        out = np.sqrt(out)
        layer[:ndim] *= np.where(out <= 1, 1, 0.3).astype(np.float32)
        layer[:ndim] += NOISE * noise[:ndim]
        layer[:ndim] *= pitch
        layer[ndim:-1] = 0.3 * pitch * np.exp(3 * NOISE * noise[ndim:-1])
        layer[-1] = np.where(out <= 1, 1 - 0.25 * out**3, 0.6 - 2 * (out - 1))
        layer[-1] += NOISE * noise[-1]
    np.clip(said[-1], 0.02, 1, out=said[-1])
    return said


def _spread(values: NDArray[np.float32], pitch: int) -> NDArray[np.float32]:
    """Return what holds in each cell of a layer for each of its voxels."""
    for axis in range(values.ndim):
        values = np.repeat(values, pitch, axis=axis)
    return values[np.newaxis]


def decode(case: Case, prediction: NDArray[np.float32]) -> Objects:
    """Return the objects of a whole prediction."""
    ndim = len(case.shape)
    image = np.broadcast_to(np.float32(0), (1, *case.shape))
    seen = Observation(prediction, image, (1.0,) * ndim, (0,) * ndim)
    return SeedDecoder(SpatialEmbedding(), ndim, float(case.pitch))(seen)


def tell(what: str, case: Case, found: int, seconds: float) -> None:
    """Print a line of the table."""
    voxels, objects = math.prod(case.shape), math.prod(case.cells)
    extent = " x ".join(map(str, case.shape))
    print(f"{what:<10}{extent:<17}{voxels:>12,}{objects:>9,}{found:>9,}{seconds:>9.3f}"
          f"{1e9 * seconds / voxels:>11,.0f}", flush=True)  # fmt: skip


def main() -> None:
    """Print the table."""
    largest = float(sys.argv[1]) if len(sys.argv) > 1 else math.inf
    decode(SMALL, predict(SMALL))  # compile
    print(f"{'':<10}{'shape':<17}{'voxels':>12}{'objects':>9}{'found':>9}{'s':>9}{'ns/voxel':>11}")
    for case in CASES:
        if math.prod(case.shape) > largest:
            continue
        prediction, times = predict(case), []
        for _ in range(3):
            start = time.process_time()
            objects = decode(case, prediction)
            times.append(time.process_time() - start)
        found = np.unique(objects.labels)
        tell("ours", case, len(found[found > 0]), min(times))
        if case is SMALL:
            start = time.process_time()
            labels = cluster(prediction, (1.0,) * len(case.shape))
            tell("published", case, int(labels.max()), time.process_time() - start)


if __name__ == "__main__":
    main()
