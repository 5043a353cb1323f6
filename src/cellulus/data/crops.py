"""Random crops of the canonical grid, the same for the same seed and step however they are read.

The crop of (seed, step, place in the batch) does not depend on the crops before it: a run cut
and resumed sees what an uncut run would have seen, and any number of threads may prepare them.
Without masks, crops with contrast are preferred; with masks, crops of annotated objects.
Knows nothing of networks or losses.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cellulus.data.annotations import ignore_outside
from cellulus.data.batches import Batch, Crop
from cellulus.ops.resample import reflect

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from cellulus.data.annotations import Annotation, Markers
    from cellulus.data.augment import Augmentation
    from cellulus.data.canonical import Canonical
    from cellulus.space import Region

CACHED_VOXELS = 2**22
"""A canonical image up to this size is kept in memory once read [voxel]."""
CANDIDATES = 4
"""Places looked at for a crop: most of a volume is background, from which nothing is learnt."""
CACHED_TOTAL = 2**28
"""Voxels kept in memory in all, labels too; images beyond are read anew for every crop."""
OBJECT_SHARE = 0.9
"""Share of crops around an object, where there are masks; the others are anywhere."""
JITTER = 0.25
"""How far the middle of a crop may be from that of its object along each axis [crop].

Farther where the object is wider than the crop, so that its ends are seen as often.
"""


class _Whole(NamedTuple):
    """An image in memory, ``(C, *S)``, and its labels, ``(*S)``, if it has masks."""

    image: NDArray[np.float32]
    labels: NDArray[np.int32] | None


@dataclass(frozen=True)
class Part:
    """An image, and the region of its canonical grid that crops may come from.

    Attributes
    ----------
    image
        To learn from.
    region
        Slices within the canonical grid.
    annotation
        Its objects; either all parts have some or none has.
    """

    image: Canonical
    region: Region
    annotation: Annotation | Markers | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of the region [canonical voxel]."""
        return tuple(part.stop - part.start for part in self.region)

    def boxes(self) -> NDArray[np.float64]:
        """Return the annotated objects in the region: middles and extents, ``(n, 2, ndim)``."""
        if self.annotation is None:
            return np.zeros((0, 2, len(self.region)))
        middles = self.annotation.middles
        low, high = np.array([(r.start, r.stop) for r in self.region]).T
        is_inside = ((middles >= low) & (middles <= high)).all(axis=1)
        found = np.stack([middles, self.annotation.extents], axis=1)
        return np.asarray(found[is_inside])


