"""The guard: which version of a registered model may be served, and why another may not."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import yaml
from mlflow.tracking import MlflowClient
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from nic.errors import RegistryError
from nic.tracking.registry import (
    CHAMPION,
    ENCODER_NAME,
    PREVIOUS,
    RegisteredVersion,
    alias_version,
    find_version,
    tag_version,
)

ENCODER_LINEAGE = ("nic.run", "nic.code", "nic.encoder_sha256", "nic.tasks")
PATIENT_LINEAGE = ("nic.run", "nic.code", "nic.encoder_sha256", "nic.encoder_version", "nic.cohort")


@dataclass(frozen=True)
class Figure:
    """A measured figure as it stands on a version. data: digest of the patients (or tiles) it was measured on."""

    value: float
    n: int
    data: str
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        interval = f" [{self.low:.3f}, {self.high:.3f}]" if self.low is not None else ""
        return f"{self.value:.3f}{interval}, n = {self.n}"


class Gate(BaseModel):
    """What a version of one registered model must show; see registry/promotion.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    figure: str
    at_least: float | None = None
    low_above: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What came of a promotion. reasons: why it was refused; empty when the version is champion now."""

    version: RegisteredVersion
    gate: Gate
    figure: Figure | None
    reasons: tuple[str, ...]

    @property
    def promoted(self) -> bool:
        return not self.reasons


class Measured(Protocol):
    """What a stage has measured; nic.evaluation.metrics.Estimate is one."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...
    @property
    def n(self) -> int: ...


def record_figures(version: RegisteredVersion, figures: Mapping[str, Measured], data: str) -> None:
    """Tag figures on a version, where the gates look for them. data: digest of what they were measured on."""
    kept = {name: Figure(f.value, f.n, data, f.low, f.high) for name, f in figures.items()}
    tags = {f"figure.{name}": json.dumps(asdict(figure)) for name, figure in kept.items()}
    tag_version(version.name, version.version, tags)


def read_gates(path: Path) -> dict[str, Gate]:
    """Gates by registered name. Raises RegistryError naming the file and the field."""
    try:
        return TypeAdapter(dict[str, Gate]).validate_python(yaml.safe_load(path.read_text()))
    except FileNotFoundError as error:
        raise RegistryError(f"{path}: no such file of gates") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise RegistryError(f"{path.name}: {faults}") from error


def promote(uri: str, gates: Mapping[str, Gate]) -> Verdict:
    """Make a version champion if its gate lets it pass; the old champion becomes `previous`.

    Raises UnknownModel when there is no such version, RegistryError when its name has no gate.
    """
    version = find_version(uri)
    if version.name not in gates:
        raise RegistryError(f"{version.name}: no gate in promotion.yaml; add one that says which figure decides")
    gate = gates[version.name]
    figure = _figure(version, gate)
    present = alias_version(version.name, CHAMPION)
    standing = present is not None and present.version == version.version
    champion = None if standing else rival(version)
    reasons = (*_missing_lineage(version), *_below_gate(figure, gate), *_not_better(figure, champion, gate))
    verdict = Verdict(version, gate, figure, reasons)
    tag_version(
        version.name,
        version.version,
        {"promotion.verdict": "promoted" if verdict.promoted else "refused", "promotion.reasons": "; ".join(reasons)},
    )
    if verdict.promoted and not standing:
        _move_aliases(version, champion)
    return verdict


def rival(version: RegisteredVersion) -> RegisteredVersion | None:
    """The champion that a version must beat, or, where it is champion itself, the one it took over from."""
    champion = alias_version(version.name, CHAMPION)
    is_champion = champion is not None and champion.version == version.version
    return alias_version(version.name, PREVIOUS) if is_champion else champion


def _move_aliases(version: RegisteredVersion, champion: RegisteredVersion | None) -> None:
    client = MlflowClient()
    # The old champion first: at no moment is there a name without a champion that had one.
    if champion:
        client.set_registered_model_alias(version.name, PREVIOUS, champion.version)
    client.set_registered_model_alias(version.name, CHAMPION, version.version)


def _figure(version: RegisteredVersion, gate: Gate) -> Figure | None:
    text = version.tags.get(f"figure.{gate.figure}")
    return Figure(**json.loads(text)) if text else None


def _missing_lineage(version: RegisteredVersion) -> list[str]:
    wanted = ENCODER_LINEAGE if version.name == ENCODER_NAME else PATIENT_LINEAGE
    missing = [tag for tag in wanted if tag not in version.tags]
    return [f"lineage is incomplete: no tag {', '.join(missing)}"] if missing else []


def _below_gate(figure: Figure | None, gate: Gate) -> list[str]:
    if figure is None:
        return [f"{gate.figure} was never measured on this version; run `evaluate` first"]
    reasons = []
    if gate.at_least is not None and not figure.value >= gate.at_least:
        reasons.append(f"{gate.figure} is {figure.value:.3f}, wanted at least {gate.at_least}")
    if gate.low_above is not None and not (figure.low is not None and figure.low > gate.low_above):
        reasons.append(f"the interval of {gate.figure} ({figure}) reaches down to {gate.low_above} or lower")
    return reasons


def _not_better(figure: Figure | None, champion: RegisteredVersion | None, gate: Gate) -> list[str]:
    if champion is None or figure is None:
        return []
    best = _figure(champion, gate)
    who = f"the champion, version {champion.version}"
    if best is None or best.data != figure.data:
        return [f"{who}, has no {gate.figure} on the same data; run `evaluate` on it first"]
    if not figure.value > best.value:
        return [f"{gate.figure} is {figure.value:.3f}, no better than {best.value:.3f} of {who}"]
    return []
