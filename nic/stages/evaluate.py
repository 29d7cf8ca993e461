"""A registered model measured on one part of a cohort: figures, report, and the answers by which they are checked."""

from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from nic.compression.compatibility import counted
from nic.evaluation.report import render
from nic.patients.choices import Part
from nic.stages.endpoint_inputs import columns_in
from nic.stages.evaluation import answers_record, evaluated, oracle_of
from nic.stages.reporting import report_of
from nic.stages.splitting import log_audit
from nic.study import read_study
from nic.tracking.figures import publish_answers
from nic.tracking.runs import StageRun


def evaluate(
    study_file: Path, endpoint: str, codes: Path, model: str, part: Part, subgroups: str, seed: int, stage: StageRun
) -> dict[str, Any]:
    """Measure, log, report and publish; the stage's result. subgroups: columns of the table, with commas between."""
    study = read_study(study_file)
    done = evaluated(study, endpoint, codes, model, part, seed)
    log_audit(done.audit, stage)
    for figure in done.estimates:
        if isfinite(figure.value):
            stage.log(f"{part}.{figure.name}", figure.value)
    stage.log_table(pd.DataFrame(done.estimates), "figures.csv")
    report = report_of(done, columns_in(subgroups), stage.run_id, seed)
    for picture in report.pictures:
        stage.log_png(picture.png, picture.file)
    stage.log_text(render(report), "report.html")
    publish_answers(done.version, answers_record(done, seed))  # last: what failed before leaves no figure
    first, missing = done.estimates[0], len(done.unanswered)
    if differ := counted(answer.codes_differ for answer in done.answers):
        print(differ)
    stage.log("codes_differ", sum(bool(answer.codes_differ) for answer in done.answers))
    print(f"{done.version.uri}: {part} {first.name} {first}, n = {first.n}; without codes: {missing}")
    oracle = oracle_of(study, done, seed)
    return {"metric": first.name, "part": part, "measured": str(first), "oracle": oracle, "n": first.n}
