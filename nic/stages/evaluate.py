"""A registered model measured on one part of a cohort: figures, report, and the answers by which they are checked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from nic.compression.compatibility import counted
from nic.evaluation.figure_words import title_of
from nic.evaluation.report_page import render
from nic.patients.choices import CohortPart
from nic.stages.evaluation_report import report_of
from nic.stages.model_evaluation import Evaluation, answers_record, evaluate_model, oracle_of
from nic.stages.patient_card import describe
from nic.stages.splitting import log_audit
from nic.stages.study_tables import StudyTable
from nic.study import read_study
from nic.tracking.recorded_estimates import publish_answers
from nic.tracking.runs import StageRun, run_page


def evaluate(
    study_file: Path,
    endpoint: str,
    codes: Path,
    model: str,
    part: CohortPart,
    subgroups: Sequence[str],
    seed: int,
    stage: StageRun,
) -> dict[str, Any]:
    """Measure the model, log the report, publish the answers; the stage's result. subgroups: columns of the table."""
    study = read_study(study_file)
    evaluation = evaluate_model(study, endpoint, codes, model, part, seed)
    log_audit(evaluation.audit, stage)
    for estimate in evaluation.estimates:
        stage.log_estimate(f"{part}.{estimate.name}", estimate, evaluation.version.model_id)
    stage.log_table(pd.DataFrame(evaluation.estimates), "figures.csv")
    report = report_of(evaluation, subgroups, stage.run_id, seed)
    for picture in report.pictures:
        stage.log_png(picture.png, picture.file)
    stage.log_text(render(report), "report.html")
    # Last: what fails before this leaves no figure on the version.
    publish_answers(evaluation.version, answers_record(evaluation, seed))
    describe(evaluation.version)
    stage.describe(described(evaluation, stage.run_id))
    deciding, missing = evaluation.estimates[0], len(evaluation.unanswered)
    if differ := counted(answer.codes_differ for answer in evaluation.answers):
        print(differ)
    stage.log("codes_differ", sum(bool(answer.codes_differ) for answer in evaluation.answers))
    measured = f"{part} {deciding.name} {deciding}, n = {deciding.n}"
    print(f"{evaluation.version.uri}: {measured}; without codes: {missing}")
    oracle = oracle_of(study, evaluation, seed)
    published = [[r.method, r.part, r.estimate.name, r.value, r.estimate.n] for r in evaluation.compared]
    measured_on = {"metric": deciding.name, "part": part, "measured": str(deciding), "n": deciding.n}
    return {**measured_on, "oracle": oracle, "published": published}


def described(evaluation: Evaluation, run_id: str) -> str:
    """The description of the run: which model was measured on whom, the figures, and a link to the report."""
    version, rows = (
        evaluation.version,
        [(title_of(e.name), str(e), str(e.n)) for e in evaluation.estimates if e.is_defined],
    )
    table = StudyTable("Figures", ("figure", "value [95% interval]", "patients"), rows)
    measured = f"[{version.full_name}]({version.page}) on part {evaluation.part} of {evaluation.cohort.file}"
    return f"{measured}. [The report]({run_page(run_id, 'report.html')})\n\n{table.markdown()}"
