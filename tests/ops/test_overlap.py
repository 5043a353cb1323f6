"""The overlap table against dictionaries of voxels."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from cellulus.errors import InputError
from cellulus.ops import overlap
from cellulus.ops.overlap import overlap_table, total

FAR = 2**32 - 1  # the largest id of uint32; a table by id would need 16 GiB

small = npst.arrays(
    np.uint8, st.tuples(st.integers(0, 5), st.integers(1, 5)), elements=st.integers(0, 4)
)
pairs_of_arrays = small.flatmap(
    lambda a: st.tuples(st.just(a), npst.arrays(np.uint8, a.shape, elements=st.integers(0, 4)))
)


def as_dict(table):
    keys = zip(table.labels.tolist(), table.truth.tolist(), strict=True)
    return dict(zip(keys, table.counts.tolist(), strict=True))


def brute(labels, truth):
    return dict(Counter(zip(labels.ravel().tolist(), truth.ravel().tolist(), strict=True)))


@given(pairs_of_arrays)
def test_table_counts_every_pair(arrays):
    labels, truth = arrays
    table = overlap_table(labels, truth)
    assert as_dict(table) == brute(labels, truth)
    keys = list(zip(table.labels.tolist(), table.truth.tolist(), strict=True))
    assert keys == sorted(set(keys))


def test_table_grows_beyond_its_first_size():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 200, (300, 300)).astype(np.uint32) * 20_000_003
    truth = rng.integers(0, 200, (300, 300)).astype(np.uint32)
    table = overlap_table(labels, truth)
    assert table.counts.size > 20_000, "test invalid: the table never had to grow"
    assert as_dict(table) == brute(labels, truth)


@pytest.mark.parametrize(
    "dtypes",
    [
        ("uint32", "uint8"),
        ("int64", "uint64"),
        ("int32", ">u2"),
        ("bool", "uint16"),
        ("int16", "u8"),
    ],
)
def test_types_do_not_matter(dtypes):
    labels = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtypes[0])
    truth = np.array([[3, 3, 0], [9, 9, 9]]).astype(dtypes[1])
    assert as_dict(overlap_table(labels, truth)) == brute(labels.astype(int), truth.astype(int))


def test_ids_may_be_sparse_and_large():
    labels = np.array([0, FAR, FAR, 5], np.uint32)
    truth = np.array([0, 2**63 + 1, 7, 7], np.uint64)
    table = overlap_table(labels, truth)
    assert as_dict(table) == {(0, 0): 1, (FAR, 2**63 + 1): 1, (FAR, 7): 1, (5, 7): 1}
    assert table.label_sizes.tolist() == [1, 2]
    assert table.truth_sizes.tolist() == [2, 1]


@given(pairs_of_arrays, st.integers(0, 5))
def test_tables_of_blocks_add_up(arrays, cut):
    labels, truth = arrays
    parts = overlap_table(labels[:cut], truth[:cut]) + overlap_table(labels[cut:], truth[cut:])
    whole = overlap_table(labels, truth)
    assert as_dict(parts) == as_dict(whole)
    assert np.array_equal(parts.label_sizes, whole.label_sizes)


def test_memory_layout_and_dimension_do_not_matter():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 5, (4, 5, 6)).astype(np.uint32)
    truth = rng.integers(0, 5, (4, 5, 6)).astype(np.uint32)
    expected = as_dict(overlap_table(labels, truth))
    assert as_dict(overlap_table(np.asfortranarray(labels), truth)) == expected
    assert as_dict(overlap_table(labels[::-1], truth[::-1])) == expected
    assert as_dict(overlap_table(labels.reshape(20, 6), truth.reshape(20, 6))) == expected


@pytest.mark.parametrize(
    ("labels", "truth", "text"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), r"\(2, 3\)"),
        (np.zeros((2, 3)), np.zeros((2, 3), int), "float64"),
        (np.zeros((2, 3), int), np.zeros((2, 3), complex), "complex128"),
        (np.array([1, -1], np.int8), np.array([1, 1]), "negative"),
        (np.array([1, 1]), np.array([1, -1], np.int64), "negative"),
        (np.array([1, 1], np.uint64), np.array([1, -1], np.int32), "negative"),
    ],
)
def test_what_is_not_labels_is_refused(labels, truth, text):
    with pytest.raises(InputError, match=text) as error:
        overlap_table(labels, truth)
    assert error.value.where in {"labels", "truth"}
    assert error.value.remedy


@pytest.mark.parametrize("rows", [1, 50, 10**6])
def test_many_tables_add_up_to_the_whole(monkeypatch, rows):
    monkeypatch.setattr(overlap, "ROWS", rows)
    rng = np.random.default_rng(0)
    labels, truth = rng.integers(0, 40, (2, 60, 60))
    tables = [overlap_table(a, b) for a, b in zip(labels, truth, strict=True)]
    found, wanted = total(iter(tables)), overlap_table(labels, truth)
    for name in ("labels", "truth", "counts"):
        assert np.array_equal(getattr(found, name), getattr(wanted, name))
        assert getattr(found, name).dtype == getattr(wanted, name).dtype


def test_no_table_is_an_empty_one():
    assert total([]).counts.tolist() == []
    assert total([]).label_sizes.tolist() == []
