"""Seams that were made on purpose are seen; labels without any pass, whatever they look like."""

import json

import numpy as np
import pytest
import zarr
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from cellulus.data import writer
from cellulus.data.volume import Volume
from cellulus.errors import InputError, MissingError
from cellulus.pipeline import seams
from cellulus.pipeline.seams import audit, noted_extent
from cellulus.space import VoxelSize


def cells(shape, diameter, seed=0, *, density=1.0, filling=False):
    """Cells of which neighbours touch, `diameter` wide; they leave gaps unless they are filling."""
    rng = np.random.default_rng(seed)
    count = int(np.prod(np.divide(shape, diameter)) * 1.2 * density) + 1
    centres = (rng.random((count, len(shape))) * (np.array(shape) + diameter)) / diameter - 0.5
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1) / diameter
    away, nearest = cKDTree(centres).query(grid)
    radii = np.inf if filling else rng.uniform(0.4, 0.6, count)[nearest]
    return np.where(away <= radii, nearest + 1, 0).astype(np.uint32)


def planes(labels, extent):
    """Yield a view with the axis first, and the block planes along it."""
    for axis, (n, e) in enumerate(zip(labels.shape, extent, strict=True)):
        for plane in range(e, n, e):
            yield labels.swapaxes(0, axis), plane


