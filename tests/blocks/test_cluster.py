"""What can go wrong between processes: workers die, schedulers are silent, versions differ."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dask.system import CPU_COUNT
from distributed import LocalCluster
from squares import Squares

import cellulus
from cellulus.blocks import cluster, dispatch, worker
from cellulus.blocks.crew import Task
from cellulus.errors import InputError, MissingError

SOURCE = Path(cellulus.__file__).parents[1]


def tasks_of(work, count):
    return (Task(work, index) for index in range(count))


@pytest.fixture
def scheduler():
    """A scheduler with one worker, both in this process: quick to start, and to lose."""
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp://", silence_logs=50,
        scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
    ) as made:  # fmt: skip
        yield made


def test_the_width_is_that_of_all_workers(pair):
    assert pair.width == 2


def test_both_workers_work(squares, pair):
    work = squares(30, pause=0.01)
    list(pair.do(tasks_of(work, 30)))
    assert len(set(work.noted("open"))) == 2


def test_a_worker_that_dies_costs_nothing(squares, pair):
    work = squares(24, lethal=(0, 7, 8, 23))
    ends = list(pair.do(tasks_of(work, 24)))
    assert {end.error for end in ends} == {None}
    assert len(ends) == 24
    assert work.done() == set(range(24))


def test_a_worker_that_is_killed_costs_nothing(squares, pair):
    work = squares(60, pause=0.02)
    victims = []
    for number, end in enumerate(pair.do(tasks_of(work, 60))):
        assert end.error is None
        if number in {10, 30}:
            alive = {int(line.split()[1]) for line in work.noted("open")} - set(victims)
            victims.append(alive.pop())
            os.kill(victims[-1], signal.SIGKILL)
    assert work.done() == set(range(60))
    again = [index for index in range(60) if work.attempts(index) > 1]
    assert len(again) <= 2 * dispatch.AHEAD, "no more than what it had been given"


def test_a_worker_that_dies_when_all_is_done_costs_nothing(squares, pair):
    """Before anybody has asked how its blocks ended."""
    work = squares(6, pause=0.01)
    ends = pair.do(tasks_of(work, 6))
    first = next(ends)
    while len(work.noted("end")) < 6:
        time.sleep(0.01)
    time.sleep(0.3)  # until the news is here
    pids = pair._client.run(os.getpid)
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    while pids.keys() & pair._client.nthreads().keys():
        time.sleep(0.01)
    assert [end.error for end in [first, *ends]] == [None] * 6
    assert work.done() == set(range(6))


def test_a_block_that_kills_whoever_does_it_is_found_out(squares, pair):
    work = squares(20, deadly=(4, 11))
    ends = {end.task.index: end.error for end in pair.do(tasks_of(work, 20))}
    assert {index for index, error in ends.items() if error} == {4, 11}
    assert "memory" in ends[4].remedy
    assert work.done() == set(range(20)) - {4, 11}, "the innocent that died along are done"


def test_what_is_no_longer_wanted_is_cancelled(squares, pair):
    work = squares(100, pause=0.05)
    ends = pair.do(tasks_of(work, 100))
    next(ends)
    ends.close()
    time.sleep(0.5)
    begun = len(work.noted("begin"))
    assert begun <= 1 + 3 * dispatch.AHEAD
    time.sleep(0.3)
    assert len(work.noted("begin")) == begun


def test_paths_mean_what_they_mean_here(tmp_path, pair, monkeypatch):
    """The workers stand where they were started."""
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    work = Squares.on(Path("here"), 4)
    assert {end.error for end in pair.do(tasks_of(work, 4))} == {None}
    assert Squares(tmp_path / "here").done() == set(range(4))


def test_workers_leave_nothing_where_they_stand(pair):
    names = {path.name for path in Path().iterdir()}
    assert not {"dask-worker-space", "dask-scratch-space"} & names


def test_a_scheduler_is_connected_to(squares, scheduler):
    work = squares(12)
    with cluster.connect(scheduler.scheduler_address) as crew:
        assert crew.width == 1
        assert {end.error for end in crew.do(tasks_of(work, 12))} == {None}
    assert work.done() == set(range(12))
    assert scheduler.scheduler.workers, "it is not ours to stop"


@pytest.mark.parametrize("kind", ["closed", "silent"])
def test_a_scheduler_that_does_not_answer(kind, monkeypatch):
    monkeypatch.setattr(cluster, "TIMEOUT", 0.5)
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{place.getsockname()[1]}"
        if kind == "silent":
            place.listen()
        began = time.monotonic()
        with pytest.raises(InputError, match=r"within 0\.5 s") as caught, cluster.connect(address):
            pass
    assert time.monotonic() - began < 5
    assert caught.value.where == address
    assert "--workers" in caught.value.remedy
    # Where a machine is busy, the time may be over before it is refused.
    assert re.search("no answer" if kind == "silent" else "refused|answer", caught.value.found)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://127.0.0.1:8786", "unknown address scheme 'http'"),
        ("nowhere", "missing port"),
        ("tcp://127.0.0.1", "missing port"),
        ("tcp://127.0.0.1:many", "many"),
        ("", "missing port"),
        ("sge", "missing port"),
    ],
)
def test_what_is_no_address(address, why):
    with pytest.raises(InputError, match=re.escape(why)) as caught, cluster.connect(address):
        pass
    assert caught.value.where == "--scheduler"
    assert caught.value.expected == "slurm, or the address of a dask scheduler, tcp://HOST:PORT"


def test_a_scheduler_that_goes_away(squares, scheduler, monkeypatch):
    monkeypatch.setattr(cluster, "TIMEOUT", 0.5)
    work = squares(50, pause=0.02)
    with cluster.connect(scheduler.scheduler_address) as crew:
        ends = crew.do(tasks_of(work, 50))
        next(ends)
        scheduler.close()
        with pytest.raises(MissingError, match="--resume") as caught:
            list(ends)
        assert caught.value.where == scheduler.scheduler_address
        with pytest.raises(MissingError):
            list(crew.do(tasks_of(work, 3)))


def test_a_worker_of_another_version_is_refused(scheduler, monkeypatch):
    monkeypatch.setattr(cluster, "__version__", "9.9")
    with (
        pytest.raises(InputError, match=rf"9\.9.*{cellulus.__version__}") as caught,
        cluster.connect(scheduler.scheduler_address),
    ):
        pass
    assert caught.value.where.startswith("worker tcp://")


def test_a_worker_without_the_package_is_refused(scheduler, monkeypatch):
    def nowhere():
        raise ModuleNotFoundError("No module named 'cellulus'")

    monkeypatch.setattr(worker, "version", nowhere)
    with (
        pytest.raises(InputError, match="No module named"),
        cluster.connect(scheduler.scheduler_address),
    ):
        pass


def test_a_worker_of_another_version_that_joins_later_does_nothing(squares, scheduler):
    """A process of its own, which takes itself for an old one."""
    code = (
        "import asyncio, sys, cellulus\ncellulus.__version__ = '0.0.1'\n"
        "from distributed import Worker\n"
        "async def work():\n    async with Worker(sys.argv[1]) as w:\n        await w.finished()\n"
        "asyncio.run(work())\n"
    )
    work = squares(400, pause=0.02)
    with cluster.connect(scheduler.scheduler_address) as crew:
        path = os.pathsep.join([str(SOURCE), str(Path(__file__).parent)])
        other = subprocess.Popen(
            [sys.executable, "-c", code, scheduler.scheduler_address],
            env={**os.environ, "PYTHONPATH": path}, cwd=work.folder,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            while crew.width < 2 and other.poll() is None:
                time.sleep(0.05)
            with pytest.raises(InputError, match=r"cellulus 0\.0\.1") as caught:
                list(crew.do(tasks_of(work, 400)))
        finally:
            other.kill()
            other.wait()
    assert caught.value.where.startswith("worker tcp://")
    assert {line.split()[1] for line in work.noted("open")} == {str(os.getpid())}


def test_an_interrupt_ends_it_soon_and_silently(tmp_path):
    """A real one, to a real process and its workers, while blocks take half a minute each."""
    Squares.on(tmp_path, 8)
    code = (
        "import sys\nfrom pathlib import Path\nfrom squares import Squares\n"
        "from cellulus.blocks import cluster\nfrom cellulus.blocks.crew import Task\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        with cluster.start(2) as crew:\n"
        "            work = Squares(Path(sys.argv[1]), pause=30.0)\n"
        "            list(crew.do(Task(work, index) for index in range(8)))\n"
        "    except KeyboardInterrupt:\n"
        "        sys.exit(130)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    path = os.pathsep.join([str(SOURCE), str(Path(__file__).parent)])
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], start_new_session=True, text=True,
        env={**os.environ, "PYTHONPATH": path}, cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    work = Squares(tmp_path)
    until = time.monotonic() + 30
    while len(work.noted("begin")) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    out, err = process.communicate(timeout=25)
    assert (process.returncode, out, err) == (130, "", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "notes", "script.py", "squares.zarr",
    ]  # fmt: skip


def test_workers_are_deaf_where_signals_cannot_be_masked(monkeypatch):
    """As on Windows, where Ctrl-C reaches every process of a console."""
    monkeypatch.delattr(signal, "pthread_sigmask")
    with cluster.start(1) as crew:
        (answer,) = crew._client.run(signal.getsignal, signal.SIGINT).values()
        assert answer == signal.SIG_IGN


@pytest.fixture
def two_gpus(tmp_path, monkeypatch):
    """A driver's tool that knows of two GPUs."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        "#!/bin/sh\n[ $1 = -L ] || exit 2\n"
        "echo 'GPU 0: NVIDIA A100 (UUID: GPU-1)'\necho '  MIG 1g.5gb Device 0: (UUID: MIG-1)'\n"
        "echo 'GPU 1: NVIDIA A100 (UUID: GPU-2)'\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tool


