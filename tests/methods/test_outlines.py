"""Outlines decided with few passes, against the same rule spelled out on whole arrays."""

import numpy as np
import pytest
from scipy import ndimage

from cellulus.methods import ObjectCentric
from cellulus.methods.decoder import Observation
from cellulus.methods.object_centric import foreground
from cellulus.methods.object_centric.decoding import EmbeddingDecoder
from cellulus.methods.object_centric.foreground import Rule, objects_of
from cellulus.ops.bodies import regroup
from cellulus.ops.labels import fill_holes, grow, keep_largest

DIAMETER = 20.0


def quantiles(values, groups, share, count):
    """The order statistic at or below it, group by group; NaN without values."""
    result = np.full(count, np.nan, np.float32)
    for group, part in enumerate(ndimage.find_objects(groups, count - 1), start=1):
        if part is not None:
            members = np.sort(values[part][groups[part] == group])
            result[group] = members[int(share * (len(members) - 1))]
    return result


def floor_of(value, owner, labels, count):
    rim = np.where(labels == 0, owner, np.uint32(0))
    sizes = [np.bincount(part.ravel(), minlength=count) for part in (rim, labels)]
    is_thin = sizes[0] <= foreground.THIN * sizes[1]
    is_thin[0] = False
    darkest = quantiles(value, owner, 1 - foreground.CORE_TOP, count)
    return np.where(is_thin, darkest, quantiles(value, rim, foreground.FLOOR, count))


def slowly(clusters, observation, rule):
    """The rule as the module states it, with SciPy's filters; many arrays, many passes."""
    spacing = observation.spacing
    offsets, doubt = observation.prediction[:-1], observation.prediction[-1]
    sigma = [rule.smoothing * rule.object_voxels / s for s in spacing]
    value = ndimage.gaussian_filter(observation.image.mean(axis=0), sigma, mode="nearest")
    window = [2 * round(rule.window / s / 2) + 1 for s in spacing]
    around = ndimage.uniform_filter(value, window, mode="reflect")
    is_possible = value > rule.surround * around if rule.surround else np.ones(value.shape, bool)
    is_middle = (doubt < rule.certain) & ((offsets**2).sum(axis=0) < rule.core**2)
    labels = np.where(doubt < rule.doubtful, clusters, np.uint32(0))
    middle = np.where(is_middle, labels, np.uint32(0))
    for number in range(foreground.ROUNDS):
        owner = grow(labels, rule.rim, spacing)
        count = int(owner.max()) + 1
        floor = floor_of(value, owner, labels, count)
        if number == 0:
            bright = (floor + quantiles(value, middle, foreground.CORE_TOP, count)) / 2
            body = np.where(value > bright[middle], middle, np.uint32(0))
        else:
            body = labels
        top = quantiles(value, body, foreground.TOP, count)
        has_contrast = top - floor > foreground.CONTRAST
        outline = np.where(has_contrast, floor + rule.outline * (top - floor), np.inf)
        is_object = is_possible & (value > outline[owner])
        labels = fill_holes(keep_largest(np.where(is_object, owner, np.uint32(0))))
        labels, summits = regroup(labels, spacing, foreground.OPENNESS, 0.05 * rule.object_voxels)
    typical = quantiles(np.nan_to_num(doubt, nan=np.inf), labels, 0.5, len(summits) + 1)
    kept = np.concatenate([[False], typical[1:] < rule.doubtful])
    labels = np.where(kept, np.cumsum(kept), 0).astype(np.uint32)[labels]
    return fill_holes(labels), summits[kept[1:]]


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((150, 160), (1.0, 1.0)),
        ((90, 260), (2.0, 0.6)),
        ((40, 60, 70), (1.0, 1.0, 1.0)),
        ((20, 70, 90), (2.0, 0.8, 0.8)),
        ((1, 100, 110), (1.0, 1.0, 1.0)),
    ],
)
def test_few_passes_give_what_many_give(draw, shape, spacing, gaps):
    """Also where parts were not predicted."""
    scene = draw(shape, spacing, seed=len(shape), noise=1.0)
    seen = scene.observe()
    said = seen.prediction.copy()
    if gaps:
        said[:, ..., 30:45] = np.nan
    observation = Observation(said, seen.image, seen.spacing, seen.origin)
    made = EmbeddingDecoder(ObjectCentric(), len(shape), DIAMETER)
    clusters, _ = made._learned(observation)._cluster(observation)
    rule = Rule.of(ObjectCentric(), len(shape), DIAMETER)
    labels, summits = objects_of(clusters, observation, rule)
    expected, tops = slowly(clusters, observation, rule)
    assert len(summits) > (1 if len(shape) == 3 else 5)
    assert np.array_equal(labels, expected)
    assert np.array_equal(summits, tops)
