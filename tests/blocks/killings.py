"""Segments and post-processes while processes are killed at random moments, until all is done.

Called with a folder that holds ``experiment.json`` and a run, the number of kills, the number of
workers (0 for none) and, where it is a worker that is killed each time and not all of them with
the process that they work for, ``worker``; tells what was done how often as JSON. A file of its
own, so that what takes long to import is imported once.
"""

import json
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from cellulus.blocks import cluster, jobs
from cellulus.blocks.crew import Alone
from cellulus.experiment.sections import Experiment
from cellulus.pipeline.postprocess import postprocess
from cellulus.pipeline.segment import segment
from cellulus.runs import Run

FOLDER, KILLS, WORKERS = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
RUN = Run(FOLDER / "run")
SEGMENTED, IMPROVED = 48, 64
"""Blocks of all stages but the pyramid."""

_open = jobs._Noted.open


@dataclass(frozen=True)
class Telling:
    """Work that tells of each block that it begins."""

    work: object
    name: str

    def open(self):
        do = self.work.open()

        def told(index):
            with (FOLDER / "begun").open("a") as file:
                file.write(f"{self.name} {index} {os.getpid()}\n")
            return do(index)

        return told


def _open_and_tell(self):
    name = "/".join(self.stage.folder.parts[-3:])
    return _open(jobs._Noted(Telling(self.work, name), self.stage))


jobs._Noted.open = _open_and_tell  # workers import this too


def work(crew):
    experiment = Experiment.model_validate_json((FOLDER / "experiment.json").read_text())
    segment(experiment, RUN, crew=crew, resume=True)
    if experiment.postprocess.kind != "none":
        postprocess(experiment, RUN, crew=crew, resume=True)


def start():
    """Begin to work in a process of its own."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if WORKERS:
                with cluster.start(WORKERS) as crew:
                    work(crew)
            else:
                work(Alone())
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
    """Which blocks were begun, in order, and by which process."""
    path = FOLDER / "begun"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [line.rpartition(" ")[0] for line in lines], [int(line.split()[-1]) for line in lines]


_seen = set()


def done():
    """Which blocks were seen to have a marker; markers go when a result is whole."""
    for folder in RUN.folder.glob("*/img.zarr.work/*"):
        markers = [path for path in folder.glob("*.json") if path.stem.isdigit()]
        _seen.update(f"{'/'.join(folder.parts[-3:])} {path.stem}" for path in markers)
    return set(_seen)


def targets(rng):
    """How many blocks are done when the kills come."""
    experiment = json.loads((FOLDER / "experiment.json").read_text())
    total = SEGMENTED if experiment["postprocess"]["kind"] == "none" else SEGMENTED + IMPROVED
    return sorted(rng.sample(range(total), KILLS))


def kill_runs(rng):
    """Kill the process that works, start another, and so on."""
    moments, again = [], 0
    for target in targets(rng):
        child, before, known = start(), len(begun()[0]), done()
        while len(done()) < target and not is_over(child):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.03))
        if is_over(child):
            break
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        time.sleep(1.0 if WORKERS else 0.0)  # workers see that they are alone, and go
        again += len(known & set(begun()[0][before:]))
        moments.append(len(done()))
    before, known = len(begun()[0]), done()
    _, status = os.waitpid(start(), 0)
    again += len(known & set(begun()[0][before:]))
    return moments, again, os.waitstatus_to_exitcode(status)


def kill_workers(rng):
    """Kill one worker after another, while this process goes on."""
    moments, over = [], threading.Event()

    def at_work():
        """Workers that have begun a block; those that just start are none."""
        alive = {process.pid for process in multiprocessing.active_children()}
        return [pid for pid in begun()[1] if pid in alive]

    def kill():
        for target in targets(rng):
            while not over.is_set() and (len(done()) < target or not at_work()):
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.03))
            for pid in at_work()[-1:]:  # who began last is most likely in the midst of it
                os.kill(pid, signal.SIGKILL)
                moments.append(len(done()))

    with cluster.start(WORKERS) as crew:
        killer = threading.Thread(target=kill)
        killer.start()
        work(crew)
        over.set()
        killer.join()
    return moments, 0, len(crew.left_out)


def main():
    kill = kill_workers if sys.argv[4:] == ["worker"] else kill_runs
    moments, again, code = kill(random.Random(0))
    told = {
        "kills": len(moments),
        "done": moments,
        "again": again,
        "begun": len(begun()[0]),
        "blocks": len(set(begun()[0])),
    }
    sys.stdout.write(json.dumps(told))
    sys.exit(code)


if __name__ == "__main__":
    main()
