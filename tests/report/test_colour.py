import numpy as np
import pytest

from cellulus.report import colour


def hue(rgb):
    """Angle on the wheel of red, yellow, green, blue by opponent axes, in degrees."""
    r, g, b = (float(v) for v in rgb)
    return np.rad2deg(np.arctan2(np.sqrt(3) * (g - b), 2 * r - g - b)) % 360


def one(across, down, longest=1.0):
    return colour.wheel(np.array([across]), np.array([down]), longest)[0]


def test_directions_have_their_own_hues_in_order():
    angles = np.arange(0, 360, 30)
    hues = [hue(one(np.cos(np.deg2rad(a)), -np.sin(np.deg2rad(a)))) for a in angles]
    steps = np.diff([*hues, hues[0] + 360]) % 360
    assert (steps > 5).all()
    assert steps.sum() == pytest.approx(360)  # once round, in one sense


def test_right_is_red_and_up_is_not_down():
    assert hue(one(1, 0)) < 30 or hue(one(1, 0)) > 330
    up, down = one(0, -1), one(0, 1)
    assert 40 < hue(up) < 120  # yellow to green
    assert 200 < hue(down) < 300  # blue to violet


@pytest.mark.parametrize("vector", [(0.9, 0.0), (-0.9, 0.0), (0.0, 0.9), (0.0, -0.9), (0.6, -0.6)])
def test_legend_shows_each_vector_where_it_points(vector):
    legend = colour.wheel_legend(101)
    column, row = (round(50 + 50.5 * v) for v in vector)
    difference = legend[row, column].astype(int) - one(*vector).astype(int)
    assert abs(difference).max() <= 6


def test_length_is_brightness_and_full_beyond_the_longest():
    lengths = np.linspace(0, 1, 9)
    light = colour.wheel(lengths, 0 * lengths, 1.0).sum(axis=-1, dtype=int)
    assert light[0] == 0
    assert (np.diff(light) > 0).all()
    assert (one(7, 3, 2.0) == one(70, 30, 2.0)).all()


def test_what_is_not_a_number_is_drawn_as_no_offset():
    assert (one(np.nan, 0.0) == 0).all()
    assert (colour.ramp(np.array([np.nan])) == colour.ramp(np.array([0.0]))).all()


def test_ramp_gets_brighter_and_clips():
    light = colour.ramp(np.linspace(-1, 2, 40)).sum(axis=-1, dtype=int)
    assert (np.diff(light) >= 0).all()
    assert light[0] < 60 < 500 < light[-1]


def test_grey_has_so_many_levels():
    shades = colour.grey(np.linspace(0, 1, 1000), 64)
    assert len(np.unique(shades)) == 64
    assert (shades.min(), shades.max()) == (0, 255)
    assert (shades[:, 0] == shades[:, 2]).all()


def test_one_channel_is_grey_and_several_are_not():
    ramp = np.linspace(0, 1, 5)[None, None]
    assert (np.ptp(colour.composite(ramp).astype(int), axis=-1) == 0).all()
    mixed = colour.composite(np.stack([ramp[0], 0 * ramp[0]]))
    assert np.ptp(mixed[0, -1].astype(int)) > 200
    assert (mixed[0, 0] == 0).all()


def test_neighbours_never_share_a_colour():
    generator = np.random.default_rng(0)
    seeds = generator.integers(0, 120, (80, 2))
    at = np.stack(np.indices((120, 120)), axis=-1)
    distance = ((at[:, :, None] - seeds) ** 2).sum(axis=-1)
    plane = (distance.argmin(axis=-1) + 1).astype(np.uint32)  # every object touches others
    colours = colour.assign([plane])
    assert set(colours) == set(np.unique(plane).tolist())
    for a, b in ((plane[1:], plane[:-1]), (plane[:, 1:], plane[:, :-1])):
        for i, j in {(int(p), int(q)) for p, q in zip(a[a != b], b[a != b], strict=True)}:
            assert colours[i] != colours[j]
    assert set(colours.values()) == set(colour.OBJECTS)  # all of them in use


def test_objects_close_by_differ_and_planes_agree():
    first = np.zeros((5, 12), np.uint32)
    first[:, :4], first[:, 7:] = 5, 9  # three background voxels in between
    second = np.full((3, 3), 9, np.uint32)
    colours = colour.assign([first, second])
    assert set(colours) == {5, 9}
    assert colours[5] != colours[9]
    assert colour.assign([first * 0]) == {}
