"""Labels as arrays, one kind of endpoint a type. Needs numpy alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nic.errors import EndpointError, NoEvents, OneClass

LEAST_CLASSES = 3
"""Of a multiclass or an ordinal endpoint; two are a classification."""
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
    """Targets of a classification, of two classes. positive: [N] bool. names: (negative, positive)."""

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
class Categories:
    """Targets of three or more classes without an order. index: [N], the place of each patient's class in `names`."""

    index: NDArray[np.intp]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def arrays(self) -> tuple[NDArray[np.intp]]:
        """What a metric takes as truth."""
        return (self.index,)

    def take(self, index: Index) -> "Categories":
        return Categories(self.index[index], self.names)


@dataclass(frozen=True)
class Grades:
    """Targets of three or more classes in an order, from the lowest grade to the highest.

    index: [N], the place of each patient's grade in `names`, 0 = lowest.
    """

    index: NDArray[np.intp]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def arrays(self) -> tuple[NDArray[np.intp]]:
        """What a metric takes as truth."""
        return (self.index,)

    def take(self, index: Index) -> "Grades":
        return Grades(self.index[index], self.names)


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


Targets = Values | Classes | Categories | Grades | Survival


def names_of(targets: Targets) -> tuple[str, ...]:
    """Names of the classes, in their order; empty of values and of survival."""
    return targets.names if isinstance(targets, Classes | Categories | Grades) else ()


def class_counts(targets: Targets) -> list[int]:
    """Patients of each class, in the order of `names_of`."""
    match targets:
        case Classes(positive, _):
            return [int((~positive).sum()), int(positive.sum())]
        case Categories(index, names) | Grades(index, names):
            return [int(patients) for patients in np.bincount(index, minlength=len(names))]
    return []


def scores_for(targets: Targets) -> int:
    """How many scores a patient has: one for each of several classes without an order, else one."""
    return len(targets.names) if isinstance(targets, Categories) else 1


def label_columns(targets: Targets) -> dict[str, NDArray[np.float64] | NDArray[np.int_] | NDArray[np.str_]]:
    """The labels as columns of a table: one of two classes and an event as 0 or 1, one of several classes by name."""
    match targets:
        case Values(value):
            return {"label": value}
        case Classes(positive, _):
            return {"label": positive.astype(int)}
        case Categories(index, names) | Grades(index, names):
            return {"label": np.array(names)[index]}
        case Survival(time_months, event):
            return {"time_months": time_months, "event": event.astype(int)}


def guess_of(targets: Targets) -> float | None:
    """The answer for everybody without a model: the median value, the share of positives; None for other kinds."""
    match targets:
        case Values(value):
            return float(np.median(value))
        case Classes(positive, _):
            return float(positive.mean())
    return None


def shares_of(targets: Targets) -> tuple[float, ...]:
    """The share of patients of each of several classes, in the order of names; empty for other kinds."""
    match targets:
        case Categories(index, names) | Grades(index, names):
            return tuple((np.bincount(index, minlength=len(names)) / len(index)).tolist())
    return ()


def check_teachable(targets: Targets, where: str) -> None:
    """Raises OneClass, NoEvents or EndpointError when nothing can be learned from the labels, or nothing about one of
    several classes. where: begins the message."""
    match targets:
        case Classes(positive, names) if positive.all() or not positive.any():
            raise OneClass(f"{where}: all {len(targets)} patients are {names[int(positive[0])]!r}; wanted both classes")
        case Categories(index, names) | Grades(index, names) if missing := sorted(set(range(len(names))) - {*index}):
            raise EndpointError(
                f"{where}: none of {len(targets)} patients is {names[missing[0]]!r}; wanted patients of each of "
                f"{', '.join(names)}"
            )
        case Survival(_, event) if not event.any():
            raise NoEvents(f"{where}: none of {len(targets)} patients has an event; is the event column inverted?")
