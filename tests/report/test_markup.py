import base64
import io

import numpy as np
import pytest
from PIL import Image

from cellulus.report.markup import NOTHING, Markup, join, number, png, tag


def test_pictures_survive_as_they_were_drawn():
    generator = np.random.default_rng(0)
    for colours in (3, 256, 5000):
        palette = generator.integers(0, 256, (colours, 3)).astype(np.uint8)
        picture = palette[generator.integers(0, colours, (70, 90))]
        data = base64.b64decode(png(picture).split(",")[1])
        back = Image.open(io.BytesIO(data))
        assert (np.asarray(back.convert("RGB")) == picture).all()
        assert back.mode == ("P" if colours <= 256 else "RGB")


def test_text_is_escaped_and_markup_is_not():
    inner = tag("b", "a < b", class_="x&y")
    assert inner == '<b class="x&amp;y">a &lt; b</b>'
    assert tag("p", inner, " & c", style=None) == f"<p>{inner} &amp; c</p>"
    assert join("<", Markup("<br>"), sep=" ") == "&lt; <br>"
    assert tag("img", src="s") == '<img src="s">'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, NOTHING),
        (0.8125, "0.812"),
        (1204, "1,204"),
        (float("nan"), NOTHING),
        (True, "yes"),
        ("a", "a"),
    ],
)
def test_numbers_are_written_for_people(value, text):
    assert number(value) == text
