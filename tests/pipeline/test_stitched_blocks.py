"""Blocks that each see objects under numbers of their own are stitched to what the whole holds."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import zarr

from cellulus.blocks.crew import Alone
from cellulus.blocks.jobs import finish
from cellulus.data.readers import open_volumes
from cellulus.errors import StorageError
from cellulus.ops.labels import relabel
from cellulus.ops.scores import evaluate_labels
from cellulus.pipeline.extents import SEEN, seen_around
from cellulus.pipeline.labelling import Labelling, label_spec
from cellulus.pipeline.results import begin, publish
from cellulus.pipeline.stitching import Stitching
from cellulus.progress import Silent
from cellulus.space import Blocks, VoxelSize


def renumbered(labels, seed):
    """The same objects, under numbers drawn at random."""
    ids, dense = np.unique(labels, return_inverse=True)
    numbers = np.random.default_rng(seed).permutation(len(ids) - (0 in ids)) + 1
    table = np.concatenate([[0], numbers]) if 0 in ids else numbers
    return table[dense].reshape(labels.shape).astype(np.uint32)


def corner_of(region):
    return [part.start for part in region]


@dataclass(frozen=True)
class Views:
    """What is made of a region that is decoded alone."""

    look: Callable

    @classmethod
    def of(cls, labels):
        """Each region sees what is there, under numbers of its own."""
        return cls(lambda region: renumbered(labels[region], corner_of(region)))

    def open(self):
        def label(block):
            labels = np.asarray(self.look(block.outer), np.uint32)[block.inner]
            return labels, np.arange(int(labels.max(initial=0)))[:, None]

        return label


class Image:
    """A result that is labelled, stitched, numbered and published."""

    def __init__(self, folder):
        self.path = folder / "img.zarr"

    def stitch(self, views, grid, diameter, *, smallest=0, progress=None, resume=False):
        """Return the labels; ``notes`` are what was told of them."""
        spec = label_spec(grid, VoxelSize((1.0,) * len(grid.shape)), {})
        result = begin("img", self.path, spec, resume=resume, overwrite=not resume)
        self.crew, listener = Alone(), progress or Silent()
        if not result.complete:
            labelling = Labelling.of(result, grid)
            stitching = Stitching.of(views, grid, result.journal.folder, diameter)
            finish([labelling.label(stitching, result)], self.crew, listener, "label")
            finish([stitching.pair(result)], self.crew, listener, "stitch")
            total = stitching.join(labelling, lambda found: found.sizes > smallest, result)
            total.report(result, "nothing")
            finish([labelling.number(result)], self.crew, listener, "number")
            publish([result], self.crew, listener)
        self.notes = zarr.open_group(self.path, mode="r").attrs["cellulus"]["outcome"]
        return open_volumes(self.path)[0].read()[0]

    def files(self):
        return {str(path.relative_to(self.path)): path.read_bytes()
                for path in sorted(self.path.rglob("*")) if path.is_file()}  # fmt: skip


@pytest.fixture
def image(tmp_path):
    return Image(tmp_path)


def check_same(found, expected):
    """The same objects, whatever their numbers, which are dense."""
    pairs = np.unique(np.stack([found.ravel(), expected.ravel()]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    assert np.array_equal(pairs[:, 0], [0, 0])
    assert np.array_equal(np.unique(found), np.arange(found.max() + 1))


def cells(shape, pitch):
    """Touching cells on a jittered lattice: every voxel goes to the nearest of them."""
    rng = np.random.default_rng(1)
    middles = (
        np.indices([-(-n // pitch) for n in shape]).reshape(len(shape), -1).T * pitch + pitch / 2
    )
    middles += rng.uniform(-pitch / 6, pitch / 6, middles.shape)
    away = np.full(shape, np.inf)
    owner = np.zeros(shape, np.uint32)
    for number, middle in enumerate(middles, 1):
        points = np.indices(shape) - middle.reshape(-1, *[1] * len(shape))
        squared = (points**2).sum(axis=0)
        owner[squared < away] = number
        away = np.minimum(away, squared)
    return np.where(away <= (pitch / 2 + 1) ** 2, owner, 0).astype(np.uint32)


@pytest.mark.parametrize(
    ("shape", "core", "halo"),
    [
        ((90, 100), (90, 100), (0, 0)),
        ((90, 100), (32, 40), (16, 16)),
        ((90, 100), (7, 100), (3, 3)),
        ((61, 83), (13, 5), (20, 9)),
        ((1, 60, 60), (1, 16, 24), (2, 15, 15)),
        ((36, 40, 44), (16, 20, 12), (12, 12, 12)),
        ((36, 40, 44), (36, 9, 30), (1, 1, 1)),
    ],
)
def test_views_of_one_truth_give_it_back(image, shape, core, halo):
    """Blocks of any extent, smaller than objects or than the halo, with objects on every seam."""
    truth = cells(shape, 12)
    found = image.stitch(Views.of(truth), Blocks(shape, core, halo), (12.0,) * len(shape))
    check_same(found, truth)
    assert found.max() > 15
    assert image.notes["objects"] == found.max()
    stitched = image.notes["stitched"]
    assert (stitched["objects"] > 0) == (core != shape)
    assert stitched["merged"] == stitched["refused"] == 0


def test_what_lies_in_one_block_is_numbered_as_there(image):
    truth = cells((40, 40), 10)
    found = image.stitch(Views(lambda region: truth[region]), Blocks((40, 40), (40, 40), (9, 9)),
                         (10.0, 10.0))  # fmt: skip
    assert np.array_equal(found, truth)


@pytest.mark.parametrize("ndim", [2, 3])
def test_objects_on_edges_and_corners_stay_whole(image, ndim):
    """One lies in two blocks that share but a corner, one on the corner of all."""
    truth = np.zeros((40,) * ndim, np.uint32)
    truth[(slice(18, 22),) * ndim] = 5
    diagonal = np.arange(7, 13)
    truth[(diagonal,) * ndim] = 9
    grid = Blocks(truth.shape, (10,) * ndim, (4,) * ndim)
    found = image.stitch(Views.of(truth), grid, (6.0,) * ndim)
    check_same(found, truth)
    assert image.notes["stitched"]["objects"] == 2


def test_objects_over_many_blocks_are_one_and_wider_ones_are_told(image, caplog):
    """The first is as wide as can be, over five blocks; the second is wider, and cut."""
    truth = np.zeros((30, 200), np.uint32)
    truth[5:9, 11:72], truth[20:24, 11:102] = 1, 2
    grid = Blocks(truth.shape, (30, 15), (30, 8))
    with caplog.at_level(logging.WARNING):
        found = image.stitch(Views.of(truth), grid, (20.0, 20.0))
    first, second = (np.unique(found[truth == k]) for k in (1, 2))
    assert len(first) == 1
    assert len(second) > 1
    extents = [np.ptp(np.argwhere(found == number), axis=0)[1] + 1 for number in second]
    assert max(extents) <= 61
    told = image.notes["stitched"]
    assert told["refused"] == len(second) - 1 == len(told["refused_objects"])
    assert set(np.ravel(told["refused_objects"])) <= set(second.tolist())
    assert "1 links between blocks were refused" in caplog.text
    assert "(61, 61) voxels" in caplog.text
    assert image.notes["wider_than_halo"] >= 1


def test_chains_of_touching_cells_do_not_grow(image):
    """Each block sees a row of cells a little farther on than the block before it does."""
    places = np.arange(400)[None].repeat(6, axis=0)

    def look(region):
        block = (region[1].start + 9) // 10
        return renumbered((places[region] - 8 * block + 4000) // 20, block)

    def widest(diameter):
        found = image.stitch(Views(look), Blocks(places.shape, (6, 10), (6, 9)), (10.0, diameter))
        return max(np.ptp(np.flatnonzero(found[0] == k)) + 1 for k in range(1, found.max() + 1))

    assert widest(1000.0) > 80
    assert image.notes["stitched"]["refused"] == 0
    assert widest(10.0) <= 31
    assert image.notes["stitched"]["refused"] > 0


def test_what_one_block_holds_for_several_is_said_to_be_merged(image, caplog):
    """A ring around a corner of blocks, of which one sees a gap where there is none."""
    truth = np.zeros((60, 60), np.uint32)
    truth[10:50, 10:50] = 1
    truth[20:40, 20:40] = 0
    truth[2:6, 2:6] = 2

    def look(region):
        labels = truth[region].copy()
        if corner_of(region) == [0, 0]:
            rows, columns = np.indices(labels.shape)
            labels[(labels == 1) & (rows > columns)] = 3
        return labels

    grid = Blocks((60, 60), (30, 30), (15, 15))
    with caplog.at_level(logging.WARNING):
        found = image.stitch(Views(look), grid, (20.0, 20.0))
    check_same(found, truth)
    ring = int(found[45, 45])
    told = image.notes["stitched"]
    assert (told["objects"], told["merged"], told["merged_objects"]) == (1, 1, [ring])
    assert f"their numbers: [{ring}]" in caplog.text


@pytest.mark.parametrize("shape", [(180, 180), (60, 60, 60)])
def test_views_that_differ_are_stitched_and_cells_that_touch_are_not(image, shape):
    """Each block sees everything a voxel or two off."""
    truth = cells(shape, 12)

    def look(region):
        moves = np.random.default_rng(corner_of(region)).integers(-1, 2, len(shape))
        there = [
            np.clip(np.arange(part.start, part.stop) + move, 0, n - 1)
            for part, move, n in zip(region, moves, shape, strict=True)
        ]
        return renumbered(truth[np.ix_(*there)], 0)

    core = tuple(n // (5 - len(shape)) for n in shape)
    grid = Blocks(shape, core, (18,) * len(shape))
    found = image.stitch(
        Views(look), grid, (12.0,) * len(shape),
        smallest=0.3 * np.bincount(truth.ravel())[1:].mean(),
    )  # fmt: skip
    scores = evaluate_labels(found, truth, [0.5]).matches[0]
    assert scores.f1 > 0.98
    assert image.notes["stitched"]["merged"] == image.notes["stitched"]["refused"] == 0


class Cut(Silent):
    """Interrupts after so many blocks."""

    def __init__(self, after):
        self.after = after

    def advance(self, amount=1, **values):
        self.after -= amount
        if self.after < 0:
            raise KeyboardInterrupt


def test_interrupted_anywhere_it_goes_on_to_the_same(tmp_path):
    truth, grid = cells((40, 60), 12), Blocks((40, 60), (20, 20), (9, 9))
    whole = Image(tmp_path / "whole")
    whole.stitch(Views.of(truth), grid, (12.0, 12.0))
    for after in range(3 * len(grid)):
        cut = Image(tmp_path / f"cut_{after}")
        with pytest.raises(KeyboardInterrupt):
            cut.stitch(Views.of(truth), grid, (12.0, 12.0), progress=Cut(after))
        cut.stitch(Views.of(truth), grid, (12.0, 12.0), resume=True)
        assert cut.files() == whole.files()


def test_a_block_that_fails_is_left_out_and_stitched_when_it_no_longer_does(tmp_path):
    truth, grid = cells((48, 72), 12), Blocks((48, 72), (24, 24), (9, 9))
    whole, damaged = Image(tmp_path / "whole"), Image(tmp_path / "damaged")
    whole.stitch(Views.of(truth), grid, (12.0, 12.0))

    def look(region):
        if corner_of(region) == corner_of(grid[1].outer):
            raise StorageError("chunk 3", expected="readable data", found="rubbish")
        return renumbered(truth[region], corner_of(region))

    found = damaged.stitch(Views(look), grid, (12.0, 12.0))
    assert damaged.notes["quarantined"] == {"label": [1]}
    assert any("rubbish" in line for line in damaged.crew.left_out)
    assert not found[grid[1].core].any()
    seen = truth.copy()
    seen[grid[1].core] = 0
    kept = np.zeros_like(seen, bool)
    kept[:, 48:] = True  # apart from what is left out, what is there is stitched
    check_same(relabel(np.where(kept, found, 0)), np.where(kept, seen, 0))
    damaged.stitch(Views.of(truth), grid, (12.0, 12.0), resume=True)
    assert not damaged.crew.left_out
    assert np.array_equal(*(open_volumes(i.path)[0].read() for i in (whole, damaged)))
    assert damaged.notes == whole.notes


def test_only_a_decoder_that_is_not_local_sees_diameters():
    assert seen_around(7.5, 20.0) == 7.5
    assert seen_around(np.inf, 20.0) == SEEN * 20
