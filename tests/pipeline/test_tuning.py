"""The best thresholds are those that brute force finds, and what is kept aside is not exceeded."""

import itertools

import numpy as np
import pytest
import tifffile
import torch
from scipy import ndimage

from cellulus.experiment.sections import (
    Data,
    Evaluate,
    Experiment,
    Network,
    Predict,
    Segment,
    Train,
    TrainImage,
)
from cellulus.methods import SpatialEmbedding
from cellulus.methods.decoder import Observation
from cellulus.ops.overlap import overlap_table
from cellulus.ops.scores import evaluate_labels
from cellulus.pipeline import tuning as module
from cellulus.pipeline.material import card_of, open_parts
from cellulus.pipeline.model import Model
from cellulus.pipeline.tuning import Tuning
from cellulus.space import ball_volume

WIDTH = 10.0
IOU = (0.5, 0.7)


class Oracle(torch.nn.Module):
    """Answers as a network would that knows the masks, but for some noise."""

    def __init__(self, masks):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        rng = np.random.default_rng(0)
        numbers = np.unique(masks[masks > 0])
        middles = ndimage.center_of_mass(masks > 0, masks, numbers)
        grid = np.indices(masks.shape)
        offsets = np.zeros((2, *masks.shape))
        seeds = np.full(masks.shape, -3.0)
        for number, middle in zip(numbers, middles, strict=True):
            away = np.array(middle).reshape(2, 1, 1) - grid
            inside = masks == number
            offsets[:, inside] = away[:, inside]
            seeds[inside] = 3 - 0.9 * np.sqrt((away**2).sum(axis=0))[inside]
        seeds += rng.normal(0, 0.4, masks.shape)
        offsets += rng.normal(0, 0.5, offsets.shape)
        raw = np.arctanh(np.clip(offsets / (2 * WIDTH), -0.9, 0.9))
        self.answer = np.concatenate([raw, np.full_like(raw, 0.3), seeds[None]]).astype(np.float32)

    def forward(self, images):
        return torch.from_numpy(self.answer)[None]


@pytest.fixture
def scene(tmp_path):
    """An image, its masks, and one more object that is all ignored."""
    masks = np.zeros((64, 64), np.uint16)
    for number, corner in enumerate(itertools.product((4, 24, 44), (4, 24, 44)), start=1):
        grid = np.indices(masks.shape) - np.reshape(corner, (2, 1, 1)) - 7
        masks[(grid**2).sum(axis=0) <= (3 + number / 4) ** 2] = number
    tifffile.imwrite(tmp_path / "image.tif", (masks > 0).astype(np.uint8) * 200)
    tifffile.imwrite(tmp_path / "masks.tif", masks)
    return tmp_path, masks


def experiment(folder, **sections):
    entry = TrainImage(image=str(folder / "image.tif"), masks=str(folder / "masks.tif"))
    return Experiment(
        **{
            "data": Data(object_diameter=WIDTH, train=(entry,)),
            "method": SpatialEmbedding(),
            "network": Network(features=2, growth=1, head_features=2, object_voxels=WIDTH),
            "train": Train(crop=32),
            "predict": Predict(precision="fp32", tile=64),
            "evaluate": Evaluate(iou=IOU),
        }
        | sections
    )


def judge(made, masks):
    parts = open_parts(made)
    model = Model(Oracle(masks), card_of(made, [part.image for part in parts]))
    return Tuning(made, parts), model


def test_the_best_thresholds_are_those_of_brute_force(scene):
    folder, masks = scene
    made = experiment(folder)
    tuning, model = judge(made, masks)
    verdict = tuning(model)
    answer = made.method.inference(WIDTH, 0, 4)(model.network, torch.zeros(1, 64, 64), (0, 0))
    seen = Observation(answer.numpy(), np.zeros((1, 64, 64), np.float32), (1.0, 1.0), (0, 0))
    found = {}
    for choice, objects in made.method.decoder(2, WIDTH).sweep(seen):
        for size in module.SIZES:
            kept = np.bincount(objects.labels.ravel()) >= size * ball_volume(WIDTH, 2)
            scores = evaluate_labels(np.where(kept[objects.labels], objects.labels, 0), masks, IOU)
            key = (*sorted(choice.items()), ("min_size", size))
            found[key] = np.mean([match.ap for match in scores.matches])
    assert len(found) > 20
    assert verdict.ap == max(found.values()) > 0.5
    assert np.mean([*verdict.aps.values()]) == verdict.ap
    assert min(found.values()) < verdict.ap, "it matters"
    names = [name for name, _ in next(iter(found))]
    assert found[tuple((name, verdict.tuned[name]) for name in names)] == verdict.ap


def test_what_was_set_is_not_tuned(scene):
    folder, masks = scene
    made = experiment(
        folder, method=SpatialEmbedding(foreground=0.4, seed=0.8), segment=Segment(min_size=0.15)
    )
    tuning, model = judge(made, masks)
    assert tuning(model).tuned == {"foreground": 0.4, "seed": 0.8, "min_size": 0.15}


def test_what_is_ignored_counts_on_neither_side(scene):
    folder, masks = scene
    hidden = masks.copy()
    hidden[hidden == 5] = 99  # of which nobody knows what it is
    tifffile.imwrite(folder / "masks.tif", hidden)
    method = SpatialEmbedding(foreground=0.3, seed=0.6)
    made = experiment(folder, method=method, segment=Segment(min_size=0.0))
    known = made.data.model_copy(update={"ignore_label": 99})
    tuning, model = judge(made.model_copy(update={"data": known}), np.where(hidden == 99, 0, masks))
    others, _ = judge(made, masks)
    assert tuning(model).ap > others(model).ap


@pytest.mark.parametrize("shape", [(100, 100), (7, 1000), (30, 20, 400), (5, 5, 5), (1, 300, 300)])
@pytest.mark.parametrize("most", [1, 1000, 4000, 10**6])
def test_of_a_large_region_the_middle_is_taken(shape, most):
    region = tuple(slice(10, 10 + n) for n in shape)
    middle = module._middle(region, most)
    lengths = [part.stop - part.start for part in middle]
    size = int(np.prod(lengths))
    assert size <= max(most, 1)
    assert middle == region or size > 0.4 * most or most == 1
    for part, whole in zip(middle, region, strict=True):
        assert part.start >= whole.start
        assert part.stop <= whole.stop
        assert abs((part.start - whole.start) - (whole.stop - part.stop)) <= 1


@pytest.mark.parametrize("least", [0, 3, 10, 1000])
def test_small_objects_are_background_in_a_table(least):
    rng = np.random.default_rng(0)
    labels = rng.choice(8, (30, 30), p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.03, 0.01, 0.01])
    truth = rng.integers(0, 4, (30, 30))
    kept = np.bincount(labels.ravel()) >= least
    expected = overlap_table(np.where(kept[labels], labels, 0), truth)
    found = module._without_small(overlap_table(labels, truth), least)
    for name in ("labels", "truth", "counts"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))
