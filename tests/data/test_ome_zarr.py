"""OME-Zarr by other hands: any legal axes, units and places, and what is illegal."""

import shutil

import numpy as np
import pytest
import zarr

from cellulus.data import readers
from cellulus.errors import CellulusError, InputError, MissingError, StorageError
from cellulus.space import VoxelSize

TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
DATA = np.random.default_rng(0).integers(0, 99, (2, 3, 4, 5, 6)).astype(np.uint8)


def make(
    path, axes="zyx", *, scales=None, units="micrometer", version="0.5", omero=None, more=None
):
    """Write an image by hand; `more` replaces parts of the multiscale."""
    form = {"0.4": 2, "0.5": 3}[version]
    group = zarr.open_group(path, mode="w", zarr_format=form)
    data = DATA[tuple(slice(None) if a in axes else 0 for a in "tczyx")]
    data = data.transpose([sorted(axes, key="tczyx".find).index(a) for a in axes])
    units = units if isinstance(units, dict) else dict.fromkeys("zyx", units)
    listed = [
        {"name": a, "type": TYPES[a]} | ({"unit": units[a]} if units.get(a) else {}) for a in axes
    ]
    datasets = []
    for k, scale in enumerate(scales or [[1.0] * len(axes)]):
        group.create_array(f"s{k}", data=data[..., :: 2**k, :: 2**k])
        step = {"type": "scale", "scale": scale}
        datasets.append({"path": f"s{k}", "coordinateTransformations": [step]})
    multiscale = {"axes": listed, "datasets": datasets, **(more or {})}
    inner = {"multiscales": [multiscale]} | ({"omero": omero} if omero else {})
    if version == "0.4":
        multiscale["version"] = "0.4"
        group.attrs.update(inner)
    else:
        group.attrs["ome"] = {"version": "0.5", **inner}
    return path, data


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    "axes", ["yx", "xy", "zyx", "xyz", "cyx", "tyx", "czyx", "tcyx", "tczyx", "tcxyz"]
)
def test_any_legal_order_of_axes(tmp_path, version, axes):
    path, data = make(tmp_path / "a.zarr", axes, version=version)
    volumes = readers.open_volumes(path, channels=(0, 2) if "c" in axes else ())
    canonical = data.transpose([axes.index(a) for a in "tczyx" if a in axes])
    canonical = canonical if "t" in axes else canonical[None]
    canonical = canonical[:, [0, 2]] if "c" in axes else canonical[:, None]
    assert np.array_equal(np.stack([v.read() for v in volumes]), canonical)


@pytest.mark.parametrize(
    ("units", "size"),
    [
        ("micrometer", VoxelSize((1000.0, 500.0, 500.0), "um")),
        ("nanometer", VoxelSize((1.0, 0.5, 0.5), "um")),
        ("", VoxelSize((1000.0, 500.0, 500.0))),
        ("pixel", VoxelSize((1000.0, 500.0, 500.0))),
        (
            {"z": "micrometer", "y": "nanometer", "x": "nanometer"},
            VoxelSize((1000.0, 0.5, 0.5), "um"),
        ),
        ({"y": "nanometer", "x": "nanometer"}, VoxelSize((1000.0, 500.0, 500.0))),
    ],
)
def test_units_become_micrometres(tmp_path, units, size):
    path, _ = make(tmp_path / "a.zarr", scales=[[1000.0, 500.0, 500.0]], units=units)
    found = readers.open_volumes(path)[0].voxel_size
    assert found.unit == size.unit
    assert found.values == pytest.approx(size.values)


def test_levels_and_shared_transformations(tmp_path):
    path, data = make(
        tmp_path / "a.zarr",
        scales=[[2.0, 1.0, 1.0], [2.0, 2.0, 2.0]],
        more={"coordinateTransformations": [{"type": "scale", "scale": [0.5, 0.5, 0.5]}]},
    )
    assert readers.levels(path) == [
        ((4, 5, 6), VoxelSize((1.0, 0.5, 0.5), "um")),
        ((4, 3, 3), VoxelSize((1.0, 1.0, 1.0), "um")),
    ]
    (volume,) = readers.open_volumes(path, level=1, voxel_size=(4.0, 3.0, 3.0))
    assert volume.voxel_size == VoxelSize((4.0, 6.0, 6.0), "um")
    assert np.array_equal(volume.read()[0], data[:, ::2, ::2])


def test_channels_by_name(tmp_path):
    names = [{"label": "DAPI"}, {"label": "membrane"}, {"label": "membrane"}]
    path, data = make(tmp_path / "a.zarr", "cyx", omero={"channels": names})
    (volume,) = readers.open_volumes(path, channels=("DAPI", 2))
    assert np.array_equal(volume.read(), data[[0, 2]])
    with pytest.raises(InputError, match="0 'DAPI', 1 'membrane', 2 'membrane'"):
        readers.open_volumes(path)
    with pytest.raises(InputError, match="membrane"):
        readers.open_volumes(path, channels=("membrane",))


