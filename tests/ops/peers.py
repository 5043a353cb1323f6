"""How other packages score, written from their definitions over masks, voxel by voxel.

They stand in for packages that bring too much along. Each was run against its package on 600 random
pairs of labels, edge cases included; the release is named with it.
"""

from itertools import product

import numpy as np
from scipy.optimize import linear_sum_assignment


def masks(labels):
    """Of the objects, ascending by id."""
    return [labels == i for i in np.unique(labels[labels > 0])]


def iou_matrix(truth, labels):
    """Of every true with every predicted object."""
    sides = masks(truth), masks(labels)
    iou = [(a & b).sum() / (a | b).sum() for a, b in product(*sides)]
    return np.array(iou, float).reshape(len(sides[0]), len(sides[1]))


def best(iou, threshold):
    """IoU of the pairs of one assignment over all objects that reach the threshold."""
    if not iou.size:
        return np.zeros(0)
    cost = -(iou >= threshold).astype(float) - iou / (2 * min(iou.shape))
    chosen = iou[linear_sum_assignment(cost)]
    return chosen[chosen >= threshold]


def embedseg(truth, labels, threshold):
    """EmbedSeg 0.2.5, ``matching``; None where its assertion fails."""
    if (truth > 0).all() and (labels > 0).all():
        return None
    iou = iou_matrix(truth, labels)
    hits = best(iou, threshold)
    (n_true, n_pred), tp = iou.shape, hits.size
    return {
        "tp": tp,
        "fp": n_pred - tp,
        "fn": n_true - tp,
        "n_true": n_true,
        "n_pred": n_pred,
        "precision": tp / n_pred if tp else 0,
        "recall": tp / n_true if tp else 0,
        "accuracy": tp / (n_true + n_pred - tp) if tp else 0,
        "f1": 2 * tp / (n_true + n_pred) if tp else 0,
        "mean_true_score": hits.sum() / n_true if tp else 0,
    }


def cellpose(truth, labels, threshold):
    """Cellpose 4.2.1.1, ``average_precision``; ap is nan or inf where it divides by zero."""
    n_true, n_pred = np.unique(truth).size - 1, np.unique(labels).size - 1
    tp = best(iou_matrix(truth, labels), threshold).size if n_pred else 0
    whole = n_true + n_pred - tp
    ap = tp / whole if whole else (np.inf if tp else np.nan)
    return {"tp": tp, "fp": n_pred - tp, "fn": n_true - tp, "ap": ap}


def panoptica(truth, labels, threshold):
    """Panoptica 2.1.7, ``NaiveThresholdMatching``; None where it divides by zero, or nan."""
    iou = iou_matrix(truth, labels)
    n_true, n_pred = iou.shape
    rows, columns, hits = set(), set(), []
    order = sorted(product(range(n_pred), range(n_true)), key=lambda at: -iou[at[1], at[0]])
    for j, i in order:
        if iou[i, j] >= threshold and i not in rows and j not in columns:
            rows.add(i)
            columns.add(j)
            hits.append(iou[i, j])
    tp = len(hits)
    rq = 2 * tp / (n_true + n_pred) if n_true + n_pred else None
    sq = (np.mean(hits) if hits else 0) if n_true + n_pred else None
    return {
        "tp": tp,
        "fp": n_pred - tp,
        "fn": n_true - tp,
        "prec": tp / n_pred if n_pred else None,
        "rec": tp / n_true if n_true else None,
        "rq": rq,
        "sq": sq,
        "pq": None if rq is None else rq * sq,
    }


def legacy(truth, labels, threshold):
    """Evaluate.py of funkelab/cellulus, as of its last release; None where it leaves out."""
    truth, labels = (side.astype(np.uint16) for side in (truth, labels))
    iou = iou_matrix(truth, labels)
    if not iou.shape[0]:
        return None
    covered = [2 * (a & b).sum() > a.sum() for a, b in product(masks(truth), masks(labels))]
    hits = iou > threshold
    fn, fp = int((~hits.any(axis=1)).sum()), int((~hits.any(axis=0)).sum())
    tp = iou.shape[0] - fn
    seg = iou[np.reshape(covered, iou.shape).astype(bool)].sum()
    return {
        "TP": tp,
        "FP": fp,
        "FN": fn,
        "n_true": iou.shape[0],
        "iou_sum": seg,
        "F1": 2 * tp / (2 * tp + fp + fn),
        "SEG": seg / iou.shape[0],
    }
