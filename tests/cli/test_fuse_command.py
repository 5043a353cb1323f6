"""``--fuse``: predict hands on to the sweep, and run leaves a page without embeddings."""

from pathlib import Path

import numpy as np
import pytest

from cellulus.cli import main
from cellulus.data.readers import open_volumes


def test_predict_fused_prints_labels_that_segment_would_have_made(place, capsys):
    assert main(["train", "x.toml", "-o", "runs/x", "-d", "cpu"]) == 0
    assert main(["predict", "x.toml", "-o", "runs/x", "-d", "cpu"]) == 0
    assert main(["segment", "x.toml", "-o", "runs/x"]) == 0
    capsys.readouterr()
    assert main(["predict", "a.png", "-m", "runs/x", "-o", "runs/y", "-d", "cpu", "--fuse"]) == 0
    printed = Path(capsys.readouterr().out.strip())
    assert printed == Path("runs/y/segments/a.zarr")
    found, expected = (open_volumes(path)[0].read() for path in (printed, "runs/x/segments/a.zarr"))
    assert np.array_equal(found, expected)


def test_run_fused_goes_to_the_end(place, capsys):
    assert main(["run", "x.toml", "-d", "cpu", "--fuse", "--resume"]) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page.exists()
    assert main(["run", "x.toml", "-d", "cpu", "--fuse", "--resume"]) == 0
    assert main(["segment", "x.toml", "--overwrite"]) == 2
    assert "dropped" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["clustering=meanshift", "foreground=uncertainty"])
def test_a_method_that_needs_the_whole_is_bad_usage(place, capsys, change):
    assert main(["train", "x.toml", "-o", "runs/x", "-d", "cpu", "--set", f"method.{change}"]) == 0
    assert main(["predict", "runs/x", "-d", "cpu", "--fuse"]) == 2
    assert "--fuse" in capsys.readouterr().err