@pytest.mark.parametrize("omero", [{"channels": "all"}, {"channels": [1, 2]}, ["x"]])
def test_a_damaged_courtesy_does_no_harm(tmp_path, omero):
    path, _ = make(tmp_path / "a.zarr", "cyx", omero=omero)
    assert readers.open_volumes(path, channels=(1,))


def test_one_plane_is_two_dimensional(tmp_path):
    path, _ = make(tmp_path / "a.zarr")
    zarr.open_group(path)["s0"].resize((1, 5, 6))
    (volume,) = readers.open_volumes(path)
    assert volume.shape == (5, 6)
    assert volume.voxel_size == VoxelSize((1.0, 1.0), "um")


def test_images_of_a_container(tmp_path):
    box = tmp_path / "box.zarr"
    zarr.open_group(box, mode="w", zarr_format=3)
    for name in ("10", "9"):
        make(box / name)
    zarr.open_group(box / "OME", mode="w", zarr_format=3)
    assert readers.expand(box / "*") == [str(box / "9"), str(box / "10")]
    assert readers.open_volumes(box / "9")[0].name == "box_9"
    with pytest.raises(InputError, match="a group of images: 10, 9"):
        readers.open_volumes(box)
    with pytest.raises(MissingError):
        readers.open_volumes(box / "11")
    with pytest.raises(InputError, match="array"):
        readers.open_volumes(box / "9" / "s0")
    with pytest.raises(InputError, match="without"):
        readers.open_volumes(box / "OME")


def test_urls_pass_through(tmp_path):
    path, data = make(tmp_path / "a.zarr")
    (volume,) = readers.open_volumes(f"file://{path}")
    assert volume.name == "a"
    assert np.array_equal(volume.read()[0], data)
    assert readers.expand(f"file://{path}") == [f"file://{path}"]
    assert readers.expand(f"file://{tmp_path}/*.zarr") == [f"file://{path}"]
    with pytest.raises(CellulusError, match="none"):
        readers.open_volumes(f"file://{tmp_path}/none.zarr")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"datasets": []}, "datasets"),
        ({"axes": [{"name": "y", "type": "space"}]}, "axes"),
        ({"axes": [{"name": a, "type": "space"} for a in "yx"]}, "axes"),
        ({"axes": [{"name": a, "type": "space"} for a in "zy?"]}, "named z, y and x"),
        ({"axes": [{"name": a, "type": "space"} for a in "yyx"]}, "axes"),
    ],
)
def test_illegal_metadata_are_refused(tmp_path, change, match):
    path, _ = make(tmp_path / "a.zarr", more=change)
    with pytest.raises(InputError, match=match):
        readers.open_volumes(path)


def test_metadata_that_contradict_the_arrays_are_refused(tmp_path):
    path, _ = make(tmp_path / "a.zarr", scales=[[1.0] * 3, [1.0, 2.0, 2.0]])
    group = zarr.open_group(path)
    group.create_array("s1", data=np.zeros((3, 3)), overwrite=True)
    with pytest.raises(InputError, match=r"s1.*3 dimensions"):
        readers.open_volumes(path)
    shutil.rmtree(path / "s1")
    with pytest.raises(InputError, match="'s1'"):
        readers.open_volumes(path)


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_impossible_voxel_sizes_are_refused(tmp_path, scale):
    path, _ = make(tmp_path / "a.zarr", scales=[[scale, 1.0, 1.0]])
    with pytest.raises(InputError, match="positive"):
        readers.open_volumes(path)


def test_a_damaged_chunk_is_a_storage_error(tmp_path):
    path, _ = make(tmp_path / "a.zarr")
    (volume,) = readers.open_volumes(path)
    (chunk,) = (p for p in (path / "s0" / "c").rglob("*") if p.is_file())
    chunk.write_bytes(b"rubbish")
    with pytest.raises(StorageError, match=r"a\.zarr"):
        volume.read()


def test_expand_sorts_naturally_and_says_when_there_is_nothing(tmp_path):
    for name in ("t10.png", "t9.png", "t9.txt"):
        (tmp_path / name).touch()
    assert readers.expand(tmp_path / "*") == [str(tmp_path / n) for n in ("t9.png", "t10.png")]
    for nothing in ("*.tif", "t1.png"):
        with pytest.raises(MissingError):
            readers.expand(tmp_path / nothing)


def test_a_level_of_one_plane_is_listed_as_it_opens(tmp_path):
    path, _ = make(tmp_path / "a.zarr", scales=[[1.0] * 3, [4.0, 2.0, 2.0]])
    zarr.open_group(path)["s1"].resize((1, 3, 3))
    assert readers.levels(path)[1] == ((3, 3), VoxelSize((2.0, 2.0), "um"))
    assert readers.open_volumes(path, level=1)[0].shape == (3, 3)
