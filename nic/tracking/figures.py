"""Measured figures as tags of a registered version, where the gates look for them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from typing import Protocol

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException

from nic.errors import RegistryError
from nic.tracking.digests import digest
from nic.tracking.registry import RegisteredVersion, tag_version


@dataclass(frozen=True)
class Figure:
    """A measured figure as it stands on a version.

    data: digest of the patients (or tiles) it was measured on. run: in which it was measured, where its table of
    answers is; None in versions that were registered before it was kept.
    """

    value: float
    n: int
    data: str
    low: float | None = None
    high: float | None = None
    run: str | None = None

    def __str__(self) -> str:
        interval = f" [{self.low:.3f}, {self.high:.3f}]" if self.low is not None else ""
        return f"{self.value:.3f}{interval}, n = {self.n}"


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
    """Tag figures of the active run on a version. data: digest of what they were measured on."""
    active = mlflow.active_run()
    run = active.info.run_id if active else None
    kept = {name: Figure(f.value, f.n, data, f.low, f.high, run) for name, f in figures.items()}
    tags = {f"figure.{name}": json.dumps(asdict(figure)) for name, figure in kept.items()}
    tag_version(version.name, version.version, tags)


def figure_on(version: RegisteredVersion, name: str) -> Figure | None:
    """The figure as it was tagged, or None when it was not measured on this version."""
    text = version.tags.get(f"figure.{name}")
    return Figure(**json.loads(text)) if text else None


def patients_digest(cohort: str, patients: Sequence[str]) -> str:
    """Digest of the patients that a figure was measured on: which, in their order, and of which cohort's table."""
    return digest({"cohort": cohort, "patients": list(patients)})


def out_of_fold_answers(version: RegisteredVersion) -> pd.DataFrame:
    """What its training patients were answered by networks that had not seen them. Raises RegistryError."""
    try:
        text = mlflow.artifacts.load_text(f"runs:/{version.tags['nic.run']}/cross_validated.csv")
    except (KeyError, MlflowException, OSError) as error:
        raise RegistryError(f"{version.uri}: the run that trained it, or its cross_validated.csv, is gone") from error
    return pd.read_csv(StringIO(text), dtype={"patient": str})


def answers_behind(figure: Figure, split: str) -> pd.DataFrame:
    """The table a figure was measured on: one row a patient with site, labels and prediction.

    Raises RegistryError when it is gone, or is not of the patients that the figure's digest says.
    """
    if figure.run is None:
        raise RegistryError("the run that measured it is not recorded; run `evaluate` again")
    try:
        text = mlflow.artifacts.load_text(f"runs:/{figure.run}/{split}.csv")
        cohort = mlflow.get_run(figure.run).data.tags.get("nic.input.cohort", "")
    except (MlflowException, OSError) as error:
        raise RegistryError(f"run {figure.run} or its {split}.csv is gone; run `evaluate` again") from error
    table = pd.read_csv(StringIO(text), dtype={"patient": str})
    if patients_digest(cohort, list(table["patient"])) != figure.data:
        raise RegistryError(f"{split}.csv of run {figure.run} is not of the patients the figure was measured on")
    return table
