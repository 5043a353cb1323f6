"""What is read of masks, and what a survey of them says however they are cut into blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from cellulus.data import masks as module
from cellulus.data.masks import IGNORED, Masks, box_of, survey
from cellulus.data.volume import Volume
from cellulus.errors import InputError


def masks_of(labels, ignore=None, ignore_label=None):
    hidden = None if ignore is None else Volume.of(np.asarray(ignore), name="ignore")
    return Masks(Volume.of(np.asarray(labels), name="cells"), hidden, ignore_label)


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.uint32, np.uint64, np.float32, bool])
def test_ids_are_what_is_drawn_whatever_their_type(kind):
    drawn = np.array([[0, 1, 1], [0, 0, 1]]).astype(kind)
    ids = masks_of(drawn).read()
    assert ids.dtype == np.int64
    assert np.array_equal(ids, drawn.astype(int))


@pytest.mark.parametrize("kind", [np.uint32, np.int64, np.uint64, np.float64])
def test_large_ids_survive(kind):
    drawn = np.array([[0, 65_536, 2**32 - 1], [0, 0, 70_000]], kind)
    masks = masks_of(drawn)
    assert masks.read().tolist() == [[0, 65_536, 2**32 - 1], [0, 0, 70_000]]
    assert survey(masks).objects.ids.tolist() == [65_536, 70_000, 2**32 - 1]


@pytest.mark.parametrize(
    ("drawn", "found"),
    [
        ([[0.0, 0.5]], "fractions"),
        ([[0.0, np.nan]], "fractions"),
        ([[0.0, np.inf]], "inf"),
        ([[0, -1]], "-1"),
        ([[0, 2**32]], str(2**32)),
        ([[0, 1j]], "complex"),
    ],
)
def test_what_holds_no_ids_is_refused_by_name(drawn, found):
    with pytest.raises(InputError, match="cells") as caught:
        masks_of(drawn).read()
    assert found in caught.value.found


@pytest.mark.parametrize("label", [0, 2, -1, 2**33])
def test_a_label_may_mean_that_nobody_has_looked(label):
    drawn = np.array([[0, 1, 2], [-1, 2**33, 1]]) if label in (-1, 2**33) else [[0, 1, 2]]
    drawn = np.where(np.isin(drawn, [-1, 2**33]) & (np.asarray(drawn) != label), 0, drawn)
    ids = masks_of(drawn, ignore_label=label).read()
    assert np.array_equal(ids, np.where(drawn == label, IGNORED, drawn))


@pytest.mark.parametrize("label", [-1, 300])
def test_a_label_that_the_type_cannot_hold_marks_nothing(label):
    drawn = np.array([[0, 255]], np.uint8)
    assert np.array_equal(masks_of(drawn, ignore_label=label).read(), drawn)


def test_what_is_hidden_is_ignored_whatever_is_drawn_there():
    drawn = np.array([[0, 1, 2, 3]])
    ids = masks_of(drawn, ignore=np.array([[7.5, 0, 1, 0]]), ignore_label=3).read()
    assert ids.tolist() == [[IGNORED, 1, IGNORED, IGNORED]]


def test_a_part_is_read_as_it_is_in_the_whole():
    rng = np.random.default_rng(0)
    masks = masks_of(rng.integers(0, 9, (12, 13)), rng.random((12, 13)) < 0.3, 5)
    region = (slice(3, 9), slice(0, 7))
    assert np.array_equal(masks.read(region), masks.read()[region])


drawings = arrays.arrays(
    np.uint32,
    st.one_of(
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        st.tuples(st.integers(2, 5), st.integers(1, 6), st.integers(1, 6)),
    ),
    elements=st.sampled_from([0, 0, 1, 2, 70_000]),
)


@settings(max_examples=80)
@given(drawings, st.integers(1, 4))
def test_a_survey_does_not_depend_on_blocks_and_counts_as_scipy_does(drawn, edge):
    masks = masks_of(drawn, ignore_label=2)
    whole = survey(masks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "portion_of", lambda *v: (edge,) * drawn.ndim)
        cut = survey(masks)
    for found in (whole, cut):
        kept = np.where(drawn == 2, 0, drawn)
        ids = [i for i in np.unique(kept) if i > 0]
        assert found.objects.ids.tolist() == ids
        assert found.objects.sizes.tolist() == [(kept == i).sum() for i in ids]
        for row, number in enumerate(ids):
            box = ndimage.find_objects((kept == number).astype(int))[0]
            assert box_of(found.objects, row) == box
        corners = np.ones((3,) * drawn.ndim)
        counts = [ndimage.label(kept == i, corners)[1] for i in ids]
        assert found.scattered.tolist() == [i for i, n in zip(ids, counts, strict=True) if n > 1]
        assert found.annotated == (drawn != 2).sum()
        assert not found.is_hidden


def test_a_plane_is_surveyed_as_an_image():
    drawn = np.zeros((9, 8), np.uint32)
    drawn[1:3, 1:3], drawn[6, 6], drawn[8, 0:2] = 1, 1, 5
    flat, deep = survey(masks_of(drawn)), survey(masks_of(drawn[None]))
    assert np.array_equal(flat.objects.places, deep.objects.places)
    assert flat.scattered.tolist() == deep.scattered.tolist() == [1]


def test_an_image_whose_objects_are_all_hidden_is_told_from_an_empty_one():
    drawn, nothing = np.zeros((4, 5), int), np.zeros((4, 5), int)
    drawn[1, 1:4] = 3
    over = np.zeros((4, 5), bool)
    over[1] = True
    assert survey(masks_of(drawn, over)).is_hidden
    assert not survey(masks_of(nothing, over)).is_hidden
    assert not survey(masks_of(drawn, ~over)).is_hidden
    assert survey(masks_of(drawn, over)).annotated == 15
    assert survey(masks_of(nothing, ignore_label=0)).annotated == 0
