"""Predicted and segmented in one sweep: the same labels, and few embeddings at any time."""

import shutil

import numpy as np
import pytest
import torch
import zarr
from distributed import Client

from cellulus.blocks.cluster import Cluster
from cellulus.blocks.crew import Alone
from cellulus.data import writer
from cellulus.data.readers import open_volumes
from cellulus.errors import InputError, MissingError
from cellulus.experiment.sections import ApplyImage, Data, Experiment, Network, Predict, Segment
from cellulus.methods import ObjectCentric, SpatialEmbedding
from cellulus.pipeline import tiling
from cellulus.pipeline.fuse import fuse
from cellulus.pipeline.model import Card, new_network, save
from cellulus.pipeline.predict import predict
from cellulus.pipeline.segment import segment
from cellulus.runs import Run
from cellulus.space import VoxelSize

DIAMETER = 20.0


class Place:
    """An image of drawn objects, and a network that says what was drawn."""

    def __init__(self, folder, draw, monkeypatch, shape, zoom):
        self.folder, self.called, self.kept = folder, [], []
        self.stop_at, self.broken = None, set()
        canonical = tuple(int(np.ceil(n * z - 1e-6)) for n, z in zip(shape, zoom, strict=True))
        self.scene = draw(canonical)
        nearest = [
            np.minimum(((np.arange(n) + 0.5) * z).astype(int), m - 1)
            for n, z, m in zip(shape, zoom, canonical, strict=True)
        ]
        axes = "zyx"[-len(shape) :]
        self.image = writer.create(
            folder / "img.zarr",
            writer.Spec(
                kind="image", axes=axes, shape=shape, dtype=np.float32,
                voxel_size=VoxelSize(tuple(0.5 * z for z in zoom), "um"),
            ),
        )  # fmt: skip
        self.image.write((slice(None),) * len(shape), self.scene.image[0][np.ix_(*nearest)])
        self.image.publish()
        monkeypatch.setattr(tiling, "_load", lambda *_: self.ask)

    def ask(self, image, tile):
        self.called.append(tile.core)
        if len(self.called) == self.stop_at:
            raise KeyboardInterrupt
        if str(tile.core) in self.broken:
            raise ValueError("broken")
        self.kept.append(self.embedded())
        return self.scene.prediction[(slice(None), *tile.core)].astype(np.float32)

    def tiles(self):
        """Return the different tiles that were asked for."""
        return set(map(str, self.called))

    def embedded(self):
        """Return for each plane of the growing prediction whether it holds embeddings."""
        (path,) = self.folder.glob("*/predictions/img.zarr.partial")
        offsets = zarr.open_array(path / "0", mode="r")[0]
        return np.isfinite(offsets).any(axis=tuple(range(1, offsets.ndim)))

    def experiment(self, block, tile, **method):
        return Experiment(
            data=Data(
                object_diameter=f"{DIAMETER * 0.5} um",
                apply=(ApplyImage(image=str(self.image.path)),),
            ),
            network=Network(features=1, growth=1, head_features=1, object_voxels=DIAMETER),
            predict=Predict(tile=tile, empty=0),
            method=ObjectCentric(**method),
            segment=Segment(block=block, min_size=0.02),
        )

    def run(self, name):
        run = Run(self.folder / name)
        ndim = len(self.image.array.shape)
        card = Card(
            method=ObjectCentric(), network=self.experiment(16, 16).network, ndim=ndim,
            inputs=1, outputs=ndim, percentiles=(1.0, 99.8),
        )  # fmt: skip
        torch.manual_seed(0)
        save(run.model, new_network(card).state_dict(), card)
        return run

    def whole(self, experiment):
        """Return the labels that predict and segment give."""
        run = self.run("whole")
        predict(experiment, run, device="cpu")
        (path,) = segment(experiment, run)
        self.called.clear()
        self.kept.clear()
        return read(path), run


def read(path):
    return open_volumes(path)[0].read()[0]


def levels(path):
    group = zarr.open_group(path, mode="r")
    return {name: array[:] for name, array in group.arrays()}


@pytest.fixture
def place(tmp_path, draw, monkeypatch):
    """Return what makes an image of so many voxels, each so many canonical voxels wide."""

    def make(shape, zoom=None):
        return Place(tmp_path, draw, monkeypatch, shape, zoom or (1.0,) * len(shape))

    return make


CASES = [
    ((700, 60), None, 64, 48),
    ((260, 90), (2.0, 1.0), 40, 56),
    ((330, 40, 41), None, 48, 32),
    ((90, 40, 41), (3.0, 1.0, 1.0), 16, 40),
]


@pytest.mark.parametrize(("shape", "zoom", "block", "tile"), CASES)
def test_labels_are_those_of_predict_and_segment(place, shape, zoom, block, tile):
    here = place(shape, zoom)
    experiment = here.experiment(block, tile)
    expected, whole = here.whole(experiment)
    assert expected.max() > 10
    run = here.run("fused")
    (path,) = fuse(experiment, run, device="cpu")
    assert np.array_equal(read(path), expected)
    found, stored = levels(run.predictions / "img.zarr"), levels(whole.predictions / "img.zarr")
    assert found.keys() == stored.keys()
    for name in found:
        assert np.isnan(found[name][:-1]).all()
        assert np.array_equal(found[name][-1], stored[name][-1], equal_nan=True)


