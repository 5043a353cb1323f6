"""Profiles against the packages themselves, or against what `peers` says of them."""

import warnings

import numpy as np
import peers
import pytest
import tifffile
from ctc_metrics.metrics.technical.det import det
from ctc_metrics.metrics.technical.seg import seg
from ctc_metrics.utils.representations import count_acyclic_graph_correction_operations
from ctc_metrics.utils.representations import match as match_frames
from drawn_pairs import drawn, pairs_of_arrays, rough
from hypothesis import given, settings
from hypothesis import strategies as st
from stardist.matching import matching, matching_dataset

from cellulus.errors import InputError
from cellulus.ops.overlap import OverlapTable, overlap_table
from cellulus.ops.profiles import PROFILES, profile

THRESHOLDS = [0.1, 0.25, 0.5, 0.6, float(np.arange(0.5, 1, 0.05)[2]), 0.75, 1.0]
thresholds = st.sampled_from(THRESHOLDS)

# The edge cases: empty sides, ties at exactly 1 / 2, no background, one voxel.
EDGES = [
    ("........", "........"),
    ("........", "aa......"),
    ("aa......", "........"),
    ("aabb....", "bbaa...."),
    ("aaaa....", "aa......"),
    ("aaaa....", "aaaaaaaa"),
    ("aaaa....", "aabb...."),
    ("aabb....", "cccc...."),
    ("aaaabbbb", "bbbbaaaa"),
    ("aaaabbbb", "bbbbaaa."),
    ("aaaaaaaa", "aaaaaaaa"),
    ("aaaaaaaa", "aa......"),
    (".......a", "b......."),
    (".......a", ".......c"),
    ("aaaaa...", "aaa....."),
]


def close(found, expected):
    """Whether the values are those of a package, which has no number where we have None."""
    assert set(found) == set(expected)
    for name, value in expected.items():
        if value is None or not np.isfinite(value):
            assert found[name] is None, name
        else:
            assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name


def pairs():
    """Edge cases, and larger ones with cuts and joins."""
    rng = np.random.default_rng(0)
    drawings = [(drawn(labels), drawn(truth)) for truth, labels in EDGES]
    scenes = [
        (rough(rng, shape, 12, noise, empty), rough(rng, shape, 12, 0.05, empty))
        for shape in [(20, 20), (6, 9, 8)]
        for noise in (0.0, 0.1)
        for empty in (0.0, 0.4)
    ]
    moved = [(np.roll(truth, 1, -1), truth) for _, truth in scenes]
    return drawings + scenes + moved


def of_stardist(truth, labels, threshold):
    found = matching(truth, labels, thresh=threshold)._asdict()
    return {name: value for name, value in found.items() if name not in {"criterion", "thresh"}}


ORACLES = {
    "stardist": of_stardist,
    "cellpose": peers.cellpose,
    "panoptica": peers.panoptica,
    "embedseg": peers.embedseg,
    "cellulus-legacy": peers.legacy,
}


def judged(name, labels, truth, threshold):
    row = profile(name).image(overlap_table(labels, truth), threshold)
    expected = ORACLES[name](truth, labels, threshold)
    assert {key for key, value in row.values.items() if value is None} == set(row.reasons)
    if expected is None:
        assert set(row.values.values()) == {None}
    else:
        close(row.values, expected)


@pytest.mark.parametrize("name", ORACLES)
def test_edge_cases_and_scenes_are_as_in_the_package(name):
    for labels, truth in pairs():
        for threshold in THRESHOLDS:
            judged(name, labels, truth, threshold)


@pytest.mark.parametrize("name", ORACLES)
@settings(max_examples=150)
@given(arrays=pairs_of_arrays, threshold=thresholds)
def test_random_labels_are_as_in_the_package(name, arrays, threshold):
    judged(name, *arrays, threshold)


def ctc_frame(folder, labels, truth):
    """What the package makes of a frame; it wants files of 16 bits."""
    for name, array in (("ref", truth), ("res", labels)):
        tifffile.imwrite(folder / f"{name}.tif", array.astype(np.uint16))
    return match_frames(str(folder / "ref.tif"), str(folder / "res.tif"))


def ctc_scores(frames):
    labels_ref, labels_comp, mapped_ref, mapped_comp, ious = map(list, zip(*frames, strict=True))
    if not any(labels_ref):
        return {"SEG": 0.0, "DET": None}  # its own division by zero
    counts = count_acyclic_graph_correction_operations(
        None, None, labels_ref, labels_comp, mapped_ref, mapped_comp
    )
    return {"SEG": seg(labels_ref, ious), "DET": det(**counts)}


def ctc_judged(folder, cases):
    frames = [ctc_frame(folder, *pair) for pair in cases]
    rows = [profile("ctc").image(overlap_table(*pair), 0.5) for pair in cases]
    for row, frame in zip(rows, frames, strict=True):
        close({name: row.values[name] for name in ("SEG", "DET")}, ctc_scores([frame]))
    values = profile("ctc").pooled(rows).values
    close({name: values[name] for name in ("SEG", "DET")}, ctc_scores(frames))


