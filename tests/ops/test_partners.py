"""The tables of objects against masks."""

import numpy as np
import pytest
from drawn_pairs import drawn, pairs_of_arrays
from hypothesis import given

from cellulus.ops.matching import match
from cellulus.ops.measures import measure_objects
from cellulus.ops.overlap import overlap_table
from cellulus.ops.partners import distances, partners


@given(pairs_of_arrays)
def test_rows_are_those_of_masks(arrays):
    labels, truth = (side.astype(np.uint64) * 1000 for side in arrays)
    table = overlap_table(labels, truth)
    found, true = partners(table, 0.3)
    for side, own, other in ((found, labels, truth), (true, truth, labels)):
        assert side.ids.tolist() == np.unique(own[own > 0]).tolist()
        for id_, size, partner, iou, best, holds in zip(*side, strict=True):
            mask = own == id_
            assert size == mask.sum()
            scores, inside = {}, 0
            for each in np.unique(other[other > 0]):
                theirs = other == each
                scores[each] = (mask & theirs).sum() / (mask | theirs).sum()
                inside += 2 * (mask & theirs).sum() > theirs.sum()
            assert best == max(scores.values(), default=0)
            assert holds == inside
            assert iou == (scores[partner] if partner else 0)
    assert (found.partners > 0).sum() == (true.partners > 0).sum() == match(table, 0.3).iou.size
    for id_, partner in zip(found.ids, found.partners, strict=True):
        assert not partner or true.partners[true.ids == partner] == id_


def test_splits_and_merges_stand_beside_their_objects():
    found, true = partners(overlap_table(drawn("aabbcccc"), drawn("aaaabbcc")), 0.5)
    assert true.holds.tolist() == [2, 0, 0]  # the first is cut in two
    assert found.holds.tolist() == [0, 0, 2]  # the third joins two


def test_distances_are_between_the_centroids_of_matches():
    labels = np.zeros((4, 8), np.uint8)
    truth = labels.copy()
    truth[0:2, 0:4], labels[0:2, 1:5] = 7, 3
    labels[3, 7] = 5
    found, true = partners(overlap_table(labels, truth), 0.5)
    measures = measure_objects(labels), measure_objects(truth)
    assert distances(found, *measures, (2.0, 0.5)) == [pytest.approx(0.5), None]
    assert distances(true, *reversed(measures), (2.0, 0.5)) == [pytest.approx(0.5)]
    nothing = partners(overlap_table(labels * 0, labels * 0), 0.5)[0]
    assert distances(nothing, *measures, (1, 1)) == []
