"""Estimates against what processes really took; `benchmarks/memory.py` does it at full size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cellulus

BENCHMARKS = Path(cellulus.__file__).parents[2] / "benchmarks"
ROWS = {"predict": "tile 256", "survey": "block 512", "segment": "block 512"}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are read from /proc")
@pytest.mark.parametrize("step", ROWS)
def test_a_process_takes_what_was_estimated_or_little_less(step, tmp_path):
    source = str(Path(cellulus.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "memory.py"), str(tmp_path), "--quick", "--only", step],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": source},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert row["what"].startswith(ROWS[step])
    assert row["peak"] <= row["at_most"] <= 1.6 * row["peak"]
    assert row["base"] < 0.95 * row["peak"], "the work itself is in what was measured"
