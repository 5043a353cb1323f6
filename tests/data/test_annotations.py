"""Labels on the canonical grid, and centres, against what brute force says of the whole image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellulus.data import annotations as module
from cellulus.data.annotations import Annotation
from cellulus.data.batches import Batch, Crop, number
from cellulus.data.canonical import Canonical
from cellulus.data.masks import IGNORED, Masks, survey
from cellulus.data.normalise import Normalisation
from cellulus.data.volume import Volume
from cellulus.space import Scale

SHAPES = st.one_of(
    st.tuples(st.integers(1, 25), st.integers(1, 25)),
    st.tuples(st.integers(2, 9), st.integers(1, 9), st.integers(1, 9)),
)
ZOOMS = st.lists(st.sampled_from([0.4, 0.5, 1.0, 1.3, 2.0, 2.6]), min_size=3, max_size=3)


def annotate(drawn, zoom=None, centre="medoid", **given):
    zoom = tuple(zoom or (1.0,) * 3)[-drawn.ndim :]
    masks = Masks(Volume.of(drawn), **given)
    return Annotation(masks, survey(masks).objects, Scale(zoom), centre)


def blobs(shape, seed, count=5, radius=3.5):
    """Discs or balls, the later over the earlier, with ids that are not dense."""
    rng, drawn = np.random.default_rng(seed), np.zeros(shape, np.uint32)
    for number_ in range(1, count + 1):
        middle = rng.random(len(shape)) * shape
        away = sum((axis - m) ** 2 for axis, m in zip(np.indices(shape), middle, strict=True))
        drawn[away <= radius**2] = 70_000 * number_
    return drawn


def expected(drawn, ids, zoom, region):
    """Voxel by voxel: the row + 1 of what is drawn under the middle of a canonical voxel."""
    scale = Scale(zoom)
    shape = scale.canonical_shape(drawn.shape)
    found = np.full([part.stop - part.start for part in region], IGNORED)
    for place in np.ndindex(*found.shape):
        at = [p + part.start for p, part in zip(place, region, strict=True)]
        if all(0 <= a < n for a, n in zip(at, shape, strict=True)):
            voxel = tuple(
                min(int(np.floor((a + 0.5) / z)), n - 1)
                for a, z, n in zip(at, zoom, drawn.shape, strict=True)
            )
            found[place] = ids.index(drawn[voxel]) + 1 if drawn[voxel] else 0
    return found


@settings(max_examples=60)
@given(SHAPES, ZOOMS, st.integers(0, 10**6))
def test_a_canonical_voxel_has_the_label_under_its_middle(shape, zoom, seed):
    drawn, rng = blobs(shape, seed), np.random.default_rng(seed)
    annotation = annotate(drawn, zoom)
    starts = [int(rng.integers(-6, n)) for n in annotation.shape]
    region = tuple(slice(s, s + int(rng.integers(1, 9))) for s in starts)
    found = annotation.read(region)
    assert found.dtype == np.int32
    ids = annotation.objects.ids.tolist()
    assert np.array_equal(found, expected(drawn, ids, annotation.scale.zoom, region))


@settings(max_examples=40)
@given(SHAPES, ZOOMS, st.integers(0, 10**6))
def test_labels_lie_where_the_image_is(shape, zoom, seed):
    """Where an image of one object is surely bright or dark, the label says the same."""
    drawn = (blobs(shape, seed) > 0).astype(np.uint8)
    annotation = annotate(drawn, zoom)
    image = Canonical(Volume.of(drawn), annotation.scale, Normalisation((0.0,), (1.0,)))
    whole = tuple(slice(0, n) for n in image.shape)
    bright, labels = image.read(whole)[0], annotation.read(whole)
    assert (labels[bright > 1 - 1e-5] == 1).all()
    assert (labels[bright < 1e-5] == 0).all()


def test_whole_numbers_of_voxels_are_repeated_or_skipped():
    drawn = np.arange(12, dtype=np.uint32).reshape(3, 4)
    everything = (slice(0, 6), slice(0, 8))
    twice = annotate(drawn, (1, 2.0, 2.0)).read(everything)
    assert np.array_equal(twice, np.kron(drawn, np.ones((2, 2))))


@pytest.mark.parametrize("zoom", [(1.0, 1.0), (0.5, 2.0)])
def test_only_the_region_is_read(zoom):
    drawn = blobs((50, 50), 0, count=9)
    annotation, read = annotate(drawn, zoom), []

    class Watched:
        shape, dtype = drawn.shape, drawn.dtype

        def __getitem__(self, key):
            read.append(drawn[key].size)
            return drawn[key]

    masks = Masks(Volume("i", Watched(), "yx", annotation.masks.labels.voxel_size))
    lazy = Annotation(masks, annotation.objects, annotation.scale)
    region = (slice(4, 8), slice(10, 20))
    assert np.array_equal(lazy.read(region), annotation.read(region))
    assert read[0] <= (4 / zoom[0] + 1) * (10 / zoom[1] + 1)


def brute_centre(voxels, zoom, kind):
    places = (voxels + 0.5) * np.array(zoom)
    if kind == "centroid":
        return places.mean(axis=0)
    sums = np.linalg.norm(places[:, None] - places[None], axis=2).sum(axis=1)
    return places[np.flatnonzero(sums <= sums.min() * (1 + 1e-9))[0]]


@settings(max_examples=40)
@given(SHAPES, ZOOMS, st.integers(0, 10**6), st.sampled_from(["medoid", "centroid"]))
def test_centres_are_those_of_brute_force_read_together_or_alone(shape, zoom, seed, kind):
    drawn = blobs(shape, seed)
    together = annotate(drawn, zoom, kind)
    rows = np.random.default_rng(seed).permutation(len(together.objects.ids))
    zoom = together.scale.zoom
    wanted = [
        brute_centre(np.argwhere(drawn == together.objects.ids[row]), zoom, kind) for row in rows
    ]
    found = together.centres(rows)
    assert found.shape == (len(rows), drawn.ndim)
    assert np.allclose(found, np.reshape(wanted, found.shape))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PORTION", 0)
        alone = annotate(drawn, zoom, kind).centres(rows)
    assert np.array_equal(found, alone)


def test_centres_are_found_once(monkeypatch):
    annotation, asked = annotate(blobs((30, 30), 1)), []
    monkeypatch.setattr(module, "medoid", lambda points: asked.append(len(points)) or 0)
    for _ in range(3):
        annotation.centres(np.array([0, 2, 1]))
    annotation.centres(np.array([3, 0]))
    assert len(asked) == 4


@pytest.mark.parametrize("kind", ["medoid", "centroid"])
def test_an_image_is_a_volume_of_one_plane(kind):
    drawn = blobs((20, 24), 3)
    flat, deep = annotate(drawn, (1, 1.3, 0.8), kind), annotate(drawn[None], (1.3, 0.8), kind)
    flat_deep = Annotation(deep.masks, deep.objects, flat.scale, kind)
    rows = np.arange(len(flat.objects.ids))
    assert np.array_equal(flat.centres(rows), flat_deep.centres(rows))
    region = (slice(-3, 9), slice(4, 12))
    assert np.array_equal(flat.read(region), flat_deep.read(region))


def test_what_is_hidden_belongs_to_no_object():
    drawn = np.zeros((10, 20), np.uint32)
    drawn[2:7, 2:18] = 9
    over = np.zeros((10, 20), np.uint8)
    over[:, 7:] = 1
    annotation = annotate(drawn, ignore=Volume.of(over))
    assert np.array_equal(annotation.centres(np.array([0])), [[4.5, 4.5]])
    whole = annotation.read((slice(0, 10), slice(0, 20)))
    assert (whole[:, 7:] == IGNORED).all()
    assert (whole[:, :7] == (drawn[:, :7] > 0)).all()


@given(st.integers(0, 10**6))
def test_numbers_have_no_gaps_and_keep_their_order(seed):
    labels = np.random.default_rng(seed).choice([-1, 0, 3, 8, 5000], (6, 7)).astype(np.int32)
    numbered, shown = number(labels)
    assert numbered.dtype == np.int32
    present = [n for n in np.unique(labels) if n > 0]
    assert (shown + 1).tolist() == present
    assert np.unique(numbered[numbered > 0]).tolist() == list(range(1, len(present) + 1))
    for new, old in enumerate(present, start=1):
        assert np.array_equal(numbered == new, labels == old)
    assert np.array_equal(numbered[labels <= 0], labels[labels <= 0])


def test_batches_hold_as_many_centres_as_the_fullest_crop():
    def crop(count):
        image = np.zeros((1, 4, 4), np.float32)
        centres = np.full((count, 2), count, np.float32)
        return Crop(image, np.full((4, 4), count, np.int32), centres)

    batch = Batch.of([crop(2), crop(0), crop(3)])
    assert batch.image.shape == (3, 1, 4, 4)
    assert batch.labels[:, 0, 0].tolist() == [2, 0, 3]
    assert batch.centres.shape == (3, 3, 2)
    assert np.isnan(batch.centres).all(axis=2).tolist() == [
        [False, False, True], [True] * 3, [False] * 3,
    ]  # fmt: skip
    assert Batch.of([crop(0)]).centres.shape == (1, 0, 2)
    plain = Batch.of([Crop(np.zeros((1, 4, 4), np.float32))])
    assert (plain.labels, plain.centres) == (None, None)
