"""Splits, merges and DET of cases worked out by hand, over masks, and against py-ctcmetrics."""

import numpy as np
import pytest
from ctc_metrics.metrics.technical.det import det
from ctc_metrics.utils.representations import count_acyclic_graph_correction_operations
from drawn_pairs import drawn, pairs_of_arrays
from hypothesis import given

from cellulus.ops.edits import challenge, edits
from cellulus.ops.overlap import overlap_table

# (truth, labels): splits, merges, missed, spurious, DET
CASES = {
    ("........", "........"): (0, 0, 0, 0, None),
    ("........", "aa......"): (0, 0, 0, 1, None),
    ("aa......", "........"): (0, 0, 1, 0, 0),
    ("aabb....", "bbaa...."): (0, 0, 0, 0, 1),
    ("aaaa....", "aabb...."): (1, 0, 1, 2, 0),  # neither half is more than half
    ("aaaaa...", "aaabb..."): (1, 0, 0, 1, 1 - 1 / 10),
    ("aabbcc..", "aaaaaa.."): (0, 2, 0, 0, 1 - 10 / 30),
    ("aaaa....", ".....abc"): (0, 0, 1, 3, 0),  # never worse than adding everything
}


@pytest.mark.parametrize("pair", CASES)
def test_hand_derived_cases(pair):
    truth, labels = map(drawn, pair)
    table = overlap_table(labels, truth)
    found = edits(table)
    *counts, score = CASES[pair]
    assert [found.splits, found.merges, found.missed, found.spurious] == counts
    assert challenge(table).det == (None if score is None else pytest.approx(score))
    assert bool(challenge(table).reasons) == (score is None)


def masks(labels):
    return [labels == i for i in np.unique(labels[labels > 0])]


@given(pairs_of_arrays)
def test_edits_are_those_of_masks(arrays):
    found, true = map(masks, arrays)
    holds = [sum(2 * (a & b).sum() > b.sum() for b in true) for a in found]
    held = [sum(2 * (a & b).sum() > a.sum() for a in found) for b in true]
    counted = edits(overlap_table(*arrays))
    assert counted.merges == sum(max(n - 1, 0) for n in holds)
    assert counted.splits == sum(max(n - 1, 0) for n in held)
    assert counted.spurious == holds.count(0)
    assert counted.missed == len(true) - sum(holds)


@given(pairs_of_arrays)
def test_det_is_that_of_the_graph_of_py_ctcmetrics(arrays):
    """Version 1.3.3 counts the edits of the graph; the objects that belong together are given."""
    found, true = map(masks, arrays)
    pairs = [
        (j + 1, i + 1)
        for i, a in enumerate(found)
        for j, b in enumerate(true)
        if 2 * (a & b).sum() > b.sum()
    ]
    score = challenge(overlap_table(*arrays)).det
    if not true:
        assert score is None
        return
    sides = [list(range(1, len(side) + 1)) for side in (true, found)]
    mapped = [[pair[k] for pair in pairs] for k in (0, 1)]
    counts = count_acyclic_graph_correction_operations(
        None, None, *([side] for side in (*sides, *mapped))
    )
    assert score == pytest.approx(det(**counts))


def test_errors_of_the_count_do_not_cancel_out():
    more = edits(overlap_table(drawn("abcd"), drawn("aaaa")))
    less = edits(overlap_table(drawn("aaaa"), drawn("abcd")))
    assert more.count_error == 3
    assert less.count_error == 3 / 4
    assert (more + less).count_error == pytest.approx(6 / 5)
    empty = edits(overlap_table(drawn("ab"), drawn("..")))
    assert empty.count_error is empty.split_rate is None
    assert "no true object" in empty.reasons["count_error"]
