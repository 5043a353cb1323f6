import pytest

from cellulus.report.panels import round_length


@pytest.mark.parametrize(
    ("about", "length"), [(8.0, 5), (5.0, 5), (4.99, 2), (0.13, 0.1), (1999, 1000), (2e-3, 2e-3)]
)
def test_round_length(about, length):
    assert round_length(about) == pytest.approx(length)
