"""From embeddings to objects: drawn scenes, the published procedure as oracle, cut regions."""

import math
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from scipy import ndimage
from skimage.filters import threshold_otsu

from cellulus.methods import ObjectCentric
from cellulus.methods.decoder import Observation
from cellulus.methods.object_centric.decoding import (
    HISTOGRAM_BINS,
    EmbeddingDecoder,
    embed,
    mean_shift,
)
from cellulus.ops.labels import relabel
from cellulus.ops.scores import Scores, evaluate_labels
from cellulus.pipeline.decoding import open_ended
from cellulus.space import blocks

DIAMETER = 20.0
NUCLEI = Path(__file__).parents[2] / "examples" / "01_nuclei"


def decoder(ndim=2, **changes):
    return EmbeddingDecoder(ObjectCentric(**changes), ndim, DIAMETER)


def decode(scene, **changes):
    return decoder(scene.truth.ndim, **changes)(scene.observe())


def survey(made, scene, core):
    """Let a decoder learn from blocks what it wants to know of the whole."""
    shape = scene.truth.shape
    for halo in made.surveys:
        around = tuple(math.ceil(halo / s) + 1 if halo else 0 for s in scene.spacing)
        parts = blocks(shape, core, around)
        made.learn(
            [
                made.survey(scene.observe(block.outer), open_ended(block.core, shape))
                for block in parts
            ]
        )


def best_overlaps(truth, labels):
    """The largest IoU of each true object with any label."""
    pairs = truth.astype(np.int64) * (labels.max() + 1) + labels
    table = np.bincount(pairs.ravel(), minlength=(truth.max() + 1) * (labels.max() + 1))
    table = table.reshape(truth.max() + 1, -1)
    union = table.sum(axis=1)[:, None] + table.sum(axis=0)[None] - table
    return (table / np.maximum(union, 1))[1:, 1:].max(axis=1)


def check(found, shape):
    """What the contract of `Objects` says."""
    assert found.labels.shape == shape
    assert found.labels.dtype == np.uint32
    assert found.anchors.dtype == np.int64
    assert found.anchors.shape == (len(found.anchors), len(shape))
    assert np.array_equal(np.unique(found.anchors, axis=0), found.anchors)
    assert found.labels.max(initial=0) <= len(found.anchors)


@pytest.mark.parametrize("gap", [0.96, 1.05])
@pytest.mark.parametrize("ndim", [2, 3])
def test_touching_balls_are_all_found(draw, ndim, gap):
    """A chain: each touches the next, or even overlaps it a little.

    Drawn edges lie halfway up; the default outline of volumes is lower, and a little too wide here.
    """
    centres = np.full((4, ndim), 22.0)
    centres[:, -1] += gap * DIAMETER * np.arange(4)
    scene = draw((44, 44, 105)[-ndim:], balls=(centres, np.full(4, DIAMETER / 2)))
    for least, settings in ((0.8, {"outline": 0.5}), (0.7, {})):
        found = decode(scene, **settings)
        check(found, scene.truth.shape)
        assert len(found.anchors) == found.labels.max() == 4
        assert best_overlaps(scene.truth, found.labels).min() >= least


@pytest.mark.parametrize(
    ("shape", "spacing", "f1"),
    [
        ((250, 260), (1.0, 1.0), 1.0),
        ((400, 150), (0.6, 1.7), 0.99),
        ((60, 70, 80), (1.0, 1.0, 1.0), 0.93),
        ((40, 100, 110), (2.0, 0.7, 0.7), 0.97),
    ],
)
def test_packed_balls_are_found(draw, shape, spacing, f1):
    """In volumes, balls of which a face leaves a slice are hard."""
    scene = draw(shape, spacing, sizes=(0.9, 1.1))
    found = decode(scene)
    check(found, shape)
    assert scene.truth.max() > 40
    assert evaluate_labels(found.labels, scene.truth, (0.5,)).at(0.5).f1 >= f1


