"""What the patient networks minimise: one scalar from the scores and labels of a set of patients."""

from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional

from nic.errors import NoEvents
from nic.patients.choices import Ties

LEAST_DISTANCE = 1e-3
"""Between two thresholds of neighbouring grades, in log odds."""


def squared_error(score: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Mean squared error. Both [N], the values standardised by the training patients' mean and deviation."""
    return functional.mse_loss(score, value)


def balanced_cross_entropy(logit: torch.Tensor, positive: torch.Tensor, positive_share: float) -> torch.Tensor:
    """Mean binary cross-entropy with both classes at equal total weight. Both [N]; positive: 0 or 1.

    positive_share: of the training patients, in (0, 1).
    """
    weight = torch.where(positive > 0, 0.5 / positive_share, 0.5 / (1 - positive_share))
    return functional.binary_cross_entropy_with_logits(logit, positive, weight)


def balanced_softmax(logits: torch.Tensor, label: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of a softmax with all classes at equal total weight. logits: [N, C]. label: [N] int64.

    shares: [C], of each class among the training patients, each above 0.
    """
    weight = 1 / (len(shares) * shares)
    return (weight[label] * functional.cross_entropy(logits, label, reduction="none")).mean()


class CumulativeLink(nn.Module):
    """The loss of ordered grades, by proportional odds; its thresholds are learned with the network.

    P(grade <= k) = logistic(threshold k - score). All grades have equal total weight. The distances between thresholds
    are positive whatever is learned, so that they stay ordered. The mean of the thresholds is 0: the score's own level
    says where the grades lie. At first a score of 0 makes all grades equally probable. Source: McCullagh 1980.
    """

    shares: torch.Tensor

    def __init__(self, shares: torch.Tensor) -> None:
        """shares: [C], of each grade among the training patients, each above 0."""
        super().__init__()
        below = torch.arange(1, len(shares)) / len(shares)
        distances = torch.logit(below).diff() - LEAST_DISTANCE
        self.raw = nn.Parameter(distances + torch.log(-torch.expm1(-distances)))  # softplus of it is the distance
        self.register_buffer("shares", shares)

    @property
    def distances(self) -> torch.Tensor:
        """Between neighbouring thresholds: [C - 2]."""
        return functional.softplus(self.raw) + LEAST_DISTANCE

    @property
    def thresholds(self) -> torch.Tensor:
        """[C - 1], rising."""
        steps = functional.pad(self.distances.cumsum(0), (1, 0))
        return steps - steps.mean()

    def forward(self, score: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Mean negative log-likelihood. score: [N]. label: [N] int64, 0 = lowest grade."""
        weight = 1 / (len(self.shares) * self.shares)
        own = self.log_probabilities(score).gather(1, label[:, None])[:, 0]
        return -(weight[label] * own).mean()

    def log_probabilities(self, score: torch.Tensor) -> torch.Tensor:
        """Of each grade: [N, C], finite for scores of any size.

        With a threshold a below b, logistic(b) - logistic(a) = logistic(b) * logistic(-a) * (1 - exp(a - b)).
        """
        below = functional.logsigmoid(self.thresholds - score[:, None])  # not above threshold k
        above = functional.logsigmoid(score[:, None] - self.thresholds)
        between = torch.log(-torch.expm1(-self.distances))
        return functional.pad(below, (0, 1)) + functional.pad(above, (1, 0)) + functional.pad(between, (1, 1))


def cox_loss(log_hazard: torch.Tensor, time_months: torch.Tensor, event: torch.Tensor) -> torch.Tensor:
    """Mean negative Cox partial log-likelihood over the events, Efron ties.

    log_hazard: [N] float, higher = earlier death. time_months: [N] > 0. event: [N] bool, True = death seen.
    A risk set holds all who live at least as long. Raises NoEvents when no event is given. Source: Efron 1977.
    """
    if not event.any():
        raise NoEvents(f"Cox loss: no event among {len(event)} patients; wanted at least one")
    months, group = torch.unique(time_months, return_inverse=True)  # ascending
    log_at_risk = _logsumexp_by(group, log_hazard, len(months)).flip(0).logcumsumexp(0).flip(0)
    at_death, dead, deaths = torch.unique(group[event], return_inverse=True, return_counts=True)
    log_dying = _logsumexp_by(dead, log_hazard[event], len(at_death))
    # Efron: of d deaths at one time, the l-th (from 0) is compared with the risk set less l/d of those who die then.
    order = torch.arange(len(dead), device=dead.device)
    time = torch.repeat_interleave(deaths)  # which of the death times each of the terms belongs to
    share = (order - (deaths.cumsum(0) - deaths)[time]) / deaths[time]
    log_at_risk = log_at_risk[at_death][time]
    denominators = log_at_risk + torch.log1p(-share * torch.exp(log_dying[time] - log_at_risk))
    return (denominators.sum() - log_hazard[event].sum()) / len(dead)


def cox_loss_breslow(log_hazard: torch.Tensor, time_months: torch.Tensor, event: torch.Tensor) -> torch.Tensor:
    """As `cox_loss`, with Breslow ties: all who die at one time are compared with the full risk set. Breslow 1974."""
    if not event.any():
        raise NoEvents(f"Cox loss: no event among {len(event)} patients; wanted at least one")
    months, group = torch.unique(time_months, return_inverse=True)  # ascending
    log_at_risk = _logsumexp_by(group, log_hazard, len(months)).flip(0).logcumsumexp(0).flip(0)
    return (log_at_risk[group[event]] - log_hazard[event]).mean()


def cox_loss_of_each(log_hazard: torch.Tensor, time_months: torch.Tensor, event: torch.Tensor) -> torch.Tensor:
    """Each patient's own negative log-likelihood by the common hazard of these patients, up to a constant: [N].

    It is the number of deaths that are expected of a patient until his time, less his log hazard if he died. With the
    common hazard held fixed, the gradient of their sum is that of `cox_loss_breslow` times the number of events.
    Source: Breslow 1972.
    """
    months, group = torch.unique(time_months, return_inverse=True)  # ascending
    log_at_risk = _logsumexp_by(group, log_hazard, len(months)).flip(0).logcumsumexp(0).flip(0)
    deaths = torch.zeros_like(log_at_risk).index_add(0, group, event.to(log_hazard.dtype))
    log_cumulative = (deaths.log() - log_at_risk).logcumsumexp(0)  # of the common hazard until each time
    return torch.exp(log_hazard + log_cumulative[group]) - event * (log_hazard - log_hazard.mean())


TIES: Mapping[Ties, Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "efron": cox_loss,
    "breslow": cox_loss_breslow,
}


def _logsumexp_by(group: torch.Tensor, value: torch.Tensor, groups: int) -> torch.Tensor:
    """log(sum(exp(value))) of each group: [groups], none of them empty. Safe for values of any size."""
    top = torch.full_like(value[:1].detach(), -torch.inf).repeat(groups)
    top = top.scatter_reduce(0, group, value.detach(), "amax")
    return top + torch.log(torch.zeros_like(top).index_add(0, group, torch.exp(value - top[group])))
