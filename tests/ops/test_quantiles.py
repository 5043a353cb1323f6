"""Percentiles from counts against numpy's, bit for bit, however the values are cut."""

import numpy as np
import pytest

from cellulus.ops.quantiles import Digits

ASKED = [(1.0, 99.8), (0.0, 100.0), (50.0, 50.0), (0.3, 33.3), (10.0, 90.0)]
SIZES = [1, 2, 3, 10, 1001, 54321]


def drawn(dtype, size, seed=0):
    """Values of a type with ties, extremes and, where there are such, negative ones and zeros."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype) == bool:
        return rng.random(size) < 0.3
    if np.dtype(dtype).kind in "iu":
        ends = np.iinfo(dtype)
        values = rng.integers(max(ends.min, -300), min(ends.max, 2000), size)
        values[rng.random(size) < 0.01] = ends.max
        values[rng.random(size) < 0.01] = ends.min
        return values.astype(dtype)
    values = rng.normal(size=size) * 10.0 ** rng.integers(-3, 4, size)
    values[rng.random(size) < 0.2] = 0.0
    values[rng.random(size) < 0.05] = -0.0
    values[rng.random(size) < 0.1] = 7.25
    values[rng.random(size) < 0.01] = 1e-7
    return values.astype(dtype)


def counted(parts, asked):
    """What a caller does, pass by pass."""
    digits = Digits.of(parts[0].dtype)
    counts = sum(digits.count(part) for part in parts)
    following = None
    if digits.passes == 2:
        leading = digits.leading(counts, asked)
        following = sum(digits.count(part, leading) for part in parts)
    return digits.percentiles(counts, asked, following)


def wanted(values, asked):
    single = values.astype(np.float32)
    return np.array([*np.percentile(single, asked), single.min(), single.max()], np.float64)


@pytest.mark.parametrize(
    "dtype",
    [bool, "u1", "i1", "u2", "i2", ">u2", "f2", "u4", "i4", "i8", "f4", ">f4", "f8"],
)
@pytest.mark.parametrize("size", SIZES)
def test_percentiles_are_those_of_numpy_bit_for_bit(dtype, size):
    values = drawn(dtype, size)
    for asked in ASKED:
        assert counted([values], asked).tolist() == wanted(values, asked).tolist(), asked


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4"])
@pytest.mark.parametrize("seed", range(5))
def test_any_cutting_gives_the_same(dtype, seed):
    values = drawn(dtype, 20_000, seed)
    rng = np.random.default_rng(seed)
    parts = np.split(rng.permutation(values), np.sort(rng.integers(0, values.size, 7)))
    assert len(np.unique([part.size for part in parts])) > 3
    for asked in ASKED:
        assert counted(parts, asked).tolist() == wanted(values, asked).tolist()


def test_several_arrays_of_any_shape_count_together():
    arrays = [drawn("f4", n, seed).reshape(-1, 10) for seed, n in enumerate((500, 40, 9000))]
    arrays[1] = arrays[1].T * 100  # not contiguous
    everything = np.concatenate([a.ravel() for a in arrays])
    assert counted(arrays, (1.0, 99.0)).tolist() == wanted(everything, (1.0, 99.0)).tolist()


@pytest.mark.parametrize("value", [0, 7, 255])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4"])
def test_a_constant_is_all_of_its_percentiles(dtype, value):
    assert counted([np.full(99, value, dtype)], (1.0, 99.8)).tolist() == [value] * 4


def test_close_floats_are_told_apart():
    """They share the first digit, and the second tells the order."""
    values = np.float32(1000) + np.arange(400, dtype=np.float32) * np.spacing(np.float32(1000))
    digits = Digits.of(values.dtype)
    assert (digits.count(values) > 0).sum() == 1, "test invalid: nothing is left to the second"
    values = np.random.default_rng(0).permutation(values)
    assert counted([values], (10.0, 90.0)).tolist() == wanted(values, (10.0, 90.0)).tolist()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_what_is_not_finite_is_counted(dtype):
    values = drawn(dtype, 1000)
    limits = np.finfo(dtype if dtype != "f8" else "f4")
    values[:2] = limits.max, limits.min
    digits = Digits.of(values.dtype)
    assert digits.count_strangers(digits.count(values)) == 0
    values[5:12] = np.nan, np.inf, -np.inf, -np.nan, np.inf, np.nan, np.nan
    assert digits.count_strangers(digits.count(values)) == 7


def test_whole_numbers_are_all_finite():
    for dtype in ("u1", "i2", "u2"):
        digits = Digits.of(np.dtype(dtype))
        assert digits.count_strangers(digits.count(drawn(dtype, 500))) == 0


@pytest.mark.parametrize(
    ("dtype", "passes"), [("u1", 1), ("u2", 1), ("f2", 1), ("i4", 2), ("f4", 2)]
)
def test_values_of_two_bytes_are_gone_through_once(dtype, passes):
    assert Digits.of(np.dtype(dtype)).passes == passes