def nucleus(file, seed=0):
    """A bundled image with embeddings that point to the true middles, off by some noise."""
    truth = np.asarray(PIL.Image.open(NUCLEI / "truth" / file))
    image = np.asarray(PIL.Image.open(NUCLEI / "images" / "apply" / file).convert("L"))
    corners = [(slice(y, y + 128), slice(x, x + 128)) for y in (0, 64, 128) for x in (0, 64, 128)]
    fullest = max(corners, key=lambda corner: (truth[corner] > 0).sum())
    truth, image = relabel(truth[fullest]), image[fullest]
    rng = np.random.default_rng(seed)
    zoom = DIAMETER / (2 * np.sqrt(np.median(np.bincount(truth.ravel())[1:]) / np.pi))
    ones = np.ones(truth.shape)
    centres = np.array(ndimage.center_of_mass(ones, truth, range(truth.max() + 1)))
    inside = truth > 0
    offsets = np.where(
        inside, np.moveaxis(centres[truth], -1, 0) - np.indices(truth.shape), 0
    ) * zoom  # fmt: skip
    offsets += rng.normal(size=offsets.shape) * np.where(inside, 1.5, 6)
    uncertainty = np.where(inside, 1.5, 8) + rng.normal(size=truth.shape)
    prediction = np.concatenate([offsets, np.maximum(uncertainty, 0)[None]]).astype(np.float32)
    low, high = np.percentile(image, (1, 99.8))
    value = ((image - low) / (high - low)).astype(np.float32)
    return truth, Observation(prediction, value[None], (zoom, zoom), (0, 0))


FILES = sorted(path.name for path in (NUCLEI / "truth").iterdir())[::3]


@pytest.mark.parametrize("foreground", ["contrast", "uncertainty"])
def test_modes_agree_with_mean_shift_on_real_nuclei(foreground, monkeypatch):
    """F1 between the two, all images together; mean-shift is fitted to fewer points, for speed."""
    monkeypatch.setattr("cellulus.methods.object_centric.decoding.SAMPLED", 1500)
    compared = []
    for file in FILES:
        observation = nucleus(file)[1]
        found = []
        for clustering in ("modes", "meanshift"):
            made = decoder(clustering=clustering, foreground=foreground)
            found.append(made(observation).labels)
        compared.append(evaluate_labels(*found, (0.5,), name=file))
    pooled = Scores(tuple(compared)).pooled
    assert pooled.n_true > 40
    assert pooled.at(0.5).f1 >= 0.95


@pytest.mark.parametrize("file", FILES)
def test_nuclei_are_found_where_the_embeddings_are_good(file):
    truth, observation = nucleus(file)
    assert evaluate_labels(decoder()(observation).labels, truth, (0.5,)).at(0.5).f1 > 0.85


def test_mean_shift_groups_what_lies_together():
    rng = np.random.default_rng(0)
    middles = np.array([[10.0, 40.0], [30.0, 10.0], [30.0, 60.0]])
    owner = rng.integers(0, 3, (20, 30))
    embeddings = np.moveaxis(middles[owner] + rng.normal(size=(20, 30, 2)), -1, 0)
    foreground = rng.random((20, 30)) < 0.8
    labels, centres = mean_shift(embeddings, foreground, 10.0)
    assert np.array_equal(labels, np.where(foreground, owner + 1, 0))
    assert np.abs(centres - middles).max() <= 1.5
    again = mean_shift(embeddings, foreground, 10.0)
    assert np.array_equal(again[0], labels)
    nothing = mean_shift(embeddings, np.zeros((20, 30), bool), 10.0)
    assert not nothing[0].any()
    assert nothing[1].shape == (0, 2)


def test_two_centres_in_one_bin_are_one_object():
    """Anchors are unique, whatever the bandwidth."""
    embeddings = np.full((2, 1, 40), 5.2)
    embeddings[:, 0, 20:] = 5.8
    labels, centres = mean_shift(embeddings, np.ones((1, 40), bool), 0.1)
    assert centres.tolist() == [[5, 5]]
    assert (labels == 1).all()


def test_embeddings_are_global_and_in_canonical_voxels(draw):
    scene = draw((40, 50), (2.0, 0.5), noise=0.0)
    region = (slice(3, 30), slice(10, 50))
    whole, part = embed(scene.observe()), embed(scene.observe(region))
    assert np.array_equal(whole[(slice(None), *region)], part)
    offset = scene.prediction[:2, 7, 20]
    assert np.allclose(whole[:, 7, 20], [7.5 * 2 + offset[0], 20.5 * 0.5 + offset[1]])


