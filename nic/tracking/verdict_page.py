"""The verdict on a version as an HTML page: each check, what was observed, what is required, and the result."""

from html import escape

import pandas as pd
from mlflow.tracking import MlflowClient

from nic.tracking.promotion import Verdict
from nic.tracking.registry import tag_version
from nic.tracking.runs import find_run

FILE = "verdict.html"

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.4 sans-serif; margin: 2em; }}
th, td {{ text-align: left; padding: .3em .8em; border-bottom: 1px solid #ddd; vertical-align: top; }}
table {{ border-collapse: collapse; border: 0; }}
</style>
<h1>{title}</h1>
<p>{estimate}</p>
{table}
</html>
"""


def publish(verdict: Verdict, run_id: str) -> None:
    """Log the page in the run that judged and in the run that made the version; tag the version with its place."""
    page, made_by = verdict_page(verdict), find_run(verdict.candidate.tags.get("nic.run"))
    for run in {run_id, made_by.info.run_id} if made_by else {run_id}:
        MlflowClient().log_text(run, page, FILE)
    for version in verdict.about:
        tag_version(version.name, version.version, {"promotion.page": f"runs:/{run_id}/{FILE}"})


def verdict_page(verdict: Verdict) -> str:
    """One HTML file that needs no other; every observed text is escaped."""
    result = f"promoted, served as {verdict.served.full_name}" if verdict.served else "refused"
    rows = [
        {"check": c.name, "passed": "yes" if c.passed else "NO", "observed": c.observed, "required": c.required}
        for c in verdict.checks
    ]
    with pd.option_context("display.max_colwidth", None):
        table = pd.DataFrame(rows).to_html(index=False, border=0, justify="left")
    estimate = f"{verdict.gate.figure}: {verdict.estimate or 'never measured'}"
    return PAGE.format(title=escape(f"{verdict.candidate.full_name}: {result}"), estimate=escape(estimate), table=table)
