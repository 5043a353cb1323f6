import pytest
from pydantic import Field, ValidationError

from cellulus.settings import Settings


class Wheel(Settings):
    radius: float = Field(default=1.0, gt=0)
    """Radius [um]."""
    spokes: int = -1


def test_docstrings_are_descriptions():
    assert Wheel.model_fields["radius"].description == "Radius [um]."


def test_values_do_not_change():
    wheel = Wheel(radius=2)
    with pytest.raises(ValidationError):
        wheel.radius = 3
    assert wheel.radius == 2


@pytest.mark.parametrize("wrong", [{"radius": 0}, {"radius": float("inf")}, {"radus": 1}])
def test_what_is_refused(wrong):
    with pytest.raises(ValidationError):
        Wheel(**wrong)


def test_defaults_are_checked_too():
    class Broken(Settings):
        count: int = Field(default=-1, ge=0)

    with pytest.raises(ValidationError):
        Broken()


def test_equal_by_value():
    assert Wheel(radius=2) == Wheel(radius=2.0) != Wheel()
