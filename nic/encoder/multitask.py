"""The supervised objective: a head and a cross-entropy a task on one shared encoder, weighted."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def normalised(weights: Mapping[str, float]) -> dict[str, float]:
    """The same proportions with mean 1, so that the learning rate keeps its meaning."""
    mean = sum(weights.values()) / len(weights)
    return {task: weight / mean for task, weight in weights.items()}


def uniform_weights(tasks: Sequence[str]) -> dict[str, float]:
    return dict.fromkeys(tasks, 1.0)


def multitask_loss(logits: Mapping[str, Tensor], labels: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Mean over tasks of weight x cross-entropy. logits: [B, classes] by task; labels: int64 [B] by task."""
    losses = [weights[task] * torch.nn.functional.cross_entropy(logits[task], labels[task]) for task in logits]
    return torch.stack(losses).mean()
