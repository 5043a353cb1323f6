import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellulus.experiment.faults import models_in
from cellulus.experiment.load import parse
from cellulus.experiment.positions import positions
from cellulus.experiment.render import render
from cellulus.experiment.sections import (
    ApplyImage,
    Data,
    Evaluate,
    Experiment,
    Train,
    TrainImage,
)
from cellulus.methods import AnyMethod
from cellulus.settings import Settings
from cellulus.space import Length

BASE = Path("/base/runs")


def read(text):
    return parse(text, source="x.toml", base=BASE)


def with_image(**data):
    return Experiment(data=Data(apply=(ApplyImage(image="/base/a.tif"),), **data))


def test_defaults_read_back():
    for short in (False, True):
        assert read(render(with_image(), short=short)) == with_image()


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
lengths = st.floats(min_value=1e-6, max_value=1e6, allow_nan=False)
paths = texts.map(lambda text: "/base/x" + text.replace("/", "_").rstrip(".") + ".tif")


@settings(max_examples=60)
@given(
    diameter=st.one_of(st.just("auto"), lengths, lengths.map(lambda value: f"{value!r} um")),
    channels=st.lists(st.one_of(texts, st.integers(0, 9)), max_size=3).map(tuple),
    images=st.lists(paths, min_size=1, max_size=3),
    rate=st.floats(min_value=1e-300, max_value=1e300),
    ignored=st.one_of(st.just("none"), st.integers(-1, 2**32)),
    iou=st.lists(st.floats(min_value=0.01, max_value=1), min_size=1, max_size=4).map(tuple),
    short=st.booleans(),
    base=st.sampled_from([None, BASE]),
)
def test_whatever_is_set_reads_back_exactly(
    diameter, channels, images, rate, ignored, iou, short, base
):
    experiment = Experiment(
        seed=3,
        data=Data(
            object_diameter=diameter,
            channels=channels,
            train=tuple(TrainImage(image=i, masks=i, ignore=i) for i in images),
            ignore_label=ignored,
            apply=tuple(ApplyImage(image=image, truth=image) for image in images),
        ),
        train=Train(learning_rate=rate),
        evaluate=Evaluate(iou=iou),
    )
    assert read(render(experiment, short=short, base=base)) == experiment


def all_settings(model, key=(), without=()):
    for name, field in model.model_fields.items():
        inner = [found for found in models_in(field.annotation) if found not in without]
        if not inner:
            yield (*key, name), field
        for sub in inner:
            yield from all_settings(sub, (*key, name))


@pytest.mark.parametrize("method", list(models_in(AnyMethod)))
def test_every_setting_stands_in_the_text_with_its_docstring(method):
    experiment = Experiment(
        data=Data(
            train=(TrainImage(image="/a", masks="/d", ignore="/e", points="/g", foreground="/h"),),
            apply=(ApplyImage(image="/b", truth="/c", ignore="/f", points="/i"),),
        ),
        method=method(),
    )
    text = render(experiment)
    keys = {tuple(part for part in key if isinstance(part, str)) for key in positions(text)}
    unwrapped = " ".join(line.removeprefix("# ") for line in text.splitlines())
    others = set(models_in(AnyMethod)) - {method}
    found = list(all_settings(Experiment, without=others))
    assert len(found) > 40, "test invalid"
    for key, field in found:
        assert key in keys
        assert field.description, f"{key} has no docstring"
        assert field.description in unwrapped


def test_the_short_form_hides_defaults_only():
    text = render(
        Experiment(data=Data(apply=(ApplyImage(image="/a"),)), train=Train(elastic=2)), short=True
    )
    assert "\nelastic = 2.0\n" in text
    assert f"\n#intensity = {Train().intensity}\n" in text
    assert "\nsteps = 2000\n" in text


def test_uncommenting_the_short_form_gives_the_full_one():
    text = render(with_image(), short=True)
    lines = [
        line[1:] if line.startswith("#") and not line.startswith("# ") and len(line) > 1 else line
        for line in text.splitlines()
        if line not in {f'#{name} = "PATH"' for name in ("truth", "ignore", "points")}
    ]
    assert read("\n".join(lines)) == with_image()
    assert len(positions("\n".join(lines))) > len(positions(text))


def test_header_notes_and_width():
    text = render(with_image(), header="Nuclei.\nOf mice.", notes={("data", "channels"): "Of two."})
    assert text.startswith("# Nuclei.\n# Of mice.\n\n")
    assert "where an image has more than one. Of two." in text.replace("\n# ", " ")
    assert max(map(len, text.splitlines())) <= 96


def test_paths_are_relative_to_where_the_text_lies():
    image = ApplyImage(image="/base/images/a.tif", truth="s3://bucket/b")
    text = render(Experiment(data=Data(apply=(image,))), base=BASE)
    assert 'image = "../images/a.tif"' in text
    assert 'truth = "s3://bucket/b"' in text
    far = render(Experiment(data=Data(apply=(image,))), base=Path("/a/b/c/d"))
    assert 'image = "/base/images/a.tif"' in far


def test_a_diameter_keeps_every_digit():
    value = 9.6 + math.ulp(9.6)
    assert read(render(with_image(object_diameter=f"{value!r} um"))).data.object_diameter == Length(
        value, "um"
    )


def test_settings_classes_are_found_in_annotations():
    assert set(models_in(tuple[TrainImage, ...] | None)) == {TrainImage}
    assert not list(models_in(int | str))
    assert issubclass(Experiment, Settings)
