"""Drawn scenes of touching balls, with what a good network would say of them; an object store."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import settings
from scipy import ndimage

from cellulus.methods.decoder import Observation

# The same examples in every run, however slow the machine, so that a failure is about the change
# at hand; `pytest --hypothesis-profile search` looks for others.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile("fixed")

DIAMETER = 20.0
"""Of the drawn objects [canonical voxel]."""


@dataclass(frozen=True)
class Scene:
    """Balls, numbered, with offsets to their centres and an uncertainty that grows outside."""

    truth: np.ndarray
    prediction: np.ndarray
    image: np.ndarray
    spacing: tuple
    points: np.ndarray | None = None

    @property
    def whole(self):
        return tuple(slice(0, n) for n in self.truth.shape)

    def observe(self, region=None):
        region = region or self.whole
        part = (slice(None), *region)
        origin = tuple(s.start for s in region)
        seen = self.prediction[part], self.image[part]
        return Observation(*seen, self.spacing, origin, self.points)


def grid(shape, spacing):
    """Canonical coordinates of voxels, as predictions have them."""
    axes = [(np.arange(n) + 0.5) * s for n, s in zip(shape, spacing, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def packed(shape, spacing, rng, sizes, tries=4000):
    """Centres and radii of balls that hardly overlap, and often touch."""
    centres, radii = np.zeros((0, len(shape))), np.zeros(0)
    extent = np.multiply(shape, spacing)
    for _ in range(tries):
        centre, radius = rng.random(len(shape)) * extent, DIAMETER / 2 * rng.uniform(*sizes)
        away = np.sqrt(((centres - centre) ** 2).sum(axis=1))
        if (away > 0.95 * (radii + radius)).all():
            centres, radii = np.vstack([centres, centre]), np.append(radii, radius)
    return centres, radii


def draw(shape, spacing=None, *, balls=None, seed=0, sizes=(0.8, 1.2), noise=0.5):
    """Draw given balls ``(centres, radii)`` [canonical voxel], or as many as find room."""
    rng = np.random.default_rng(seed)
    spacing = spacing or (1.0,) * len(shape)
    centres, radii = balls or packed(shape, spacing, rng, sizes)
    points = grid(shape, spacing)
    away, owner = np.full(shape, np.inf), np.zeros(shape, np.int64)
    for number, (centre, radius) in enumerate(zip(centres, radii, strict=True)):
        column = np.reshape(centre, (-1, *[1] * len(shape)))
        share = np.sqrt(((points - column) ** 2).sum(axis=0)) / radius
        closer = share < away
        away[closer], owner[closer] = share[closer], number
    truth = np.where(away <= 1, owner + 1, 0).astype(np.uint32)
    target = np.moveaxis(np.asarray(centres)[owner], -1, 0)
    # The rim points to the middle too; farther out there is nothing to point to.
    offsets = (target - points) * np.clip(2 - away, 0.2, 1)
    offsets += rng.normal(size=offsets.shape) * np.where(away < 1.2, noise, 4.0)
    uncertainty = np.clip(1 + 6 * (away - 1), 0.3, 8) + 0.5 * rng.random(shape)
    level = rng.uniform(0.5, 1.2, len(radii))
    image = ndimage.gaussian_filter(np.where(truth > 0, level[owner], 0.05), 1 / np.array(spacing))
    image += 0.03 * rng.normal(size=shape)
    # As predictions are stored.
    prediction = np.concatenate([offsets, uncertainty[None]]).astype(np.float16)
    return Scene(truth, prediction.astype(np.float32), image[None].astype(np.float32), spacing)


@pytest.fixture(scope="session", name="draw")
def drawing():
    """Return the function that draws scenes."""
    return draw


@pytest.fixture(scope="session")
def _object_store():
    from object_store import ObjectStore

    made = ObjectStore()
    yield made
    made.close()


@pytest.fixture
def object_store(_object_store, monkeypatch):
    """Return an object store that is empty and where S3 is looked for, by child processes too."""
    import fsspec

    from object_store import ENVIRONMENT

    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": _object_store.url}.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").mkdir("lab")
    yield _object_store
    _object_store.refused = ()
    _object_store.seen.clear()
    fsspec.filesystem("s3").rm("lab", recursive=True)
