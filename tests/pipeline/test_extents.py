"""Blocks: as many voxels as a cube of their edge, as wide along every axis in um."""

import numpy as np
import pytest

from cellulus.experiment.sections import Experiment, Segment
from cellulus.pipeline.extents import block_extent

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
