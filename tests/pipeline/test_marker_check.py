"""Looking at points and foregrounds before anything is learnt: what is said, what is refused."""

import json

import numpy as np
import pytest
import tifffile

from cellulus.data.points import Points, write_points
from cellulus.errors import GateError, InputError
from cellulus.experiment.sections import Data, Experiment, Network, TrainImage
from cellulus.methods import PointMarker
from cellulus.pipeline import marker_check
from cellulus.pipeline.marker_check import check_markers
from cellulus.pipeline.material import open_parts

SHAPES = {2: (90, 110), 3: (24, 60, 70)}
WIDTH = 10.0


def picture(ndim, seed=0, count=30, shape=None):
    """Bright balls on a dark, noisy ground, apart from each other; their middles and numbers."""
    rng = np.random.default_rng(seed)
    shape = shape or SHAPES[ndim]
    grid = np.stack(np.indices(shape), -1)
    labels, middles = np.zeros(shape, np.uint16), []
    for place in (rng.random((20 * count, ndim)) * (np.array(shape) - 10) + 5).round():
        if all(np.linalg.norm(place - other) > 12 for other in middles) and len(middles) < count:
            middles.append(place)
            labels[((grid - place) ** 2).sum(-1) < 25] = len(middles)
    image = 1000.0 * (labels > 0) + rng.normal(100, 15, shape)
    return image.astype(np.float32), labels, np.array(middles)


class Scene:
    """A folder with images, and with tables, labels and foregrounds where they are asked for."""

    def __init__(self, folder, ndim):
        self.folder, self.ndim, self.count = folder, ndim, 0
        self.points = self.foreground = None

    def add(self, image, points=None, foreground=None):
        self.count += 1
        axes = {"axes": "ZYX"[-self.ndim :]}
        tifffile.imwrite(self.folder / f"i{self.count}.tif", image, imagej=True, metadata=axes)
        if points is not None and points.ndim == 2 and points.dtype == float:
            write_points(self.folder / f"p{self.count}.csv", Points.of(points))
            self.points = "p*.csv"
        elif points is not None:
            tifffile.imwrite(self.folder / f"p{self.count}.tif", points, imagej=True, metadata=axes)
            self.points = "p*.tif"
        if foreground is not None:
            foreground = foreground.astype(np.uint8)
            tifffile.imwrite(
                self.folder / f"f{self.count}.tif", foreground, imagej=True, metadata=axes
            )
            self.foreground = "f*.tif"
        return self

    def experiment(self, data=None, zoom=1.0, **method):
        entry = TrainImage(
            image=str(self.folder / "i*.tif"),
            points=str(self.folder / self.points) if self.points else None,
            foreground=str(self.folder / self.foreground) if self.foreground else None,
        )
        return Experiment(
            data=Data(object_diameter=WIDTH, train=(entry,), **(data or {})),
            method=PointMarker(**method),
            network=Network(
                features=2, growth=1, depth=1, head_features=2, object_voxels=zoom * WIDTH
            ),
        )

    def check(self, **more):
        return check_markers(self.experiment(**more))


@pytest.fixture(params=[2, 3])
def scene(request, tmp_path):
    return Scene(tmp_path, request.param)


@pytest.fixture
def flat(tmp_path):
    return Scene(tmp_path, 2)


def kinds(check):
    return {finding.kind: finding for finding in check.findings}


def told(check):
    return json.loads(json.dumps(check.to_dict()))


@pytest.mark.parametrize("given", [(), ("points",), ("labels",), ("points", "foreground")])
def test_nothing_is_odd_about_what_goes_together(scene, given):
    image, labels, middles = picture(scene.ndim)
    points = middles if "points" in given else labels if "labels" in given else None
    scene.add(image, points, labels > 0 if "foreground" in given else None)
    check = scene.check()
    assert check.findings == ()
    check.require_hope()
    (seen,) = told(check)["looked_at"]
    assert seen["points"] == {"points": "a table", "labels": "labels"}.get(
        given[0] if given else "", "found"
    )
    assert seen["markers"] == seen["pieces"] == len(middles)
    assert seen["off_centre"] < 0.12
    assert f"{len(middles)} markers in 1 image, " in check.summary
    open_parts(scene.experiment())


