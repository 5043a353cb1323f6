"""Choosing a device and its arithmetic."""

import contextlib

import pytest
import torch

from cellulus.errors import InputError
from cellulus.nn import device as devices
from cellulus.nn.device import arithmetic, choose_device, has_fast_bf16

CPU = torch.device("cpu")


def no_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("cuda", "mps", "found"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_is_the_fastest_there_is(monkeypatch, cuda, mps, found):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device("auto").type == found


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps", "cpu:1", "meta", "gpu", "", "cuda:-1"])
def test_a_device_that_is_not_there_is_refused(monkeypatch, name):
    no_cuda(monkeypatch)
    with pytest.raises(InputError) as caught:
        choose_device(name)
    assert caught.value.where == "device"
    assert caught.value.expected == "one of auto, cpu"
    assert caught.value.found == name
    assert "--device" in caught.value.remedy


def test_cards_are_counted(monkeypatch):
    no_cuda(monkeypatch)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(InputError):
        choose_device("cuda:2")
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize(("flags", "fast"), [((), False), ((0,), True), ((1,), True)])
def test_bf16_is_fast_on_processors_with_instructions_for_it(monkeypatch, flags, fast):
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    for number, name in enumerate(questions):
        monkeypatch.setattr(torch.cpu, name, lambda number=number: number in flags, raising=False)
    assert has_fast_bf16(CPU) is fast


def test_an_older_torch_that_cannot_be_asked_computes_in_fp32(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert has_fast_bf16(CPU) is False


def test_other_devices_compute_in_fp32():
    assert has_fast_bf16(torch.device("mps")) is False


@pytest.mark.parametrize(
    ("precision", "fast", "expected"),
    [
        ("fp32", True, torch.float32),
        ("bf16", False, torch.bfloat16),
        ("auto", True, torch.bfloat16),
        ("auto", False, torch.float32),
    ],
)
def test_precision_is_what_was_asked_for(monkeypatch, precision, fast, expected):
    monkeypatch.setattr(devices, "has_fast_bf16", lambda _: fast)
    layer = torch.nn.Conv2d(1, 1, 3)
    with torch.no_grad(), arithmetic(CPU, precision):
        assert layer(torch.ones(1, 1, 5, 5)).dtype == expected
    assert not torch.is_autocast_enabled("cpu")


def test_fp32_changes_nothing():
    assert isinstance(arithmetic(CPU, "fp32"), contextlib.nullcontext)
