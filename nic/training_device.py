"""The device that networks are trained on: its numbers, its memory, and copies to it that nobody waits for."""

import ctypes

import torch
from torch import Tensor

BFLOAT16_OF_CPUS = ("avx512_bf16", "amx_bf16")
"""Instructions without which bfloat16 is emulated: a training step then takes six to nine times as long."""
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # as glibc's malloc.h numbers its parameters
KEPT_BYTES = 1 << 30
MAPPED_BYTES = 1 << 25  # the most that glibc takes


def training_device() -> torch.device:
    """The first CUDA GPU that is visible, where there is any; else the CPU. Never several: training is one process."""
    return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


def precision_of(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it, else float32."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = any(torch.cpu.get_capabilities().get(name) for name in BFLOAT16_OF_CPUS)
    return torch.bfloat16 if native else torch.float32


def mixed(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """A context in which layers compute in the precision; weights and losses stay float32.

    No copies of the weights are kept: they would be out of date after a step, and the gradients of weights that are
    used twice would be added in bfloat16.
    """
    enabled = precision == torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor in memory that the device can copy from by itself, if it is a GPU; else the tensor."""
    return tensor.pin_memory() if device.type == "cuda" else tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on the device. The copy is queued there behind earlier work, and the host goes on."""
    return pinned(tensor, device).to(device, non_blocking=True)


def keep_freed_memory() -> None:
    """Let freed memory, up to 1 GiB of it, be used again in place of new pages: an eighth of a training step on CPUs.

    By default each array of some MB goes back to the system and comes again as pages that must be cleared. Does
    nothing where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(MMAP_THRESHOLD, MAPPED_BYTES)