def test_the_challenge_is_as_in_py_ctcmetrics(tmp_path):
    ctc_judged(tmp_path, pairs())


@settings(max_examples=60)
@given(cases=st.lists(pairs_of_arrays, min_size=1, max_size=3))
def test_random_frames_are_as_in_py_ctcmetrics(tmp_path_factory, cases):
    ctc_judged(tmp_path_factory.mktemp("frames"), cases)


@pytest.mark.parametrize("by_image", [False, True])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.6000000000000001])
def test_a_data_set_is_as_in_stardist(by_image, threshold):
    cases = pairs()
    labels, truth = zip(*cases, strict=True)
    expected = matching_dataset(
        truth, labels, thresh=threshold, by_image=by_image, show_progress=False
    )._asdict()
    rows = [profile("stardist").image(overlap_table(*pair), threshold) for pair in cases]
    together = profile("stardist").means if by_image else profile("stardist").pooled
    found = together(rows).values
    close(found, {name: expected[name] for name in found})


def test_a_data_set_of_the_first_cellulus_leaves_out_images_without_objects():
    cases = [("aabb....", "aa......"), ("........", "aabbcc.."), ("aa......", "aab.....")]
    rows = [
        profile("cellulus-legacy").image(overlap_table(drawn(labels), drawn(truth)), 0.5)
        for truth, labels in cases
    ]
    pooled, means = (getattr(profile("cellulus-legacy"), how)(rows) for how in ("pooled", "means"))
    assert pooled.values["F1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert pooled.values["SEG"] == pytest.approx(2 / 3)
    assert means.values == pytest.approx({"F1": (2 / 3 + 2 / 3) / 2, "SEG": (1 / 2 + 1) / 2})
    nothing = profile("cellulus-legacy").means(rows[1:2])
    assert (nothing.values["F1"], "left out" in nothing.reasons["F1"]) == (None, True)


def test_the_ids_of_the_first_cellulus_have_16_bits():
    truth = np.array([5, 5, 5, 65536 + 5, 65536, 65536], np.uint32)
    labels = np.array([1, 1, 1, 1, 0, 0], np.uint32)
    judged("cellulus-legacy", labels, truth, 0.5)
    table = overlap_table(labels, truth)
    assert profile("cellulus-legacy").image(table, 0.5).values["n_true"] == 1


def test_means_leave_out_or_give_up_as_the_packages_do():
    """Panoptica's summary leaves out what is nan; a mean of cellpose's nan is nan."""
    cases = [("aabb....", "aa......"), ("........", "........")]
    tables = [overlap_table(drawn(labels), drawn(truth)) for truth, labels in cases]
    rows = {name: [profile(name).image(table, 0.5) for table in tables] for name in PROFILES}
    assert profile("panoptica").means(rows["panoptica"]).values["rq"] == pytest.approx(2 / 3)
    assert profile("panoptica").means(rows["panoptica"]).values["tp"] == 0.5
    assert profile("cellpose").means(rows["cellpose"]).values["ap"] is None
    assert "nan" in profile("cellpose").means(rows["cellpose"]).reasons["ap"]
    assert profile("cellpose").means(rows["cellpose"][:1]).values == {
        "tp": 1,
        "fp": 0,
        "fn": 1,
        "ap": 0.5,
    }
    full = overlap_table(drawn("aabb"), drawn("aabb"))
    stops = [*rows["embedseg"], profile("embedseg").image(full, 0.5)]
    for together in (profile("embedseg").pooled, profile("embedseg").means):
        assert together(rows["embedseg"]).values["tp"] == 1
        assert set(together(stops).values.values()) == {None}


@pytest.mark.parametrize("name", PROFILES)
def test_no_profile_answers_nan(name):
    rows = []
    for labels, truth in pairs():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            rows.append(profile(name).image(overlap_table(labels, truth), 0.5))
    sets = [profile(name).pooled(rows), profile(name).means(rows)]
    sets += [profile(name).pooled([]), profile(name).means([])]
    for row in rows + sets:
        assert all(value is None or np.isfinite(value) for value in row.values.values())
        assert {key for key, value in row.values.items() if value is None} == set(row.reasons)


# Cellpose misses the background even here.
@pytest.mark.parametrize("name", sorted(set(PROFILES) - {"cellpose"}))
def test_a_table_without_voxels_is_an_image_without_objects(name):
    none = np.zeros(0, np.uint64)
    row = profile(name).image(OverlapTable(none, none, none.astype(np.int64)), 0.5)
    assert not any(row.values.values())


def test_profiles_and_thresholds_that_are_none_are_refused():
    with pytest.raises(InputError, match="stardist, cellpose"):
        profile("coco")
    table = overlap_table(drawn("a"), drawn("a"))
    for name in set(PROFILES) - {"ctc"}:
        with pytest.raises(InputError, match="at most 1"):
            profile(name).image(table, 0)
