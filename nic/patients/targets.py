"""Labels as arrays, one kind of endpoint a type. Needs numpy alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nic.errors import NoEvents, OneClass

Index = NDArray[np.intp] | NDArray[np.bool_]


@dataclass(frozen=True)
class Values:
    """Targets of a regression. value: [N] float64."""

    value: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.value)

    @property
    def arrays(self) -> tuple[NDArray[np.float64]]:
        """What a metric takes as truth."""
        return (self.value,)

    def take(self, index: Index) -> "Values":
        return Values(self.value[index])


@dataclass(frozen=True)
class Classes:
    """Targets of a classification. positive: [N] bool. names: (negative, positive)."""

    positive: NDArray[np.bool_]
    names: tuple[str, str]

    def __len__(self) -> int:
        return len(self.positive)

    @property
    def arrays(self) -> tuple[NDArray[np.bool_]]:
        """What a metric takes as truth."""
        return (self.positive,)

    def take(self, index: Index) -> "Classes":
        return Classes(self.positive[index], self.names)


@dataclass(frozen=True)
class Survival:
    """Targets of a survival endpoint. time_months: [N] > 0. event: [N] bool, True = death seen, False = censored."""

    time_months: NDArray[np.float64]
    event: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.event)

    @property
    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """What a metric takes as truth."""
        return (self.time_months, self.event)

    def take(self, index: Index) -> "Survival":
        return Survival(self.time_months[index], self.event[index])


Targets = Values | Classes | Survival


def label_columns(targets: Targets) -> dict[str, NDArray[np.float64] | NDArray[np.int_]]:
    """The labels as columns of a table; a class and an event as 0 or 1."""
    match targets:
        case Values(value):
            return {"label": value}
        case Classes(positive, _):
            return {"label": positive.astype(int)}
        case Survival(time_months, event):
            return {"time_months": time_months, "event": event.astype(int)}


def guess_of(targets: Targets) -> float | None:
    """The answer for everybody without a model: the median value, the share of positives; None for survival."""
    match targets:
        case Values(value):
            return float(np.median(value))
        case Classes(positive, _):
            return float(positive.mean())
    return None


def check_teachable(targets: Targets, where: str) -> None:
    """Raises OneClass or NoEvents when nothing can be learned from the labels. where: begins the message."""
    match targets:
        case Classes(positive, names) if positive.all() or not positive.any():
            raise OneClass(f"{where}: all {len(targets)} patients are {names[int(positive[0])]!r}; wanted both classes")
        case Survival(_, event) if not event.any():
            raise NoEvents(f"{where}: none of {len(targets)} patients has an event; is the event column inverted?")
