"""Everything that is written is judged: conversions, predictions, segments, labels, scenes."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
import torch
import zarr

from cellulus.blocks.crew import Alone
from cellulus.data import writer
from cellulus.experiment.sections import (
    ApplyImage,
    Data,
    Experiment,
    Network,
    Postprocess,
    Predict,
    Segment,
)
from cellulus.methods import ObjectCentric
from cellulus.pipeline import model as models
from cellulus.pipeline.convert import convert
from cellulus.pipeline.postprocess import postprocess
from cellulus.pipeline.predict import predict
from cellulus.pipeline.prediction import Facts
from cellulus.pipeline.segment import segment
from cellulus.runs import Run
from cellulus.space import VoxelSize
from validity import judge

RNG = np.random.default_rng(0)
DIAMETER = 16.0
BOTH = pytest.mark.parametrize("ngff", ["0.4", "0.5"])


def noise(*shape, high=200, dtype=np.uint8):
    return RNG.integers(0, high, shape).astype(dtype)


# --- conversions


def _tiff(folder, data, **options):
    tifffile.imwrite(folder / "a.tif", data, **options)
    return folder / "a.tif"


def _plain_tiff(folder):
    return _tiff(folder, noise(301, 40))


def _imagej_tiff(folder):
    metadata = {"axes": "TZCYX", "spacing": 2.0, "unit": "um"}
    data = noise(2, 5, 2, 40, 300, dtype=np.uint16)
    return _tiff(folder, data, imagej=True, resolution=(2.0, 2.0), metadata=metadata)


def _ome_tiff(folder):
    metadata = {"axes": "ZYX", "PhysicalSizeX": 500, "PhysicalSizeXUnit": "nm"}
    return _tiff(folder, noise(9, 40, 310, dtype=np.float32), ome=True, metadata=metadata)


def _gray_png(folder):
    PIL.Image.fromarray(noise(300, 280)).save(folder / "a.png")
    return folder / "a.png"


def _colour_png(folder):
    PIL.Image.fromarray(noise(30, 28, 3)).save(folder / "a.png")
    return folder / "a.png"


def _flags(folder):
    PIL.Image.fromarray(noise(30, 28, high=2).astype(bool)).save(folder / "a.png")
    return folder / "a.png"


def _pairs(folder):
    for name, data in (("images", noise(5, 300, 280)), ("masks", noise(5, 300, 280))):
        (folder / "in/train" / name).mkdir(parents=True)
        tifffile.imwrite(folder / "in/train" / name / "a.tif", data, photometric="minisblack")
    return folder / "in"


def _tracking(folder):
    for time in range(3):
        (folder / "D/01").mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(folder / f"D/01/t{time:03}.tif", noise(40, 50))
    (folder / "D/01_GT/SEG").mkdir(parents=True)
    tifffile.imwrite(folder / "D/01_GT/SEG/man_seg001.tif", noise(40, 50, dtype=np.uint16))
    return folder / "D"


def _objects(folder):
    for name in ("images", "masks"):
        (folder / "D/a" / name).mkdir(parents=True)
    PIL.Image.fromarray(noise(30, 28)).save(folder / "D/a/images/a.png")
    for number in range(3):
        mask = np.zeros((30, 28), np.uint8)
        mask[9 * number : 9 * number + 7] = 255
        PIL.Image.fromarray(mask).save(folder / f"D/a/masks/{number}.png")
    return folder / "D"


def _archive(folder):
    np.savez(folder / "a.npz", X=noise(2, 40, 30, 2), y=noise(2, 40, 30, 2))
    return folder / "a.npz"


def _wide_ids(folder):
    labels = noise(6, 40, 300, dtype=np.uint64) + 2**33
    np.savez(folder / "a.npz", image=noise(6, 40, 300, dtype=np.float64), labels=labels)
    return folder / "a.npz"


SOURCES = [
    _plain_tiff, _imagej_tiff, _ome_tiff, _gray_png, _colour_png, _flags, _pairs, _tracking,
    _objects, _archive, _wide_ids,
]  # fmt: skip


@BOTH
@pytest.mark.parametrize("make", SOURCES, ids=lambda make: make.__name__[1:])
def test_conversions(tmp_path, make, ngff):
    paths = convert([make(tmp_path)], tmp_path / "out", ngff=ngff)
    assert paths
    for path in paths:
        judge(path, ngff)


@BOTH
@pytest.mark.parametrize("kind", [np.uint32, np.uint64])
@pytest.mark.parametrize(
    ("axes", "shape"), [("yx", (300, 41)), ("czyx", (2, 7, 300, 41)), ("tczyx", (2, 1, 3, 40, 30))]
)
def test_labels_in_the_images_own_group(tmp_path, axes, shape, kind, ngff):
    size = VoxelSize((1.0, 0.3, 0.3)[-sum(a in "zyx" for a in axes) :], "um")
    spec = writer.Spec("image", axes, shape, np.dtype(np.uint16), size, ngff=ngff)
    pending = writer.create(tmp_path / "a.zarr", spec)
    pending.write((slice(None),) * len(axes), noise(*shape, dtype=np.uint16))
    pending.publish()
    for name in ("nuclei", "cells"):
        pending = writer.create_labels(tmp_path / "a.zarr", name, dtype=kind)
        kept = [n for a, n in zip(axes, shape, strict=True) if a != "c"]
        pending.write((slice(None),) * len(kept), noise(*kept, dtype=kind))
        pending.publish()
    judge(tmp_path / "a.zarr", ngff)


# --- steps


def write(path, array, axes, notes=None, *, ngff="0.5", size=0.5, chunks=None):
    spec = writer.Spec(
        kind="image", axes=axes, shape=array.shape, dtype=array.dtype, ngff=ngff,
        voxel_size=VoxelSize((size,) * sum(a in "zyx" for a in axes), "um"),
        attributes=notes or {}, chunks=chunks, shards=chunks,
    )  # fmt: skip
    pending = writer.create(path, spec)
    pending.write((slice(None),) * array.ndim, array)
    return pending.publish()


def experiment_on(image, tile=32, block=32, kind="none", **predict):
    return Experiment(
        data=Data(object_diameter=10.0, apply=(ApplyImage(image=str(image)),)),
        method=ObjectCentric(passes=2),
        network=Network(features=2, growth=1, depth=1, head_features=2, object_voxels=10.0),
        predict=Predict(tile=tile, precision="fp32", **predict),
        segment=Segment(block=block),
        postprocess=Postprocess(kind=kind, fill_holes=True),
    )


def untrained(run, ndim):
    torch.manual_seed(0)
    made = experiment_on("")
    card = models.Card(
        method=made.method, network=made.network, ndim=ndim, inputs=1, outputs=ndim,
        percentiles=(1.0, 99.8),
    )  # fmt: skip
    models.save(run.model, models.new_network(card).state_dict(), card)


@BOTH
@pytest.mark.parametrize("shape", [(300, 150), (12, 70, 80)])
@pytest.mark.parametrize("empty", [False, True])
def test_predictions(tmp_path, shape, empty, ngff):
    """Of images in either version; with tiles that are skipped because there is nothing."""
    grey = noise(*shape, dtype=np.uint16)
    if empty:
        grey[..., 40:] = 100
    image = write(tmp_path / "img.zarr", grey, "zyx"[-len(shape) :], ngff=ngff)
    run = Run(tmp_path / "run")
    untrained(run, len(shape))
    (path,) = predict(experiment_on(image), run, device="cpu")
    told = zarr.open_group(path, mode="r").attrs["cellulus"]["outcome"]
    assert bool(told["empty"]) == empty, "test invalid"
    judge(path)


class Drawn:
    """A folder with an image of balls, and what a good network would say of it."""

    def __init__(self, folder, draw, shape=(24, 80, 90)):
        self.folder, self.run = folder, Run(folder / "run")
        scene = draw(shape, sizes=(0.5, 0.9))
        self.image = write(folder / "img.zarr", scene.image[0], "zyx")
        facts = Facts(
            image=str(self.image), time=0, channels=(0,), level=0, shape=shape,
            voxel_size=(0.5,) * 3, unit="um", zoom=(1.0,) * 3, object_voxels=20.0, low=(0.0,),
            high=(1.0,), method="object_centric", model="drawn",
        )  # fmt: skip
        said = scene.prediction.astype(np.float16)
        self.prediction = write(
            self.run.predictions / "img.zarr", said, "czyx", facts.model_dump(mode="json"),
            chunks=(1, shape[0], 32, 32),
        )  # fmt: skip

    def experiment(self, **options):
        return experiment_on(self.image, **options)


@pytest.fixture
def drawn(tmp_path, draw):
    return Drawn(tmp_path, draw)


def outcome(path):
    return zarr.open_group(path, mode="r").attrs["cellulus"]["outcome"]


@pytest.mark.parametrize("block", [32, 50, "auto"])
@pytest.mark.parametrize("kind", ["none", "intensity", "cell"])
def test_segments_and_labels(drawn, block, kind):
    """Whatever the blocks: one shard per block, odd ends, a whole image."""
    made = drawn.experiment(block=block, kind=kind)
    (path,) = segment(made, drawn.run)
    assert outcome(path)["objects"] > 10, "test invalid"
    judge(path, dense=True)
    (path,) = postprocess(made, drawn.run)
    assert outcome(path)["objects"] > 10, "test invalid"
    judge(path, dense=True)
    assert zarr.open_group(path, mode="r").attrs["ome"]["image-label"]["source"]


def test_what_was_finished_without_some_blocks(tmp_path, draw):
    """It is said in the notes, and else the same: levels, ids, files."""
    drawn = Drawn(tmp_path, draw, (16, 60, 240))
    chunk = drawn.prediction / "0/c/0/0/1/7"
    content = chunk.read_bytes()
    chunk.write_bytes(content[:-7])
    crew = Alone()
    (path,) = segment(drawn.experiment(), drawn.run, crew=crew)
    assert crew.left_out
    assert outcome(path)["quarantined"]
    judge(path, dense=True)
    (labels,) = postprocess(drawn.experiment(), drawn.run)
    judge(labels, dense=True)


def test_nothing_found(drawn):
    (path,) = segment(drawn.experiment(), drawn.run)
    nothing = Postprocess(min_size=1000.0)
    made = drawn.experiment().model_copy(update={"postprocess": nothing})
    (path,) = postprocess(made, drawn.run)
    assert outcome(path)["objects"] == 0
    judge(path, dense=True)


def test_the_scene_of_the_benchmark(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import drawn_volume

    drawn_volume.write(tmp_path, 3)
    for name in ("image", "truth", "prediction"):
        judge(tmp_path / f"{name}.zarr")
