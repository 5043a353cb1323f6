"""Points and rough foregrounds: given or found, and what is decoded with them."""

import logging
from itertools import product

import numpy as np
import pytest
import tifffile
import torch

from cellulus.data.points import Points, read_points, write_points
from cellulus.data.readers import open_volumes
from cellulus.errors import InputError, MissingError
from cellulus.experiment.sections import (
    ApplyImage,
    Data,
    Experiment,
    Network,
    Predict,
    Segment,
    Train,
    TrainImage,
)
from cellulus.methods import PointMarker
from cellulus.pipeline import marking
from cellulus.pipeline.extents import object_width
from cellulus.pipeline.fuse import fuse
from cellulus.pipeline.marking import find_foreground, find_points, given, markers_of, role
from cellulus.pipeline.material import open_parts
from cellulus.pipeline.model import Card, new_network, save
from cellulus.pipeline.predict import predict
from cellulus.pipeline.prediction import points_path
from cellulus.pipeline.samples import canonical, open_samples, open_training
from cellulus.pipeline.segment import segment
from cellulus.runs import Run

SHAPES = {2: (90, 110), 3: (20, 50, 60)}
MIDDLES = {
    2: [(20, 20), (20, 31), (60, 40), (50, 90), (75, 80)],
    3: [(8, 12, 12), (8, 12, 24), (12, 36, 30), (10, 20, 48)],
}
RADIUS = {2: 5.0, 3: 5.0}


def picture(ndim, shift=0):
    """Bright balls on a dark, noisy ground; the middles, and the balls' numbers."""
    rng = np.random.default_rng(ndim)
    grid = np.indices(SHAPES[ndim]).reshape(ndim, -1).T
    labels = np.zeros(SHAPES[ndim], np.uint16)
    for number, middle in enumerate(MIDDLES[ndim], start=1):
        away = np.linalg.norm(grid - middle, axis=1).reshape(SHAPES[ndim])
        labels[away <= RADIUS[ndim]] = number
    image = 1000.0 * (labels > 0) + rng.normal(100, 15, labels.shape) + shift
    return image.astype(np.float32), labels


@pytest.fixture(params=[2, 3])
def folder(request, tmp_path):
    """An image with its labels, and a table of its points."""
    image, labels = picture(request.param)
    axes = {"axes": "ZYX"[-request.param :]}
    tifffile.imwrite(tmp_path / "image.tif", image, imagej=True, metadata=axes)
    tifffile.imwrite(tmp_path / "labels.tif", labels, imagej=True, metadata=axes)
    write_points(tmp_path / "points.csv", Points.of(np.array(MIDDLES[request.param], float)))
    return tmp_path


def ndim_of(folder):
    return tifffile.imread(folder / "image.tif").ndim


def experiment(folder, *, points=None, foreground=None, data=None, tile="auto", **method):
    image = str(folder / "image.tif")
    train = TrainImage(
        image=image,
        points=str(folder / points) if points else None,
        foreground=str(folder / foreground) if foreground else None,
    )
    apply = ApplyImage(image=image, points=train.points)
    return Experiment(
        data=Data(object_diameter=10.0, train=(train,), apply=(apply,), **(data or {})),
        method=PointMarker(**method),
        network=Network(features=4, depth=1, head_features=4, object_voxels=10.0),
        train=Train(crop=32, steps=2),
        predict=Predict(tile=tile, empty=0),
        segment=Segment(block=48),
    )


def opened(made):
    (sample,) = open_training(made)
    width = object_width(made.network, sample.volume.ndim)
    return sample, canonical(sample.volume, made.data, width)


def trained(made, folder, name="run"):
    """A run with a network that points nowhere and sees cells everywhere."""
    run = Run.start(folder / name, made, "", overwrite=True)
    ndim = ndim_of(folder)
    card = Card(
        method=made.method, network=made.network, ndim=ndim, inputs=1,
        outputs=made.method.outputs(ndim), percentiles=(1.0, 99.8),
    )  # fmt: skip
    network = new_network(card)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.zero_()
        network.head.bias[-1] = 4.0
    save(run.model, network.state_dict(), card)
    return run


