"""Patient models are trained on one device, whatever the machine has."""

import pytest
import torch
from lightning.fabric.accelerators import cuda
from lightning.pytorch.accelerators import CPUAccelerator, CUDAAccelerator, MPSAccelerator

from nic.patients.training import _trainer


def test_of_several_gpus_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(cuda, "_get_all_visible_cuda_devices", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(CUDAAccelerator, "is_available", staticmethod(lambda: True))
    trainer = _trainer(1)
    assert isinstance(trainer.accelerator, CUDAAccelerator)
    assert trainer.num_devices == 1


def test_without_cuda_the_cpu_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(MPSAccelerator, "is_available", staticmethod(lambda: True))
    assert isinstance(_trainer(1).accelerator, CPUAccelerator)
