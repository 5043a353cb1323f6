"""Segments in child processes that are killed at random moments, until one comes to its end.

Called with a folder that holds ``experiment.json`` and a run, the number of kills, and the number
of workers (0 for none); tells what was done how often as JSON. A file of its own, so that what
takes long to import is imported once.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

from cellulus.blocks import cluster, jobs
from cellulus.experiment.sections import Experiment
from cellulus.pipeline.segment import segment
from cellulus.runs import Run

FOLDER, KILLS, WORKERS = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
RUN = Run(FOLDER / "run")
BLOCKS = 32
"""Of all stages but the pyramid."""

_open = jobs._Noted.open


def _open_and_tell(self):
    """Do as before, and tell of each block that is begun; workers import this too."""
    do, stage = _open(self), self.stage

    def told(index):
        with (FOLDER / "begun").open("a") as file:
            file.write(f"{stage.folder.name} {index}\n")
        return do(index)

    return told


jobs._Noted.open = _open_and_tell


def work():
    experiment = Experiment.model_validate_json((FOLDER / "experiment.json").read_text())
    if WORKERS:
        with cluster.start(WORKERS) as crew:
            segment(experiment, RUN, crew=crew, resume=True)
    else:
        segment(experiment, RUN, resume=True)


def start():
    """Begin to work in a process of its own."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except Exception:  # noqa: BLE001 - a child tells, and never goes on as its parent
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def is_over(child):
    """Whether it came to its end; it can still be waited for."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def begun():
    path = FOLDER / "begun"
    return path.read_text().split("\n")[:-1] if path.exists() else []


def done():
    """Which blocks have a marker; none, when the result is whole."""
    folders = RUN.segments.glob("img.zarr.work/*")
    return {f"{f.name} {p.stem}" for f in folders for p in f.glob("*.json") if p.stem.isdigit()}


def main():
    rng = random.Random(0)
    moments, again = [], 0
    for target in sorted(rng.sample(range(BLOCKS), KILLS)):
        child, before, known = start(), len(begun()), done()
        while len(done()) < target and not is_over(child):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.03))
        if is_over(child):
            break
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        time.sleep(1.0 if WORKERS else 0.0)  # workers see that they are alone, and go
        again += len(known & set(begun()[before:]))
        moments.append(len(done()))
    before, known = len(begun()), done()
    _, status = os.waitpid(start(), 0)
    again += len(known & set(begun()[before:]))
    told = {
        "kills": len(moments),
        "done": moments,
        "again": again,
        "begun": len(begun()),
        "blocks": len(set(begun())),
    }
    sys.stdout.write(json.dumps(told))
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
