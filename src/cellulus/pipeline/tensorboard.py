"""Training curves for TensorBoard, beside the log that is always written. An extra."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellulus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class TensorBoard:
    """Writes the records of a training as scalars.

    Parameters
    ----------
    folder
        Where TensorBoard will look.

    Raises
    ------
    InputError
        If TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError(
                "train.tensorboard",
                expected="TensorBoard beside this package, for train.tensorboard = true",
                found="none",
                remedy='pip install "cellulus[tensorboard]", or set it to false',
            ) from error
        self._writer = SummaryWriter(str(folder))

    def record(self, values: Mapping[str, float]) -> None:
        """Write one record of the log: a step, and values by name."""
        for name, value in values.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(values["step"]))

    def flush(self) -> None:
        """Write what is still held back."""
        self._writer.flush()
