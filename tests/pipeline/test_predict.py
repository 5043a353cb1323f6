"""Prediction: tiles equal the whole, what is written says where it lies, and reruns are safe."""

import numpy as np
import pytest
import tifffile
import torch
import zarr

from cellulus.data import normalise
from cellulus.data.canonical import Canonical
from cellulus.data.normalise import Normalisation
from cellulus.data.readers import open_image, open_volumes
from cellulus.data.volume import Volume
from cellulus.errors import ExistsError, InputError, MissingError, ModelError
from cellulus.experiment.sections import ApplyImage, Data, Experiment, Network, Predict
from cellulus.methods import ObjectCentric
from cellulus.nn import shapes
from cellulus.ops.resample import reflect
from cellulus.pipeline import statistics
from cellulus.pipeline.extents import tile_extent
from cellulus.pipeline.model import Card, Model, load, new_network, save
from cellulus.pipeline.predict import predict
from cellulus.pipeline.prediction import Prediction
from cellulus.pipeline.tiling import Predictor, is_empty, tiles_of
from cellulus.runs import Run
from cellulus.space import Scale, VoxelSize


def experiment(*paths, tile="auto", depth=1, diameter=10.0, passes=4, seed=0, batch_size=4, **data):
    return Experiment(
        seed=seed,
        data=Data(
            object_diameter=diameter, apply=tuple(ApplyImage(image=str(p)) for p in paths), **data
        ),
        method=ObjectCentric(passes=passes, noise=0.05),
        network=Network(features=4, growth=2, depth=depth, head_features=4, object_voxels=10.0),
        predict=Predict(tile=tile, batch_size=batch_size, precision="fp32"),
    )


def model(ndim, depth=1, inputs=1, seed=0):
    torch.manual_seed(seed)
    made = experiment(depth=depth)
    card = Card(
        method=made.method, network=made.network, ndim=ndim, inputs=inputs, outputs=ndim,
        percentiles=(1.0, 99.8),
    )  # fmt: skip
    network = new_network(card).eval()
    with torch.no_grad():
        network.head.weight.mul_(100)  # offsets of several voxels, as after training
    return Model(network, card)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


def image_of(shape, zoom):
    volume = Volume.of(noise(*shape))
    return Canonical(volume, Scale(zoom), Normalisation((0.2,), (0.9,)))


def joined(made, ask, image):
    whole = np.full((len(image.shape) + 1, *image.shape), np.nan, np.float32)
    for block in tiles_of(ask.experiment, image.shape):
        assert np.isnan(whole[(slice(None), *block.core)]).all()
        whole[(slice(None), *block.core)] = ask(image, block)
    assert np.isfinite(whole).all()
    return whole