def never_joined(labels, extent):
    """Each block under numbers of its own."""
    places = [np.arange(n) // e for n, e in zip(labels.shape, extent, strict=True)]
    block = sum(np.ix_(*(p * 64**axis for axis, p in enumerate(places))))
    _, own = np.unique(labels.astype(np.int64) * 64**3 + block, return_inverse=True)
    return np.where(labels > 0, own.reshape(labels.shape) + 1, 0).astype(np.uint32)


def partly_joined(labels, extent):
    """Every fifth object is cut where blocks meet."""
    apart = never_joined(labels, extent).astype(np.uint32)
    return np.where(labels % 5 == 0, apart, np.where(labels > 0, labels + apart.max(), 0))


def joined_by_touch(labels, extent):
    """Whatever touches across a plane is one object."""
    pairs = []
    for view, k in planes(labels, extent):
        both = (view[k - 1] > 0) & (view[k] > 0)
        pairs.append(np.stack([view[k - 1][both], view[k][both]]))
    edges = np.concatenate(pairs, axis=1)
    size = int(labels.max()) + 1
    graph = coo_array((np.ones(edges.shape[1]), edges), shape=(size, size))
    _, group = connected_components(graph)
    return np.where(labels > 0, group[labels] + 1, 0).astype(np.uint32)


def eroded(labels, extent, *, sides, width=1):
    """A block loses the voxels at its faces, on one side of a plane or on both."""
    result = labels.copy()
    for view, k in planes(result, extent):
        view[k - width * (sides == 2) : k + width] = 0
    return result


def shifted(labels, extent):
    """Every second block saw its objects one voxel farther along each axis."""
    places = [np.arange(n) // e for n, e in zip(labels.shape, extent, strict=True)]
    moved = np.roll(labels, (1,) * labels.ndim, tuple(range(labels.ndim)))
    return np.where(sum(np.ix_(*places)) % 2, moved, labels)


def store(path, labels, axes="yx", **attributes):
    spec = writer.Spec(
        kind="labels", axes=axes, shape=labels.shape, dtype=np.dtype(np.uint32),
        voxel_size=VoxelSize((1.0,) * sum(a in "zyx" for a in axes)), attributes=attributes,
    )  # fmt: skip
    pending = writer.create(path, spec)
    pending.write((slice(None),) * labels.ndim, labels)
    return pending.publish()


@pytest.fixture
def audited(monkeypatch):
    """Audit an array, without a disk."""

    def of(labels, extent, **settings):
        monkeypatch.setattr(seams, "open_volumes", lambda _: [Volume.of(labels)])
        return audit("drawn", extent, **settings)

    return of


def failures(found):
    return {failure for axis in found.axes for failure in axis.failures}


SCENES = {
    "image": ((512, 512), (64, 64), (20.0, 20.0)),
    "other blocks": ((384, 700), (96, 50), (20.0, 20.0)),
    "volume": ((64, 96, 96), (32, 32, 32), (12.0, 12.0, 12.0)),
    "flat voxels": ((32, 128, 128), (16, 32, 64), (4.0, 12.0, 12.0)),
}


@pytest.fixture(params=SCENES)
def scene(request):
    shape, extent, diameter = SCENES[request.param]
    return cells(shape, diameter), extent


def test_labels_without_seams_pass(audited, scene):
    found = audited(*scene)
    assert found.passed
    assert found.ratio == pytest.approx(1, abs=0.2)
    assert not found.note


def test_objects_that_were_never_joined_are_seen(audited, scene):
    labels, extent = scene
    found = audited(never_joined(labels, extent), extent)
    assert not found.passed
    assert found.ratio > 2
    assert all("cut" in axis.failures for axis in found.axes if axis.planes > 1)
    # Objects and not voxels are counted: planes of no more than a few say nothing.
    assert not failures(found) & {"cut -2", "cut +2", "merged", "emptied"}


def test_a_fifth_of_the_objects_is_enough(audited):
    shape, extent, diameter = SCENES["image"]
    labels = cells(shape, diameter)
    found = audited(partly_joined(labels, extent), extent)
    assert not found.passed
    assert failures(found) == {"cut"}


@pytest.mark.parametrize("name", ["image", "flat voxels"])
def test_objects_that_were_joined_by_touch_are_seen(audited, name):
    shape, extent, diameter = SCENES[name]
    labels = cells(shape, diameter)
    found = audited(joined_by_touch(labels, extent), extent)
    assert failures(found) == {"merged"}


def test_cells_that_fill_all_space_are_seen_to_be_joined_by_touch(audited):
    labels = cells((512, 512), (20.0, 20.0), filling=True)
    assert audited(labels, (128, 128)).passed
    assert "merged" in failures(audited(joined_by_touch(labels, (128, 128)), (128, 128)))


def test_a_gap_of_a_voxel_is_seen_on_the_planes_of_its_rims(audited, scene):
    labels, extent = scene
    one = audited(eroded(labels, extent, sides=1), extent)
    assert {"cut", "cut +1"} <= failures(one)
    two = audited(eroded(labels, extent, sides=2), extent)
    assert {"cut -1", "cut +1"} <= failures(two)
    assert two.ratio is None or two.ratio < 1


def test_a_wide_gap_is_seen_by_what_is_missing(audited):
    labels = cells((512, 512), (20.0, 20.0))
    found = audited(eroded(labels, (128, 128), sides=2, width=8), (128, 128))
    assert failures(found) == {"emptied"}


def test_one_gap_between_tissues_may_lie_on_a_plane(audited):
    labels = cells((512, 512), (20.0, 20.0))
    labels[245:267] = 0
    assert not {"emptied"} & failures(audited(labels, (256, 256)))
    assert not {"emptied"} & failures(audited(labels, (128, 128)))


def test_outlines_with_a_step_are_seen(audited):
    labels = cells((800, 800), (20.0, 20.0))
    found = audited(shifted(labels, (64, 64)), (64, 64))
    assert not found.passed
    assert found.ratio > 1.5


@pytest.mark.parametrize(
    ("shape", "extent", "diameter", "settings"),
    [
        ((40, 40), (16, 16), (20.0, 20.0), {}),
        ((60, 80), (32, 32), (20.0, 20.0), {}),
        ((200, 200), (64, 64), (20.0, 20.0), {}),
        ((200, 200), (64, 64), (20.0, 20.0), {"filling": True}),
        ((200, 200), (64, 64), (20.0, 20.0), {"density": 0.1}),
        ((200, 200), (64, 64), (6.0, 50.0), {}),
        ((17, 40), (16, 16), (20.0, 20.0), {}),
        ((20, 48, 48), (16, 24, 24), (4.0, 12.0, 12.0), {}),
        ((32, 32, 32), (16, 16, 16), (12.0, 12.0, 12.0), {}),
    ],
)
def test_no_false_alarm_in_forty_drawings(audited, shape, extent, diameter, settings):
    """Few objects must not fail by chance; the bound says less than one alarm in a hundred."""
    found = [audited(cells(shape, diameter, seed, **settings), extent) for seed in range(40)]
    assert sum(not f.passed for f in found) == 0


def test_only_what_is_beyond_the_limit_fails(audited):
    shape, extent, diameter = SCENES["image"]
    labels = partly_joined(cells(shape, diameter), extent)
    assert audited(labels, extent, limit=10.0).passed
    assert not audited(labels, extent, limit=1.5).passed


def test_parts_of_planes_do_not_matter(audited, monkeypatch, scene):
    labels, extent = scene
    whole = audited(labels, extent)
    monkeypatch.setattr(seams, "_PART", {2: 23, 3: 17})
    assert audited(labels, extent) == whole


def test_only_slabs_are_read(audited, monkeypatch):
    read = []
    original = Volume.read

    def watch(self, region=None):
        read.append(tuple(part.stop - part.start for part in region))
        return original(self, region)

    monkeypatch.setattr(Volume, "read", watch)
    monkeypatch.setattr(seams, "_PART", {2: 1000, 3: 40})
    audited(cells((64, 96, 96), (12.0,) * 3), (32, 32, 32))
    assert max(np.prod(extent) for extent in read) == 6 * 40 * 40


def test_one_plane_of_a_volume_is_an_image(audited):
    labels = never_joined(cells((256, 256), (20.0, 20.0)), (64, 64))
    assert audited(labels[np.newaxis], (64, 64)).axes == audited(labels, (64, 64)).axes


def test_files_say_how_they_were_cut(tmp_path):
    labels = cells((512, 512), (20.0, 20.0))
    path = store(tmp_path / "a.zarr", never_joined(labels, (64, 128)), cut=[64, 128])
    assert noted_extent(path) == (64, 128)
    found = audit(path)
    assert found.extent == (64, 128)
    assert [(axis.axis, axis.planes, axis.controls) for axis in found.axes] == [
        ("y", 7, 14), ("x", 3, 6),
    ]  # fmt: skip
    assert not found.passed
    # With another extent nothing lies on the planes but what lies on planes by chance.
    assert audit(path, (77, 300)).ratio < found.ratio / 2


def test_time_points_are_audited_together(tmp_path):
    frames = np.stack([cells((200, 200), (20.0, 20.0), seed) for seed in range(4)])
    path = store(tmp_path / "t.zarr", frames, "tyx", cut=[64, 64])
    found = audit(path)
    assert found.passed
    assert [axis.planes for axis in found.axes] == [12, 12]


def test_progress_counts_planes(audited):
    class Ticks:
        total = done = 0

        def start(self, what, total):
            self.total = total

        def advance(self, amount=1, **values):
            self.done += amount

        def finish(self):
            assert self.done == self.total

    ticks = Ticks()
    audited(cells((200, 200), (20.0, 20.0)), (64, 64), progress=ticks)
    assert ticks.done == 2 * (3 + 5)  # the last control plane would lie outside


def test_the_numbers_are_fit_for_json(audited, scene):
    labels, extent = scene
    for found in (audited(labels, extent), audited(never_joined(labels, extent), extent)):
        content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert content["passed"] == found.passed
        assert content["axes"][0]["comparisons"]["cut"]["ratio"] > 0


@pytest.mark.parametrize("extent", [(64, 64), (100, 100)])
def test_one_block_has_no_seams(audited, extent):
    found = audited(cells((64, 60), (20.0, 20.0)), extent)
    assert found.passed
    assert found.ratio is None
    assert "one block" in found.note


@pytest.mark.parametrize("extent", [(64, 64), (4, 4)])
def test_nothing_to_compare_is_said(audited, extent):
    empty = extent == (64, 64)
    labels = np.zeros((200, 200), np.uint32) if empty else cells((200, 200), (20.0, 20.0))
    found = audited(labels, extent)
    assert found.passed
    assert found.ratio is None
    assert "no objects to compare" in found.note


@pytest.mark.parametrize("cut", [None, "64", [64.0, 64.0]])
def test_labels_that_do_not_say_how_they_were_cut_are_asked_about(tmp_path, cut):
    notes = {} if cut is None else {"cut": cut}
    path = store(tmp_path / "a.zarr", cells((100, 100), (20.0, 20.0)), **notes)
    with pytest.raises(InputError, match="give the extent"):
        audit(path)
    assert audit(path, (50, 50)).passed


@pytest.mark.parametrize("extent", [(64,), (64, 64, 64), (64, 0)])
def test_an_extent_that_does_not_fit_is_refused(tmp_path, extent):
    path = store(tmp_path / "a.zarr", cells((100, 100), (20.0, 20.0)))
    with pytest.raises(InputError, match="along y, x"):
        audit(path, extent)


def test_what_holds_no_labels_is_refused(tmp_path):
    with pytest.raises(MissingError):
        audit(tmp_path / "none.zarr", (64, 64))
    path = store(tmp_path / "a.zarr", cells((100, 100), (20.0, 20.0)))
    group = zarr.open_group(path, mode="r+")
    group.create_array("0", data=np.zeros((100, 100), np.float32), overwrite=True)
    with pytest.raises(InputError, match="float32"):
        audit(path, (64, 64))
