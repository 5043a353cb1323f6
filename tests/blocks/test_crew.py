"""Who works makes no difference to what is done."""

import pickle

import pytest
from squares import Squares

from cellulus.blocks.crew import RETRIES, Alone, Crew, Task
from cellulus.errors import InputError, MissingError


def ends_of(crew, work, count):
    """How each block ended, by its number."""
    ends = list(crew.do(Task(work, index) for index in range(count)))
    assert sorted(end.task.index for end in ends) == list(range(count)), "each ends once"
    return {end.task.index: end.error for end in ends}


def test_all_blocks_are_done(squares, crew):
    work = squares(40)
    assert set(ends_of(crew, work, 40).values()) == {None}
    assert work.done() == set(range(40))
    assert len(work.noted("begin")) == 40


def test_nothing_to_do(squares, crew):
    assert ends_of(crew, squares(0), 0) == {}


def test_files_and_models_are_opened_once_per_process_not_per_block(squares, crew):
    work = squares(40, pause=0.002)
    ends_of(crew, work, 40)
    opened = work.noted("open")
    assert len(set(opened)) == len(opened) <= crew.width
    ends_of(crew, Squares(work.folder, pause=0.002), 40)  # one that is equal
    assert len(work.noted("open")) <= (2 if crew.width == 1 else crew.width)


def test_what_fails_once_is_tried_again(squares, crew):
    work = squares(9, shaky=(0, 4, 8))
    assert set(ends_of(crew, work, 9).values()) == {None}
    assert work.done() == set(range(9))


def test_what_keeps_failing_ends_with_its_error_and_costs_no_other(squares, crew):
    work = squares(12, bad=(3, 4))
    ends = ends_of(crew, work, 12)
    assert {index for index, error in ends.items() if error} == {3, 4}
    assert type(ends[3]) is ValueError
    assert str(ends[3]) == "block 3"
    assert work.attempts(3) == work.attempts(4) == 1 + RETRIES
    assert work.done() == set(range(12)) - {3, 4}


def test_what_is_wrong_with_the_input_is_not_tried_again_and_arrives_whole(squares, crew):
    work = squares(5, refused=(2,))
    error = ends_of(crew, work, 5)[2]
    assert type(error) is InputError
    assert (error.where, error.expected, error.found) == ("here", "this", "that, 2")
    assert error.remedy == "do so"
    assert work.attempts(2) == 1


def test_an_error_that_cannot_be_sent_is_told_all_the_same(squares, crew):
    assert "Stubborn" in repr(ends_of(crew, squares(3, stubborn=(1,)), 3)[1])


def test_a_work_that_cannot_be_opened_fails_at_every_block(tmp_path, crew):
    ends = ends_of(crew, Squares(tmp_path), 4)
    assert all("squares.zarr" in str(error) for error in ends.values())
    assert len(ends) == 4


def test_several_works_at_once(tmp_path, crew):
    works = []
    for name in "abc":
        (tmp_path / name).mkdir()
        works.append(Squares.on(tmp_path / name, 5))
    tasks = [Task(work, index) for index in range(5) for work in works]
    assert {end.error for end in crew.do(tasks)} == {None}
    assert [work.done() for work in works] == [set(range(5))] * 3


def test_works_are_asked_for_as_they_are_needed(squares, crew):
    """There may be more blocks than one wants to hold in a list."""
    asked = []

    def tasks():
        for index in range(1000):
            asked.append(index)
            yield Task(work, index)

    work = squares(1000)
    ends = crew.do(tasks())
    for _ in range(5):
        next(ends)
    assert len(asked) < 40
    ends.close()


def test_errors_survive_pickling():
    error = MissingError("a.zarr", expected="it", found="nothing", remedy="look elsewhere")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (MissingError, str(error))


def test_the_process_alone_works_in_order(squares):
    crew: Crew = Alone()
    assert crew.width == 1
    assert crew.left_out == []
    work = squares(6)
    assert [end.task.index for end in crew.do(Task(work, i) for i in (4, 1, 5))] == [4, 1, 5]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_not_swallowed(interrupt, squares, monkeypatch):
    def stop(*_arguments):
        raise interrupt

    work = squares(3)
    monkeypatch.setattr(Squares, "note", stop)
    with pytest.raises(interrupt):
        list(Alone().do([Task(work, 0)]))
