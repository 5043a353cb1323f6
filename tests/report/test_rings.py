"""Points as rings: where they are drawn, and on which cuts."""

import numpy as np
import pytest

from cellulus.report import colour
from cellulus.report.case import Case, Marks
from cellulus.report.cuts import plan
from cellulus.report.figures import sheet
from cellulus.report.rings import HALO, LINE, RADIUS, draw, shown
from cellulus.space import VoxelSize


def canvas(cut):
    return np.full((*cut.size, 3), 200, np.uint8)


def brute(picture, places):
    """Every pixel by its distance to every point: a line wins over a rim, a rim over the image."""
    drawn = picture.copy()
    for row, column in np.ndindex(picture.shape[:2]):
        away = np.hypot(*(np.array(places).reshape(-1, 2) - (row + 0.5, column + 0.5)).T)
        if (np.abs(away - RADIUS) <= LINE / 2).any():
            drawn[row, column] = colour.POINT
        elif (np.abs(away - RADIUS) <= HALO / 2).any():
            drawn[row, column] = colour.RIM
    return drawn


@pytest.mark.parametrize("count", [0, 1, 12])
def test_rings_stand_around_their_points_also_where_they_meet_and_are_cut(count):
    (cut,) = plan(np.zeros((30, 40), np.uint32), VoxelSize((1.0, 1.0)), canvas=80)
    positions = np.random.default_rng(0).random((count, 2)) * (30, 40) - 0.5
    picture = canvas(cut)
    assert draw([picture], Marks(positions, (1.0, 1.0)), [cut]) == count
    assert (picture == brute(canvas(cut), (positions + 0.5) * 2)).all()


def test_a_point_is_drawn_on_the_cuts_near_it_at_its_place():
    labels = np.zeros((20, 30, 40), np.uint32)
    labels[9:12, 14:17, 19:22] = 1
    cuts = plan(labels, VoxelSize((2.0, 1.0, 1.0)), canvas=320)
    z, y, x = (next(c.key[a].start for c in cuts if c.normal == (a,)) for a in range(3))
    near = (1.0, 2.0, 2.0)
    marks = Marks(
        np.array([[z + 1.4, 3, 3], [z + 1.6, 3, 3], [3, y + 2.4, 3], [3, 3, x - 2.4], [3, 3, 3]]),
        near,
    )
    by_normal = {cut.normal: shown(marks, cut).tolist() for cut in cuts}
    assert by_normal[(0,)] == [True, False, False, False, False]
    assert by_normal[(1,)] == [False, False, True, False, False]
    assert by_normal[(2,)] == [False, False, False, True, False]
    pictures = [canvas(cut) for cut in cuts]
    assert draw(pictures, marks, cuts) == 3
    for cut, picture in zip(cuts, pictures, strict=True):
        (place,) = marks.positions[shown(marks, cut)]
        rows, columns = np.nonzero((picture == colour.POINT).all(axis=-1))
        for axis, seen, extent in zip(
            (cut.down, cut.across), (rows, columns), cut.size, strict=True
        ):
            zoom = extent / labels.shape[axis]
            assert abs(seen.mean() + 0.5 - (place[axis] + 0.5) * zoom) < 0.6


@pytest.mark.parametrize("shape", [(30, 40), (8, 30, 40)])
def test_the_input_panel_has_rings_and_says_how_many(shape):
    labels = np.zeros(shape, np.uint32)
    labels[..., 10:20, 10:20] = 1
    image = np.random.default_rng(0).random((1, *shape)).astype(np.float32)
    size = VoxelSize((1.0,) * len(shape))
    positions = np.array([[0, 14.0, 14.0], [0, 0, 0], [7, 29, 39]])[:, -len(shape) :]
    marks = Marks(positions, (0.5,) * len(shape))
    plain = sheet(Case("img", image, labels, size)).panels
    panels = sheet(Case("img", image, labels, size, marks=marks)).panels
    assert [p.title for p in panels] == ["Input and points", "Objects found"]
    assert plain[0].title == "Input"
    assert panels[0].legend == "marks"
    assert panels[0].note.endswith(
        "; 3 points." if len(shape) == 2 else "; 2 of 3 points near a cut."
    )
    first, bare = panels[0].pictures[0], plain[0].pictures[0]
    assert (first == colour.POINT).all(axis=-1).any()
    assert not (bare == colour.POINT).all(axis=-1).any()
    assert len(np.unique(first.reshape(-1, 3), axis=0)) <= 256  # of a picture that stays light
    assert (panels[1].pictures[0] == plain[1].pictures[0]).all()


def test_no_point_is_told_as_none():
    labels = np.ones((9, 9), np.uint32)
    marks = Marks(np.zeros((0, 2)), (1.0, 1.0))
    case = Case("img", np.zeros((1, 9, 9), np.float32), labels, VoxelSize((1.0, 1.0)), marks=marks)
    assert sheet(case).panels[0].note.endswith("0 points.")
