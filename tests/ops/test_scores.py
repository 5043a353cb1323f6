"""Scores of cases whose numbers were worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cellulus.errors import InputError
from cellulus.ops.overlap import overlap_table
from cellulus.ops.scores import Scores, evaluate_labels, pool, score_table

# name: (truth, labels, TP, FP, FN, F1, AP, SEG, mean IoU), all at IoU 0.5, eight voxels each.
CASES = {
    "both empty": ("........", "........", 0, 0, 0, None, None, None, None),
    "truth empty": ("........", "aa......", 0, 1, 0, 0, 0, None, None),
    "prediction empty": ("aa......", "........", 0, 0, 1, 0, 0, 0, None),
    "perfect": ("aabb....", "ddcc....", 2, 0, 0, 1, 1, 1, 1),
    "no background, perfect": ("aaaabbbb", "bbbbaaaa", 2, 0, 0, 1, 1, 1, 1),
    # Half of the truth is an IoU of exactly 0.5, and not more than half of the reference.
    "half of the truth": ("aaaa....", "aa......", 1, 0, 0, 1, 1, 0, 0.5),
    "twice the truth": ("aaaa....", "aaaaaaaa", 1, 0, 0, 1, 1, 0.5, 0.5),
    "truth split into halves": ("aaaa....", "aabb....", 1, 1, 0, 2 / 3, 1 / 2, 0, 0.5),
    "two merged": ("aabb....", "cccc....", 1, 0, 1, 2 / 3, 1 / 2, 0.5, 0.5),
    "shifted too far": ("aaaa....", "..aaaa..", 0, 1, 1, 0, 0, 0, None),
    "no overlap": ("aa......", "......aa", 0, 1, 1, 0, 0, 0, None),
    # Six of eight covered: SEG's partner, 6 / 8; the stray second object is free for SEG alone.
    "stray": ("aaaaaaaa", "bbbbbb.c", 1, 1, 0, 2 / 3, 1 / 2, 0.75, 0.75),
}


def drawn(text):
    return np.array([0 if letter == "." else ord(letter) for letter in text], np.uint32)


@pytest.mark.parametrize("name", CASES)
def test_hand_derived_cases(name):
    truth, labels, tp, fp, fn, f1, ap, seg, mean_iou = CASES[name]
    scores = evaluate_labels(drawn(labels), drawn(truth), [0.5], name=name)
    at = scores.at(0.5)
    assert (at.true_positives, at.false_positives, at.false_negatives) == (tp, fp, fn)
    assert (at.f1, at.ap, scores.seg, at.mean_iou) == (f1, ap, seg, mean_iou)
    assert scores.n_true == len(set(truth) - {"."})
    assert scores.n_pred == len(set(labels) - {"."})
    assert Scores.from_json(pool([scores]).to_json()) == pool([scores])


def test_precision_and_recall_are_undefined_where_nothing_can_be_found():
    empty_truth = evaluate_labels(drawn("aa.."), drawn("...."), [0.5]).at(0.5)
    assert (empty_truth.precision, empty_truth.recall) == (0, None)
    empty_labels = evaluate_labels(drawn("...."), drawn("aa.."), [0.5]).at(0.5)
    assert (empty_labels.precision, empty_labels.recall) == (None, 0)


def test_thresholds_are_scored_apart():
    scores = evaluate_labels(drawn("aaabb..."), drawn("aaaabb.."), np.arange(0.3, 1, 0.05))
    # IoU 3 / 4 of the first, 1 / 3 of the second.
    assert scores.at(0.75).true_positives == 1
    assert scores.at(0.8).true_positives == 0
    assert scores.at(0.3).true_positives == 2
    assert scores.at(0.3).mean_iou == pytest.approx((3 / 4 + 1 / 3) / 2)
    assert [m.iou for m in scores.matches][6] == 0.6


def test_one_prediction_may_serve_several_objects_of_seg():
    scores = evaluate_labels(drawn("cccccccc"), drawn("aaabbb.."), [0.5])
    assert scores.seg == pytest.approx(3 / 8)


def test_pooled_weighs_objects_and_means_weigh_images():
    # One image with one object found of one, one with one of three, one with a false positive.
    images = [
        evaluate_labels(drawn("aa......"), drawn("aa......"), [0.5], name="one"),
        evaluate_labels(drawn("aa......"), drawn("aabbcc.."), [0.5], name="two"),
        evaluate_labels(drawn("aa......"), drawn("........"), [0.5], name="three"),
        evaluate_labels(drawn("........"), drawn("........"), [0.5], name="four"),
    ]
    scores = pool(images)
    pooled = scores.pooled.at(0.5)
    assert (pooled.true_positives, pooled.false_positives, pooled.false_negatives) == (2, 1, 2)
    assert pooled.f1 == pytest.approx(4 / 7)
    assert scores.pooled.seg == pytest.approx(2 / 4)
    (mean,) = scores.means
    assert mean.f1 == pytest.approx((1 + 2 / 4 + 0) / 3)  # the empty image has none
    assert mean.recall == pytest.approx((1 + 1 / 3) / 2)
    assert scores.mean_seg == pytest.approx((1 + 1 / 3) / 2)


def test_blocks_give_the_scores_of_the_whole():
    rng = np.random.default_rng(0)
    labels, truth = np.kron(rng.integers(0, 9, (2, 6, 6)), np.ones((1, 5, 5), int))
    assert evaluate_labels(labels, truth, [0.2]).at(0.2).true_positives, "test invalid: no match"
    table = overlap_table(labels[:13], truth[:13]) + overlap_table(labels[13:], truth[13:])
    assert score_table(table, [0.2, 0.5]) == evaluate_labels(labels, truth, [0.2, 0.5])


def test_json_has_null_and_never_nan():
    text = pool([evaluate_labels(drawn("...."), drawn("...."), [0.5, 0.75])]).to_json()
    assert "NaN" not in text
    content = json.loads(text)
    assert content["pooled"]["seg"] is None
    assert content["pooled"]["matches"][1]["f1"] is None
    assert content["mean"]["matches"][0]["ap"] is None
    assert content["images"][0]["n_true"] == 0


def test_json_round_trip_is_exact():
    rng = np.random.default_rng(3)
    images = [
        evaluate_labels(*rng.integers(0, 5, (2, 9, 9)), [0.1, 0.25, 1 / 3], name=f"image {i}")
        for i in range(3)
    ]
    assert images[0].at(0.1).iou_sum > 0, "test invalid: nothing to lose in the text"
    assert Scores.from_json(pool(images).to_json()) == pool(images)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"images": [{"name": 1}]}', '{"images": []}']
)
def test_damaged_json_is_refused(text):
    with pytest.raises(InputError, match="scores"):
        Scores.from_json(text)


def test_scores_of_different_thresholds_do_not_pool():
    one, other = (evaluate_labels(drawn("aa"), drawn("aa"), [t]) for t in (0.5, 0.6))
    with pytest.raises(InputError, match="same thresholds"):
        pool([one, other])
    with pytest.raises(InputError, match="no image"):
        pool([])


def test_a_threshold_that_was_not_scored_is_named():
    with pytest.raises(InputError, match=r"0\.5, 0\.75"):
        evaluate_labels(drawn("aa"), drawn("aa"), [0.5, 0.75]).at(0.6)
