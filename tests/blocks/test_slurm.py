"""Jobs of Slurm: asked for when there is work, in its own terms, and never left behind."""

import importlib
import importlib.util
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dask
import pytest
from pydantic import ValidationError
from queues import Queue
from scenes import store
from squares import Squares

import cellulus
from cellulus.blocks import queued, slurm
from cellulus.blocks.crew import Alone, Task
from cellulus.blocks.slurm import Slurm
from cellulus.errors import InputError, MissingError
from cellulus.pipeline.segment import segment
from cellulus.runs import Run

ANSWER = signal.getsignal(signal.SIGINT)
importlib.import_module("dask_jobqueue")  # for its words of configuration; it answers to Ctrl-C
signal.signal(signal.SIGINT, ANSWER)

SEEN = os.pathsep.join([str(Path(cellulus.__file__).parents[1]), str(Path(__file__).parent)])
"""Where jobs find the package, and what tests let them do."""


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """A queue on this machine, whose jobs are all gone when a test is over."""
    made = Queue(tmp_path)
    monkeypatch.setenv("PATH", made.path)
    monkeypatch.setenv("PYTHONPATH", SEEN)
    monkeypatch.setenv("DASK_JOBQUEUE__SLURM__INTERFACE", "lo")
    monkeypatch.setattr(queued, "LOOK", 0.1)
    monkeypatch.setattr(slurm, "AWAY", 0.2)
    with dask.config.set({"jobqueue.slurm.interface": "lo"}):
        yield made
    left = [job for job in made.jobs if not over(made, job)]
    for job in left:
        made.end(job)
    assert not left


@pytest.fixture
def logs(tmp_path):
    return tmp_path / "a run" / "slurm"


def over(queue, job):
    """Whether a job goes, if one waits a little."""
    return soon(lambda: not queue.is_running(job))


def soon(what):
    until = time.monotonic() + 20
    while not what() and time.monotonic() < until:
        time.sleep(0.05)
    return what()