@pytest.mark.parametrize(
    ("shape", "zoom", "depth", "tiles"),
    [
        ((50, 41), (1.0, 1.0), 1, (16, 22, 32, 48)),
        ((33, 47), (1.7, 0.6), 0, (16, 17)),
        ((60, 45), (1.0, 1.0), 2, (16, 20, 40)),
        ((70, 65), (1.0, 1.0), 3, (16, 24, 32)),
        ((10, 30, 19), (2.5, 1.0, 1.1), 1, (16, 20)),
    ],
)
def test_tiles_give_what_the_whole_gives(shape, zoom, depth, tiles):
    """To 1e-4 voxel, the rounding of sums in another order."""
    image, made = image_of(shape, zoom), model(len(shape), depth)
    whole = joined(made, Predictor(made, experiment(depth=depth), "cpu"), image)
    assert whole[:-1].std() > 0.1
    assert whole[-1].max() > 0.1
    for tile in tiles:
        cut = experiment(tile=tile, depth=depth, batch_size=3)
        assert len(tiles_of(cut, image.shape)) > 1
        assert np.allclose(joined(made, Predictor(made, cut, "cpu"), image), whole, atol=1e-4)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_the_border_sees_the_image_mirrored(depth):
    """Against the network on an image padded by hand, without noise to speak of."""
    image, made = image_of((30, 27), (1.0, 1.0)), model(2, depth)
    halo = shapes.halo(depth)
    extent = [shapes.legal_size(n + 2 * halo, depth) for n in image.shape]
    whole = image.read(tuple(slice(0, n) for n in image.shape))
    index = [
        reflect(np.arange(-halo, e - halo), n) for e, n in zip(extent, image.shape, strict=True)
    ]
    padded = torch.from_numpy(whole[:, index[0]][:, :, index[1]])
    with torch.no_grad():
        expected = made.network(padded[None])[0, :, :30, :27].numpy()
    quiet = experiment(depth=depth)
    quiet = quiet.model_copy(update={"method": ObjectCentric(passes=2, noise=1e-12)})
    found = joined(made, Predictor(made, quiet, "cpu"), image)
    assert np.allclose(found[:2], expected, atol=1e-5)
    assert found[2].max() < 1e-5


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (2, 1, 1)])
def test_images_smaller_than_the_view_are_predicted(shape):
    made = model(len(shape))
    every = experiment().model_copy(update={"predict": Predict(empty=0)})
    found = joined(made, Predictor(made, every, "cpu"), image_of(shape, (1.0,) * len(shape)))
    assert found.shape == (len(shape) + 1, *shape)


@pytest.mark.parametrize("shape", [(50, 41), (3000, 20), (300, 40, 200), (1, 1)])
@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("tile", ["auto", 16, 33])
def test_tiles_move_by_whole_strides_and_are_no_larger_than_asked(shape, depth, tile):
    made = experiment(tile=tile, depth=depth)
    edge = {2: 512, 3: 96}[len(shape)] if tile == "auto" else tile
    step = shapes.stride(depth)
    for found, n in zip(tile_extent(made, shape), shape, strict=True):
        assert found % step == 0
        assert min(n, edge) <= found < min(n, edge) + step


def test_the_seed_decides_the_noise():
    image, made = image_of((30, 30), (1.0, 1.0)), model(2)
    found = [joined(made, Predictor(made, experiment(seed=s), "cpu"), image) for s in (0, 0, 1)]
    assert np.array_equal(found[0], found[1])
    assert not np.allclose(found[0][-1], found[2][-1])


# --- the step, on files


@pytest.fixture
def run(tmp_path):
    made = Run(tmp_path / "run")
    kind = model(2)
    save(made.model, kind.network.state_dict(), kind.card)
    return made


@pytest.fixture
def flat(tmp_path):
    path = tmp_path / "flat.tif"
    tifffile.imwrite(path, (255 * noise(60, 47)).astype(np.uint8))
    return path


class Ticks:
    def __init__(self):
        self.seen = []

    def start(self, what, total):
        self.seen.append((what, total))

    def advance(self, amount=1, **values):
        self.seen.append(amount)

    def finish(self):
        self.seen.append("end")


def test_what_is_written_is_what_was_predicted(run, flat):
    made, ticks = experiment(flat, tile=32), Ticks()
    (path,) = predict(made, run, device="cpu", progress=ticks)
    assert path == run.predictions / "flat.zarr"
    assert ticks.seen == [("predict flat", 4), 1, 1, 1, 1, "end"]
    stored = zarr.open_group(path, mode="r")["0"]
    assert (stored.dtype, stored.shape) == (np.float16, (3, 60, 47))
    opened = Prediction.open(path)
    loaded = load(run.model)
    image = Canonical(opened.image, Scale(opened.facts.zoom), opened.facts.normalisation)
    expected = joined(loaded, Predictor(loaded, made, "cpu"), image)
    assert np.array_equal(stored[:], expected.astype(np.float16))


