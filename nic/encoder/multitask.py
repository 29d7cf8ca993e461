"""The supervised objective: one shared encoder with a head and a weighted cross-entropy for each task."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from nic.encoder.network import task_heads
from nic.encoder.objective import Judgement, Objective
from nic.encoder.spec import MULTITASK
from nic.encoder.tile_stream import HeldOut, TrainingBatch
from nic.tasks.tile_auc import TileScores
from nic.tasks.tile_task import TileSet


def normalised(weights: Mapping[str, float]) -> dict[str, float]:
    """The same proportions with mean 1, so that the learning rate keeps its meaning."""
    mean = sum(weights.values()) / len(weights)
    return {task: weight / mean for task, weight in weights.items()}


def uniform_weights(tasks: Sequence[str]) -> dict[str, float]:
    return dict.fromkeys(tasks, 1.0)


def task_losses(logits: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
    """Mean cross-entropy of each task, [T]. logits: [B, classes] a task; labels: int64 [B] a task."""
    pairs = zip(logits, labels, strict=True)
    return torch.stack([nn.functional.cross_entropy(task_logits.float(), label) for task_logits, label in pairs])


class FixedWeights(nn.Module):
    """Mean over tasks of weight x loss. weights: by task, in the order of the losses."""

    on_device: Tensor

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.weights = dict(weights)
        self.register_buffer("on_device", torch.tensor(list(weights.values())), persistent=False)

    def forward(self, losses: Tensor) -> Tensor:
        """losses: [T] to a scalar."""
        return (losses * self.on_device).mean()

    def extra_repr(self) -> str:
        return str(self.weights)


class LearnedWeights(nn.Module):
    """Weights learned as the uncertainty of each task: mean over tasks of exp(-s) x loss + s / 2.

    s: log variance of a task, learned with the network, 0 at first. A task that stays hard gets less weight. Source:
    Kendall, Gal & Cipolla 2018, their form for classification.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.log_variance = nn.Parameter(torch.zeros(len(tasks)))

    def forward(self, losses: Tensor) -> Tensor:
        """losses: [T] to a scalar."""
        return ((-self.log_variance).exp() * losses + self.log_variance / 2).mean()

    @property
    def weights(self) -> dict[str, float]:
        """The present weights of the tasks' losses, scaled to mean 1."""
        return normalised(dict(zip(self.tasks, (-self.log_variance).exp().tolist(), strict=True)))


class Multitask(Objective):
    """Heads on the code of one encoder. classes: how many each task has. A single task is a multitask with one."""

    name = MULTITASK

    def __init__(self, classes: Sequence[int], weighting: FixedWeights | LearnedWeights) -> None:
        super().__init__()
        self.heads = task_heads(classes)
        self.weighting = weighting

    def loss(self, batch: TrainingBatch, player: int, random: torch.Generator) -> Tensor:
        codes = self.encoder(batch.views[0]).split([len(labels) for labels in batch.labels])
        logits = [head(part) for head, part in zip(self.heads, codes, strict=True)]
        weighted: Tensor = self.weighting(task_losses(logits, batch.labels))
        return weighted

    def judge(self, held_out: HeldOut) -> Judgement:
        """AUC of each task, macro one-vs-rest where there are more than two classes; the score is their mean."""
        scores = tuple(self._scores(task, held_out) for task in range(len(self.heads)))
        aucs = {f"auc.{of_task.task}": _auc(of_task) for of_task in scores}
        return Judgement(float(np.mean(list(aucs.values()))), aucs, scores)

    def _scores(self, task: int, held_out: HeldOut) -> TileScores:
        tile_set, which = held_out.parts[task]
        logits = torch.cat([self.heads[task](self.encoder(tiles)) for tiles in held_out.plain(task)])
        probabilities = logits.float().softmax(1).cpu().numpy()
        return TileScores(tile_set.task.name, tile_set.labels[which], probabilities, tile_set.groups[which])


def multitask(tile_sets: Sequence[TileSet], weights: Mapping[str, float] | None) -> Callable[[], Multitask]:
    """What makes the objective of these tasks. weights: of their losses; None learns them."""
    classes = {tile_set.task.name: len(tile_set.task.classes) for tile_set in tile_sets}

    def make() -> Multitask:
        weighting = LearnedWeights(list(classes)) if weights is None else FixedWeights(normalised(weights))
        return Multitask(list(classes.values()), weighting)

    return make


def _auc(tiles: TileScores) -> float:
    scores = tiles.scores[:, 1] if tiles.scores.shape[1] == 2 else tiles.scores
    return float(roc_auc_score(tiles.labels, scores, multi_class="ovr"))
