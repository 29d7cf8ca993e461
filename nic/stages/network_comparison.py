"""Networks side by side on one endpoint: cross-validated, on the external part, and paired with the first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nic.compression.compatibility import TrainingCodes
from nic.errors import StudyError
from nic.evaluation.comparison import paired_difference
from nic.evaluation.figure import METRICS, Estimate, estimate
from nic.patients.choices import NetworkName
from nic.patients.cohort import Cohort, Labelled, Split
from nic.study import EndpointEntry, Study

if TYPE_CHECKING:
    from nic.patients.crops import Gathered


@dataclass(frozen=True)
class Schedule:
    """How each network is trained; the fields are those of the entry point."""

    folds: int
    epochs: int
    learning_rate: float
    seed: int


@dataclass(frozen=True)
class Compared:
    """One network on one endpoint. external_answers: [N], of the external patients in their order.

    difference: of the external figure from the first network's, on the same draws of patients; None for the first.
    """

    endpoint: str
    network: NetworkName
    cross_validated: Estimate
    external: Estimate
    difference: Estimate | None
    seconds: float
    external_answers: NDArray[np.float64]


def compare_on(
    entry: EndpointEntry, cohort: Cohort, codes: Path, networks: Sequence[NetworkName], schedule: Schedule
) -> Iterator[Compared]:
    """Train every network on the same folds of the same patients; one result as soon as it is known."""
    from nic.patients.training import ensemble_scores, fit_folds  # here: torch is slow to import, and comes last

    train, gathered = _gathered(entry, cohort, codes, "train")
    external, gathered_external = _gathered(entry, cohort, codes, "external", gathered.training_codes)
    cells, unseen = gathered.cells, gathered_external.cells
    metric, seed = METRICS[entry.kind], schedule.seed
    first = None
    for network in networks:
        start = perf_counter()
        ensemble = fit_folds(
            cells,
            train.targets,
            network=network,
            folds=schedule.folds,
            epochs=schedule.epochs,
            learning_rate=schedule.learning_rate,
            seed=seed,
        )
        seconds = perf_counter() - start
        answers = ensemble_scores(ensemble, unseen)
        first = answers if first is None else first
        truth = external.targets.arrays
        yield Compared(
            entry.name,
            network,
            estimate(metric, train.targets.arrays, ensemble.out_of_fold, seed=seed, fold=ensemble.fold),
            estimate(metric, truth, answers, seed=seed),
            None if network == networks[0] else paired_difference(metric, truth, answers, first, seed=seed),
            seconds,
            answers,
        )


def table_of_networks(compared: Sequence[Compared]) -> pd.DataFrame:
    """One row an endpoint and network, as it is read by people."""
    return pd.DataFrame(
        {
            "endpoint": c.endpoint,
            "network": c.network,
            "metric": c.external.name,
            "cross-validated": str(c.cross_validated),
            "external [95% interval]": str(c.external),
            "difference from the first": str(c.difference or "-"),
            "patients": c.external.n,
            "seconds": round(c.seconds),
        }
        for c in compared
    )


def codes_of(codes: Path, cohort: str, encoder: str) -> Path:
    """The folder `cohort`, or `cohort`-<encoder>, in `codes`. Raises StudyError when there is none, or several."""
    found = [path for path in [codes / cohort, *sorted(codes.glob(f"{cohort}-{encoder}*"))] if path.is_dir()]
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise StudyError(
            f"{codes}: codes of cohort {cohort!r} wanted in one folder, found {names}; compress, or encoder="
        )
    return found[0]


def networks_named(names: str) -> tuple[NetworkName, ...]:
    """Names divided by commas. Raises StudyError for one that there is not."""
    known: tuple[NetworkName, ...] = get_args(NetworkName)
    wanted = [name.strip() for name in names.split(",")]
    if unknown := [name for name in wanted if name not in known]:
        raise StudyError(f"no network {unknown[0]!r}; there are {', '.join(known)}")
    return tuple(network for name in wanted for network in known if network == name)


def endpoints_named(study: Study, names: str) -> list[EndpointEntry]:
    """Endpoints divided by commas; all of the study where none is named. Raises StudyError."""
    return [study.endpoint(name.strip()) for name in names.split(",")] if names else list(study.endpoints)


def _gathered(
    entry: EndpointEntry, cohort: Cohort, codes: Path, split: Split, training: TrainingCodes | None = None
) -> "tuple[Labelled, Gathered]":
    from nic.patients.crops import gather_cells  # here: as in `compare_on`

    labelled = cohort.labelled(entry.endpoint, split)
    gathered = gather_cells(labelled.patients, codes, training)
    return labelled.take(gathered.found), gathered