def test_tiles_move_by_the_strides_of_the_model(tmp_path, flat):
    """The experiment would train a shallower network, whose tiles would cut those of the model."""
    kind, found = model(2, depth=3), []
    for tile in (64, 18):
        run = Run(tmp_path / str(tile))
        save(run.model, kind.network.state_dict(), kind.card)
        (path,) = predict(experiment(flat, tile=tile, depth=1), run, device="cpu")
        group = zarr.open_group(path, mode="r")
        assert group.attrs["cellulus"]["outcome"]["tiles"] == (1 if tile == 64 else 6)
        found.append(group["0"][:].astype(np.float32))
    assert found[0][:-1].std() > 0.1
    assert np.allclose(*found, atol=0.01)  # stored in half precision


def test_channels_are_named_and_facts_are_noted(run, flat):
    (path,) = predict(experiment(flat, diameter=20.0), run, device="cpu")
    assert open_image(path).channel_names == ("offset_y", "offset_x", "uncertainty")
    facts = Prediction.open(path).facts
    assert facts.image == str(flat)
    assert facts.zoom == (0.5, 0.5)
    assert facts.object_voxels == 10.0
    data = tifffile.imread(flat)
    assert (facts.low[0], facts.high[0]) == pytest.approx(tuple(np.percentile(data, (1, 99.8))))


def test_the_canonical_grid_lies_over_the_image(tmp_path, run):
    """Both grids begin and end at the same edges, in um."""
    path = tmp_path / "sized.tif"
    tifffile.imwrite(
        path, noise(60, 48), resolution=(2.0, 2.0), imagej=True, metadata={"unit": "um"}
    )
    (written,) = predict(experiment(path, diameter="15 um"), run, device="cpu")
    volume = open_volumes(written, channels=(0,))[0]
    zoom = 10.0 / 15.0 * 0.5
    assert volume.voxel_size == VoxelSize((0.5 / zoom,) * 2, "um")
    assert volume.shape == (20, 16)
    transforms = zarr.open_group(written, mode="r").attrs["ome"]["multiscales"][0]["datasets"][0][
        "coordinateTransformations"
    ]
    scale, move = transforms[0]["scale"], transforms[1]["translation"]
    assert scale == pytest.approx([1, 1.5, 1.5])
    edge = [m - s / 2 for m, s in zip(move[1:], scale[1:], strict=True)]
    assert edge == pytest.approx([-0.25, -0.25])  # where the image's first voxel begins


@pytest.mark.parametrize("diameter", [5.0, 10.0, 23.0])
def test_a_prediction_is_read_on_the_grid_of_its_image(run, flat, diameter):
    made = experiment(flat, diameter=diameter)
    (path,) = predict(made, run, device="cpu")
    opened = Prediction.open(path)
    region = (slice(3, 40), slice(0, 47))
    found = opened.read(region)
    assert found.shape == (3, 37, 47)
    assert opened.read_image(region).shape == (1, 37, 47)
    stored = opened.volume.read().astype(np.float64)
    zoom = opened.facts.zoom[0]
    rows, columns = ((np.arange(n) + 0.5) * zoom - 0.5 for n in (60, 47))
    by_rows = np.stack(
        [[np.interp(rows, np.arange(stored.shape[1]), c) for c in part.T] for part in stored]
    )
    expected = np.stack(
        [[np.interp(columns, np.arange(stored.shape[2]), r) for r in part.T] for part in by_rows]
    )
    assert np.allclose(found, expected[:, 3:40], atol=1e-3)


def test_volumes_are_predicted_in_tiles(tmp_path, run):
    kind = model(3)
    save(run.model, kind.network.state_dict(), kind.card)
    path = tmp_path / "deep.tif"
    tifffile.imwrite(path, noise(8, 30, 26), imagej=True, metadata={"axes": "ZYX", "spacing": 2.0})
    stored = []
    for tile, name in ((16, "cut"), ("auto", "whole")):
        folder = Run(tmp_path / name)
        (written,) = predict(experiment(path, tile=tile), folder, model=run.model, device="cpu")
        stored.append(zarr.open_group(written, mode="r")["0"][:].astype(np.float32))
    assert np.allclose(*stored, atol=2e-3, rtol=2e-3)  # float16
    assert open_image(written).channel_names[0] == "offset_z"


