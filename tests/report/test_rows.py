import numpy as np

from cellulus.ops.scores import evaluate_labels, pool
from cellulus.report.rows import choose, image_rows, pooled_scores


def test_worst_median_and_best_by_f1():
    rows = [{"name": n, "f1": f} for n, f in zip("abcde", (0.9, 0.1, 0.5, 0.7, 0.3), strict=True)]
    assert choose(rows) == [
        (1, "Lowest F1 of 5 images"),
        (2, "Median F1 of 5 images"),
        (0, "Highest F1 of 5 images"),
    ]


def test_images_without_a_score_are_not_chosen_where_others_have_one():
    rows = [{"f1": None}, {"f1": 0.5}, {"f1": float("nan")}, {"f1": 0.4}]
    assert [i for i, _ in choose(rows)] == [3, 1]
    assert choose([{"f1": None}, {"f1": 0.5}]) == [(1, "The only image with truth")]


def test_without_truth_by_the_number_of_objects():
    assert choose([{"n_pred": 5}, {"n_pred": 0}, {"n_pred": 9}]) == [
        (1, "Fewest objects of 3 images"),
        (0, "Median number of objects of 3 images"),
        (2, "Most objects of 3 images"),
    ]


def test_few_images_are_shown_once_each():
    assert choose([]) == []
    assert choose([{"n_pred": 3}]) == [(0, "The only image")]
    assert [i for i, _ in choose([{"n_pred": 3}, {"n_pred": 3}])] == [0, 1]


def test_scores_become_rows_and_a_summary():
    truth = np.repeat([[1] * 4 + [0] * 4 + [2] * 4], 4, axis=0).astype(np.uint32)
    half = np.where(truth == 1, 1, 0)
    scores = pool(
        [
            evaluate_labels(half, truth, (0.75, 0.5), name="half"),
            evaluate_labels(truth * 0, truth * 0, (0.75, 0.5), name="none"),
        ]
    )
    first, second = image_rows(scores)
    assert first["name"] == "half"
    assert (first["n_true"], first["n_pred"], first["precision"], first["recall"]) == (2, 1, 1, 0.5)
    assert second["f1"] is None
    summary = pooled_scores(scores)
    assert list(map(float, summary["thresholds"])) == [0.75, 0.5]
    assert summary["thresholds"]["0.5"]["ap"] == 0.5
    assert (summary["seg"], summary["n_true"], summary["n_pred"]) == (0.5, 2, 1)
