"""What `entrypoints.compare_networks` does."""

from typing import Any

from entrypoints.compare_networks import Config
from nic.stages.network_comparison import (
    FoldTraining,
    codes_of,
    compare_on,
    endpoints_named,
    networks_named,
    networks_table,
)
from nic.study import read_whole_study
from nic.tracking.digests import codes_digest
from nic.tracking.runs import stage_run


def inputs(config: Config) -> dict[str, str]:
    study = read_whole_study(config.study)
    entries = endpoints_named(study, config.endpoints)
    names = sorted({entry.cohort for entry in entries})
    cohorts = {name: study.cohorts[name].read() for name in names}
    codes = {f"codes.{name}": codes_digest(codes_of(config.codes, name, config.encoder)) for name in names}
    read = {entry.name: entry.read_from(cohorts[entry.cohort]) for entry in entries}
    return codes | {f"{what}.{name}": value for name, of in read.items() for what, value in of.items()}


def run(config: Config) -> dict[str, Any]:
    """See `entrypoints.compare_networks`."""
    study = read_whole_study(config.study)
    training = FoldTraining(config.folds, config.epochs, config.learning_rate, config.seed)
    with stage_run("compare_networks", config, inputs(config)) as stage:
        results = []
        for entry in endpoints_named(study, config.endpoints):
            codes = codes_of(config.codes, entry.cohort, config.encoder)
            cohort = study.cohorts[entry.cohort].read()
            for result in compare_on(entry, cohort, codes, networks_named(config.networks), training):
                results.append(result)
                stage.log(f"{entry.name}.{result.network}.{result.external.name}", result.external.value)
                print(f"{entry.name}, {result.network}: {result.external}")
        table = networks_table(results)
        stage.log_table(table, "networks.csv")
        print(table.to_string(index=False))
        stage.result["networks"] = table.to_dict("records")
    return stage.result
