"""What the patient networks minimise: one scalar from the scores and labels of a set of patients."""

from collections.abc import Callable, Mapping

import torch
from torch.nn import functional

from nic.errors import NoEvents
from nic.patients.choices import Ties


def squared_error(score: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Mean squared error. Both [N], the values standardised by the training patients' mean and deviation."""
    return functional.mse_loss(score, value)


def balanced_cross_entropy(logit: torch.Tensor, positive: torch.Tensor, positive_share: float) -> torch.Tensor:
    """Mean binary cross-entropy with both classes at equal total weight. Both [N]; positive: 0 or 1.

    positive_share: of the training patients, in (0, 1).
    """
    weight = torch.where(positive > 0, 0.5 / positive_share, 0.5 / (1 - positive_share))
    return functional.binary_cross_entropy_with_logits(logit, positive, weight)


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


TIES: Mapping[Ties, Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "efron": cox_loss,
    "breslow": cox_loss_breslow,
}


def _logsumexp_by(group: torch.Tensor, value: torch.Tensor, groups: int) -> torch.Tensor:
    """log(sum(exp(value))) of each group: [groups], none of them empty. Safe for values of any size."""
    top = torch.full_like(value[:1].detach(), -torch.inf).repeat(groups)
    top = top.scatter_reduce(0, group, value.detach(), "amax")
    return top + torch.log(torch.zeros_like(top).index_add(0, group, torch.exp(value - top[group])))
