"""Decoding again in shifted blocks: a local decoder gives the same, and what was spoilt is seen."""

import json

import numpy as np
import pytest
import zarr

from cellulus.data import writer
from cellulus.data.readers import open_volumes
from cellulus.errors import InputError
from cellulus.experiment.sections import ApplyImage, Data, Experiment, Segment
from cellulus.methods import ObjectCentric
from cellulus.pipeline.prediction import Facts
from cellulus.pipeline.reruns import compare, rerun
from cellulus.pipeline.segment import segment
from cellulus.runs import Run
from cellulus.space import VoxelSize


def write(path, array, axes, size, attributes=None):
    spec = writer.Spec(
        kind="image", axes=axes, shape=array.shape, dtype=array.dtype,
        voxel_size=VoxelSize(size, "um"), attributes=attributes or {},
    )  # fmt: skip
    pending = writer.create(path, spec)
    pending.write((slice(None),) * array.ndim, array)
    return pending.publish()


class Place:
    """A folder with one drawn prediction, as predict would have stored it, and its segments."""

    def __init__(self, folder, draw):
        self.folder, self.draw, self.run = folder, draw, Run(folder / "run")
        self.prediction = self.run.predictions / "img.zarr"

    def add(self, shape, zoom=None, **drawing):
        ndim = len(shape)
        zoom = zoom or (1.0,) * ndim
        canonical = tuple(int(np.ceil(n * z - 1e-6)) for n, z in zip(shape, zoom, strict=True))
        scene = self.draw(canonical, **drawing)
        nearest = [
            np.minimum(((np.arange(n) + 0.5) * z).astype(int), m - 1)
            for n, z, m in zip(shape, zoom, canonical, strict=True)
        ]
        size = tuple(0.5 * z for z in zoom)
        image = scene.image[0][np.ix_(*nearest)]
        path = write(self.folder / "img.zarr", image, "zyx"[-ndim:], size)
        facts = Facts(
            image=str(path), time=0, channels=(0,), level=0, shape=shape, voxel_size=size,
            unit="um", zoom=zoom, object_voxels=20.0, low=(0.0,), high=(1.0,),
            method="object_centric", model="drawn",
        )  # fmt: skip
        write(
            self.prediction, scene.prediction.astype(np.float16),
            "c" + "zyx"[-ndim:], (0.5,) * ndim, facts.model_dump(mode="json"),
        )  # fmt: skip
        return self

    def experiment(self, block, min_size=0.1, **method):
        return Experiment(
            data=Data(apply=(ApplyImage(image=str(self.folder / "img.zarr")),)),
            method=ObjectCentric(**method),
            segment=Segment(block=block, min_size=min_size),
        )

    def segment(self, block, **settings):
        experiment = self.experiment(block, **settings)
        (path,) = segment(experiment, self.run, overwrite=True)
        return path, experiment

    def spoil(self, path, change):
        """Change the stored labels."""
        array = zarr.open_array(path / "0", mode="r+")
        array[...] = change(array[...])


@pytest.fixture
def place(tmp_path, draw):
    return Place(tmp_path, draw)


