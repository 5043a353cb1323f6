import numpy as np

from cellulus.report.agreement import compare


def test_ids_are_named_as_they_are_in_the_arrays():
    truth = np.zeros((8, 40), np.uint32)
    labels = np.zeros((8, 40), np.uint32)
    truth[:, 0:8], labels[:, 1:9] = 70, 500  # IoU 7/9
    truth[:, 12:20], labels[:, 12:15] = 30, 4  # IoU 3/8: missed and false
    labels[:4, 30:34] = 9000  # nothing there
    truth[:, 24:28] = 2  # not found
    agreement = compare(labels, truth)
    assert agreement.matched.tolist() == [500]
    assert agreement.missed.tolist() == [2, 30]
    assert agreement.false.tolist() == [4, 9000]


def test_half_an_object_is_one_match_and_the_other_half_is_false():
    truth = np.ones((4, 8), np.uint32)
    labels = np.repeat([[1] * 4 + [2] * 4], 4, axis=0).astype(np.uint32)
    agreement = compare(labels, truth)
    assert (len(agreement.matched), len(agreement.missed), len(agreement.false)) == (1, 0, 1)


def test_empty_sides():
    none, some = np.zeros((3, 3), np.uint32), np.full((3, 3), 6, np.uint32)
    assert compare(none, some).missed.tolist() == [6]
    assert compare(some, none).false.tolist() == [6]
    assert compare(none, none).matched.tolist() == []
