"""What an encoder is trained for, as the training loop sees it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from nic.encoder.network import TileEncoder
from nic.encoder.tile_stream import HeldOut, TrainingBatch
from nic.tasks.tile_auc import TileScores


@dataclass(frozen=True)
class Judgement:
    """How good a network is on held-out tiles.

    score: higher is better; early stopping and searches use it. figures: by name, as they are logged. scores: of the
    tiles by each task's head, where the objective has heads.
    """

    score: float
    figures: dict[str, float]
    scores: tuple[TileScores, ...] = ()


class Objective(nn.Module, ABC):
    """The encoder with all that its training needs beside it; only the encoder is kept.

    name: as the encoder's spec says it. views: how often each tile of a batch is augmented, each time differently.
    momentum: least and largest first beta of AdamW in the one-cycle schedule.
    """

    name: ClassVar[str]
    views: ClassVar[int] = 1
    momentum: ClassVar[tuple[float, float]] = (0.85, 0.95)

    def __init__(self) -> None:
        super().__init__()
        self.encoder = TileEncoder().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def players(self) -> Sequence[nn.Module]:
        """Parts that are trained in turns, each by its own loss; one part, unless several work against one another."""
        return [self]

    @abstractmethod
    def loss(self, batch: TrainingBatch, player: int, random: torch.Generator) -> Tensor:
        """The loss that a player minimises, a scalar. random: for all that is drawn, on the batch's device."""

    @abstractmethod
    def judge(self, held_out: HeldOut) -> Judgement:
        """How good the network is now, on tiles it was not trained on; called without gradients, in eval mode."""


class Unsupervised(Objective):
    """An objective that takes no labels, judged by a loss on augmented tiles that are held out."""

    def judge(self, held_out: HeldOut) -> Judgement:
        random = held_out.generators()
        batches = held_out.batches(self.views, random.host)
        losses = torch.stack([self.held_out_loss(batch, random.device) for batch in batches])
        loss = float(losses.mean())
        return Judgement(-loss, {"loss": loss})

    def held_out_loss(self, batch: TrainingBatch, random: torch.Generator) -> Tensor:
        """Lower is better; the training loss, unless that says little about the encoder."""
        return self.loss(batch, 0, random)
