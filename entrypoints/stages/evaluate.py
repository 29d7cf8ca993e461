"""What `entrypoints.evaluate` does."""

from math import isfinite
from typing import Any

import pandas as pd

from entrypoints.evaluate import Config
from nic.compression.compatibility import counted
from nic.study import read_study
from nic.tracking.digests import codes_digest, file_sha256
from nic.tracking.registry import find_version
from nic.tracking.runs import stage_run


def inputs(config: Config) -> dict[str, str]:
    study = read_study(config.study)
    entry = study.endpoint(config.endpoint)
    read = entry.read_from(study.cohorts[entry.cohort].read(), [*entry.covariates, *columns_of(config)])
    model, codes = find_version(config.model).uri, codes_digest(config.codes)
    truth = file_sha256(study.truth) if study.truth and study.truth.is_file() else ""
    return {**read, "codes": codes, "model": model, "truth": truth, "synthetic": str(study.phantom)}


def columns_of(config: Config) -> list[str]:
    return [column.strip() for column in config.subgroups.split(",") if column.strip()]


def run(config: Config) -> dict[str, Any]:
    """See `entrypoints.evaluate`."""
    study = read_study(config.study)
    with stage_run("evaluate", config, inputs(config)) as stage:
        # Here: the run is open, or refused, before the seconds that these take to import.
        from nic.evaluation.report_page import render
        from nic.stages.evaluation_report import report_of
        from nic.stages.model_evaluation import answers_record, evaluated, oracle_of
        from nic.stages.splitting import log_audit
        from nic.tracking.recorded_estimates import publish_answers

        done = evaluated(study, config.endpoint, config.codes, config.model, config.split, config.seed)
        log_audit(done.audit, stage)
        for figure in done.estimates:
            if isfinite(figure.value):
                stage.log(f"{config.split}.{figure.name}", figure.value)
        stage.log_table(pd.DataFrame(done.estimates), "figures.csv")
        report = report_of(done, columns_of(config), stage.run_id, config.seed)
        for picture in report.pictures:
            stage.log_png(picture.png, picture.file)
        stage.log_text(render(report), "report.html")
        publish_answers(done.version, answers_record(done, config.seed))  # last: what failed before leaves no figure
        found, missing = done.estimates[0], len(done.unanswered)
        if differ := counted(answer.codes_differ for answer in done.answers):
            print(differ)
        stage.log("codes_differ", sum(bool(answer.codes_differ) for answer in done.answers))
        print(f"{done.version.uri}: {config.split} {found.name} {found}, n = {found.n}; without codes: {missing}")
        oracle = oracle_of(study, done, config.seed)
        stage.result.update(metric=found.name, part=config.split, measured=str(found), oracle=oracle, n=found.n)
    return stage.result
