"""All networks on all endpoints of a study, with the same folds: which of them does what."""

from pathlib import Path
from typing import Any

from nic.stages.network_comparison import (
    Schedule,
    codes_of,
    compare_on,
    endpoints_named,
    networks_named,
    table_of_networks,
)
from nic.study import read_whole_study
from nic.tracking.digests import codes_digest
from nic.tracking.runs import StageRun


def inputs(study_file: Path, endpoints: str, codes: Path, encoder: str) -> dict[str, str]:
    study = read_whole_study(study_file)
    entries = endpoints_named(study, endpoints)
    names = sorted({entry.cohort for entry in entries})
    cohorts = {name: study.cohorts[name].read() for name in names}
    digests = {f"codes.{name}": codes_digest(codes_of(codes, name, encoder)) for name in names}
    read = {entry.name: entry.read_from(cohorts[entry.cohort]) for entry in entries}
    return digests | {f"{what}.{name}": value for name, of in read.items() for what, value in of.items()}


def compare(
    study_file: Path, endpoints: str, codes: Path, encoder: str, networks: str, schedule: Schedule, stage: StageRun
) -> dict[str, Any]:
    """Train, measure, log and print every network on every endpoint; the stage's result."""
    study = read_whole_study(study_file)
    compared = []
    for entry in endpoints_named(study, endpoints):
        folder = codes_of(codes, entry.cohort, encoder)
        cohort = study.cohorts[entry.cohort].read()
        for result in compare_on(entry, cohort, folder, networks_named(networks), schedule):
            compared.append(result)
            stage.log(f"{entry.name}.{result.network}.{result.external.name}", result.external.value)
            print(f"{entry.name}, {result.network}: {result.external}")
    table = table_of_networks(compared)
    stage.log_table(table, "networks.csv")
    print(table.to_string(index=False))
    return {"networks": table.to_dict("records")}