def test_gpus_are_counted_by_the_drivers_own_tool(two_gpus):
    assert cluster.gpus() == ["0", "1"]


@pytest.mark.parametrize(
    ("said", "seen"),
    [("3,1", ["3", "1"]), ("GPU-2", ["GPU-2"]), ("0,-1,1", ["0"]), ("", []), ("-1", [])],
)
def test_gpus_are_those_that_cuda_may_see(said, seen, two_gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", said)
    assert cluster.gpus() == seen


def test_a_machine_without_gpus(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cluster.gpus() == []


def test_a_driver_that_fails_is_no_gpu(two_gpus, caplog):
    two_gpus.write_text("#!/bin/sh\necho 'no driver' >&2\nexit 9\n")
    assert cluster.gpus() == []
    assert "GPUs are not counted" in caplog.text


def test_counting_gpus_imports_no_torch(two_gpus):
    code = "import sys, cellulus.blocks.cluster as c; print(c.gpus(), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "['0', '1'] False"


def test_gpus_are_dealt_out(squares, caplog, monkeypatch):
    """Three workers, two GPUs; whoever stands in for a worker that died sees what it saw."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with cluster.start(3, ["0", "1"]) as crew:
        assert "3 workers share 2 GPU(s)" in caplog.text
        seen = crew._client.run(os.getenv, "CUDA_VISIBLE_DEVICES")
        assert sorted(seen.values()) == ["0", "0", "1"]
        only = next(address for address, gpu in seen.items() if gpu == "1")
        os.kill(crew._client.run(os.getpid)[only], signal.SIGKILL)
        work = squares(10, pause=0.01)
        assert {end.error for end in crew.do(tasks_of(work, 10))} == {None}
        while crew.width < 3:
            time.sleep(0.05)
        assert sorted(crew._client.run(os.getenv, "CUDA_VISIBLE_DEVICES").values()) == sorted(
            seen.values()
        )


def test_without_gpus_the_environment_stays_as_it_is(pair):
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    assert set(pair._client.run(os.getenv, "CUDA_VISIBLE_DEVICES").values()) == {said}


def test_workers_share_the_cores_and_keep_their_memory(pair):
    """Dask's own workers compute with one thread, and give back what a block needed."""
    for name, value in cluster.environment(max(1, CPU_COUNT // 2)).items():
        assert set(pair._client.run(os.getenv, name).values()) == {str(value)}, name
