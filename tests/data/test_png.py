"""Which channels a PNG has."""

import imagecodecs
import numpy as np
import PIL.Image
import pytest

from cellulus.data import readers
from cellulus.errors import InputError

GRAY = np.random.default_rng(0).integers(0, 255, (9, 8)).astype(np.uint8)


def _save(folder, data, mode=None):
    image = PIL.Image.fromarray(data)
    (image.convert(mode) if mode else image).save(folder / "a.png")
    return folder / "a.png"


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
def test_equal_colours_are_one_channel(tmp_path, mode):
    (volume,) = readers.open_volumes(_save(tmp_path, GRAY, mode))
    assert np.array_equal(volume.read()[0], GRAY)


def test_different_colours_are_three(tmp_path):
    data = np.stack([GRAY, GRAY // 2, GRAY // 3, GRAY], axis=-1)
    path = _save(tmp_path, data)
    with pytest.raises(InputError, match="0 'red', 1 'green', 2 'blue'"):
        readers.open_volumes(path)
    (volume,) = readers.open_volumes(path, channels=("green", "blue"))
    assert np.array_equal(volume.read(), [GRAY // 2, GRAY // 3])


def test_bits(tmp_path):
    (volume,) = readers.open_volumes(_save(tmp_path, GRAY > 100))
    assert np.array_equal(volume.read()[0], GRAY > 100)


def test_a_rewritten_file_is_read_anew(tmp_path):
    assert readers.open_volumes(_save(tmp_path, GRAY))[0].read().max() > 0
    assert readers.open_volumes(_save(tmp_path, GRAY * 0))[0].read().max() == 0


@pytest.mark.parametrize("bands", [3, 4, 2])
def test_colours_of_16_bits_are_refused_not_reduced(tmp_path, bands):
    data = np.random.default_rng(0).integers(0, 2**16, (9, 8, bands)).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(data))
    with pytest.raises(InputError, match="TIFF"):
        readers.open_volumes(tmp_path / "a.png")