@pytest.mark.parametrize("values", [0, 1])
def test_a_background_that_covers_every_marker_is_hopeless(scene, values):
    """Or nearly every one: a foreground turned inside out."""
    image, labels, middles = picture(scene.ndim)
    scene.add(image, middles, np.zeros_like(labels) if values == 0 else labels == 0)
    check = scene.check()
    assert kinds(check)["background"].is_hopeless
    assert "covers every marker" in kinds(check)["background"].found
    if values == 0:
        assert "i1" in kinds(check)["empty"].found
    with pytest.raises(GateError, match="background") as failed:
        check.require_hope()
    assert failed.value.exit_code == 1
    with pytest.raises(InputError, match="background") as refused:
        open_parts(scene.experiment())
    assert refused.value.where == "data.train"
    assert "cellulus check" in refused.value.remedy


@pytest.mark.parametrize("share", [0.4, 0.6])
def test_markers_in_the_background_are_said_and_most_of_them_are_hopeless(flat, share):
    image, labels, middles = picture(2)
    wrong = round(share * len(middles))
    away = np.argwhere(labels == 0)
    middles[:wrong] = away[np.random.default_rng(0).permutation(len(away))[:wrong]]
    flat.add(image, middles, labels > 0)
    finding = kinds(flat.check())["background"]
    assert f"{wrong} of {len(middles)} markers in the background: i1 ({wrong})" in finding.found
    assert finding.is_hopeless == (share > 0.5)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_two_markers_are_hopeless_in_all_images_together(flat, count):
    image, labels, middles = picture(2)
    for number in range(2):
        flat.add(image, middles[number : number + int(count > number)], labels > 0)
    check = flat.check()
    assert ("few" in kinds(check)) == (count < 2)
    if count == 2:
        open_parts(flat.experiment())
        return
    with pytest.raises(GateError, match="no marker" if count == 0 else "one marker"):
        check.require_hope()
    with pytest.raises(InputError, match="at least 2 markers"):
        open_parts(flat.experiment())


def test_exchanged_axes_are_hopeless(flat):
    image, labels, middles = picture(2, count=90, shape=(150, 150))
    flat.add(image, middles[:, ::-1].copy(), labels > 0)
    check = flat.check()
    assert "i1 (x, y)" in kinds(check)["order"].found
    with pytest.raises(GateError, match="exchanged"):
        check.require_hope()
    with pytest.raises(InputError, match="exchanged"):
        open_parts(flat.experiment())
    assert told(check)["looked_at"][0]["order"] == "xy"


def test_one_image_with_exchanged_axes_among_others_is_said(flat):
    for seed in range(3):
        image, labels, middles = picture(2, seed, count=90, shape=(150, 150))
        order = slice(None, None, -1 if seed == 1 else 1)
        flat.add(image, middles[:, order].copy(), labels > 0)
    finding = kinds(flat.check())["order"]
    assert "i2 (x, y)" in finding.found
    assert "i1" not in finding.found
    assert not finding.is_hopeless


def test_missing_and_doubled_markers_are_counted(scene):
    image, labels, middles = picture(scene.ndim)
    some = np.concatenate([middles[3:], middles[5:7] + 1.0])
    scene.add(image, some, labels > 0)
    check = scene.check()
    assert kinds(check)["unmarked"].found.startswith("3 pieces of foreground without a marker")
    assert f"4 of {len(some)} markers within half a diameter" in kinds(check)["doubled"].found
    assert set(kinds(check)) == {"unmarked", "doubled"}
    check.require_hope()


def test_shifted_markers_and_jittered_ones_are_told_apart(scene):
    image, labels, middles = picture(scene.ndim, count=40)
    scene.add(image, middles + 0.2 * WIDTH, labels > 0)
    finding = kinds(scene.check())["off-centre"]
    assert "y +0.20, x +0.20" in finding.found
    assert "origin" in finding.remedy
    jitter = np.random.default_rng(0).normal(size=middles.shape)
    jitter *= 0.4 * WIDTH / np.linalg.norm(jitter, axis=1, keepdims=True)
    scene.count = 0
    scene.add(image, middles + jitter, labels > 0)
    finding = kinds(scene.check())["off-centre"]
    assert "same way" not in finding.found
    assert "0.4" in finding.found


def test_a_foreground_everywhere_is_said(flat):
    image, labels, middles = picture(2)
    flat.add(image, middles, np.ones_like(labels))
    assert "i1 (100%)" in kinds(flat.check())["full"].found


@pytest.mark.parametrize("where", ["marker", "cell"])
@pytest.mark.parametrize("given", [True, False])
def test_channels_with_a_role_must_be_there(flat, where, given):
    """Also where points and foreground are given, so that nobody asks for them yet."""
    image, labels, middles = picture(2)
    flat.add(image, *((middles, labels > 0) if given else ()))
    wrong = flat.experiment(data={where: 3})
    for refuses in (check_markers, open_parts):
        with pytest.raises(InputError, match=f"data.{where}") as refused:
            refuses(wrong)
        assert refused.value.found == "3"


