import base64
import io
import re
from html.parser import HTMLParser

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from cellulus.report.case import Case, Confidence, Marks
from cellulus.report.markup import NOTHING
from cellulus.report.page import render
from cellulus.space import VoxelSize

VOID = {"img", "meta", "br"}
EVIL = "<script>alert('x')</script> & \"quoted\" </style></title>"


class Reader(HTMLParser):
    """Collect elements, attributes and text; fail where the nesting is wrong."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.elements.append((name, dict(attributes)))

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, name):
        return [attributes for tag_, attributes in self.elements if tag_ == name]

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def flat_case(name="img", *, truth=True, empty=False, unit="um"):
    generator = np.random.default_rng(0)
    labels = np.zeros((48, 64), np.uint32)
    if not empty:
        labels[5:20, 5:20], labels[5:20, 20:36], labels[30:44, 40:60] = 1, 2, 3
    return Case(
        name,
        generator.random((1, 48, 64)).astype(np.float32),
        labels,
        VoxelSize((0.5, 0.5), unit),
        generator.normal(size=(2, 48, 64)).astype(np.float32),
        Confidence("uncertainty", generator.random((48, 64)).astype(np.float32)),
        truth=np.roll(labels, 3, 1) if truth else None,
        scores={"f1": 0.5, "seg": None} if truth else None,
        why="Lowest F1 of 3 images",
    )


def deep_case():
    generator = np.random.default_rng(1)
    labels = np.zeros((12, 30, 40), np.uint32)
    labels[2:9, 4:12, 5:15], labels[3:8, 14:25, 20:32] = 1, 2
    image = generator.random((1, *labels.shape)).astype(np.float32)
    offsets = generator.normal(size=(3, *labels.shape)).astype(np.float32)
    return Case(
        "vol", image, labels, VoxelSize((2.0, 0.5, 0.5), "um"), offsets,
        Confidence("presence", image[0]), Marks(np.array([[5.0, 8, 10]]), (1, 4, 4)), labels,
    )  # fmt: skip


def curves(steps=300):
    records = [{"step": i, "loss": 1 / (1 + i / 40), "rate": 2.5} for i in range(1, steps + 1)]
    for record in records[49::50]:
        record["validation"] = 0.1 + record["loss"]
    return records


SCORES = {
    "thresholds": {
        "0.9": {"f1": 0.2, "precision": 0.3, "recall": 0.15, "ap": 0.11},
        "0.5": {"f1": 0.8125, "precision": 0.9, "recall": 0.741, "ap": 0.68},
    },
    "seg": 0.7,
    "n_true": 1300,
    "n_pred": 1200,
}
ROWS = [
    {"name": "good", "n_true": 4, "n_pred": 4, "f1": 1.0, "seg": 0.9},
    {"name": "bad", "n_true": 7, "n_pred": 2, "f1": 0.25, "seg": 0.2},
    {"name": "no truth objects", "n_true": 0, "n_pred": 0, "f1": None, "seg": None},
]


def whole(**more):
    content = {
        "curves": curves(),
        "cases": [flat_case(), deep_case()],
        "scores": SCORES,
        "table": ROWS,
        "settings": {"train": {"steps": 300}, "data": {"apply": [{"image": "a.tif"}]}},
        "versions": {"cellulus": "0.1"},
        "notes": ["One image has no voxel size."],
    }
    return render("nuclei", **(content | more))


def pictures(reader):
    for image in reader.all("img"):
        kind, data = image["src"].split(",", 1)
        assert kind == "data:image/png;base64"
        yield image, Image.open(io.BytesIO(base64.b64decode(data)))


def test_page_is_well_formed_and_says_what_was_found():
    reader = Reader(whole())
    assert reader.all("html") == [{"lang": "en"}]
    assert len(reader.all("title")) == len(reader.all("h1")) == len(reader.all("main")) == 1
    assert "images 3 objects found 6 true objects 1,300 F1 at IoU 0.5 0.812 SEG 0.700" in (
        reader.text
    )
    for word in ("Training", "Pictures", "Every image", "One image has no voxel size."):
        assert word in reader.text
    assert "train.steps 300" in reader.text
    assert "data.apply[0].image a.tif" in reader.text
    assert all("open" not in details for details in reader.all("details"))


def test_ids_are_unique_and_every_reference_has_its_target():
    text = whole()
    ids = [a["id"] for _, a in Reader(text).elements if "id" in a]
    assert len(ids) == len(set(ids))
    used = re.findall(r'(?:url\(|href=")#([\w.-]+)', text)
    assert used
    assert set(used) <= set(ids)


def test_page_needs_nothing_from_elsewhere_and_runs_nothing():
    text = whole()
    reader = Reader(text)
    assert "http" not in text
    assert "@import" not in text
    assert not {"script", "link", "iframe", "object"} & {name for name, _ in reader.elements}
    for _, attributes in reader.elements:
        assert not any(key.startswith("on") for key in attributes)
        reference = attributes.get("src") or attributes.get("href") or "#"
        assert reference.startswith(("data:", "#"))


def test_what_users_name_things_cannot_break_the_page():
    text = render(
        EVIL,
        cases=[flat_case(EVIL)],
        scores=SCORES,
        table=[{"name": EVIL, "n_pred": 1, EVIL: EVIL}],
        settings={EVIL: EVIL},
        versions={EVIL: EVIL},
        notes=[EVIL],
    )
    reader = Reader(text)
    assert "<script" not in text
    assert len(reader.all("style")) == len(reader.all("title")) == 1
    assert reader.text.count("alert('x')") >= 8
    assert any(EVIL in image["alt"] for image in reader.all("img"))


def test_same_input_gives_the_same_bytes():
    assert whole() == whole()


def test_global_state_of_matplotlib_is_left_alone():
    before = dict(matplotlib.rcParams)
    whole()
    assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == []


def test_every_picture_is_described_and_has_its_true_size():
    reader = Reader(whole())
    seen = list(pictures(reader))
    assert len(seen) == 6 + 2 + 6 * 3 + 2  # panels and two legends, flat and deep
    for image, picture in seen:
        assert image["alt"]
        if "Colour" not in image["alt"]:
            assert (int(image["width"]), int(image["height"])) == picture.size
    assert any("xz at y = " in image["alt"] for image, _ in seen)
    assert {"role": "img"}.items() <= reader.all("svg")[0].items()


def test_rings_are_explained_beside_the_places_of_the_cuts():
    reader = Reader(whole())
    assert "Input and points" in reader.text
    assert "a point for each cell" in reader.text
    assert "Presence" in reader.text
    assert [a["class"] for a in reader.all("i") if a.get("class") == "ring"] == ["ring"]
    assert "xy at z = " in reader.text
    without = Reader(whole(cases=[flat_case()]))
    assert "a point for each cell" not in without.text


def test_scale_bar_only_where_lengths_are_known():
    bars = [s for s in Reader(whole(cases=[flat_case()])).all("span") if s.get("class") == "bar"]
    assert [b["style"] for b in bars] == ["width:15.625%"]  # 5 um of 32 um
    assert 'class="bar"' not in whole(cases=[flat_case(unit="voxel")])


def test_images_are_listed_worst_first():
    names = re.findall(r'<tr><th scope="row">([^<]*)</th><td', whole(scores=None, settings={}))
    assert [n for n in names if n in {row["name"] for row in ROWS}] == [
        "bad",
        "good",
        "no truth objects",
    ]


def test_of_very_many_images_the_worst_are_listed():
    rows = [{"name": f"img{i:04}", "n_pred": 3, "f1": 1 - i / 1000} for i in range(250)]
    text = render("many", table=rows)
    assert len(re.findall(r">img\d+<", text)) == 100
    assert "img0249" in text
    assert "img0000" not in text
    assert "The worst 100 of 250 images are listed." in text
    assert "<dt>objects found</dt><dd>750</dd>" in text


def test_nothing_found_is_said():
    rows = [{"name": "a", "n_pred": 0}]
    text = Reader(render("x", cases=[flat_case(truth=False, empty=True)], table=rows)).text
    assert "No objects were found in any image." in text
    assert "no object was found here" in text
    assert "No objects were found in any image." not in Reader(whole()).text


def test_nothing_trained_is_said():
    text = Reader(render("x", table=[{"name": "a", "n_pred": 4}])).text
    assert "Nothing was trained in this run" in text
    assert "Nothing was trained" not in Reader(whole()).text


def test_a_page_about_nothing_is_a_page():
    assert Reader(render("")).all("h1") == [{}]


@pytest.mark.parametrize(
    "records",
    [
        [{"step": 1, "loss": 0.5}],
        [{"step": 1, "loss": float("nan")}, {"step": 2, "loss": 0.4, "validation": None}],
        [{"step": 10, "validation": 0.5}],
        curves(5000),
    ],
)
def test_training_logs_of_any_kind_are_drawn(records):
    text = render("x", curves=records)
    assert len(Reader(text).all("svg")) == 1
    assert len(text) < 120_000


def test_best_validation_is_named():
    records = [{"step": s, "loss": 1.0, "validation": v} for s, v in ((1, 3), (2, 1), (3, 2))]
    assert "Lowest validation loss 1 at step 2" in Reader(render("x", curves=records)).text


def test_the_best_model_is_the_one_that_finds_most():
    rows = ((1, 3, 0.2), (2, 1, 0.5), (3, 2, 0.6), (4, 5, 0.6))
    records = [{"step": s, "loss": 1.0, "validation": v, "ap": ap} for s, v, ap in rows]
    text = Reader(render("x", curves=records)).text
    assert "Highest AP on images kept aside 0.6 at step 3" in text
    assert "Lowest" not in text


def test_undefined_scores_are_dashes():
    scores = {"thresholds": {"0.5": {"f1": None, "ap": None}}, "seg": None, "n_true": 0}
    text = Reader(render("x", scores=scores, table=[{"name": "a", "n_pred": 0}])).text
    assert f"F1 at IoU 0.5 {NOTHING} SEG {NOTHING}" in text
    assert "nan" not in text


def test_a_page_of_pure_noise_stays_light():
    generator = np.random.default_rng(0)
    shape = (1024, 1024)
    labels = np.arange(4096, dtype=np.uint32).reshape(64, 64).repeat(16, 0).repeat(16, 1)
    case = Case(
        "noise",
        generator.random((3, *shape)).astype(np.float32),
        labels,
        VoxelSize((1.0, 1.0)),
        generator.normal(size=(2, *shape)).astype(np.float32),
        Confidence("uncertainty", generator.random(shape).astype(np.float32)),
        Marks(generator.random((4096, 2)) * 1023, (1.0, 1.0)),
        labels[::-1].copy(),
    )
    assert 3 * len(render("noise", cases=[case])) < 5_200_000