def near(found, expected):
    """Whether every point has a partner of its own, less than two voxels away."""
    away = np.linalg.norm(found[:, None] - np.asarray(expected, float)[None], axis=2)
    hits = away < 2
    return hits.shape[0] == hits.shape[1] and (hits.sum(0) == 1).all() and (hits.sum(1) == 1).all()


def test_a_point_is_found_in_every_ball(folder):
    made = experiment(folder)
    _, image = opened(made)
    assert near(find_points(made, image).positions, MIDDLES[ndim_of(folder)])


@pytest.mark.parametrize("tile", [16, 32])
def test_points_do_not_depend_on_how_an_image_is_cut(folder, tile):
    whole, cut = (
        find_points(made, opened(made)[1])
        for made in (experiment(folder), experiment(folder, tile=tile))
    )
    assert np.array_equal(whole.positions, cut.positions)


@pytest.mark.parametrize("how", ["graph_cut", "otsu"])
def test_the_foreground_is_found_where_the_balls_are(folder, how):
    made = experiment(folder, foreground=None)
    made = made.model_copy(update={"method": PointMarker(foreground=how)})
    _, image = opened(made)
    middles = np.array(MIDDLES[ndim_of(folder)]) + 0.5
    found = find_foreground(made, image, middles)
    truth = picture(ndim_of(folder))[1] > 0
    assert found.shape == truth.shape
    assert (found & truth).sum() / (found | truth).sum() > 0.8


@pytest.mark.parametrize("source", ["points.csv", "labels.tif"])
def test_points_that_are_given_are_taken(folder, source):
    made = experiment(folder, points=source)
    found = markers_of(made, *opened(made))
    assert np.allclose(found.middles - 0.5, MIDDLES[ndim_of(folder)], atol=1e-6)


def test_a_foreground_that_is_given_is_taken(folder):
    made = experiment(folder, points="points.csv", foreground="labels.tif")
    (part,) = open_parts(made)
    whole = tuple(slice(0, n) for n in part.shape)
    assert np.array_equal(part.annotation.read(whole), picture(ndim_of(folder))[1] > 0)


def test_a_crop_carries_the_points_around_it(folder):
    made = experiment(folder, points="points.csv", foreground="labels.tif")
    (part,) = open_parts(made)
    ndim = ndim_of(folder)
    region = (slice(0, 16),) * ndim
    crop = part.annotation.crop(np.zeros((1, *(16,) * ndim), np.float32), None, region)
    reach = made.method.patch / 2 * 10
    expected = [m for m in MIDDLES[ndim] if all(x + 0.5 <= 16 + reach for x in m)]
    assert np.allclose(crop.centres - 0.5, expected)


@pytest.mark.parametrize("points", [None, "points.csv", "labels.tif"])
def test_an_image_is_decoded_with_its_points(folder, points):
    made = experiment(folder, points=points)
    run = trained(made, folder)
    (path,) = predict(made, run)
    (sample,) = open_samples(made)
    found = read_points(points_path(path), sample.volume).positions
    assert near(found, MIDDLES[ndim_of(folder)])
    (labels,) = segment(made, run)
    read = open_volumes(labels)[0].read()[0]
    assert read.max() == len(found)
    # The network points nowhere: cells are balls around their points, numbered in their order.
    for number, point in enumerate(sorted(np.rint(found).tolist()), start=1):
        assert read[tuple(np.rint(point).astype(int))] == number


def test_edited_points_are_decoded_anew_without_the_network(folder):
    made = experiment(folder, points="points.csv")
    run = trained(made, folder)
    (path,) = predict(made, run)
    segment(made, run)
    write_points(points_path(path), Points.of(np.array(MIDDLES[ndim_of(folder)][:2], float)))
    run.model.unlink()
    with pytest.raises(InputError, match="points"):
        segment(made, run, resume=True)
    (labels,) = segment(made, run, overwrite=True)
    assert open_volumes(labels)[0].read().max() == 2


def test_without_points_nothing_is_decoded(folder):
    made = experiment(folder)
    run = trained(made, folder)
    (path,) = predict(made, run)
    points_path(path).unlink()
    with pytest.raises(MissingError, match="predict again"):
        segment(made, run)


