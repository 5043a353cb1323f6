"""Which device computes, and in which arithmetic: bf16 where it pays, fp32 everywhere else.

Knows nothing of networks.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Literal

import torch

from cellulus.errors import InputError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

Precision = Literal["auto", "fp32", "bf16"]


def choose_device(name: str = "auto") -> torch.device:
    """Return the device that `name` asks for; ``"auto"`` is the fastest one present.

    Raises
    ------
    InputError
        If there is no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    present = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    if device is None or (device.index or 0) >= present.get(device.type, 0):
        there = ", ".join(kind for kind, count in present.items() if count)
        raise InputError(
            "device", expected=f"one of auto, {there}", found=name, remedy="give another --device"
        )
    return device


def has_fast_bf16(device: torch.device) -> bool:
    """Return whether the device multiplies bf16 in hardware."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        # Not in every torch that we accept; where they are missing, fp32 is the safe answer.
        questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, question, bool)() for question in questions)
    return False


def arithmetic(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Return the context in which the network computes."""
    if precision == "bf16" or (precision == "auto" and has_fast_bf16(device)):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()
