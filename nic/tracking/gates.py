"""Gates, read and checked: what a candidate must show before it is served. A study file or a file of gates has them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError, model_validator

from nic.errors import NoGate, RegistryError
from nic.tracking.figure_name import FigureName


def _figure_name(text: object) -> FigureName:
    """Raises ValueError, which is what pydantic expects."""
    try:
        return FigureName.parse(str(text))
    except RegistryError as error:
        raise ValueError(str(error)) from error


GateFigure = Annotated[FigureName, BeforeValidator(_figure_name, json_schema_input_type=str)]
DECIDING = {
    "regression": "spearman",
    "classification": "auc",
    "multiclass": "macro_auc",
    "ordinal": "grade_c_index",
    "survival": "c_index",
}
"""The figure that decides, by kind of endpoint; tests hold it against `nic.evaluation.endpoint_figures`."""
EXAMPLE = "gate: {{figure: {}, at_least: 0.7, margin: 0.1}}"
"""The gate that a user without one may write under an endpoint of the study file."""


class _StrictGate(BaseModel):
    """Refuses unknown keys: they are typing errors, and a typing error must not open a gate."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Bound(_StrictGate):
    """The range in which a figure must lie, ends included."""

    at_least: float | None = None
    """Its lower end."""
    at_most: float | None = None
    """Its upper end."""

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
    """The deciding figure in each group of patients; patients of unknown group are a group of their own."""

    column: str = "site"
    """Of the cohort's table; a column of many numbers is split at its median."""
    at_least: float
    """The smallest value of the figure in each group."""
    fewest: int = 20
    """Patients that a group must have, else it is not judged."""


class Serving(_StrictGate):
    """Limits for the candidate as the server loads it."""

    within: float = 1e-5
    """Largest difference between its answers now and at registration; of numbers above 1, as a share of them."""
    latency_s: float
    """Seconds for the reference request, once the model is loaded."""
    size_mb: float
    """Of all its files."""


class Gate(_StrictGate):
    """What a candidate of one registered model must show; docs/registry.md explains each check."""

    figure: GateFigure
    """The figure that decides: external.auc, external.c_index, external.spearman; cross_validated.auc without external
    patients."""
    patients: str | None = None
    """Digest of the patients, labels and slides on which the figure must be measured."""
    at_least: float | None = None
    """The smallest value of the figure. A gate needs this key or `low_above`."""
    low_above: float | None = None
    """The lower end of the figure's 95% interval must be above this value."""
    margin: float = 0.0
    """How much worse than the champion a candidate may be; 0 asks for a significantly better one."""
    parity: float = 1e-4
    """The largest difference between the ONNX graph and the trained network; of numbers above 1, as a share of the
    largest."""
    others: dict[GateFigure, Bound] = {}
    """Bounds of further figures: {external.brier: {at_most: 0.25}}."""
    subgroups: Subgroups | None = None
    """The smallest value of the figure in each group of a column."""
    serving: Serving | None = None
    """Limits for the candidate as the server loads it."""
    foreign_encoder: bool = False
    """Whether codes of another tool's encoder are accepted."""

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
    """Raises NoGate when the registered name has none."""
    if name not in gates:
        example = EXAMPLE.format("external.auc")
        raise NoGate(f"{name}: no gate; write one under the endpoint in the study file, such as {example}")
    return gates[name]
