"""Curves are written as TensorBoard reads them; without TensorBoard the message says what to do."""

import sys

import pytest

from cellulus.errors import InputError
from cellulus.pipeline.tensorboard import TensorBoard


def test_tensorboard_reads_what_was_recorded(tmp_path):
    from tensorboard.backend.event_processing import event_accumulator as events

    board = TensorBoard(tmp_path)
    board.record({"step": 10, "loss": 0.5, "rate": 2.0})
    board.record({"step": 20, "loss": 0.25})
    board.flush()
    reader = events.EventAccumulator(str(tmp_path))
    reader.Reload()
    assert [(e.step, e.value) for e in reader.Scalars("loss")] == [(10, 0.5), (20, 0.25)]
    assert reader.Tags()["scalars"] == ["loss", "rate"]


def test_without_tensorboard_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r"pip install .*tensorboard"):
        TensorBoard(tmp_path)