def test_few_embeddings_lie_on_disk_at_any_time(place):
    here = place((1200, 40))
    fuse(here.experiment(32, 32), here.run("fused"), device="cpu")
    assert len(here.called) == len(here.tiles()) == 38 * 2
    # Two layers of blocks, as far as blocks see, and what tiles are cut by.
    assert max(kept.sum() for kept in here.kept) <= 2 * (45 + 22 + 32 + 32)


@pytest.mark.parametrize("stop_at", [1, 4, 9, 16, 23])
def test_what_was_cut_goes_on_and_ends_the_same(place, stop_at):
    here = place((700, 60))
    experiment = here.experiment(64, 48)
    expected, _ = here.whole(experiment)
    run, here.stop_at = here.run("fused"), stop_at
    with pytest.raises(KeyboardInterrupt):
        fuse(experiment, run, device="cpu")
    (path,) = fuse(experiment, run, device="cpu", resume=True)
    assert np.array_equal(read(path), expected)
    assert len(here.called) == len(here.tiles()) + 1  # the one that was cut


def test_what_was_dropped_is_predicted_again_where_its_labels_are_lost(place):
    here = place((700, 60))
    experiment = here.experiment(64, 48)
    expected, _ = here.whole(experiment)
    run, here.stop_at = here.run("fused"), 25
    with pytest.raises(KeyboardInterrupt):
        fuse(experiment, run, device="cpu")
    shutil.rmtree(run.segments)
    (path,) = fuse(experiment, run, device="cpu", resume=True)
    assert np.array_equal(read(path), expected)
    assert len(here.called) > len(here.tiles()) + 1


@pytest.mark.parametrize("is_fused", [True, False])
def test_what_was_made_without_a_tile_is_made_anew_with_it(place, is_fused):
    here, crew = place((700, 60)), Alone()
    experiment = here.experiment(64, 48)
    expected, _ = here.whole(experiment)
    run = here.run("holey")

    def make(resume):
        if is_fused:
            return fuse(experiment, run, device="cpu", crew=crew, resume=resume)
        predict(experiment, run, device="cpu", crew=crew, resume=resume)
        return segment(experiment, run, resume=resume)

    broken = (slice(288, 336), slice(0, 48))
    here.broken.add(str(broken))
    (path,) = make(resume=False)
    assert len(crew.left_out) == 1
    without = read(path)
    assert not without[300:324, :36].any()
    assert np.array_equal(without[500:] > 0, expected[500:] > 0)
    here.broken.clear()
    (path,) = make(resume=True)
    assert np.array_equal(read(path), expected)
    calls = len(here.called)
    assert make(resume=True) == [path]
    assert len(here.called) == calls


def test_any_crew_gives_the_same(place):
    """The workers of one process, which keep open what they opened when less was surveyed."""
    here = place((700, 60))
    experiment = here.experiment(64, 48)
    expected, _ = here.whole(experiment)
    with Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=None) as made:
        crew = Cluster(made, "here")
        (path,) = fuse(experiment, here.run("fused"), device="cpu", crew=crew)
    assert crew.left_out == []
    assert np.array_equal(read(path), expected)


@pytest.mark.parametrize("method", [{"foreground": "uncertainty"}, {"clustering": "meanshift"}])
def test_a_decoder_that_needs_the_whole_is_refused_first(place, method, tmp_path):
    here, run = place((100, 60)), Run(tmp_path / "unmade")
    with pytest.raises(InputError, match="threshold, clusters or seeds of the whole"):
        fuse(here.experiment(64, 48, **method), run, device="cpu")
    assert not run.folder.exists()


def test_seeds_are_those_of_the_whole(place, tmp_path):
    here, run = place((100, 60)), Run(tmp_path / "unmade")
    made = here.experiment(64, 48).model_copy(update={"method": SpatialEmbedding()})
    with pytest.raises(InputError, match="clusters or seeds of the whole"):
        fuse(made, run, device="cpu")


def test_a_prediction_without_embeddings_is_not_segmented_again(place):
    here = place((100, 60))
    experiment, run = here.experiment(64, 48), here.run("fused")
    (path,) = fuse(experiment, run, device="cpu")
    with pytest.raises(InputError, match="dropped"):
        segment(experiment, run, overwrite=True)
    assert path.exists()


def test_labels_that_are_gone_are_not_said_to_be_there(place):
    here = place((100, 60))
    experiment, run = here.experiment(64, 48), here.run("fused")
    (path,) = fuse(experiment, run, device="cpu")
    shutil.rmtree(path)
    with pytest.raises(MissingError, match="embeddings are gone"):
        fuse(experiment, run, device="cpu", resume=True)
    assert fuse(experiment, run, device="cpu", overwrite=True) == [path]
    assert path.exists()


def test_a_growing_prediction_is_not_segmented(place):
    here = place((700, 60))
    experiment, run = here.experiment(64, 48), here.run("cut")
    here.stop_at = 5
    with pytest.raises(KeyboardInterrupt):
        predict(experiment, run, device="cpu")
    (growing,) = run.predictions.glob("*.partial")
    with pytest.raises(InputError, match="still being written"):
        segment(experiment, run, predictions=[growing])
