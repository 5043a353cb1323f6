import inspect
import pickle

import pytest

from cellulus import errors
from cellulus.errors import CellulusError, ExistsError, GateError, MissingError, QuarantineError

FAMILY = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, CellulusError) and kind is not CellulusError
]


@pytest.mark.parametrize("kind", FAMILY)
def test_every_error_says_four_things(kind):
    error = kind("a.tif", expected="an image", found="a text", remedy="convert it")
    assert str(error) == "a.tif: expected an image, found a text; convert it"
    assert str(kind("a", expected="b", found="c")) == "a: expected b, found c"


@pytest.mark.parametrize("kind", FAMILY)
def test_every_error_survives_pickling(kind):
    error = kind("a.tif", expected="an image", found="a text", remedy="convert it")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (again.where, again.expected, again.found, again.remedy) == (
        "a.tif", "an image", "a text", "convert it",
    )  # fmt: skip


def test_errors_are_builtins_too():
    assert len(FAMILY) >= 6, "test invalid"
    for kind in set(FAMILY) - {GateError, QuarantineError}:
        assert issubclass(kind, ValueError | OSError)
    assert issubclass(MissingError, FileNotFoundError)
    assert issubclass(ExistsError, FileExistsError)


def test_exit_codes():
    codes = {kind: kind.exit_code for kind in FAMILY}
    assert codes.pop(GateError) == 1
    assert codes.pop(QuarantineError) == 3
    assert set(codes.values()) == {2}