def test_of_many_images_a_spread_is_looked_at(flat, monkeypatch):
    image, labels, middles = picture(2)
    for number in range(7):
        flat.add(image, middles if number < 6 else middles[:0], labels > 0)
    monkeypatch.setattr(marker_check, "MOST", 3)
    check = flat.check()
    assert [one.name for one in check.looked] == ["i1", "i4", "i7"]
    assert "in 3 of 7 images" in check.summary
    monkeypatch.setattr(marker_check, "MOST", 1)
    for name in "123456":
        (flat.folder / f"p{name}.csv").write_text((flat.folder / "p7.csv").read_text())
    assert "few" not in kinds(flat.check())  # there may be some in the other images
    with pytest.raises(InputError, match="at least 2 markers"):
        open_parts(flat.experiment())


@pytest.mark.parametrize("given", [(), ("points",), ("labels",), ("points", "foreground")])
def test_of_a_large_image_the_middle_is_looked_at(scene, given, monkeypatch):
    image, labels, middles = picture(scene.ndim)
    points = middles if "points" in given else labels if "labels" in given else None
    scene.add(image, points, labels > 0 if "foreground" in given else None)
    monkeypatch.setattr(marker_check, "_EDGE", {2: 60, 3: 40})
    check = scene.check()
    (seen,) = check.looked
    assert seen.is_part
    assert 0 < seen.fit.markers < len(middles)
    assert "(of 1 only a part)" in check.summary
    assert seen.fit.known == (60 * 60 if scene.ndim == 2 else 24 * 40 * 40)
    assert not {"unmarked", "off-centre", "order"} & set(kinds(check))
    open_parts(scene.experiment())


@pytest.mark.parametrize("given", [(), ("points",), ("labels",), ("points", "foreground")])
@pytest.mark.parametrize("zoom", [0.83, 1.37])
def test_training_sees_of_a_part_what_the_check_sees_on_any_grid(scene, given, zoom, monkeypatch):
    image, labels, middles = picture(scene.ndim)
    points = middles if "points" in given else labels if "labels" in given else None
    scene.add(image, points, labels > 0 if "foreground" in given else None)
    monkeypatch.setattr(marker_check, "_EDGE", {2: round(60 * zoom), 3: round(40 * zoom)})
    (before,) = scene.check(zoom=zoom).looked
    seen, findings = [], marker_check.findings
    monkeypatch.setattr(
        marker_check,
        "findings",
        lambda looked, total: seen.extend(looked) or findings(looked, total),
    )
    open_parts(scene.experiment(zoom=zoom))
    (then,) = seen
    assert before.is_part
    assert then.is_part
    for one in (before, then):
        assert (one.fit.in_background, one.fit.doubled, one.order) == (0, 0, None)
        assert one.fit.off_centre < 0.15
        assert one.fit.unmarked <= 1  # a cell that the border of the part cuts near its middle
    # Cells that the border of the part cuts have a middle in it when it is all there is.
    is_table = then.origin == "a table"
    assert then.fit.markers == before.fit.markers if is_table else then.fit.markers > 0
    assert before.fit.known == pytest.approx(then.fit.known, rel=0.1)


def test_exchanged_axes_are_seen_in_the_middle_of_a_large_image(flat, monkeypatch):
    image, labels, middles = picture(2, count=200, shape=(200, 260))
    exchanged = middles[(middles[:, 1] < 199)][:, ::-1].copy()
    flat.add(image, exchanged, labels > 0)
    monkeypatch.setattr(marker_check, "_EDGE", {2: 160, 3: 40})
    assert kinds(flat.check())["order"].is_hopeless
    with pytest.raises(InputError, match="exchanged"):
        open_parts(flat.experiment())


def test_markers_of_another_image_are_not_believed_though_they_lead_the_search(scene):
    """A foreground that is found has some at each marker, be it noise."""
    image, labels, middles = picture(scene.ndim)
    away = np.argwhere(labels == 0).astype(float)
    wrong = away[np.random.default_rng(0).permutation(len(away))[: len(middles)]]
    scene.add(image, wrong)
    finding = kinds(scene.check())["background"]
    assert finding.is_hopeless
    with pytest.raises(InputError, match="background"):
        open_parts(scene.experiment())
