"""What a training goes on from: weights, optimiser, and what is known of the steps done.

The log is written before the state, and lines beyond the state are dropped when it is read: a
training killed at any moment goes on as if it had never been. Loading runs no code from the file.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from cellulus.errors import StorageError
from cellulus.files import write_bytes, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from cellulus.pipeline.learning import Learning
    from cellulus.runs import Run


@dataclass
class History:
    """What is known of the steps done.

    Attributes
    ----------
    step
        How many there were.
    best
        Smallest validation loss; with masks, 1 less the best AP.
    stale
        Validations since then.
    recent
        Losses since the last line of the log.
    records
        The lines of the log.
    """

    step: int = 0
    best: float = float("inf")
    stale: int = 0
    recent: list[float] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)

    def record(self, **values: float) -> None:
        """Add a line to the log."""
        rounded = {key: float(f"{value:.6g}") for key, value in values.items()}
        self.records.append({"step": self.step, **rounded})

    def is_over(self, steps: int, patience: int) -> bool:
        """Return whether all steps are done, or the last validations were none the better."""
        return self.step >= steps or (patience > 0 and self.stale >= patience)


def save_state(run: Run, learning: Learning, history: History) -> None:
    """Write log and state.

    Raises
    ------
    StorageError
        If the disk is full or refuses; the last state that was written stays.
    """
    facts = {name: getattr(history, name) for name in ("step", "best", "stale", "recent")}
    buffer = io.BytesIO()
    torch.save(learning.state() | {"history": facts}, buffer)
    write_text(run.log, "".join(json.dumps(record) + "\n" for record in history.records))
    write_bytes(_file(run), buffer.getvalue())


def load_history(run: Run) -> History | None:
    """Return how far a run has come; None if it has not begun.

    Raises
    ------
    StorageError
        If its state is damaged.
    """
    return _history(run, _load(run, torch.device("cpu"))) if _file(run).exists() else None


def restore(run: Run, learning: Learning, device: torch.device) -> History | None:
    """Let a training go on from the state of a run, and return how far that has come.

    Raises
    ------
    StorageError
        If the state is damaged.
    """
    if not _file(run).exists():
        return None
    state = _load(run, device)
    try:
        learning.restore(state)
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        raise _damaged(run, error) from error
    return _history(run, state)


def _history(run: Run, state: dict[str, Any]) -> History:
    try:
        history = History(**state["history"])
        lines = run.log.read_text().splitlines() if run.log.exists() else []
        records = [json.loads(line) for line in lines]
        history.records = [record for record in records if record["step"] <= history.step]
    except (KeyError, ValueError, TypeError) as error:
        raise _damaged(run, error) from error
    return history


def _load(run: Run, device: torch.device) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(_file(run), map_location=device, weights_only=True)
    except Exception as error:  # damaged files fail in many ways
        raise _damaged(run, error) from error
    return state


def _file(run: Run) -> Path:
    return run.state / "last.pt"


def _damaged(run: Run, error: Exception) -> StorageError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return StorageError(
        _file(run),
        expected="the state of an interrupted training",
        found=f"a damaged file ({reason})",
        remedy="train anew with --overwrite",
    )
