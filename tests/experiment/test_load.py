import pickle
from pathlib import Path

import pytest

from cellulus.errors import CellulusError, InputError, MissingError, StorageError
from cellulus.experiment.faults import ExperimentError
from cellulus.experiment.load import load, parse
from cellulus.space import Length

GOOD = '[[data.train]]\nimage = "a.tif"\n'

BAD = """\
format = 1
sed = 3
[data]
object_diameter = "9.6 parsec"
percentiles = [99, 1]
[[data.train]]
image = "a.tif"
[[data.train]]
imag = "b.tif"
[network]
features = 0
learning_rate = 1e-3
depth = true
[train]
learning_rte = 1
steps = "2000"
crop = 2
[method]
foreground = "x"
[evaluate]
iou = [
  0.5,
  1.5]
"""


def faults(text, *overrides):
    with pytest.raises(ExperimentError) as caught:
        parse(text, source="bad.toml", base=Path(), overrides=overrides)
    return caught.value.faults


def only(text, *overrides):
    (fault,) = faults(text, *overrides)
    return fault


def test_all_faults_at_once_each_at_its_line():
    found = {(f.where, f.key) for f in faults(BAD)}
    assert found == {
        ("bad.toml:2", "sed"),
        ("bad.toml:4", "data.object_diameter"),
        ("bad.toml:5", "data.percentiles"),
        ("bad.toml:8", "data.train.1.image"),
        ("bad.toml:9", "data.train.1.imag"),
        ("bad.toml:11", "network.features"),
        ("bad.toml:12", "network.learning_rate"),
        ("bad.toml:13", "network.depth"),
        ("bad.toml:15", "train.learning_rte"),
        ("bad.toml:16", "train.steps"),
        ("bad.toml:17", "train.crop"),
        ("bad.toml:19", "method.foreground"),
        ("bad.toml:23", "evaluate.iou.1"),
    }


def test_faults_come_in_the_order_of_their_lines():
    lines = [int(fault.where.split(":")[1]) for fault in faults(BAD)]
    assert lines == sorted(lines)


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("[train]\nlearning_rte = 1", "learning_rate"),
        ("[method]\nradus = 1", "radius"),
        ("sed = 1", "seed"),
        ("[trian]\nsteps = 3", "train"),
        ("[network]\nlearning_rate = 1e-3", "train.learning_rate"),
        ("[segment]\nqqqq = 1", ""),
    ],
)
def test_the_nearest_valid_key(text, nearest):
    fault = only(f"{text}\n{GOOD}")
    assert fault.nearest == nearest
    assert (f"did you mean '{nearest}'?" in str(fault)) == bool(nearest)


def test_an_unknown_key_in_the_second_table():
    fault = only('[[data.apply]]\nimage = "a"\n\n[[data.apply]]\nimage = "b"\ntruht = "c"\n')
    assert (fault.where, fault.nearest) == ("bad.toml:6", "truth")


@pytest.mark.parametrize(
    ("text", "expected", "found"),
    [
        ("[train]\nsteps = 2.5", "a whole number", "2.5"),
        ("[train]\nsteps = true", "a whole number", "true"),
        ('[train]\nlearning_rate = "fast"', "a number", '"fast"'),
        ("[train]\nlearning_rate = nan", "a finite number", "NaN"),
        ("[train]\nlearning_rate = 0", "a number above 0", "0"),
        ('[train]\ncrop = "big"', "a whole number or 'auto'", '"big"'),
        ("[train]\ncrop = 3", "a number of at least 4 or 'auto'", "3"),
        ("[train]\nprecision = 16", "'auto', 'fp32' or 'bf16'", "16"),
        ("[postprocess]\nfill_holes = 1", "true or false", "1"),
        ("[method]\npasses = 3", "a multiple of 2", "3"),
        ("[evaluate]\niou = []", "at least 1 items", "[]"),
        ("[evaluate]\niou = 0.5", "a list", "0.5"),
        ("[data]\nvoxel_size = [1.0]", "two extents (y, x) or three (z, y, x)", "[1.0]"),
        ("[train]\nsteps = 1979-05-27", "a whole number", '"1979-05-27"'),
        ("train = 3", "a table", "3"),
    ],
)
def test_what_was_expected_and_what_was_found(text, expected, found):
    fault = only(f"{text}\n{GOOD}")
    assert (fault.expected, fault.found) == (expected, found)
    assert fault.where.startswith("bad.toml:")


