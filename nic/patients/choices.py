"""Choices of a training by name. Needs no torch, so that a command line is parsed at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from nic.errors import StudyError

Kind = Literal["regression", "classification", "multiclass", "ordinal", "survival"]
"""Of an endpoint: a value, two classes, more classes without or with an order, or survival."""
NetworkName = Literal[
    "context-mil", "grid-cnn", "crop-cnn", "attention-mil", "mean-mil", "max-mil", "pooled-linear", "glimpses"
]
"""The networks of a patient model, see `nic.patients.untrained`."""
DEFAULT_NETWORK: NetworkName = "context-mil"
"""The network where a study, a recipe or a command names none. MLproject and docs/study.md repeat it."""
Ties = Literal["efron", "breslow"]
"""How Cox takes deaths at one time."""
CohortPart = Literal["train", "external", "cross_validated"]
"""Which patients of a cohort are measured. cross_validated: those of training, each by networks that never saw them."""


@dataclass(frozen=True)
class Recipe:
    """How a patient network is trained. epochs: 0 for as many as `nic.patients.schedule` takes. learning_rate: peak of
    the one-cycle schedule."""

    network: NetworkName = DEFAULT_NETWORK
    epochs: int = 0
    learning_rate: float = 1e-2
    ties: Ties = "efron"


def networks_named(names: Sequence[str]) -> tuple[NetworkName, ...]:
    """The networks of these names. Raises StudyError for an unknown one, and where there is none."""
    known: tuple[NetworkName, ...] = get_args(NetworkName)
    if unknown := [name for name in names or [""] if name not in known]:
        raise StudyError(f"no network {unknown[0]!r}; there are {', '.join(known)}")
    return tuple(network for name in names for network in known if network == name)
