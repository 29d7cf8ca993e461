"""The loss by which a network learns the labels of its patients, and each patient's own part in it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nic.errors import EndpointError
from nic.patients.choices import Ties
from nic.patients.losses import (
    TIES,
    CumulativeLink,
    balanced_cross_entropy,
    balanced_softmax,
    cox_loss_of_each,
    squared_error,
)
from nic.patients.targets import Categories, Classes, Grades, Survival, Targets, Values, shares_of
from nic.training_device import sent

PatientsLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Of scores [B, C] and of patients [B] int64, which are their numbers among the training patients."""


@dataclass(frozen=True)
class Loss:
    """of: a scalar. link: what is learned beside the network. comparing: each patient's own loss, [B], where `of` is
    not a mean over patients."""

    of: PatientsLoss
    link: CumulativeLink | None = None
    comparing: PatientsLoss | None = None

    def __call__(self, scores: torch.Tensor, patients: torch.Tensor) -> torch.Tensor:
        return self.of(scores, patients)

    def of_each(self, scores: torch.Tensor, patients: torch.Tensor) -> torch.Tensor:
        """Each patient's own loss, without a graph: [B]."""
        with torch.no_grad():
            if self.comparing:
                return self.comparing(scores, patients).to(scores.device)
            each = range(len(scores))
            return torch.stack([self.of(scores[i : i + 1], patients[i : i + 1]) for i in each])

    def parameters(self) -> list[nn.Parameter]:
        return list(self.link.parameters()) if self.link else []


def loss_of(targets: Targets, ties: Ties = "efron") -> Loss:
    """The loss for a kind of targets. Scores may be on a GPU; patients are on the CPU."""
    match targets:
        case Values(value):
            standard = torch.tensor((value - value.mean()) / deviation_of(value), dtype=torch.float32)
            return Loss(lambda scores, patient: squared_error(scores[:, 0], sent(standard[patient], scores.device)))
        case Classes(positive, _):
            label, share = torch.tensor(positive, dtype=torch.float32), float(positive.mean())
            return Loss(
                lambda scores, patient: balanced_cross_entropy(scores[:, 0], sent(label[patient], scores.device), share)
            )
        case Categories(index, _):
            place, shares = torch.tensor(index), torch.tensor(shares_of(targets))
            return Loss(
                lambda scores, patient: balanced_softmax(
                    scores, sent(place[patient], scores.device), sent(shares, scores.device)
                )
            )
        case Grades(index, _):
            grade, link = torch.tensor(index), CumulativeLink(torch.tensor(shares_of(targets)))
            return Loss(lambda scores, patient: link(scores[:, 0], sent(grade[patient], scores.device)), link)
        case Survival(time_months, event):
            months, seen = torch.tensor(time_months), torch.tensor(event)
            cox = TIES[ties]
            # On the CPU: it sorts and counts some hundred scores once an epoch, which a GPU does slowly.
            return Loss(
                lambda scores, patient: cox(scores[:, 0].cpu(), months[patient], seen[patient]),
                comparing=lambda scores, patient: cox_loss_of_each(scores[:, 0].cpu(), months[patient], seen[patient]),
            )


def deviation_of(value: NDArray[np.float64]) -> float:
    """Of the values of a regression. Raises EndpointError when they are all alike."""
    deviation = float(value.std())
    if deviation == 0:
        raise EndpointError(f"all {len(value)} training patients have the value {value[0]}; nothing can be learned")
    return deviation
