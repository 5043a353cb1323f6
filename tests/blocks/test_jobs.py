"""Jobs come to an end whatever single blocks do."""

import pytest

from cellulus.blocks.crew import RETRIES, Alone, End
from cellulus.blocks.jobs import HOPELESS, Job, finish
from cellulus.blocks.journal import Journal
from cellulus.errors import UnwritableError
from cellulus.progress import Silent


class Ticks:
    def __init__(self):
        self.seen = []

    def start(self, what, total):
        self.seen.append((what, total))

    def advance(self, amount=1, **values):
        self.seen.append(amount)

    def finish(self):
        self.seen.append("end")


@pytest.fixture
def job(squares, tmp_path):
    """Return a function that makes a job on so many blocks."""
    journal = Journal.open(tmp_path / "x.work", {}, resume=False)

    def make(count, name="square", **trouble):
        return Job(squares(count, **trouble), journal.stage(name), count)

    return make


def test_every_block_is_done_and_noted_last(job, crew):
    made, ticks = job(7), Ticks()
    finish([made], crew, ticks, "square it")
    assert made.work.done() == made.stage.done() == set(range(7))
    assert made.stage.record(1) == {"sum": 4 + 5 + 6 + 7}
    assert ticks.seen == [("square it", 7), *[1] * 7, "end"]
    assert not crew.left_out


def test_what_is_done_is_not_done_again(job, crew):
    made, ticks = job(6), Ticks()
    for index in (0, 4):
        made.stage.mark(index, {})
    finish([made], crew, ticks, "square it")
    assert made.work.done() == {1, 2, 3, 5}
    assert ticks.seen == [("square it", 6), 2, *[1] * 4, "end"]
    finish([made], crew, ticks, "square it")
    assert ticks.seen[-1] == "end", "nothing left is nothing said"
    assert len(made.work.noted("begin")) == 4


def test_a_block_whose_marker_is_gone_is_done_anew(job, crew):
    made = job(4)
    finish([made], crew, Silent(), "")
    (made.stage.folder / "2.json").unlink()
    finish([made], crew, Silent(), "")
    assert [made.work.attempts(index) for index in range(4)] == [1, 1, 2, 1]


def test_a_block_that_is_sent_twice_is_done_once(job):
    """A worker that dies when its block is done, but has not told so, has it sent to another."""

    class Forgetful(Alone):
        def do(self, tasks):
            tasks = list(tasks)
            yield from super().do([*tasks[:2], *tasks])

    made = job(4)
    finish([made], Forgetful(), Silent(), "")
    assert [made.work.attempts(index) for index in range(4)] == [1, 1, 1, 1]
    assert made.stage.record(1) == {"sum": 4 + 5 + 6 + 7}


def test_a_block_that_fails_at_first_is_tried_again(job, crew):
    made = job(5, shaky=(0, 3))
    finish([made], crew, Silent(), "")
    assert made.stage.done() == set(range(5))
    assert [made.work.attempts(index) for index in range(5)] == [2, 1, 1, 2, 1]
    assert not made.stage.failed()


def test_a_block_that_keeps_failing_is_left_out_and_the_others_go_on(job, crew):
    made, ticks = job(9, bad=(5, 7)), Ticks()
    finish([made], crew, ticks, "square it")
    assert made.work.done() == made.stage.done() == set(range(9)) - {5, 7}
    assert made.stage.failed() == {5: "ValueError: block 5", 7: "ValueError: block 7"}
    assert made.work.attempts(5) == 1 + RETRIES
    assert ticks.seen == [("square it", 9), *[1] * 9, "end"]


def test_what_was_left_out_is_tried_again_the_next_time(job, crew):
    made = job(5)
    made.stage.mark_failed(3, "a cable came loose")
    finish([made], crew, Silent(), "")
    assert made.stage.done() == set(range(5))
    assert not made.stage.failed()


def test_a_hopeless_job_is_given_up(job, crew):
    count = 60
    made = job(count, bad=tuple(range(count)), pause=0.01)
    with pytest.raises(ValueError, match="block"):
        finish([made], crew, Silent(), "")
    tried = set(made.work.noted("begin"))
    assert HOPELESS <= len(tried) < 30, "a few under way besides"
    assert not made.stage.done()


def test_a_full_disk_ends_a_job_at_once_and_is_no_fault_of_a_block(job, crew):
    made = job(60, full=tuple(range(20, 60)), pause=0.01)
    with pytest.raises(UnwritableError, match="disk: expected room"):
        finish([made], crew, Silent(), "")
    assert made.stage.done() == set(range(20))
    assert not made.stage.failed()
    assert len(set(made.work.noted("begin"))) < 32, "a few under way besides"


def test_it_is_the_first_error_that_is_raised(job):
    made = job(9, bad=tuple(range(9)))
    with pytest.raises(ValueError, match="block 0"):
        finish([made], Alone(), Silent(), "")


@pytest.mark.parametrize("count", [1, 2])
def test_a_small_job_of_which_nothing_succeeds_is_given_up_too(count, job, crew):
    with pytest.raises(ValueError, match="block"):
        finish([job(count, bad=(0, 1))], crew, Silent(), "")


def test_a_job_that_once_succeeded_is_not_hopeless(job):
    made = job(8, bad=tuple(range(1, 8)))
    finish([made], Alone(), Silent(), "")
    assert len(made.stage.failed()) == 7


def test_several_jobs_are_told_apart(tmp_path, crew):
    from squares import Squares

    jobs = []
    for name, count, bad in (("a", 4, (1,)), ("b", 3, ()), ("c", 0, ())):
        folder = tmp_path / name
        folder.mkdir()
        journal = Journal.open(folder / "work", {}, resume=False)
        jobs.append(Job(Squares.on(folder, count, bad=bad), journal.stage("square"), count))
    jobs[1].stage.mark(0, {})
    ticks = Ticks()
    finish(jobs, crew, ticks, "both")
    assert [job.stage.done() for job in jobs] == [{0, 2, 3}, {0, 1, 2}, set()]
    assert [job.stage.failed() for job in jobs] == [{1: "ValueError: block 1"}, {}, {}]
    assert ticks.seen == [("both", 7), 1, *[1] * 6, "end"]


def test_an_interrupt_is_no_failure_of_a_block(job):
    class Interrupted(Alone):
        def do(self, tasks):
            for number, task in enumerate(tasks):
                if number == 2:
                    raise KeyboardInterrupt
                task.work.open()(task.index)
                yield End(task)

    made = job(5)
    with pytest.raises(KeyboardInterrupt):
        finish([made], Interrupted(), Silent(), "")
    assert made.stage.done() == {0, 1}
    assert not made.stage.failed()