@dataclass
class Crops:
    """A source of random crops.

    Attributes
    ----------
    parts
        Where crops come from; one is drawn in proportion to its size, or to its objects.
    size
        Extent of a crop [canonical voxel]; what is smaller is mirrored outwards.
    seed
        Of every random choice.
    augmentation
        What is varied; nothing by default.
    margin
        How much along each side of a crop is seen, but not answered for [canonical voxel]. Crops
        with masks reach so far out of an image, which is mirrored there and ignored: else nothing
        would be learnt of objects at its border.
    """

    parts: Sequence[Part]
    size: tuple[int, ...]
    seed: int
    augmentation: Augmentation | None = None
    margin: int = 0

    def __post_init__(self) -> None:
        volumes = np.array([np.prod(part.shape, dtype=np.float64) for part in self.parts])
        self._share = volumes / volumes.sum()
        boxes = [part.boxes() for part in self.parts]
        self._boxes = np.concatenate(boxes)
        self._owners = np.repeat(np.arange(len(boxes)), [len(found) for found in boxes])
        self._cache: dict[int, _Whole] = {}
        self._cached = 0
        self._lock = threading.Lock()

    def batch(self, step: int, places: Iterable[int]) -> Batch:
        """Return the crops at some places of a step's batch."""
        return Batch.of([self.crop(step, place) for place in places])

    def crop(self, step: int, place: int) -> Crop:
        """Return one crop.

        Without masks it is of a few random ones the one with most contrast. With masks it is
        mostly one around an object, each as likely as any other, and else anywhere.
        """
        rng = np.random.default_rng((self.seed, step, place))
        if self.parts[0].annotation is None:
            crop = self._liveliest(rng)
        elif len(self._boxes) and rng.random() < OBJECT_SHARE:
            crop = self._around_object(rng)
        else:
            crop = self._anywhere(rng)
        return self.augmentation(crop, rng) if self.augmentation else crop

    def _liveliest(self, rng: np.random.Generator) -> Crop:
        which = int(rng.choice(len(self.parts), p=self._share))
        crops = [self._read(which, region) for region in self._regions(which, rng, CANDIDATES)]
        return max(crops, key=lambda crop: float(crop.image.var()))

    def _anywhere(self, rng: np.random.Generator) -> Crop:
        which = int(rng.choice(len(self.parts), p=self._share))
        return self._read(which, self._regions(which, rng, 1)[0])

    def _around_object(self, rng: np.random.Generator) -> Crop:
        drawn = int(rng.integers(len(self._boxes)))
        which, size = int(self._owners[drawn]), np.array(self.size)
        middle, extent = self._boxes[drawn]
        away = rng.uniform(-1, 1, len(size)) * np.maximum(JITTER * size, extent / 2 - JITTER * size)
        start = np.rint(middle + away - size / 2).astype(np.int64)
        first, room = self._room(which)
        inside = np.clip(start - first, 0, np.maximum(room, 0))
        return self._read(which, self._region(first + np.where(room > 0, inside, room // 2)))

    def _regions(self, which: int, rng: np.random.Generator, count: int) -> list[Region]:
        """Draw where to look; once, where the part is no larger than a crop."""
        first, room = self._room(which)
        drawn = [rng.integers(0, np.maximum(room, 0) + 1) for _ in range(count)]
        starts = np.where(room > 0, drawn, room // 2) + first
        return [self._region(start) for start in np.unique(starts, axis=0)]

    def _room(self, which: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the first place of a crop in a part, and how many more there are along each axis.

        There is none where the part is smaller; then the crop lies around its middle.
        """
        part = self.parts[which]
        margin = 0 if part.annotation is None else self.margin
        first = np.array([r.start for r in part.region])
        stop = np.array([r.stop for r in part.region])
        # Only where the image ends: beyond another end of the region is what is kept aside.
        stop = stop + np.where(stop == part.image.shape, margin, 0)
        first = first - np.where(first == 0, margin, 0)
        return first, stop - first - self.size

    def _region(self, start: NDArray[np.int64]) -> Region:
        return tuple(slice(int(a), int(a + n)) for a, n in zip(start, self.size, strict=True))

    def prefetch(self, steps: range, places: range, workers: int) -> Iterator[tuple[int, Batch]]:
        """Yield ``(step, batch)`` in order, prepared ahead by `workers` threads."""
        if workers == 0:
            for step in steps:
                yield step, self.batch(step, places)
            return
        pool = ThreadPoolExecutor(workers, thread_name_prefix="crops")
        ahead: deque[tuple[int, Future[Batch]]] = deque()
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

    def _read(self, which: int, region: Region) -> Crop:
        """Return what is in a region, with the centres that the image knows."""
        part, whole = self.parts[which], self._whole(which)
        if whole is None:
            image = part.image.read(region)
            labels = part.annotation.read(region) if part.annotation else None
        else:
            index = [
                reflect(np.arange(along.start, along.stop), n)
                for along, n in zip(region, part.image.shape, strict=True)
            ]
            image = whole.image[np.ix_(np.arange(len(whole.image)), *index)]
            labels = None if whole.labels is None else whole.labels[np.ix_(*index)]
        if part.annotation is None or labels is None:
            return Crop(image)
        return part.annotation.crop(image, ignore_outside(labels, region, part.image.shape), region)

    def _whole(self, which: int) -> _Whole | None:
        """Return an image from memory, read once; None where it is too large to be kept."""
        part = self.parts[which]
        with self._lock:
            if which not in self._cache:
                size = math.prod(part.image.shape)
                needed = size if part.annotation is None else 2 * size
                if size > CACHED_VOXELS or self._cached + needed > CACHED_TOTAL:
                    return None
                everything = tuple(slice(0, n) for n in part.image.shape)
                labels = part.annotation.read(everything) if part.annotation else None
                self._cache[which] = _Whole(part.image.read(everything), labels)
                self._cached += needed
            return self._cache[which]