@pytest.mark.parametrize("foreground", ["contrast", "uncertainty"])
@pytest.mark.parametrize(
    ("shape", "zoom", "block"),
    [
        ((180, 230), (1.0, 1.0), 64),
        ((180, 230), (1.0, 1.0), 33),
        ((160, 90), (0.7, 2.2), 50),
        ((16, 90, 110), (3.0, 1.1, 0.9), 27),
    ],
)
def test_every_object_is_the_same(place, shape, zoom, block, foreground):
    place.add(shape, zoom, sizes=(0.6, 1.3), noise=1.0)
    path, experiment = place.segment(block, foreground=foreground)
    found = rerun(place.prediction, path, experiment, sample=4)
    assert found.passed
    assert found.share == 0
    cut = zarr.open_group(path, mode="r").attrs["cellulus"]["cut"]
    corners = [max(1, (n - 1) // edge) for n, edge in zip(shape, cut, strict=True)]
    assert found.regions == min(4, np.prod(corners))
    assert found.objects > 10
    assert not found.corners
    assert not found.note


def test_objects_dropped_for_their_size_are_no_change(place):
    place.add((160, 160), sizes=(0.5, 1.3))
    every, _ = place.segment(64, min_size=0.0)
    total = open_volumes(every)[0].read().max()
    path, experiment = place.segment(64, min_size=0.6)
    assert open_volumes(path)[0].read().max() < total
    assert rerun(place.prediction, path, experiment).passed


def cut(labels):
    labels[64:][labels[64:] > 0] += labels.max()
    return labels


def gap(labels):
    labels[63:65] = 0
    return labels


def lost(labels):
    labels[labels == np.bincount(labels[64][labels[64] > 0]).argmax()] = 0
    return labels


@pytest.mark.parametrize("change", [cut, gap, lost])
def test_a_seam_is_found_and_where(place, change):
    place.add((130, 180))
    path, experiment = place.segment(64)
    place.spoil(path, change)
    found = rerun(place.prediction, path, experiment)
    assert not found.passed
    assert 0 < found.share < 1
    assert found.corners
    assert set(found.corners) <= {(64, 64), (64, 128), (128, 64), (128, 128)}
    content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert content["share"] == found.share
    assert content["passed"] is False


def test_other_numbers_are_no_change(place):
    place.add((130, 180))
    path, experiment = place.segment(64)
    place.spoil(path, lambda labels: np.where(labels > 0, 1000 - labels, 0).astype(np.uint32))
    assert rerun(place.prediction, path, experiment).passed


def test_the_sample_is_drawn_from_the_seed(place):
    """One object in the image lies on one corner; a small sample passes over the empty ones."""
    place.add((200, 200), balls=([[64.0, 128.0]], [10.0]))
    path, experiment = place.segment(64)
    for seed in range(3):
        found = rerun(place.prediction, path, experiment, sample=1, seed=seed)
        assert (found.regions, found.objects) == (1, 2)
    place.spoil(path, lambda labels: np.pad(labels[:64], ((0, 136), (0, 0))))
    found = rerun(place.prediction, path, experiment, sample=1)
    assert found.corners in {((64, 128),), ((64, 64),)}
    assert (found.objects, found.changed) == (2, 2)


def test_what_cannot_be_decoded_again_is_said(place, monkeypatch):
    monkeypatch.setattr("cellulus.methods.object_centric.decoding.SAMPLED", 800)
    place.add((60, 60))
    path, experiment = place.segment(512)
    assert "one block" in rerun(place.prediction, path, experiment).note
    path, experiment = place.segment(32, clustering="meanshift")
    found = rerun(place.prediction, path, experiment)
    assert found.passed
    assert found.share is None
    assert "not local" in found.note


def test_empty_labels_are_nothing_to_decode(place):
    place.add((100, 100))
    path, experiment = place.segment(32)
    place.spoil(path, np.zeros_like)
    found = rerun(place.prediction, path, experiment)
    assert found.regions == 0
    assert "no objects" in found.note


def test_labels_of_other_settings_or_steps_are_refused(place):
    place.add((100, 100))
    path, _ = place.segment(32)
    with pytest.raises(InputError, match="min_size"):
        rerun(place.prediction, path, place.experiment(32, min_size=0.3))
    with pytest.raises(InputError, match="foreground"):
        rerun(place.prediction, path, place.experiment(32, foreground="uncertainty"))
    group = zarr.open_group(path, mode="r+")
    group.attrs["cellulus"] = {**group.attrs["cellulus"], "postprocess": {}}
    with pytest.raises(InputError, match="labels that segment made"):
        rerun(place.prediction, path, place.experiment(32))
    with pytest.raises(InputError, match="labels that segment made"):
        rerun(place.prediction, place.folder / "img.zarr", place.experiment(32))


def test_objects_are_compared_one_by_one():
    stored = np.array([[1, 1, 0, 2, 2, 0, 0]])
    assert compare(stored, np.array([[5, 5, 0, 4, 4, 0, 0]]), 3) == (4, 0)
    assert compare(stored, np.array([[5, 5, 0, 4, 4, 0, 3]]), 3) == (4, 0)  # dropped for its size
    assert compare(stored, np.array([[5, 5, 0, 4, 4, 0, 3]]), 1) == (5, 1)
    assert compare(stored, np.array([[5, 5, 0, 4, 4, 4, 0]]), 3) == (4, 2)  # grown
    assert compare(stored, np.array([[5, 5, 5, 5, 5, 0, 0]]), 3) == (3, 3)  # joined
    assert compare(stored, np.array([[5, 6, 0, 4, 4, 0, 0]]), 3) == (5, 3)  # split
    assert compare(stored, np.array([[0, 0, 0, 4, 4, 0, 0]]), 3) == (3, 1)  # lost
    assert compare(np.zeros((1, 3), int), np.zeros((1, 3), int), 3) == (0, 0)