def tree(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_jobs_segment_what_one_process_does(queue, draw, tmp_path):
    experiment, run = store(tmp_path, draw((16, 32, 32), sizes=(0.35, 0.45)), repeats=(1, 2, 2))
    (one,) = segment(experiment, run, crew=Alone())
    other = Run(tmp_path / "other")
    other.predictions.parent.mkdir()
    other.predictions.symlink_to(run.predictions)
    with slurm.submit(Slurm(jobs=2, cores=1), other.folder / "slurm") as crew:
        assert not queue.jobs, "nothing is to be done yet"
        (path,) = segment(experiment, other, crew=crew)
        assert queue.jobs == ["101", "102"]
    assert tree(path) == tree(one)
    assert len(tree(path)) > 10
    assert not crew.left_out
    assert all(queue.is_cancelled(job) for job in queue.jobs)
    assert all(over(queue, job) for job in queue.jobs)
    assert {log.name for log in (other.folder / "slurm").iterdir()} == {"101.log", "102.log"}
    assert "Registered to" in (other.folder / "slurm" / "101.log").read_text()


def asked(queue, logs, **settings):
    """What jobs of these settings look like, in a queue in which they never begin."""
    queue.fill()
    before = len(queue.jobs)
    with slurm.submit(Slurm(**settings), logs) as crew:
        crew.do(())
        jobs = queue.jobs[before:]
        assert not any(queue.is_cancelled(job) for job in jobs)
    assert all(queue.is_cancelled(job) for job in jobs)
    return [queue.script(job) for job in jobs]


def test_a_job_is_asked_for_in_the_words_of_slurm(queue, logs):
    (script,) = asked(
        queue, logs, jobs=1, cores=6, memory="48GB", walltime="1-12:00:00", partition="gpu",
        account="cells", directives=("--gres=gpu:1", "--qos=long"),
        prologue=("module load cuda", "export OMP_NUM_THREADS=5"),
    )  # fmt: skip
    head, _, body = script.partition("export")
    assert {line.removeprefix("#SBATCH ") for line in head.splitlines() if "SBATCH" in line} == {
        "-J cellulus", "-n 1", "--cpus-per-task=6", "--mem=48G", "-t 1-12:00:00", "-p gpu",
        "-A cells", "--gres=gpu:1", "--qos=long", f"--output='{logs}'/%j.log",
    }  # fmt: skip
    lines = body.splitlines()
    assert "export NUMBA_NUM_THREADS=6" in lines
    assert "export MALLOC_ARENA_MAX=1" in lines
    assert lines.index("module load cuda") < lines.index("export OMP_NUM_THREADS=5")
    (worker,) = [line for line in lines if "dask_worker" in line]
    assert worker.startswith(sys.executable)
    assert "--nthreads 1 " in worker
    assert "--interface lo" in worker, "what dask-jobqueue's own configuration says"
    assert lines.index(worker) > lines.index("export OMP_NUM_THREADS=5")


CHANGES = {
    "jobs": 2, "cores": 3, "memory": "2GB", "walltime": "10", "partition": "p", "account": "a",
    "directives": ("--nice",), "prologue": ("true",),
}  # fmt: skip


def test_every_setting_is_tried():
    assert set(CHANGES) == set(Slurm.model_fields)


@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_has_an_effect(name, queue, logs):
    before = asked(queue, logs, jobs=1)
    after = asked(queue, logs, **{"jobs": 1, name: CHANGES[name]})

    def lines(scripts):  # ports differ
        return [line for script in scripts for line in script.splitlines() if "tcp:" not in line]

    assert lines(before) != lines(after)


@pytest.mark.parametrize(
    "wrong",
    [
        {"jobs": 0},
        {"cores": 0},
        {"memory": "16"},
        {"memory": "1.5GB"},
        {"memory": "lots"},
        {"walltime": "4h"},
        {"walltime": ""},
        {"directives": ("gres=gpu:1",)},
    ],
)
def test_what_slurm_would_not_take_is_refused(wrong):
    with pytest.raises(ValidationError):
        Slurm(**wrong)


@pytest.mark.parametrize("walltime", ["90", "90:30", "4:00:00", "2-12", "2-12:30", "2-12:30:00"])
def test_times_are_written_as_slurm_writes_them(walltime):
    assert Slurm(walltime=walltime).walltime == walltime


def test_what_sbatch_refuses_is_said_in_its_words(queue, logs):
    queue.refuse("sbatch: error: invalid partition specified: moon\n")
    with (
        slurm.submit(Slurm(partition="moon"), logs) as crew,
        pytest.raises(InputError, match=r"sbatch: error: invalid partition .* moon") as caught,
    ):
        crew.do(())
    assert "--set slurm." in caught.value.remedy
    assert "Exit code" not in str(caught.value)


def test_a_machine_without_slurm(logs, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="sbatch") as caught, slurm.submit(Slurm(), logs):
        pass
    assert "--workers" in caught.value.remedy
    assert not logs.exists()


def test_an_installation_without_the_extra(queue, logs, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingError, match=r"cellulus\[slurm\]"), slurm.submit(Slurm(), logs):
        pass


def test_jobs_that_end_are_asked_for_again(queue, logs, tmp_path, caplog):
    """One job ends after another; in between, Slurm accepts none."""
    work = Squares.on(tmp_path, 40, pause=0.1)
    done = 0
    with slurm.submit(Slurm(jobs=1, cores=1), logs) as crew:
        for end in crew.do(Task(work, index) for index in range(40)):
            assert end.error is None
            done += 1
            if done in {10, 20}:
                queue.refuse("slurmctld is away" if done == 10 else "")
                queue.end(queue.jobs[-1])
            if done == 10:
                assert soon(lambda: look(crew) or "slurmctld is away" in caplog.text)
                queue.refuse("")
    assert work.done() == set(range(40))
    assert queue.jobs == ["101", "102", "103"]
    assert len(set(work.noted("open"))) == 3
    assert max(work.attempts(index) for index in range(40)) <= 2


def look(crew):
    """Let the crew look after its jobs, as it does while it waits."""
    crew._look()


def test_jobs_that_end_before_they_join_end_it_all(queue, logs, tmp_path):
    work = Squares.on(tmp_path, 4)
    with slurm.submit(Slurm(jobs=2, prologue=("module: not found", "exit 3")), logs) as crew:
        ends = crew.do(Task(work, index) for index in range(4))
        with pytest.raises(MissingError, match="before their workers joined") as caught:
            next(ends)
    assert str(logs) in caught.value.remedy
    assert "not found" in (logs / "101.log").read_text()
    assert not work.noted()


def test_it_waits_for_a_long_queue_and_says_so_once(queue, logs, caplog, monkeypatch):
    queue.fill()
    caplog.set_level(logging.WARNING)
    with slurm.submit(Slurm(), logs) as crew:
        crew.do(())
        look(crew)
        assert not caplog.records
        monkeypatch.setattr(queued, "PATIENCE", 0.0)
        look(crew)
        look(crew)
        assert len(caplog.records) == 1
        assert "squeue" in caplog.text
        (queue.bin / "squeue").unlink()
        look(crew)  # whoever cannot look does not give up


def test_a_failure_leaves_no_job(queue, logs):
    with pytest.raises(ZeroDivisionError), slurm.submit(Slurm(jobs=3), logs) as crew:  # noqa: PT012
        crew.do(())
        raise ZeroDivisionError
    assert [queue.is_cancelled(job) for job in queue.jobs] == [True] * 3


def test_an_interrupt_leaves_no_job(queue, logs, tmp_path):
    """A real one, while blocks take half a minute each."""
    work = Squares.on(tmp_path, 4)
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom squares import Squares\n"
        "from cellulus.blocks import slurm\nfrom cellulus.blocks.crew import Task\n"
        "try:\n"
        "    with slurm.submit(slurm.Slurm(jobs=2), Path(sys.argv[2])) as crew:\n"
        "        work = Squares(Path(sys.argv[1]), pause=30.0)\n"
        "        list(crew.do(Task(work, index) for index in range(4)))\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(130)\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), str(logs)], start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert soon(lambda: len(work.noted("begin")) == 2)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=25)
    assert (process.returncode, out, err) == (130, "", "")
    assert [queue.is_cancelled(job) for job in queue.jobs] == [True] * 2