def test_a_table_where_tables_are_listed():
    fault = only('[data.apply]\nimage = "a.tif"\n')
    assert fault.expected == "a list of tables, each headed [[data.apply]]"


def test_an_absurd_diameter():
    for value in ('"0 um"', "-3", "true", '"12 miles"', '""', "[1]"):
        fault = only(f"[data]\nobject_diameter = {value}\n{GOOD}")
        assert fault.key == "data.object_diameter"


def test_no_images():
    fault = only("seed = 1")
    assert (fault.key, fault.where) == ("data", "bad.toml")


def test_a_crop_below_the_view_of_the_network():
    text = "[network]\ndepth = 2\n[train]\ncrop = 43\n"
    fault = only(f"{text}{GOOD}")
    assert (fault.where, fault.key) == ("bad.toml:4", "train.crop")
    assert "44" in fault.expected
    parse(f"{text}{GOOD}", source="", base=Path(), overrides=["train.crop=44"])


def test_orientations_of_a_method_without_them():
    fault = only(GOOD, "predict.tta=true")
    assert (fault.where, fault.key) == ("--set predict.tta=true", "predict.tta")
    assert fault.expected.startswith("false")
    assert fault.found == "true with object_centric"
    assert parse(GOOD, source="", base=Path(), overrides=["predict.tta=false"])


@pytest.mark.parametrize("what", ["points", "foreground"])
def test_points_of_a_method_without_them(what):
    text = f'[[data.train]]\nimage = "a.tif"\n{what} = "b.csv"\n'
    fault = only(text)
    assert (fault.where, fault.key) == ("bad.toml:3", f"data.train.0.{what}")
    assert fault.expected == "method.name = 'point_marker', which makes use of it"
    made = parse(text, source="", base=Path("/base"), overrides=['method.name="point_marker"'])
    assert getattr(made.data.train[0], what) == "/base/b.csv"


@pytest.mark.parametrize("what", ["marker", "cell"])
def test_a_role_of_a_channel_that_is_not_used(what):
    fault = only(GOOD, 'data.channels=["DAPI", 2]', f'data.{what}="membrane"')
    assert fault.key == f"data.{what}"
    assert "'DAPI', 2" in fault.expected
    assert fault.found == "'membrane'"
    assert only(GOOD, f"data.{what}=1").found == "1"
    parse(GOOD, source="", base=Path(), overrides=['data.channels=["DAPI", 2]', f"data.{what}=2"])


def test_a_largest_size_below_the_smallest():
    assert only(GOOD, "postprocess.max_size=1", "postprocess.min_size=2").key.endswith("max_size")


def test_overrides_change_any_setting():
    experiment = parse(
        GOOD,
        source="x.toml",
        base=Path("/base"),
        overrides=[
            "seed=7",
            "train.learning_rate=1",
            "train.precision=bf16",
            "data.object_diameter=9.6 um",
            "data.channels=['DAPI', 1]",
            "data.train.0.image=c.tif",
            "data.train.1.image='d.tif'",
            "data.apply.0.image=s3://bucket/e.zarr",
            "train.steps = 5",
        ],
    )
    assert experiment.seed == 7
    assert experiment.train.steps == 5
    assert experiment.train.precision == "bf16"
    assert experiment.data.object_diameter == Length(9.6, "um")
    assert experiment.data.channels == ("DAPI", 1)
    assert [entry.image for entry in experiment.data.train] == ["/base/c.tif", "/base/d.tif"]
    assert experiment.data.apply[0].image == "s3://bucket/e.zarr"


