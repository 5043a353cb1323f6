import random
import tomllib

import pytest

from cellulus.experiment.positions import line_of, positions

DOCUMENT = '''\
# a comment with [[brackets]] and = signs
format = 1            # [not.a.table]
"quoted key" = "x # = ] }"
a.b.c = 'dotted # literal'
text = """
[[fake]]
also = "fake" \\"""
still text"""
more = \'\'\'
key = 1
\'\'\'
after = [   # items
  1.5, [2,
  3], # nested
  {x = 1, y = {z = "}"}},
]

[data]
empty = ""
time = 1979-05-27 07:32:32
[[data.train]]
image = "a"
[[data.train]]
image = "b"
  [data.train.inner]
  deep = true
  [[data.train.more]]
  k = 1
  [[data.train.more]]
  k = 2
[[data.train]]
image = "c"'''


def test_lines_in_a_document_with_every_kind_of_key():
    assert tomllib.loads(DOCUMENT)["more"] == "key = 1\n", "test invalid"
    lines = positions(DOCUMENT)
    expected = {
        ("format",): 2,
        ("quoted key",): 3,
        ("a",): 4,
        ("a", "b", "c"): 4,
        ("text",): 5,
        ("more",): 9,
        ("after",): 12,
        ("after", 0): 13,
        ("after", 1, 1): 14,
        ("after", 2, "y", "z"): 15,
        ("data",): 18,
        ("data", "time"): 20,
        ("data", "train"): 21,
        ("data", "train", 0, "image"): 22,
        ("data", "train", 1): 23,
        ("data", "train", 1, "image"): 24,
        ("data", "train", 1, "inner", "deep"): 26,
        ("data", "train", 1, "more", 1, "k"): 30,
        ("data", "train", 2, "image"): 32,
    }
    assert {key: lines.get(key) for key in expected} == expected


def keys_of(value, key=()):
    """Every key of a parsed document: the oracle of which keys must have a line."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, item in items:
        yield (*key, name)
        if isinstance(item, dict | list):
            yield from keys_of(item, (*key, name))


def test_every_key_has_a_line_and_no_line_has_a_made_up_key():
    assert set(positions(DOCUMENT)) == set(keys_of(tomllib.loads(DOCUMENT)))


@pytest.mark.parametrize("seed", range(20))
def test_random_documents(seed):
    """Documents are written line by line, so that the line of each key is known."""
    rng = random.Random(seed)
    text, expected = [], {}
    for section in range(rng.randrange(1, 5)):
        count = rng.randrange(0, 3)
        for table in range(max(count, 1)):
            text += ["# [x]"] * rng.randrange(3)
            text.append(f"[[s{section}]]" if count else f"[s{section}]")
            key = (f"s{section}", table) if count else (f"s{section}",)
            expected[key] = len(text)
            for number in range(rng.randrange(4)):
                value = rng.choice(
                    ['"a = [b"', "[1, 2]", "{ q = 1 }", "[\n1,\n2\n]", '"""\n[[x]]"""']
                )
                text += f"k{number} = {value}".split("\n")
                expected[(*key, f"k{number}")] = len(text) - value.count("\n")
    document = "\n".join(text)
    lines = positions(document)
    assert {key: lines[key] for key in expected} == expected
    assert set(lines) == set(keys_of(tomllib.loads(document)))


def test_windows_line_ends():
    assert positions("a = 1\r\n[b]\r\nc = 2\r\n")["b", "c"] == 3


def test_a_missing_key_is_found_at_the_table_around_it():
    lines = positions(DOCUMENT)
    assert line_of(lines, ("data", "train", 1, "truth")) == 23
    assert line_of(lines, ("nowhere",)) is None
