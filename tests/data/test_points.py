"""Points as the programs write them that cells are marked with, and what is said of bad ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cellulus.data.points import Points, read_points, write_points
from cellulus.data.volume import Volume
from cellulus.errors import CellulusError, InputError, MissingError, StorageError
from cellulus.ops.measures import measure_objects
from cellulus.pipeline.objects import ObjectTable
from cellulus.space import VoxelSize

SHAPE = (20, 40, 60)
SIZE = (2.0, 0.5, 0.25)

NAPARI = "index,axis-0,axis-1,axis-2\n0.0,3.25,10.5,20.125\n1.0,4.0,11.0,59.0\n"
NAMES = "LABEL,ID,TRACK_ID,QUALITY,POSITION_X,POSITION_Y,POSITION_Z,POSITION_T,FRAME,RADIUS"
TRACKMATE = (
    f"{NAMES}\n"
    "Label,Spot ID,Track ID,Quality,X,Y,Z,T,Frame,Radius\n"
    "Label,Spot ID,Track ID,Quality,X,Y,Z,T,Frame,R\n"
    ",,,(quality),(micron),(micron),(micron),(sec),,(micron)\n"
    "ID282628,282628,2,298.0895081,5.0,5.25,6.5,0.0,0,0.4\n"
    "ID200706,200706,,609.3094482,14.75,5.5,8.0,0.0,0,0.4\n"
)


@pytest.fixture
def write(tmp_path):
    def file(text, encoding="utf-8"):
        path = tmp_path / "points.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return file


def volume(axes="zyx", size=SIZE, time=0, **extents):
    """An image of no intensities, with an extent for each axis."""
    extents = dict(zip("zyx", SHAPE, strict=True)) | extents
    array = np.zeros([extents[a] for a in axes], np.uint8)
    unit = VoxelSize(size, "um") if size else VoxelSize((1.0,) * len(set(axes) & set("zyx")))
    made = Volume(name="embryo", array=array, axes=axes, voxel_size=unit, time=time)
    assert made.ndim == made.voxel_size.ndim
    return made


def plane(**kwargs):
    return volume("yx", **{"size": SIZE[1:], **kwargs})


def test_what_was_written_reads_back(tmp_path):
    rng = np.random.default_rng(0)
    points = Points(rng.random((50, 3)) * (np.array(SHAPE) - 1), rng.permutation(90)[:50])
    path = tmp_path / "markers" / "embryo.csv"
    strengths = rng.random(50, np.float32)
    strengths[3] = np.nan
    write_points(path, points, {"strength": strengths, "number": np.arange(50)})
    found = read_points(path, volume())
    assert found.positions.dtype == np.float64
    assert found.ids.dtype == np.int64
    assert np.array_equal(found.positions, points.positions)
    assert np.array_equal(found.ids, points.ids)
    lines = path.read_text().splitlines()
    assert lines[0] == "label,z,y,x,strength,number"
    assert lines[4].endswith(",,3")
    assert np.float32(lines[1].split(",")[4]) == strengths[0]
    first = path.read_bytes()
    write_points(path, points, {"strength": strengths, "number": np.arange(50)})
    assert path.read_bytes() == first
    assert [file.name for file in path.parent.iterdir()] == ["embryo.csv"]


places = arrays.arrays(
    np.float64,
    st.tuples(st.integers(0, 9), st.sampled_from([2, 3])),
    elements=st.floats(-0.5, 19.4, allow_subnormal=True),
)


@settings(max_examples=60)
@given(places)
def test_every_number_reads_back_to_its_last_digit(tmp_path_factory, positions):
    path = tmp_path_factory.getbasetemp() / "round.csv"
    write_points(path, Points.of(positions))
    found = read_points(path, volume() if positions.shape[1] == 3 else plane())
    assert np.array_equal(found.positions, positions)
    assert found.ids.tolist() == list(range(1, len(positions) + 1))
    assert len(found) == len(positions)


@pytest.mark.parametrize(
    "text",
    [
        "label,y,x\n7,1.5,2\n9,3,4\n",
        "\ufefflabel,y,x\r\n7,1.5,2\r\n9,3,4\r\n",
        "label;y;x;note\n7;1.5;2;a,b,c\n9;3;4;\n",
        "x\ty\tlabel\n2\t1.5\t7\n4\t3\t9\n",
        'label,"y","x",name\n7,1.5,2,"a\nb"\n\n9, 3 ,4,c\n,,,\n',
        "z,y,x,label,x_error,y_error\n0,1.5,2,7,1,1\n0,3,4,9,1,1\n",
        "y_um,x_um,label\n0.75,0.5,7\n1.5,1,9\n",
        "y_nm,x_nm,id\n750,500,7\n1500,1000,9\n",
        "y_px,x_px,id\n1.5,2,7\n3,4,9\n",
        "id,start_y_um,start_x_um,centroid_y_um,centroid_x_um,area_um2\n"
        "7,0,0,0.75,0.5,3\n9,1,1,1.5,1,3\n",
        "id,centroid_y_voxel,centroid_x_voxel,start_y_voxel\n7,1.5,2,1\n9,3,4,1\n",
        "index,axis-0,axis-1\n7.0,1.5,2.0\n9.0,3.0,4.0\n",
        "index,axis-0,axis-1,class\n7.0,1.5,2.0,cell\n9.0,3.0,4.0,cell\n",
        " ,Label,ID,POSITION_X,POSITION_Y,POSITION_Z,FRAME\n"
        "1,(ID7),7,0.5,0.75,0,0\n2,ID9,9,1,1.5,0,0\n",
        TRACKMATE.split("ID282628")[0]
        + "ID7,7,2,298.0,0.5,0.75,0,0.0,0,0.4\nID9,9,,609.3,1.0,1.5,0,0.0,0,0.4\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_all_who_mean_the_same_are_read_alike(write, text, encoding):
    found = read_points(write(text, encoding), plane())
    assert found.positions.tolist() == [[1.5, 2], [3, 4]]
    assert found.ids.tolist() == [7, 9]


@pytest.mark.parametrize("size", [SIZE, None])
def test_the_table_of_objects_is_a_table_of_their_centroids(tmp_path, size):
    labels = np.zeros(SHAPE, np.uint32)
    labels[2:5, 3:5, 50:59], labels[9, 39, 0] = 70_000, 3
    image = volume(size=size)
    measures = measure_objects(labels)
    ObjectTable(image.voxel_size).write(tmp_path / "cells.csv", measures)
    found = read_points(tmp_path / "cells.csv", image)
    assert found.ids.tolist() == [3, 70_000]
    assert np.allclose(found.positions, [[9, 39, 0], [3, 3.5, 54]], rtol=0, atol=1e-8)


def test_a_points_layer_of_napari_is_in_voxels(write):
    found = read_points(write(NAPARI), volume())
    assert found.positions.tolist() == [[3.25, 10.5, 20.125], [4, 11, 59]]
    assert found.ids.tolist() == [0, 1]


def test_spots_of_trackmate_are_in_micrometres_along_x_y_z(write):
    found = read_points(write(TRACKMATE), volume())
    assert found.positions.tolist() == [[3.25, 10.5, 20], [4, 11, 59]]
    assert found.ids.tolist() == [282628, 200706]


@pytest.mark.parametrize("unit", ["µm", "\N{GREEK SMALL LETTER MU}m", "um", "microns", "MICRON"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_a_micrometre_has_many_names(write, unit, encoding):
    if unit[0] == "\N{GREEK SMALL LETTER MU}" and encoding == "cp1252":
        encoding = "utf-8"
    found = read_points(write(TRACKMATE.replace("micron", unit), encoding), volume())
    assert found.positions[0].tolist() == [3.25, 10.5, 20]


@pytest.mark.parametrize("size", [SIZE, None])
@pytest.mark.parametrize("unit", ["(pixel)", "(pixels)", "(voxel)"])
def test_spots_in_pixels_are_so_whatever_the_image_is_in(write, size, unit):
    found = read_points(write(TRACKMATE.replace("(micron)", unit)), volume(size=size))
    assert found.positions.tolist() == [[6.5, 5.25, 5], [8, 5.5, 14.75]]


def test_spots_without_units_are_in_what_the_image_is_in(write):
    lines = TRACKMATE.splitlines(keepends=True)
    text = "".join([lines[0], *lines[4:]])
    found = read_points(write(text), volume())
    assert found.positions.tolist() == [[3.25, 10.5, 20], [4, 11, 59]]
    found = read_points(write(text), volume(size=None))
    assert found.positions.tolist() == [[6.5, 5.25, 5], [8, 5.5, 14.75]]


@pytest.mark.parametrize(
    ("text", "ndim"),
    [
        ("label,z,y,x\n", 3),
        ("label,y,x\n\n", 2),
        ("index,axis-0,axis-1", 2),
        ("".join(TRACKMATE.splitlines(keepends=True)[:4]), 3),
        (NAMES, 3),
    ],
)
def test_a_header_alone_is_no_point(write, text, ndim):
    found = read_points(write(text), volume() if ndim == 3 else plane())
    assert found.positions.shape == (0, ndim)
    assert found.ids.shape == (0,)
    assert len(found) == 0


@pytest.mark.parametrize(
    ("axes", "extents", "columns"),
    [
        ("tzyx", {}, "tzyx"),
        ("tczyx", {"c": 2}, "tczyx"),
        ("tczyx", {"c": 2}, "tzyx"),
        ("tczyx", {"c": 1}, "tzyx"),
        ("ctzyx", {"c": 2}, "tzyx"),
        ("tzcyx", {"c": 3}, "tzyx"),
        ("tzcyx", {"c": 3}, "tzcyx"),
        ("tzyx", {"z": 1}, "tzyx"),
        ("tzyx", {"z": 1}, "tyx"),
        ("tczyx", {"c": 3, "z": 1}, "tcyx"),
        ("zyxt", {}, "zyxt"),
    ],
)
def test_of_a_time_series_in_napari_the_points_of_one_time_are_taken(write, axes, extents, columns):
    size = SIZE[1:] if extents.get("z") == 1 else SIZE
    image = volume(axes, size=size, time=1, t=3, **extents)
    rows = [
        {"t": 0, "c": 0, "z": 0, "y": 5, "x": 6},
        {"t": 1, "c": 1, "z": 0, "y": 7, "x": 50},
        {"t": 2, "c": 0, "z": 0, "y": 5, "x": 6},
        {"t": 1, "c": 0, "z": 0, "y": 39, "x": 6},
    ]
    text = "index," + ",".join(f"axis-{i}" for i in range(len(columns))) + "\n"
    for number, row in enumerate(rows):
        text += ",".join(str(float(v)) for v in [number, *(row[a] for a in columns)]) + "\n"
    found = read_points(write(text), image)
    assert found.ids.tolist() == [1, 3]
    expected = [[0, 7, 50], [0, 39, 6]]
    assert found.positions.tolist() == [row[-image.ndim :] for row in expected]


def test_of_a_time_series_in_trackmate_or_ours_the_points_of_one_time_are_taken(write):
    image = volume("tzyx", t=9, time=8)
    text = TRACKMATE.replace(",,609.3094482,14.75,5.5,8.0,0.0,0,", ",,609.3,14.75,5.5,8.0,4.0,8,")
    found = read_points(write(text), image)
    assert found.ids.tolist() == [200706]
    assert found.positions.tolist() == [[4, 11, 59]]
    found = read_points(write("t,z,y,x\n8,1,2,3\n0,1,1,1\n"), image)
    assert found.positions.tolist() == [[1, 2, 3]]
    assert found.ids.tolist() == [1]
    assert len(read_points(write("z,y,x\n1,2,3\n0,1,1\n"), image)) == 2


@pytest.mark.parametrize("axes", ["ctyx", "tcyx", "cyx", "cztyx"])
def test_a_time_axis_of_one_point_may_be_there_or_not(write, axes):
    """Axis 0 is the channel that was clicked in, or the time: every cell is marked once anyway."""
    image = volume(axes, size=SIZE[1:], c=3, t=1, z=1)
    found = read_points(write("index,axis-0,axis-1,axis-2\n4,0,5,6\n9,2,7,8\n"), image)
    assert found.ids.tolist() == [4, 9]
    assert found.positions.tolist() == [[5, 6], [7, 8]]


def test_napari_files_that_leave_a_doubt_are_refused(write):
    # Axis 0 may be the one channel or the one plane: then y would be in another column.
    image = volume("ctzyx", size=SIZE[1:], c=3, t=4, z=1)
    text = "index,axis-0,axis-1,axis-2,axis-3\n0,1,0,5,6\n"
    with pytest.raises(InputError, match="no doubt") as caught:
        read_points(write(text), image)
    assert "axis-3" in caught.value.found
    assert "name the columns" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "image", "expected"),
    [
        (NAPARI, plane(), "along y, x"),
        ("index,axis-0,axis-1\n0,1,2\n", volume(), "along z, y, x"),
        ("index,axis-0,axis-1,axis-2\n0,1,2,3\n", volume("tzyx", t=3), "along t, z, y, x"),
        ("index,axis-1,axis-2\n0,1,2\n", plane(), "along y, x"),
        ("y,x\n1,2\n", volume(), "columns for z, y, x"),
        ("POSITION_X,POSITION_Y\n1,2\n", volume(), "columns for z, y, x"),
    ],
)
def test_axes_that_do_not_fit_are_refused(write, text, image, expected):
    with pytest.raises(InputError) as caught:
        read_points(write(text), image)
    assert expected in caught.value.expected
    assert "embryo" in caught.value.expected
    assert text.split("\n")[0].replace(",", ", ") in caught.value.found


@pytest.mark.parametrize(
    ("text", "expected", "found", "remedy"),
    [
        ("", "header", "an empty file", "label,z,y,x"),
        ("\n\n", "header", "an empty file", "label,z,y,x"),
        ("3,4\n5,6\n", "header", "3, 4", "label,z,y,x"),
        ("1;2.5;3\n", "header", "1, 2.5, 3", "label,z,y,x"),
        ("a,b\n1,2\n", "POSITION_X", "the columns a, b", "name"),
        ("X,Y\n1,2\n", "POSITION_X", "the columns X, Y", "name"),
        ("x\n1\n", "POSITION_X", "the columns x", "name"),
        ("centroid_y,centroid_x\n1,2\n", "POSITION_X", "centroid_y", "name"),
        ("y x\n1 2\n", "POSITION_X", "the columns y x", "name"),
        ("TRACK_ID,TRACK_X_LOCATION\n1,2\n", "POSITION_X", "TRACK_X_LOCATION", "name"),
        ("y_in,x_in\n1,2\n", "um", "'in'", ""),
        (TRACKMATE.replace("micron", "inch"), "um", "'inch' of column POSITION_Z", ""),
        ("y,x,y_um,x_um\n1,2,3,4\n", "once", "y, x and y_um, x_um", "leave one"),
        ("y_um,x_um,centroid_y_um,centroid_x_um\n1,2,3,4\n", "once", "and centroid_y", "leave one"),
        ("index,shape-type,vertex-index,axis-0,axis-1\n", "axis-0", "shapes", "points layer"),
        ("y,x\n1,2\n,3\n4,abc\n", "numbers in y, x", "'' in line 3, 'abc' in line 4", ""),
        ("y,x\n1\n", "numbers in x", "'' in line 2", ""),
        ("y,x\nnan,2\n", "numbers in y", "'nan' in line 2", ""),
        ("y,x\n1,inf\n", "numbers in x", "'inf' in line 2", ""),
        ("y,x\n1,1_0\n", "numbers in x", "'1_0' in line 2", ""),
        ("y,x\n" + "a,1\n" * 9, "numbers in y", "'a' in line 4 and 6 more", ""),
        ('y,x,n\n1,2,"a\nb"\n?,1,\n', "numbers in y", "'?' in line 4", ""),
        ("y;x\n1,5;2,25\n", "numbers", "'1,5' in line 2", "decimals with a point"),
        ('y,x\n"1,5",2\n', "numbers", "'1,5' in line 2", "decimals with a point"),
        ("y,x\n1,5,2,25\n", "2 entries per line", "4 entries in line 2", "decimals with a point"),
        ("y;x\n1;5;2\n", "2 entries per line", "3 entries in line 2", ""),
        ("label,y,x\n1,1,2\n2,3,4\n1,5,6\n", "of its own", "1 in line 2, 1 in line 4", "numbered"),
        ("label,y,x\n1.5,1,2\n", "of its own", "1.5 in line 2", "rename the column label"),
        ("label,y,x\nnucleus,1,2\n", "numbers in label", "'nucleus' in line 2", ""),
        ("z,y,x\n0,1,2\n3,1,2\n", "one plane", "3 in line 3", "belong"),
        ("t,y,x\n0,1,2\n5,1,2\n", "time point 0 alone", "0 to 5 in column t", "belong"),
        ('y,x,"' + "a" * 200_000, "a CSV file", "field larger", ""),
    ],
)
def test_bad_files_are_told_what_is_wrong(write, text, expected, found, remedy):
    path = write(text)
    image = volume() if "inch" in text else plane()
    with pytest.raises(InputError) as caught:
        read_points(path, image)
    error = caught.value
    assert error.where == str(path)
    assert expected in error.expected
    assert found in error.found
    assert remedy in error.remedy
    assert bool(remedy) == bool(error.remedy)


def test_something_else_than_text_is_shown_no_bytes_of(tmp_path):
    path = tmp_path / "image.csv"
    path.write_bytes(bytes(range(256)) * 9)
    with pytest.raises(InputError) as caught:
        read_points(path, plane())
    assert str(caught.value).isprintable()


def test_lengths_need_a_voxel_size(write):
    for text in (TRACKMATE, "z_um,y_um,x_um\n1,2,3\n"):
        with pytest.raises(InputError, match="voxel size of embryo is not known") as caught:
            read_points(write(text), volume(size=None))
        assert "data.voxel_size" in caught.value.remedy


def test_absent_files_and_folders_are_told(tmp_path):
    with pytest.raises(MissingError, match=r"none\.csv"):
        read_points(tmp_path / "none.csv", plane())
    with pytest.raises(StorageError):
        read_points(tmp_path, plane())


def test_the_middle_of_a_voxel_is_where_its_number_is(write):
    inside = "y,x\n-0.5,0\n39.49,59.49\n"
    assert len(read_points(write(inside), plane())) == 2
    for place in ("-0.51,0", "0,-0.51", "39.5,0", "0,59.5"):
        with pytest.raises(InputError, match="1 of 3 points outside"):
            read_points(write(f"{inside}{place}\n"), plane())


@pytest.mark.parametrize(
    ("text", "image", "found", "remedy"),
    [
        ("y,x\n1,2\n3,90\n", plane(), "1 of 2 points outside: (3, 90) in line 3", "remove them"),
        ("y,x\n55,2\n45,30\n", plane(), "2 of 2", "all of them would be inside if their order"),
        ("y,x\n55,2\n45,3\n2,50\n3,50\n", plane(), "2 of 4", "remove them"),
        ("y,x\n55,2\n45,3\n1,1\n9,59\n51,8\n", plane(), "3 of 5", "most of them would be inside"),
        ("z,y,x\n59,2,3\n45,30,9\n", volume(), "2 of 2", "order were x, y, z"),
        ("index,axis-0,axis-1,axis-2\n0,59,2,3\n", volume(), "(59, 2, 3)", "order were x, y, z"),
        (
            "z,y,x\n20,19.5,14\n",
            volume(z=12),
            "1 of 1",
            "if they were in um: name the columns z_um, y_um, x_um",
        ),
        (
            "z_um,y_um,x_um\n10,39,58\n",
            volume(),
            "(5, 78, 232)",
            "if they were in voxels: name the columns z, y, x",
        ),
        ("z,y,x\n30,39,58\n", volume(size=None), "1 of 1", "remove them"),
    ],
)
def test_points_outside_are_told_what_they_would_fit(write, text, image, found, remedy):
    with pytest.raises(InputError) as caught:
        read_points(write(text), image)
    assert found in caught.value.found
    assert remedy in caught.value.remedy
    extent = ", ".join(map(str, image.shape))
    assert f"({extent}) voxels" in caught.value.expected


def test_times_that_the_image_has_not_are_refused(write):
    for time in (-1, 3):
        with pytest.raises(InputError, match="from 0 to 2") as caught:
            read_points(write(f"t,y,x\n0,1,1\n{time},1,1\n"), volume("tyx", size=SIZE[1:], t=3))
        assert "column t" in caught.value.found


def test_points_at_other_times_may_be_anywhere(write):
    text = "t,y,x\n0,1,2\n1,900,900\n"
    image = volume("tyx", size=SIZE[1:], t=2)
    assert len(read_points(write(text), image)) == 1
    later = volume("tyx", size=SIZE[1:], t=2, time=1)
    with pytest.raises(InputError, match="line 3"):
        read_points(write(text), later)


@settings(max_examples=150)
@given(st.text(alphabet='xyzt,;\t\n"0123456789.-_()umXYaxis', max_size=60))
def test_no_text_breaks_the_reader(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "noise.csv"
    path.write_bytes(text.encode())
    try:
        found = read_points(path, plane())
    except CellulusError:
        return
    assert np.isfinite(found.positions).all()
    assert found.positions.shape == (len(found.ids), 2)
