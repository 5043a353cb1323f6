"""Blocks: as many voxels as a cube of their edge, as wide along every axis in um."""

import numpy as np
import pytest

from cellulus.experiment.sections import Experiment, Network, Segment, Train
from cellulus.methods import SpatialEmbedding
from cellulus.nn import shapes
from cellulus.pipeline.extents import block_extent, crop_extent, object_width

HUGE = 10**6


@pytest.mark.parametrize("edge", [16, 33, 100, 127, 256])
@pytest.mark.parametrize("zoom", [(1.7, 1.7), (0.3, 0.3, 0.3)])
def test_blocks_of_cubes_have_the_edge_that_is_set(edge, zoom):
    experiment = Experiment(segment=Segment(block=edge))
    assert block_extent(experiment, (HUGE,) * len(zoom), zoom) == (edge,) * len(zoom)


@pytest.mark.parametrize("zoom", [(3.0, 1.0), (2.5, 1.0, 1.0), (6.0, 1.1, 0.9), (0.3, 1.0, 1.0)])
def test_blocks_are_cubes_in_um_and_hold_no_more_than_usual(zoom):
    extent = block_extent(Experiment(), (HUGE,) * len(zoom), zoom)
    width = np.multiply(extent, zoom)
    assert width.max() / width.min() < 1.15
    usual = {2: 2048**2, 3: 256**3}[len(zoom)]
    assert 0.85 < np.prod(extent, dtype=float) / usual < 1.15
    assert not any(n % 16 for n in extent)


def test_blocks_are_no_larger_than_the_image():
    assert block_extent(Experiment(), (30, 500, 100), (2.5, 1.0, 1.0)) == (30, 352, 100)


def test_objects_are_narrower_in_volumes_where_nothing_is_set():
    assert [object_width(Network(), ndim) for ndim in (2, 3)] == [20.0, 12.0]
    assert [object_width(Network(object_voxels=9.5), ndim) for ndim in (2, 3)] == [9.5, 9.5]


@pytest.mark.parametrize(("ndim", "objects"), [(2, 6.4), (3, 3.0)])
@pytest.mark.parametrize("width", ["auto", 10.0, 31.0])
def test_a_crop_holds_as_many_objects_whatever_their_width(ndim, objects, width):
    experiment = Experiment(network=Network(object_voxels=width))
    (edge,) = set(crop_extent(experiment, ndim))
    assert 0 <= edge - max(round(objects * object_width(experiment.network, ndim)), 32) < 2


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_deeper_network_answers_for_as_much_and_half_of_what_it_sees(ndim):
    answers = []
    for method in (Experiment().method, SpatialEmbedding()):
        experiment = Experiment(method=method)
        depth = experiment.network.depth
        crop = crop_extent(experiment, ndim)[0]
        answers.append(shapes.output_size(crop, depth))
        assert 2 * answers[-1] >= crop
    assert answers[1] >= answers[0]


def test_a_crop_that_is_set_is_what_the_network_can_take():
    assert crop_extent(Experiment(train=Train(crop=50)), 3) == (50,) * 3
    assert crop_extent(Experiment(train=Train(crop=51)), 3) == (52,) * 3
