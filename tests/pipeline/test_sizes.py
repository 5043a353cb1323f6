"""Sizes that do not divide each other: chunks, shards, tiles and blocks make no difference."""

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from cellulus.data import writer
from cellulus.data.readers import open_volumes
from cellulus.experiment.sections import ApplyImage, Data, Experiment, Network, Predict, Segment
from cellulus.methods import ObjectCentric
from cellulus.pipeline import model as models
from cellulus.pipeline.predict import predict
from cellulus.pipeline.segment import segment
from cellulus.runs import Run
from cellulus.space import VoxelSize
from validity import judge

NETWORK = Network(features=2, growth=1, depth=1, head_features=2, object_voxels=10.0)
RNG = np.random.default_rng(0)


def store(path, grey, chunks, shards=None, ngff="0.5"):
    axes = "zyx"[-grey.ndim :]
    spec = writer.Spec(
        "image", axes, grey.shape, grey.dtype, VoxelSize((1.0,) * grey.ndim, "um"),
        chunks=chunks, shards=shards or chunks, ngff=ngff,
    )  # fmt: skip
    pending = writer.create(path, spec)
    pending.write((slice(None),) * grey.ndim, grey)
    return pending.publish()


@settings(max_examples=25)
@given(data=st.data())
def test_any_part_of_any_chunks_is_the_part_of_the_whole(tmp_path_factory, data):
    """Chunks and shards that divide neither each other's parts, nor the image."""
    shape = data.draw(st.lists(st.integers(1, 40), min_size=2, max_size=3))
    chunks = tuple(data.draw(st.integers(1, 50)) for _ in shape)
    shards = tuple(c * data.draw(st.integers(1, 4)) for c in chunks)
    ngff = data.draw(st.sampled_from(["0.4", "0.5"]))
    grey = np.random.default_rng(0).integers(1, 999, shape).astype(np.uint16)
    path = store(tmp_path_factory.mktemp("a") / "a.zarr", grey, chunks, shards, ngff)
    (volume,) = open_volumes(path)
    grey = grey[0] if grey.ndim == 3 and len(grey) == 1 else grey
    starts = [data.draw(st.integers(0, n - 1)) for n in grey.shape]
    region = tuple(
        slice(a, data.draw(st.integers(a + 1, n))) for a, n in zip(starts, grey.shape, strict=True)
    )
    assert np.array_equal(volume.read(region)[0], grey[region])


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """A run with an untrained model for volumes, and an image of 13 x 36 x 43."""
    run = Run(tmp_path_factory.mktemp("run"))
    torch.manual_seed(0)
    card = models.Card(
        method=ObjectCentric(passes=2), network=NETWORK, ndim=3, inputs=1, outputs=3,
        percentiles=(1.0, 99.8),
    )  # fmt: skip
    models.save(run.model, models.new_network(card).state_dict(), card)
    return run, RNG.integers(1, 999, (13, 36, 43)).astype(np.uint16)


def predicted(noisy, folder, chunks, shards=None, tile=32):
    run, grey = noisy
    image = store(folder / "img.zarr", grey, chunks, shards)
    made = Experiment(
        data=Data(object_diameter=10.0, apply=(ApplyImage(image=str(image)),)),
        method=ObjectCentric(passes=2), network=NETWORK,
        predict=Predict(tile=tile, precision="fp32", empty=0.0),
    )  # fmt: skip
    (path,) = predict(made, Run(folder / "run"), model=run.model, device="cpu")
    return path


@pytest.mark.parametrize(
    ("chunks", "shards"),
    [((1, 36, 43), None), ((7, 11, 13), (14, 22, 26)), ((3, 5, 43), None), ((13, 36, 43), None)],
)
def test_an_images_chunks_make_no_difference_to_its_prediction(noisy, tmp_path, chunks, shards):
    """Planes, small and odd chunks, one chunk; tiles of 32 divide none of them."""
    (tmp_path / "even").mkdir()
    wanted = zarr.open_group(predicted(noisy, tmp_path / "even", (8, 16, 16)), mode="r")["0"][:]
    path = predicted(noisy, tmp_path, chunks, shards)
    assert np.array_equal(zarr.open_group(path, mode="r")["0"][:], wanted)
    assert np.isfinite(wanted).all()


@pytest.mark.parametrize("tile", [17, 31, 200])
def test_every_tile_is_stored_by_itself(noisy, tmp_path, tile):
    """Whatever the tile, each has a shard of its own, and what is written is sound."""
    path = predicted(noisy, tmp_path, (8, 16, 16), tile=tile)
    array = zarr.open_group(path, mode="r")["0"]
    told = zarr.open_group(path, mode="r").attrs["cellulus"]["outcome"]
    files = sum(file.name.isdigit() for file in (path / "0").rglob("*") if file.is_file())
    assert files == told["tiles"]
    assert np.isfinite(array[:]).all()
    judge(path)


@pytest.mark.parametrize("block", [17, 29, 1000])
def test_every_block_of_labels_is_stored_by_itself(noisy, tmp_path, block):
    """Prime blocks, and one that is larger than the image: few files, each with one writer."""
    path = predicted(noisy, tmp_path, (8, 16, 16))
    made = Experiment(
        method=ObjectCentric(passes=2), network=NETWORK, segment=Segment(block=block, min_size=0.0)
    )
    (labels,) = segment(made, Run(tmp_path / "run"), predictions=[path])
    array = zarr.open_group(labels, mode="r")["0"]
    for core, shard, n in zip((block,) * 3, array.shards, array.shape, strict=True):
        assert core % shard == 0 or core >= n
        assert shard >= min(core, n) / 3
    judge(labels, dense=True)