def test_an_image_in_which_nothing_stands_out_has_no_points(tmp_path, caplog):
    noise = np.random.default_rng(0).normal(100, 5, (80, 80)).astype(np.float32)
    tifffile.imwrite(tmp_path / "image.tif", noise)
    made = experiment(tmp_path)
    run = trained(made, tmp_path)
    with caplog.at_level(logging.WARNING):
        predict(made, run)
    assert "no point was found" in caplog.text
    (labels,) = segment(made, run)
    assert not open_volumes(labels)[0].read().any()


def test_in_one_sweep_the_labels_are_the_same(folder):
    made = experiment(folder, tile=32)
    runs = [trained(made, folder, name) for name in ("steps", "sweep")]
    predict(made, runs[0])
    (one,), (other,) = segment(made, runs[0]), fuse(made, runs[1])
    first, second = (open_volumes(path)[0].read() for path in (one, other))
    assert first.max() == len(MIDDLES[ndim_of(folder)])
    assert np.array_equal(first, second)


def test_predicting_that_was_cut_short_goes_on_to_the_same_points(folder, monkeypatch):
    made = experiment(folder, tile=16)
    run, other = (trained(made, folder, name) for name in ("cut", "uncut"))
    (expected,) = predict(made, other)
    whole, calls = marking._Candidates.__call__, []

    def short(self, block):
        calls.append(block)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(self, block)

    monkeypatch.setattr(marking._Candidates, "__call__", short)
    with pytest.raises(KeyboardInterrupt):
        predict(made, run)
    (path,) = predict(made, run, resume=True)
    assert points_path(path).read_bytes() == points_path(expected).read_bytes()
    assert len({str(block) for block in calls}) == len(calls) - 1


@pytest.mark.parametrize("name", ["DAPI", 1])
def test_a_role_is_one_of_the_channels_that_are_used(name):
    data = Data(channels=("membrane", name))
    assert role(name, data, "data.marker") == 1
    assert role("", data, "data.marker") is None
    with pytest.raises(InputError, match=r"data\.cell.*'membrane'") as told:
        role("nuclei", data, "data.cell")
    assert "nuclei" in str(told.value)


def test_points_are_found_in_the_channel_that_has_the_role(tmp_path):
    image, labels = picture(2)
    both = np.stack([np.full_like(image, 7) + image.mean() * (labels == 1), image])
    tifffile.imwrite(
        tmp_path / "image.tif", both.astype(np.float32), imagej=True, metadata={"axes": "CYX"}
    )
    for marker, count in product((0, 1), (1,)):
        made = experiment(tmp_path, data={"channels": (0, 1), "marker": marker})
        found = find_points(made, opened(made)[1]).positions
        assert len(found) == (count if marker == 0 else len(MIDDLES[2]))


def test_a_table_for_a_series_tells_times(tmp_path):
    series = np.stack([picture(2)[0]] * 2)
    axes = {"axes": "TYX"}
    tifffile.imwrite(tmp_path / "image.tif", series, imagej=True, metadata=axes)
    (tmp_path / "points.csv").write_text("y,x\n5,5\n")
    made = experiment(tmp_path, points="points.csv")
    with pytest.raises(InputError, match=r"a column t, because .* has 2 time points"):
        [given(sample, made.data) for sample in open_training(made)]
    (tmp_path / "points.csv").write_text("t,y,x\n0,5,5\n1,7,8\n1,3,3\n")
    found = [given(sample, made.data).positions.tolist() for sample in open_training(made)]
    assert found == [[[5, 5]], [[7, 8], [3, 3]]]


def test_tables_are_paired_with_images_in_order(tmp_path):
    for number in range(2):
        tifffile.imwrite(tmp_path / f"image_{number}.tif", picture(2)[0])
        write_points(tmp_path / f"p_{number}.csv", Points.of(np.full((1, 2), 5.0 + number)))
    entry = TrainImage(image=str(tmp_path / "image_*.tif"), points=str(tmp_path / "p_*.csv"))
    made = Experiment(data=Data(train=(entry,)), method=PointMarker())
    assert [sample.points for sample in open_training(made)] == [
        str(tmp_path / f"p_{number}.csv") for number in range(2)
    ]
    (tmp_path / "p_1.csv").unlink()
    with pytest.raises(InputError, match="one table of points for each of the 2 images"):
        open_training(made)
