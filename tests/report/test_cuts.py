import numpy as np
import pytest

from cellulus.report.cuts import CANVAS, WINDOW, draw_field, magnify, plan
from cellulus.space import VoxelSize


def test_small_images_are_enlarged_by_a_whole_number():
    (cut,) = plan(np.zeros((100, 60), np.uint32), VoxelSize((1.0, 1.0)))
    factor = CANVAS // 100
    assert cut.size == (100 * factor, 60 * factor)
    plane = np.arange(6000).reshape(100, 60)
    assert (magnify(plane, cut.size) == np.kron(plane, np.ones((factor, factor), int))).all()


@pytest.mark.parametrize("shape", [(3, 900), (700, 1100), (841, 20), (1, 1), (4000, 3000)])
def test_pictures_fit_the_canvas_and_are_never_empty(shape):
    (cut,) = plan(np.zeros(shape, np.uint8), VoxelSize((1.0, 1.0)))
    assert min(cut.size) >= 1
    assert max(cut.size) <= CANVAS
    assert cut.take(np.zeros(shape)).shape == tuple(min(n, WINDOW) for n in shape)


@pytest.mark.parametrize("spacing", [(1.75, 0.8, 0.8), (0.5, 1.0, 1.0), (4.0, 1.0, 2.0)])
def test_cuts_have_physical_proportions_on_one_scale(spacing):
    shape = (30, 80, 60)
    xy, zy, xz = plan(np.zeros(shape, np.uint32), VoxelSize(spacing, "um"))
    z, y, x = (n * s for n, s in zip(shape, spacing, strict=True))
    scale = xy.size[1] / x
    for cut, extent in ((xy, (y, x)), (zy, (y, z)), (xz, (z, x))):
        assert np.allclose(cut.size, np.array(extent) * scale, atol=1.0)
    assert xy.size[0] == zy.size[0]
    assert xy.size[1] == xz.size[1]
    assert xy.size[1] + zy.size[1] <= CANVAS
    assert xy.size[0] + xz.size[0] <= CANVAS


def test_planes_pass_through_the_most_labelled_voxels():
    labels = np.zeros((9, 20, 30), np.uint32)
    labels[2:7, 4:9, 20:25] = 1
    labels[4, 6, :] = labels[:, 6, 22] = labels[4, :, 22] = 2
    cuts = plan(labels, VoxelSize((1.0, 1.0, 1.0)))
    assert [c.name() for c in cuts] == ["xy at z = 4", "zy at x = 22", "xz at y = 6"]
    assert (cuts[0].take(labels) == labels[4]).all()
    assert (cuts[1].take(labels) == labels[:, :, 22].T).all()
    assert (cuts[2].take(labels) == labels[:, 6]).all()


def test_without_objects_the_middle_is_shown():
    cuts = plan(np.zeros((9, 20, 30), np.uint32), VoxelSize((1.0, 1.0, 1.0)))
    assert [c.name() for c in cuts] == ["xy at z = 4", "zy at x = 15", "xz at y = 10"]


def test_of_large_images_the_densest_window_is_shown():
    labels = np.zeros((50, WINDOW + 500), np.uint8)
    labels[:, 300:1200] = 1
    labels[:, :20] = 1
    (cut,) = plan(labels, VoxelSize((1.0, 1.0)))
    shown = cut.key[1]
    assert shown.stop - shown.start == WINDOW
    assert shown.start <= 300
    assert shown.stop >= 1200
    assert cut.name() == ""


def test_fine_detail_is_averaged_and_coarse_detail_kept():
    fine = np.indices((400, 400)).sum(axis=0) % 2  # a chequerboard of single voxels
    drawn = draw_field(fine.astype(np.float32), (200, 200))
    assert np.allclose(drawn[8:-8, 8:-8], 0.5, atol=0.02)
    coarse = np.random.default_rng(0).random((20, 30)).astype(np.float32)
    assert (draw_field(coarse, (80, 120)) == np.kron(coarse, np.ones((4, 4)))).all()


def test_what_is_not_a_number_counts_as_nothing():
    field = np.array([[np.nan, 1.0]], np.float32)
    assert draw_field(field, (4, 8)).tolist() == [[0.0] * 4 + [1.0] * 4] * 4
