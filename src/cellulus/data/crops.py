"""Random crops of the canonical grid, the same for the same seed and step however they are read.

The crop of (seed, step, place in the batch) does not depend on the crops before it: a run cut
and resumed sees what an uncut run would have seen, and any number of threads may prepare them.
Knows nothing of networks or losses.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellulus.ops.resample import reflect

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from cellulus.data.augment import Augmentation
    from cellulus.data.canonical import Canonical
    from cellulus.space import Region

CACHED_VOXELS = 2**22
"""A canonical image up to this size is kept in memory once read [voxel]."""
CANDIDATES = 4
"""Places looked at for a crop: most of a volume is background, from which nothing is learnt."""
CACHED_TOTAL = 2**28
"""Voxels kept in memory in all; images beyond are read anew for every crop."""


@dataclass(frozen=True)
class Part:
    """An image, and the region of its canonical grid that crops may come from."""

    image: Canonical
    region: Region

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of the region [canonical voxel]."""
        return tuple(part.stop - part.start for part in self.region)


@dataclass
class Crops:
    """A source of random crops.

    Attributes
    ----------
    parts
        Where crops come from; one is drawn in proportion to its size.
    size
        Extent of a crop [canonical voxel]; what is smaller is mirrored outwards.
    seed
        Of every random choice.
    augmentation
        What is varied; nothing by default.
    """

    parts: Sequence[Part]
    size: tuple[int, ...]
    seed: int
    augmentation: Augmentation | None = None

    def __post_init__(self) -> None:
        volumes = np.array([np.prod(part.shape, dtype=np.float64) for part in self.parts])
        self._share = volumes / volumes.sum()
        self._cache: dict[int, NDArray[np.float32]] = {}
        self._cached = 0
        self._lock = threading.Lock()

    def batch(self, step: int, places: Iterable[int]) -> NDArray[np.float32]:
        """Return the crops at some places of a step's batch, ``(places, C, *size)``."""
        return np.stack([self.crop(step, place) for place in places])

    def crop(self, step: int, place: int) -> NDArray[np.float32]:
        """Return one crop, ``(C, *size)``: of a few random ones the one with most contrast."""
        rng = np.random.default_rng((self.seed, step, place))
        which = int(rng.choice(len(self.parts), p=self._share))
        crops = [self._read(which, region) for region in self._regions(which, rng)]
        crop = max(crops, key=lambda c: float(c.var()))
        return self.augmentation(crop, rng) if self.augmentation else crop

    def _regions(self, which: int, rng: np.random.Generator) -> list[Region]:
        """Draw where to look; once, where the part is no larger than a crop."""
        part, size = self.parts[which], np.array(self.size)
        room = np.array(part.shape) - size
        drawn = [rng.integers(0, np.maximum(room, 0) + 1) for _ in range(CANDIDATES)]
        starts = np.where(room > 0, drawn, room // 2) + [r.start for r in part.region]
        return [
            tuple(slice(int(a), int(a + n)) for a, n in zip(start, self.size, strict=True))
            for start in np.unique(starts, axis=0)
        ]

    def prefetch(
        self, steps: range, places: range, workers: int
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield ``(step, batch)`` in order, prepared ahead by `workers` threads."""
        if workers == 0:
            for step in steps:
                yield step, self.batch(step, places)
            return
        pool = ThreadPoolExecutor(workers, thread_name_prefix="crops")
        ahead: deque[tuple[int, Future[NDArray[np.float32]]]] = deque()
        try:
            for step in steps:
                ahead.append((step, pool.submit(self.batch, step, places)))
                if len(ahead) > 2 * workers:
                    ready, batch = ahead.popleft()
                    yield ready, batch.result()
            while ahead:
                ready, batch = ahead.popleft()
                yield ready, batch.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, which: int, region: Region) -> NDArray[np.float32]:
        image = self.parts[which].image
        whole = self._whole(which)
        if whole is None:
            return image.read(region)
        index = [
            reflect(np.arange(part.start, part.stop), n)
            for part, n in zip(region, image.shape, strict=True)
        ]
        channels = np.arange(len(whole))
        return whole[np.ix_(channels, *index)]

    def _whole(self, which: int) -> NDArray[np.float32] | None:
        """Return an image from memory, read once; None where it is too large to be kept."""
        image = self.parts[which].image
        with self._lock:
            if which not in self._cache:
                size = math.prod(image.shape)
                if size > CACHED_VOXELS or self._cached + size > CACHED_TOTAL:
                    return None
                self._cache[which] = image.read(tuple(slice(0, n) for n in image.shape))
                self._cached += size
            return self._cache[which]
