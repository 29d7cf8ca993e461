"""What `entrypoints.evaluate` does."""

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
        from nic.stages.model_evaluation import answers_record, evaluate_model, oracle_of
        from nic.stages.splitting import log_audit
        from nic.tracking.recorded_estimates import publish_answers

        evaluation = evaluate_model(study, config.endpoint, config.codes, config.model, config.split, config.seed)
        log_audit(evaluation.audit, stage)
        for estimate in evaluation.estimates:
            if estimate.is_defined:
                stage.log(f"{config.split}.{estimate.name}", estimate.value)
        stage.log_table(pd.DataFrame(evaluation.estimates), "figures.csv")
        report = report_of(evaluation, columns_of(config), stage.run_id, config.seed)
        for picture in report.pictures:
            stage.log_png(picture.png, picture.file)
        stage.log_text(render(report), "report.html")
        # Last: what fails before this leaves no figure on the version.
        publish_answers(evaluation.version, answers_record(evaluation, config.seed))
        deciding, missing = evaluation.estimates[0], len(evaluation.unanswered)
        if differ := counted(answer.codes_differ for answer in evaluation.answers):
            print(differ)
        stage.log("codes_differ", sum(bool(answer.codes_differ) for answer in evaluation.answers))
        measured = f"{config.split} {deciding.name} {deciding}, n = {deciding.n}"
        print(f"{evaluation.version.uri}: {measured}; without codes: {missing}")
        oracle = oracle_of(study, evaluation, config.seed)
        stage.result.update(
            metric=deciding.name, part=config.split, measured=str(deciding), oracle=oracle, n=deciding.n
        )
    return stage.result
