"""The aggregated Jaccard index against the published algorithm, step by step."""

import numpy as np
import pytest
from drawn_pairs import drawn, pairs_of_arrays
from hypothesis import given

from cellulus.ops.aggregated import aggregated
from cellulus.ops.overlap import overlap_table


def published(labels, truth):
    """Algorithm 1 of Kumar et al. 2017, over masks."""
    found = [labels == i for i in np.unique(labels[labels > 0])]
    used, overlap, union = set(), 0, 0
    for i in np.unique(truth[truth > 0]):
        mask = truth == i
        scores = [(mask & other).sum() / (mask | other).sum() for other in found]
        if max(scores, default=0) == 0:
            union += mask.sum()
            continue
        best = int(np.argmax(scores))
        overlap += (mask & found[best]).sum()
        union += (mask | found[best]).sum()
        used.add(best)
    union += sum(other.sum() for i, other in enumerate(found) if i not in used)
    return overlap, union


@given(pairs_of_arrays)
def test_it_is_the_published_algorithm(arrays):
    found = aggregated(overlap_table(*arrays))
    assert (found.overlap, found.union) == published(*arrays)


@pytest.mark.parametrize(
    ("truth", "labels", "aji"),
    [
        ("....", "....", None),
        ("....", "aa..", 0),
        ("aa..", "....", 0),
        ("aabb", "bbaa", 1),
        ("aaaa", "aabb", 2 / (4 + 2)),
        # One prediction is the partner of both, and counted for both.
        ("aabb", "cccc", 4 / 8),
        # Two partners of IoU 1 / 4: the smaller id is taken.
        ("aaaa....", "bcc.cccc", 1 / (4 + 6)),
        ("aaaa....", "cbb.bbbb", 2 / (8 + 1)),
    ],
)
def test_hand_derived_cases(truth, labels, aji):
    found = aggregated(overlap_table(drawn(labels), drawn(truth)))
    assert found.aji == (None if aji is None else pytest.approx(aji))
    assert bool(found.reasons) == (aji is None)