def test_nothing_is_overwritten_unasked(run, flat):
    (path,) = predict(experiment(flat), run, device="cpu")
    before = zarr.open_group(path, mode="r")["0"][:]
    with pytest.raises(ExistsError):
        predict(experiment(flat), run, device="cpu")
    ticks = Ticks()
    assert predict(experiment(flat), run, device="cpu", resume=True, progress=ticks) == [path]
    assert not ticks.seen
    other = model(2, seed=1)
    save(run.model, other.network.state_dict(), other.card)
    with pytest.raises(InputError):  # what is there is of another model
        predict(experiment(flat), run, device="cpu", resume=True)
    assert np.array_equal(zarr.open_group(path, mode="r")["0"][:], before)
    predict(experiment(flat), run, device="cpu", overwrite=True)
    assert not np.array_equal(zarr.open_group(path, mode="r")["0"][:], before)


@pytest.mark.parametrize(("change", "is_kept"), [({"outline": 0.6}, True), ({"passes": 6}, False)])
def test_what_is_decided_later_leaves_a_prediction_as_it_is(run, flat, change, is_kept):
    asked = experiment(flat)
    (path,) = predict(asked, run, device="cpu")
    method = asked.method.model_copy(update=change)
    assert method != asked.method
    other = asked.model_copy(update={"method": method})
    if is_kept:
        assert predict(other, run, device="cpu", resume=True) == [path]
    else:
        with pytest.raises(InputError):
            predict(other, run, device="cpu", resume=True)


class Cut(Ticks):
    def advance(self, amount=1, **values):
        raise KeyboardInterrupt


def test_a_cut_prediction_leaves_nothing_that_looks_whole(run, flat):
    with pytest.raises(KeyboardInterrupt):
        predict(experiment(flat, tile=16), run, device="cpu", progress=Cut())
    assert not (run.predictions / "flat.zarr").exists()
    (cut,) = predict(experiment(flat, tile=16), run, device="cpu", resume=True)
    there = zarr.open_group(cut, mode="r")["0"][:]
    (anew,) = predict(experiment(flat, tile=16), run, device="cpu", overwrite=True)
    assert np.array_equal(zarr.open_group(anew, mode="r")["0"][:], there)


def test_a_model_for_volumes_is_refused_on_images(run, flat):
    kind = model(3)
    save(run.model, kind.network.state_dict(), kind.card)
    with pytest.raises(ModelError) as caught:
        predict(experiment(flat), run, device="cpu")
    assert "number of spatial axes is 2" in caught.value.expected
    assert not run.predictions.exists()


def test_a_model_of_two_channels_is_refused_on_one(run, flat):
    kind = model(2, inputs=2)
    save(run.model, kind.network.state_dict(), kind.card)
    with pytest.raises(ModelError, match="number of channels is 1"):
        predict(experiment(flat), run, device="cpu")


def test_a_missing_model_or_image_is_missed(tmp_path, flat, run):
    with pytest.raises(MissingError, match="a model"):
        predict(experiment(flat), Run(tmp_path / "empty"), device="cpu")
    with pytest.raises(MissingError, match="at least one image"):
        predict(experiment(tmp_path / "none.tif"), run, device="cpu")


def test_a_constant_image_is_refused_before_anything_is_written(tmp_path, run):
    path = tmp_path / "dark.tif"
    tifffile.imwrite(path, np.zeros((40, 40), np.uint8))
    with pytest.raises(InputError, match="contrast"):
        predict(experiment(path), run, device="cpu")
    assert not run.predictions.exists()


def test_a_prediction_whose_image_has_changed_is_refused(run, flat):
    (path,) = predict(experiment(flat), run, device="cpu")
    tifffile.imwrite(flat, (255 * noise(61, 47)).astype(np.uint8))
    with pytest.raises(InputError) as caught:
        Prediction.open(path)
    assert "(60, 47)" in caught.value.expected
    assert "(61, 47)" in caught.value.found
    flat.unlink()
    with pytest.raises(MissingError):
        Prediction.open(path)


