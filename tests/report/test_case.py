import numpy as np
import pytest

from cellulus.errors import InputError
from cellulus.report.case import Case, Confidence, Marks
from cellulus.space import VoxelSize

GIVEN = {
    "image": np.zeros((1, 40, 60), np.float32),
    "labels": np.zeros((40, 60), np.uint32),
    "voxel_size": VoxelSize((1.0, 1.0)),
}


def test_arrays_on_one_grid_are_taken():
    assert Case("img", **GIVEN).ndim == 2


@pytest.mark.parametrize(
    ("what", "array"),
    [
        ("image", np.zeros((40, 60), np.float32)),
        ("image", np.zeros((0, 40, 60), np.float32)),
        ("offsets", np.zeros((3, 40, 60), np.float32)),
        ("marks", Marks(np.zeros((5, 3)), (1.0, 1.0))),
        ("marks", Marks(np.zeros((5, 2)), (1.0, 1.0, 1.0))),
        ("marks", Marks(np.zeros(2), (1.0, 1.0))),
        ("truth", np.zeros((40, 61), np.uint32)),
    ],
)
def test_arrays_on_another_grid_are_refused(what, array):
    with pytest.raises(InputError, match=f"{what} of img"):
        Case("img", **(GIVEN | {what: array}))


@pytest.mark.parametrize("name", ["uncertainty", "presence"])
def test_confidence_on_another_grid_is_refused_by_its_name(name):
    with pytest.raises(InputError, match=f"{name} of img"):
        Case("img", **GIVEN, confidence=Confidence(name, np.zeros((1, 40, 60), np.float32)))


def test_no_points_are_points_too():
    assert Case("img", **GIVEN, marks=Marks(np.zeros((0, 2)), (1.0, 1.0))).marks is not None


def test_labels_of_another_dimension_are_refused():
    with pytest.raises(InputError, match="labels of img"):
        Case("img", np.zeros((1, 4, 4), np.float32), np.zeros((4, 4), int), VoxelSize((1, 1, 1)))
