import io
import logging
from contextlib import redirect_stderr

import pytest

from cellulus.cli import console
from cellulus.progress import Silent


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def normal():
    yield
    console.reset()


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return Terminal()


def test_progress_shows_loss_rate_and_count(terminal, tmp_path):
    with redirect_stderr(terminal), console.working(tmp_path) as progress:
        progress.start("train", 3)
        for _ in range(3):
            progress.advance(loss=0.71234)
        progress.finish()
    text = terminal.getvalue()
    assert "train" in text
    assert "3/3" in text
    assert "loss 0.7123" in text


def test_steps_may_stand_inside_steps(terminal, tmp_path):
    with redirect_stderr(terminal), console.working(tmp_path) as progress:
        progress.start("outer", 2)
        progress.start("inner", 5)
        progress.advance(5)
        progress.finish()
        progress.advance()
        progress.finish()
        progress.advance()
        progress.finish()
    assert "5/5" in terminal.getvalue()
    assert "1/2" in terminal.getvalue()


def test_no_bar_without_a_terminal_or_when_quiet(terminal, tmp_path):
    console.set_verbosity(-1)
    with redirect_stderr(terminal), console.working(tmp_path) as progress:
        assert isinstance(progress, Silent)
    console.reset()
    with redirect_stderr(io.StringIO()), console.working(tmp_path) as progress:
        assert isinstance(progress, Silent)


def test_an_error_is_framed_on_a_terminal_and_plain_elsewhere(terminal):
    text = "a very long fault " * 20
    with redirect_stderr(terminal):
        console.error("ExperimentError", text)
    assert "╭" in terminal.getvalue()
    with redirect_stderr(io.StringIO()) as plain:
        console.error("ExperimentError", f"[red]{text}")
    assert plain.getvalue() == f"ExperimentError: [red]{text}\n"


@pytest.mark.parametrize(("level", "seen"), [(-1, "e"), (0, "we"), (1, "iwe")])
def test_what_the_library_logs(level, seen, capsys):
    console.set_verbosity(level)
    logger = logging.getLogger("cellulus.somewhere")
    logger.info("i %s", 1)
    logger.warning("w")
    logger.error("e")
    lines = capsys.readouterr().err.splitlines()
    assert "".join(line.split(": ")[1][0] for line in lines) == seen


def test_messages_go_to_stderr_and_results_to_stdout(capsys):
    console.say("message [0]")
    console.result("result", 3)
    console.set_verbosity(-1)
    console.say("unheard")
    assert capsys.readouterr() == ("result\n3\n", "message [0]\n")


def test_a_table_is_not_cut(capsys):
    console.table("Title", ["name", "value"], [["n" * 80, "v" * 60], ["[b]", "1"]])
    text = capsys.readouterr().out
    assert "n" * 80 in text
    assert "v" * 60 in text
