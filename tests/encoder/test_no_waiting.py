"""A training step never waits for the device: the host never needs a number of a tensor there."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nic.encoder.bigan import BiGan
from nic.encoder.contrastive import Contrastive
from nic.encoder.multitask import FixedWeights, LearnedWeights, Multitask
from nic.encoder.objective import Objective
from nic.encoder.tile_stream import TrainingBatch
from nic.encoder.train import Schedule, train
from nic.encoder.vae import Vae
from nic.tasks.augment import augment
from nic.tasks.tile_task import TileSet, TileTask

STEPS = 3
OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "fixed weights": lambda: Multitask([2, 2], FixedWeights({"a": 1.0, "b": 1.0})),
    "learned weights": lambda: Multitask([2, 2], LearnedWeights(["a", "b"])),
    "vae": Vae,
    "contrastive": Contrastive,
    "bigan": BiGan,
}


class Waits(TorchDispatchMode):
    """Records operations whose result is a number, or has a size that depends on numbers."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "_unique", "bincount", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name.startswith("index") and isinstance(args[1], list) and any(_is_mask(index) for index in args[1])
        if (name.startswith(self.WAITING) or by_mask) and not _is_counting():
            self.operations.append(name)
        return func(*args, **(kwargs or {}))


def _is_counting() -> bool:
    """On CPUs AdamW counts its steps on the host, and asks there; on a GPU its one kernel counts on the device."""
    frame: FrameType | None = sys._getframe()
    while frame and "torch/optim/" not in frame.f_code.co_filename:
        frame = frame.f_back
    return frame is not None


def _is_mask(index: torch.Tensor | None) -> bool:
    return index is not None and index.dtype == torch.bool


def watched(make: Callable[[], Objective], begin: Callable[[], object], end: Callable[[], object]) -> Objective:
    """The objective of `make`, which calls `begin` at the first step's loss and `end` at the last one's."""
    objective = make()
    loss, calls, last = objective.loss, [0], STEPS * len(objective.players())

    def counted(batch: TrainingBatch, player: int, random: torch.Generator) -> torch.Tensor:
        calls[0] += 1
        if calls[0] == 1:
            begin()
        value = loss(batch, player, random)
        if calls[0] == last:
            end()
        return value

    objective.loss = counted  # type: ignore[method-assign]
    return objective


def tile_sets(count: int = 40) -> Sequence[TileSet]:
    rng = np.random.default_rng(0)
    tiles, labels = rng.integers(0, 256, (count, 64, 64, 3)).astype(np.uint8), np.arange(count) % 2
    groups = (np.arange(count) // 2).astype(str)
    return [TileSet(TileTask(name, ("x", "y"), 1.0, Path()), tiles, labels, groups) for name in "ab"]  # type: ignore[arg-type]


def trained(objective: Objective, batch: int) -> None:
    schedule = Schedule(1, batch, 1e-3, "heavy", 0, tiles_per_epoch=STEPS * batch)
    train(tile_sets(), lambda: objective, schedule)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_step_needs_a_number(name: str) -> None:
    """What a CPU can show of it: copies to the host, which cost nothing here, are shown by the test on a GPU alone."""
    waits = Waits()
    trained(watched(OBJECTIVES[name], waits.__enter__, lambda: waits.__exit__(None, None, None)), 8)
    assert waits.operations == []


def test_each_wait_is_recorded() -> None:
    with Waits() as waits:
        values = torch.rand(4)
        assert float(values.sum()) > 0
        torch.nonzero(values > 0.5)
        values[values > 0.5]
        values[torch.tensor([0, 1])]
    assert waits.operations == ["_local_scalar_dense", "nonzero", "index"]


def test_augmentation_does_not_depend_on_pixel_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes through with tiles that have a shape and no content, of which no number can be had."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: torch.no_grad())  # it knows no tiles without content
    tiles = augment(torch.empty(32, 3, 64, 64, device="meta"), "heavy", torch.Generator().manual_seed(0))
    assert tiles.shape == (32, 3, 64, 64)
    with pytest.raises(RuntimeError):
        tiles.sum().item()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_gpu_is_never_waited_for(name: str, resident: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not resident:
        monkeypatch.setattr("nic.encoder.tile_stream.RESIDENT_SHARE", 0.0)
    monkeypatch.setattr("nic.encoder.tile_stream.AT_ONCE_ON_GPU", 16)  # two steps together, then one
    strict = lambda: torch.cuda.set_sync_debug_mode("error")  # noqa: E731
    lenient = lambda: torch.cuda.set_sync_debug_mode("default")  # noqa: E731
    try:
        trained(watched(OBJECTIVES[name], strict, lenient), 8)
    finally:
        lenient()
