"""Networks are trained on one device, whatever the machine has, in the precision that its hardware has."""

import pytest
import torch

from nic.training_device import mixed, precision_of, training_device


@pytest.mark.parametrize(("gpus", "taken"), [(0, "cpu"), (1, "cuda:0"), (4, "cuda:0")])
def test_of_several_gpus_one_is_taken(monkeypatch: pytest.MonkeyPatch, gpus: int, taken: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert str(training_device()) == taken


@pytest.mark.parametrize(
    ("instructions", "precision"),
    [
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({"avx512_f": True, "avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"neon": True}, torch.float32),
    ],
)
def test_half_precision_is_taken_where_the_cpu_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, instructions: dict[str, bool], precision: torch.dtype
) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)
    assert precision_of(cpu) == precision
    with mixed(cpu, precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == precision


def test_the_cpu_here_is_asked_by_the_names_it_answers_to() -> None:
    known = torch.cpu.get_capabilities()
    if known["architecture"] == "x86_64":
        assert {"avx512_bf16", "amx_bf16"} <= known.keys()
