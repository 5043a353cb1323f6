"""Intervals: against the sampling that they stand for, and where there is none."""

import numpy as np
import pytest

from cellulus.errors import InputError
from cellulus.ops.bootstrap import Mean, change, interval
from cellulus.ops.panoptic import Panoptic
from cellulus.ops.scores import Matches


def images(rng, count, recall):
    """Images of 20 objects with a share of them found, more or less."""
    hits = rng.binomial(20, np.clip(rng.normal(recall, 0.05, count), 0, 1))
    return [Panoptic(int(n), 0.8 * float(n), 20, 20) for n in hits]


def test_it_is_the_percentiles_of_images_drawn_with_replacement():
    rng = np.random.default_rng(0)
    some = images(rng, 8, 0.7)
    hits = np.array([image.hits for image in some])
    drawn = hits[rng.integers(0, 8, (50_000, 8))].mean(axis=1) / 20
    found = interval(some, lambda sums: sums.recall, draws=20_000)
    step = 1 / (8 * 20)  # of all recalls there are
    assert found.value == pytest.approx(hits.mean() / 20)
    assert (found.low, found.high) == pytest.approx(
        tuple(np.quantile(drawn, [0.025, 0.975])), abs=1.01 * step
    )
    assert found.reason == ""


def test_it_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        found = interval(images(rng, 30, 0.7), lambda sums: sums.recall, level=0.9, draws=300)
        held += found.low <= 0.7 <= found.high
    assert 0.8 < held / 200 < 0.97


def test_the_same_images_on_both_sides_tell_a_small_change_from_noise():
    rng = np.random.default_rng(2)
    before = [Panoptic(int(n), float(n), 20, 20) for n in rng.integers(2, 18, 30)]
    after = [Panoptic(each.hits + 1, each.iou_sum + 1, 20, 20) for each in before]
    found = change(before, after, lambda sums: sums.recall)
    assert (found.value, found.low, found.high) == pytest.approx((0.05, 0.05, 0.05))
    apart = [interval(side, lambda sums: sums.recall) for side in (before, after)]
    assert apart[0].high > apart[1].low, "test invalid: even apart they are told from each other"
    back = change(after, before, lambda sums: sums.recall)
    assert back.value == pytest.approx(-0.05)


def test_what_is_summed_may_be_matches_or_means():
    matches = [Matches(0.5, 3, 1, 0, 2.5), Matches(0.5, 2, 0, 4, 1.0)]
    assert interval(matches, lambda sums: sums.f1).value == pytest.approx(10 / 15)
    means = [Mean.of(value) for value in (0.5, None, 1.0)]
    found = interval(means, lambda sums: sums.mean)
    assert found.value == 0.75
    assert 0.5 <= found.low < found.high <= 1.0


def test_there_is_none_without_other_images_or_a_score():
    one, empty = Panoptic(1, 0.9, 1, 1), Panoptic(0, 0.0, 0, 0)
    alone = interval([one], lambda sums: sums.pq)
    assert (alone.value, alone.low, alone.high) == (0.9, None, None)
    assert "one image" in alone.reason
    nothing = interval([empty, empty], lambda sums: sums.pq)
    assert nothing.value is nothing.low is None
    assert "undefined" in nothing.reason
    # Where some draws hold nothing, the others speak.
    assert interval([one, empty], lambda sums: sums.pq).low == pytest.approx(0.9)


def test_the_same_seed_gives_the_same_bounds():
    some = [Mean.of(value) for value in np.random.default_rng(3).random(10)]
    first, again, other = (interval(some, lambda sums: sums.mean, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_bad_input_is_refused():
    one = Panoptic(1, 0.9, 1, 1)
    with pytest.raises(InputError, match="at least one image"):
        interval([], lambda sums: sums.pq)
    with pytest.raises(InputError, match="between 0 and 1"):
        interval([one], lambda sums: sums.pq, level=95)
    with pytest.raises(InputError, match="same images"):
        change([one], [one, one], lambda sums: sums.pq)
