"""Several patient networks on the endpoints of a study: cross-validated, external, and compared with the first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pandas as pd

from nic.compression.compatibility import TrainingCodes
from nic.errors import StudyError
from nic.evaluation.endpoint_figures import deciding_figure
from nic.evaluation.figure import Estimate, difference, estimate
from nic.patients.choices import NetworkName, Recipe, networks_named
from nic.patients.cohort import Cohort, Labelled, Split
from nic.study import EndpointEntry, Study, read_whole_study
from nic.tracking.digests import codes_digest
from nic.tracking.runs import StageRun

if TYPE_CHECKING:
    from nic.patients.crops import Gathered


@dataclass(frozen=True)
class FoldTraining:
    """How each network is trained, see `nic.patients.ensemble.fit_folds`. The networks replace that of the recipe."""

    recipe: Recipe
    folds: int
    seed: int


@dataclass(frozen=True)
class NetworkResult:
    """One network on one endpoint.

    difference: of the external figure, this network minus the first, on the same draws; None for the first. schedule:
    how long it was trained, in words.
    """

    endpoint: str
    network: NetworkName
    cross_validated: Estimate
    external: Estimate
    difference: Estimate | None
    seconds: float
    schedule: str


def inputs(study_file: Path, endpoints: Sequence[str], codes: Path, encoder: str) -> dict[str, str]:
    study = read_whole_study(study_file)
    entries = endpoints_named(study, endpoints)
    names = sorted({entry.cohort for entry in entries})
    cohorts = {name: study.cohorts[name].read() for name in names}
    digests = {f"codes.{name}": codes_digest(codes_of(codes, name, encoder)) for name in names}
    read = {entry.name: entry.read_from(cohorts[entry.cohort]) for entry in entries}
    return digests | {f"{what}.{name}": value for name, of in read.items() for what, value in of.items()}


def compare(
    study_file: Path,
    endpoints: Sequence[str],
    codes: Path,
    encoder: str,
    networks: Sequence[str],
    training: FoldTraining,
    stage: StageRun,
) -> dict[str, Any]:
    """Train, measure, log and print every network on every endpoint; the stage's result."""
    study = read_whole_study(study_file)
    results = []
    for entry in endpoints_named(study, endpoints):
        folder = codes_of(codes, entry.cohort, encoder)
        cohort = study.cohorts[entry.cohort].read()
        for result in compare_on(entry, cohort, folder, networks_named(networks), training):
            results.append(result)
            stage.log(f"{entry.name}.{result.network}.{result.external.name}", result.external.value)
            print(f"{entry.name}, {result.network}: {result.external}")
    table = networks_table(results)
    stage.log_table(table, "networks.csv")
    print(table.to_string(index=False))
    return {"networks": table.to_dict("records")}


def compare_on(
    entry: EndpointEntry, cohort: Cohort, codes: Path, networks: Sequence[NetworkName], training: FoldTraining
) -> Iterator[NetworkResult]:
    """Train every network on the same folds of the same patients, and yield each result as soon as it is known."""
    from nic.patients.ensemble import ensemble_scores, fit_folds  # here: torch is slow to import, and comes last
    from nic.patients.schedule import in_words, schedules_of

    train, gathered = _gathered(entry, cohort, codes, "train")
    external, gathered_external = _gathered(entry, cohort, codes, "external", gathered.training_codes)
    cells, unseen = gathered.cells, gathered_external.cells
    seed, first = training.seed, None
    for network in networks:
        start, recipe = perf_counter(), replace(training.recipe, network=network)
        ensemble = fit_folds(cells, train.targets, recipe, folds=training.folds, seed=seed)
        seconds = perf_counter() - start
        out_of_fold = deciding_figure(entry.kind, train.targets.arrays, ensemble.out_of_fold, ensemble.fold)
        figure = deciding_figure(entry.kind, external.targets.arrays, ensemble_scores(ensemble, unseen))
        first = figure if first is None else first
        yield NetworkResult(
            entry.name,
            network,
            estimate(out_of_fold, seed=seed).required(),
            estimate(figure, seed=seed).required(),
            None if network == networks[0] else difference(figure, first, seed=seed),
            seconds,
            in_words(schedules_of(recipe, train.targets, ensemble.fold)),
        )


def networks_table(results: Sequence[NetworkResult]) -> pd.DataFrame:
    """One row for each endpoint and network, for people to read."""
    return pd.DataFrame(
        {
            "endpoint": result.endpoint,
            "network": result.network,
            "metric": result.external.name,
            "cross-validated": str(result.cross_validated),
            "external [95% interval]": str(result.external),
            "difference from the first": str(result.difference or "-"),
            "patients": result.external.n,
            "training": result.schedule,
            "seconds": round(result.seconds),
        }
        for result in results
    )


def codes_of(codes: Path, cohort: str, encoder: str) -> Path:
    """The folder `cohort`, or `cohort`-<encoder>, in `codes`. Raises StudyError when there is none, or several."""
    folders = [path for path in [codes / cohort, *sorted(codes.glob(f"{cohort}-{encoder}*"))] if path.is_dir()]
    if len(folders) != 1:
        names = ", ".join(path.name for path in folders) or "none"
        remedy = "name the encoder (encoder=)" if folders else "compress the cohort first"
        raise StudyError(f"{codes}: folders with codes of cohort {cohort!r}: {names}; wanted one; {remedy}")
    return folders[0]


def endpoints_named(study: Study, names: Sequence[str]) -> list[EndpointEntry]:
    """The endpoints of these names; all of the study where there are none. Raises StudyError."""
    return [study.endpoint(name) for name in names] or list(study.endpoints)


def _gathered(
    entry: EndpointEntry, cohort: Cohort, codes: Path, split: Split, training_codes: TrainingCodes | None = None
) -> "tuple[Labelled, Gathered]":
    from nic.patients.crops import gather_cells  # here: as in `compare_on`

    labelled = cohort.labelled(entry.endpoint, split)
    gathered = gather_cells(labelled.patients, codes, training_codes)
    return labelled.take(gathered.has_codes), gathered