def test_an_image_is_no_prediction(tmp_path, run, flat):
    (path,) = predict(experiment(flat), run, device="cpu")
    group = zarr.open_group(path, mode="r+")
    del group.attrs["cellulus"]
    with pytest.raises(InputError, match="a prediction that predict wrote"):
        Prediction.open(path)


def test_every_time_point_is_predicted_apart(tmp_path, run):
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, noise(2, 40, 40), imagej=True, metadata={"axes": "TYX"})
    paths = predict(experiment(path), run, device="cpu")
    assert len(paths) == 2
    assert [Prediction.open(p).facts.time for p in paths] == [0, 1]
    first, second = (zarr.open_group(p, mode="r")["0"][:] for p in paths)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("contrast", [0.1, 0.5])
def test_a_ball_anywhere_makes_a_tile_that_is_not_empty(ndim, contrast):
    """Whatever its place: the cube at its middle is as bright as the ball."""
    rng = np.random.default_rng(0)
    shape = (64,) * ndim
    grid = np.indices(shape)
    for _ in range(30):
        centre = rng.uniform(10, 54, ndim).reshape(-1, *[1] * ndim)
        ball = ((grid - centre) ** 2).sum(axis=0) <= 10**2
        image = (0.2 + contrast * ball).astype(np.float32)
        assert not is_empty(image[np.newaxis], 5, 0.9 * contrast)
        assert is_empty(image[np.newaxis], 5, 1.1 * contrast)


@pytest.mark.parametrize("shape", [(3, 50), (2, 2, 2), (1, 1)])
def test_noise_alone_is_empty_and_small_images_are_judged(shape):
    flat = np.full((1, *shape), 0.3, np.float32)
    assert is_empty(flat, 5, 0.05)
    noise = np.random.default_rng(0).normal(0.3, 0.02, (1, 96, 96, 96)).astype(np.float32)
    assert np.ptp(noise) > 0.15
    assert is_empty(noise, 5, 0.05)
    assert not is_empty(noise, 5, 0.0)


class Read:
    """Counts what is read of images."""

    def __init__(self, monkeypatch):
        self.voxels, read = 0, Volume.read

        def count(volume, region=None):
            part = read(volume, region)
            self.voxels += part.size
            return part

        monkeypatch.setattr(Volume, "read", count)


class CutWhilePredicting(Ticks):
    def advance(self, amount=1, **values):
        if self.seen[-1] == ("predict flat", 1):
            raise KeyboardInterrupt
        super().advance(amount)


def test_all_voxels_of_a_large_image_count_for_its_percentiles(run, flat, monkeypatch):
    """Once, however often it is gone on with; where there is a prediction already, not at all."""
    small = Prediction.open(predict(experiment(flat), run, device="cpu")[0]).facts
    monkeypatch.setattr(normalise, "SAMPLE_VOXELS", 100)
    monkeypatch.setattr(statistics, "portion_of", lambda volume: (16,) * volume.ndim)
    large, ticks, read = Run(run.folder / "large"), CutWhilePredicting(), Read(monkeypatch)
    asked = {"model": run.model, "device": "cpu"}
    with pytest.raises(KeyboardInterrupt):
        predict(experiment(flat), large, progress=ticks, **asked)
    assert ("percentiles of flat", 12) in ticks.seen
    middle = tile = 60 * 47  # by which images are told apart, and which it is predicted from
    assert read.voxels == middle + 60 * 47 + tile
    read.voxels = 0
    (path,) = predict(experiment(flat), large, resume=True, **asked)
    assert read.voxels == middle, "the tile was done"
    assert Prediction.open(path).facts == small
    read.voxels = 0
    with pytest.raises(ExistsError):
        predict(experiment(flat), large, **asked)
    assert read.voxels == 0
    kept = sorted(p.name for p in large.predictions.iterdir())
    assert kept == ["flat.percentiles.json", "flat.zarr"]
