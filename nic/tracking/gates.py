"""The gates of registry/promotion.yaml, read and checked: what a candidate must show before it is served."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError, model_validator

from nic.errors import RegistryError
from nic.tracking.answers import FigureName


def _figure_name(text: object) -> FigureName:
    """Raises ValueError, which is what pydantic expects."""
    try:
        return FigureName.parse(str(text))
    except RegistryError as error:
        raise ValueError(str(error)) from error


GateFigure = Annotated[FigureName, BeforeValidator(_figure_name)]


class _StrictGate(BaseModel):
    """Refuses unknown keys: they are typing errors, and a typing error must not open a gate."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Bound(_StrictGate):
    """The range in which a figure must lie, ends included."""

    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _has_an_end(self) -> "Bound":
        if self.at_least is None and self.at_most is None:
            raise ValueError("no bound, so every version passes; add at_least: or at_most:")
        return self

    def holds(self, value: float) -> bool:
        """Whether the value is within the bounds; NaN never is."""
        above = self.at_least is None or value >= self.at_least
        return above and (self.at_most is None or value <= self.at_most) and value == value

    def __str__(self) -> str:
        ends = {"at least": self.at_least, "at most": self.at_most}
        return " and ".join(f"{words} {end:g}" for words, end in ends.items() if end is not None)


class Subgroups(_StrictGate):
    """The deciding figure in each group of patients; patients of unknown group are a group of their own.

    column: of the cohort's table; a column of many numbers is split at its median. fewest: patients that a group must
    have, else it is not judged.
    """

    column: str = "site"
    at_least: float
    fewest: int = 20


class Serving(_StrictGate):
    """Limits for the candidate as the server loads it.

    within: largest difference between its answers now and at registration. latency_s: of the reference request, once
    the model is loaded. size_mb: of all its files.
    """

    within: float = 1e-5
    latency_s: float
    size_mb: float


class Gate(_StrictGate):
    """What a candidate of one registered model must show; registry/promotion.yaml explains each key.

    figure: the deciding one; it must have a bound.
    """

    figure: GateFigure
    patients: str | None = None
    at_least: float | None = None
    low_above: float | None = None
    margin: float = 0.0
    parity: float = 1e-4
    others: dict[GateFigure, Bound] = {}
    subgroups: Subgroups | None = None
    serving: Serving | None = None
    foreign_encoder: bool = False

    @model_validator(mode="after")
    def _decides(self) -> "Gate":
        if self.at_least is None and self.low_above is None:
            raise ValueError(
                f"{self.figure} has no bound, so every first version passes; add at_least: 0.7 (its value), "
                "or low_above: 0.5 (the lower end of its interval)"
            )
        return self


def read_gates(path: Path) -> dict[str, Gate]:
    """Gates by registered name. Raises RegistryError naming the file and the field."""
    try:
        return TypeAdapter(dict[str, Gate]).validate_python(yaml.safe_load(path.read_text()))
    except FileNotFoundError as error:
        raise RegistryError(f"{path}: no such file of gates") from error
    except yaml.YAMLError as error:
        raise RegistryError(f"{path.name}: not YAML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise RegistryError(f"{path.name}: {faults}") from error


def gate_of(name: str, gates: Mapping[str, Gate]) -> Gate:
    """Raises RegistryError when the registered name has no gate."""
    if name not in gates:
        raise RegistryError(f"{name}: no gate in promotion.yaml; add one that names the deciding figure")
    return gates[name]
