"""One crew of two processes for all tests, because starting one takes seconds."""

import pytest
from squares import Squares

from cellulus.blocks import cluster
from cellulus.blocks.crew import Alone


@pytest.fixture(scope="session")
def pair():
    with cluster.start(2) as crew:
        yield crew


@pytest.fixture(params=["alone", "cluster"])
def crew(request):
    """Every crew in turn."""
    return Alone() if request.param == "alone" else request.getfixturevalue("pair")


@pytest.fixture
def squares(tmp_path):
    """Return a function that makes a work on so many blocks."""

    def make(count, **trouble):
        return Squares.on(tmp_path, count, **trouble)

    return make