def test_a_fault_of_an_override_is_reported_as_such():
    found = {
        str(fault).split("  ")[0]
        for fault in faults(
            GOOD,
            "train.elastic=-1",
            "train.learning_rte=1",
            "data.train.0.image=7",
            "data.train.5.image=x",
            "data.train.image=x",
            "seed.x=1",
            "nonsense",
            "=3",
            "predict.tile=10\nseed=5",
        )
    }
    assert found == {
        "--set train.elastic=-1",
        "--set train.learning_rte=1",
        "--set data.train.0.image=7",
        "--set data.train.5.image=x",
        "--set data.train.image=x",
        "--set nonsense",
        "--set =3",
        "--set predict.tile=10\nseed=5",
        "--set seed.x=1",
    }


def test_the_last_override_wins():
    text = f"[train]\nsteps = 0\n{GOOD}"
    experiment = parse(text, source="", base=Path(), overrides=["train.steps=x", "train.steps=3"])
    assert experiment.train.steps == 3


@pytest.mark.parametrize(
    ("text", "line"),
    [("a = 1\nb = = 2", 2), ("a = 1\na = 2\n", 2), ("a = [1,\n2\nc = 3", 3), ('a = "x\n', 1)],
)
def test_what_is_no_toml(text, line):
    fault = only(text)
    assert (fault.where, fault.key, fault.expected) == (f"bad.toml:{line}", "", "TOML")


def test_lists_nested_too_deeply():
    assert only(f"a = {'[' * 100_000}").expected == "TOML"


def test_paths_become_absolute_without_looking_at_the_disk(tmp_path):
    file = tmp_path / "deep" / "x.toml"
    file.parent.mkdir()
    file.write_text(
        '[[data.train]]\nimage = "../images/*.tif"\nmasks = "../masks/*.tif"\nignore = "i.png"\n'
        '[[data.apply]]\nimage = "/else/a.tif"\ntruth = "b.tif"\n'
        '[[data.apply]]\nimage = "https://host/c.zarr"\n'
    )
    data = load(file).data
    assert data.train[0].image == str(tmp_path / "images" / "*.tif")
    assert data.train[0].masks == str(tmp_path / "masks" / "*.tif")
    assert data.train[0].ignore == str(file.parent / "i.png")
    assert [entry.image for entry in data.apply] == ["/else/a.tif", "https://host/c.zarr"]
    assert [entry.truth for entry in data.apply] == [str(file.parent / "b.tif"), None]


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(MissingError, match="nothing there"):
        load(tmp_path / "none.toml")
    with pytest.raises(InputError, match="a folder"):
        load(tmp_path)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"a = 1\nb = '\xff\xfe'\n")
    with pytest.raises(ExperimentError, match=r"binary\.toml:2"):
        load(binary)


def test_a_file_without_permission_to_read_it(tmp_path, monkeypatch):
    file = tmp_path / "x.toml"
    file.write_text(GOOD)

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(StorageError, match="Permission denied"):
        load(file)


def test_a_byte_order_mark_is_no_fault(tmp_path):
    file = tmp_path / "x.toml"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load(file).data.train


def test_the_error_is_data_and_survives_pickling():
    with pytest.raises(CellulusError) as caught:
        parse(BAD, source="bad.toml", base=Path())
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.faults == caught.value.faults
    assert isinstance(again, ValueError)
    assert again.exit_code == 2


def test_what_is_ignored_is_part_of_masks():
    fault = only(
        '[[data.train]]\nimage = "a"\nmasks = "b"\nignore = "c"\n\n'
        '[[data.train]]\nimage = "a"\nignore = "c"\n'
    )
    assert (fault.where, fault.key) == ("bad.toml:8", "data.train.1.ignore")


def test_a_label_that_is_ignored_is_a_number():
    fault = only(f"[data]\nignore_label = 1.5\n{GOOD}")
    assert fault.key == "data.ignore_label"