@pytest.mark.parametrize("foreground", ["contrast", "uncertainty"])
@pytest.mark.parametrize(
    ("shape", "spacing", "core"),
    [
        ((300, 310), (1.0, 1.0), (70, 90)),
        ((190, 620), (1.6, 0.5), (50, 130)),
        ((14, 30, 300), (3.0, 2.0, 1.0), (14, 30, 60)),
    ],
)
def test_a_region_with_the_halo_gives_what_the_whole_gives(draw, shape, spacing, core, foreground):
    scene = draw(shape, spacing, noise=1.5)
    made = decoder(len(shape), foreground=foreground)
    whole = made(scene.observe())
    nowhere = np.full((1, len(shape)), -1000)
    expected = np.vstack([nowhere, whole.anchors])[whole.labels]
    assert len(whole.anchors) > 20
    survey(made, scene, core)
    halo = tuple(math.ceil(made.halo / s) + 1 for s in spacing)
    for block in blocks(shape, core, halo):
        found = made(scene.observe(block.outer))
        check(found, tuple(s.stop - s.start for s in block.outer))
        names = np.vstack([nowhere, found.anchors])[found.labels[block.inner]]
        assert np.array_equal(names, expected[block.core])


def test_the_published_foreground_is_otsu_of_the_whole_image(draw):
    """Counted in any parts, as scikit-image finds it, to the width of a bin."""
    scene = draw((200, 210))
    uncertainty = scene.prediction[-1]
    parts = decoder(foreground="uncertainty")
    survey(parts, scene, (37, 64))
    whole = decoder(foreground="uncertainty")
    found = [made(scene.observe()).labels for made in (parts, whole)]
    assert np.array_equal(*found)
    limit = threshold_otsu(uncertainty, nbins=HISTOGRAM_BINS)
    slack = 2 * DIAMETER / HISTOGRAM_BINS
    assert not (found[0][uncertainty > limit + slack]).any()
    assert (found[0][uncertainty < limit - slack] > 0).mean() > 0.98
    # A part has a threshold of its own, another one: it must be the whole that counts.
    dark = Observation(
        np.minimum(scene.prediction, 1.0), scene.image, scene.spacing, (0, 0)
    )  # fmt: skip
    alone = decoder(foreground="uncertainty")
    assert (alone(dark).labels > 0).sum() < (parts(dark).labels > 0).sum()


def test_what_looks_at_the_whole_says_so():
    assert len(decoder(foreground="uncertainty").surveys) == 2
    assert len(decoder().surveys) == 1
    assert decoder(clustering="meanshift").surveys == ()
    assert math.isinf(decoder(clustering="meanshift").halo)
    assert decoder(3).halo < 2.5 * DIAMETER
    assert decoder(3).surveys[0] < 2.5 * DIAMETER


@pytest.mark.parametrize("foreground", ["contrast", "uncertainty"])
@pytest.mark.parametrize("clustering", ["modes", "meanshift"])
@pytest.mark.parametrize("uncertainty", [0.5, 30.0])
def test_an_image_of_nothing_has_no_object(foreground, clustering, uncertainty):
    """Of one intensity, and equally certain everywhere: there is nothing to split."""
    shape = (30, 40)
    prediction = np.full((3, *shape), uncertainty, np.float32)
    prediction[:2] = 0.3
    nothing = Observation(prediction, np.full((1, *shape), 0.4, np.float32), (1.0, 1.0), (0, 0))
    made = decoder(foreground=foreground, clustering=clustering)
    found = made(nothing)
    check(found, shape)
    assert not found.labels.any()
    assert found.labels.max(initial=0) == 0


def test_embeddings_from_far_away_do_not_count(draw):
    scene = draw((60, 60), balls=([[30.0, 30.0]], [10.0]))
    far = scene.prediction.copy()
    far[0] += 1.5 * DIAMETER
    found = decoder()(Observation(far, scene.image, scene.spacing, (0, 0)))
    assert not found.labels.any()


def test_a_single_voxel_is_decoded():
    one = Observation(np.zeros((3, 1, 1), np.float32), np.ones((1, 1, 1), np.float32), (1.0, 1.0),
                      (5, 7))  # fmt: skip
    check(decoder()(one), (1, 1))


def test_twice_is_the_same_and_nothing_is_changed(draw):
    scene = draw((150, 150), seed=4)
    kept = scene.prediction.copy(), scene.image.copy()
    first, second = decode(scene), decode(scene)
    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(first.anchors, second.anchors)
    assert np.array_equal(scene.prediction, kept[0])
    assert np.array_equal(scene.image, kept[1])


def test_the_origin_shifts_anchors_and_nothing_else(draw):
    """By whole canonical voxels: the lattice of the modes is global."""
    scene = draw((120, 120), seed=2)
    here = scene.observe()
    there = Observation(here.prediction, here.image, here.spacing, (400, 10_000))
    first, second = decoder()(here), decoder()(there)
    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(first.anchors + np.array(there.origin), second.anchors)
