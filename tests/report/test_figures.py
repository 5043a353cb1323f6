import numpy as np
import pytest

from cellulus.report import colour
from cellulus.report.case import Case, Confidence
from cellulus.report.figures import LINE, outline, robust_range, sheet
from cellulus.space import VoxelSize


def disc(shape, centre, radius):
    at = np.indices(shape)
    return sum((a - c) ** 2 for a, c in zip(at, centre, strict=True)) <= radius**2


def two_touching():
    labels = np.zeros((40, 60), np.uint32)
    labels[10:30, 10:30], labels[10:30, 30:50] = 3, 7
    return labels


def case(labels, **more):
    shape = labels.shape
    image = more.pop("image", np.zeros((1, *shape), np.float32))
    return Case("img", image, labels, VoxelSize((1.0,) * labels.ndim), **more)


def panels(given):
    return {panel.title: panel for panel in sheet(given).panels}


def brute_outline(drawn, width):
    edge = np.zeros(drawn.shape, bool)
    for p in np.ndindex(drawn.shape):
        for q in np.ndindex(drawn.shape):
            near = abs(p[0] - q[0]) + abs(p[1] - q[1]) <= width
            edge[p] |= bool(drawn[p]) and near and drawn[p] != drawn[q]
    return edge


@pytest.mark.parametrize("width", [1, 2])
def test_outline_is_what_lies_next_to_something_else(width):
    drawn = np.random.default_rng(0).integers(0, 3, (4, 5)).repeat(4, 0).repeat(3, 1)
    assert (outline(drawn, width) == brute_outline(drawn, width)).all()


def test_outlines_stand_where_the_objects_end_and_nowhere_else():
    labels = two_touching()
    found = panels(case(labels))["Objects found"].pictures[0]
    zoom = found.shape[0] // 40
    colours = colour.assign([labels])
    assert colours[3] != colours[7]
    for i, left in ((3, 10), (7, 30)):
        inside = found[10 * zoom : 30 * zoom, left * zoom : (left + 20) * zoom]
        is_line = (inside == colours[i]).all(axis=-1)
        expected = np.ones(is_line.shape, bool)
        expected[LINE:-LINE, LINE:-LINE] = False
        assert (is_line == expected).all()
    outside = found.copy()
    outside[10 * zoom : 30 * zoom, 10 * zoom : 50 * zoom] = 0
    assert not outside.any()  # the image is black


def test_objects_cut_by_the_border_are_open_there():
    labels = np.zeros((20, 20), np.uint32)
    labels[:8, :8] = 1
    found = panels(case(labels))["Objects found"].pictures[0]
    assert not found[0, 0].any()
    assert found[0, 8 * found.shape[1] // 20 - 1].any()


def test_matched_missed_and_false_objects_are_told_apart():
    truth = np.zeros((60, 90), np.uint32)
    labels = truth.copy()
    places = {"matched": (30, 15), "missed": (30, 45), "false": (30, 75)}
    truth[disc(truth.shape, places["matched"], 8)] = 1
    truth[disc(truth.shape, places["missed"], 8)] = 2
    labels[disc(truth.shape, places["matched"], 8)] = 11
    labels[disc(truth.shape, places["false"], 8)] = 12
    panel = panels(case(labels, truth=truth))["Found against truth"]
    assert panel.note.startswith("1 matched, 1 missed, 1 false")
    picture = panel.pictures[0]
    zoom = picture.shape[0] // 60
    shades = {"matched": colour.MATCHED, "missed": colour.MISSED, "false": colour.FALSE}
    for name, (row, column) in places.items():
        part = picture[:, (column - 12) * zoom : (column + 12) * zoom]
        for other, shade in shades.items():
            assert (part == shade).all(axis=-1).any() == (other == name)
        filled = picture[row * zoom, column * zoom].any()
        assert filled == (name != "matched")


def test_offsets_to_the_centre_have_the_colour_of_their_direction():
    labels = disc((41, 41), (20, 20), 15).astype(np.uint32)
    offsets = 20.0 - np.indices((41, 41)).astype(np.float32)
    panel = panels(case(labels, offsets=offsets))["Offsets"]
    picture, longest = panel.pictures[0], panel.span[1]
    zoom = picture.shape[0] // 41
    assert 12 < longest <= 15
    for row, column in ((20, 8), (20, 32), (8, 20), (32, 20)):
        seen = picture[row * zoom + zoom // 2, column * zoom + zoom // 2]
        expected = colour.wheel(np.array([20.0 - column]), np.array([20.0 - row]), longest)[0]
        assert (seen == expected).all()


def test_each_cut_shows_the_components_that_lie_in_it():
    labels = np.zeros((6, 8, 10), np.uint32)
    labels[1:5, 2:6, 3:7] = 1
    offsets = np.zeros((3, 6, 8, 10), np.float32)
    offsets[0] = 5.0  # along z only
    xy, zy, xz = panels(case(labels, offsets=offsets))["Offsets"].pictures
    assert not xy.any()
    right, down = (colour.wheel(np.array([a]), np.array([b]), 5.0)[0] for a, b in ((5, 0), (0, 5)))
    assert (zy == right).all()
    assert (xz == down).all()


@pytest.mark.parametrize("what", ["uncertainty", "seediness", "presence"])
def test_confidence_keeps_its_order(what):
    values = np.linspace(0.2, 3.0, 400).reshape(20, 20).astype(np.float32)
    confidence = Confidence(what, values)
    panel = panels(case(np.zeros((20, 20), np.uint32), confidence=confidence))[what.capitalize()]
    assert panel.unit == ("canonical voxels" if what == "uncertainty" else "")
    low, high = panel.span
    assert 0.2 < low < 0.3
    assert 2.9 < high < 3.0
    light = panel.pictures[0].sum(axis=-1, dtype=int)
    assert light[0, 0] < light[light.shape[0] // 2, 0] < light[-1, -1]


def test_contrast_is_robust_against_a_hot_pixel():
    image = np.random.default_rng(0).random((1, 50, 50)).astype(np.float32)
    image[0, 0, 0] = 1e6
    picture = panels(case(np.zeros((50, 50), np.uint32), image=image))["Input"].pictures[0]
    assert picture.std() > 50


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_constant_and_missing_values_have_a_scale(value):
    low, high = robust_range(np.full(9, value), 1, 99)
    assert np.isfinite([low, high]).all()
    assert low < high


def test_what_a_case_lacks_is_left_out():
    assert list(panels(case(two_touching()))) == ["Input", "Objects found"]
    empty = panels(case(np.zeros((9, 9), np.uint32), truth=np.ones((9, 9), np.uint32)))
    assert empty["Objects found"].note == "No objects."
    assert empty["Found against truth"].note.startswith("0 matched, 1 missed, 0 false")
