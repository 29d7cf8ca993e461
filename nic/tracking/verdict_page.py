"""A verdict as a page that a person signs: what was asked of a version, what was found, and what came of it."""

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
<p>{figure}</p>
{table}
</html>
"""


def publish(verdict: Verdict, run_id: str) -> None:
    """The page in the run that judged and in the run that made the version; a tag of the version says where it is."""
    page, made_by = verdict_page(verdict), find_run(verdict.candidate.tags.get("nic.run"))
    for run in {run_id, made_by.info.run_id} if made_by else {run_id}:
        MlflowClient().log_text(run, page, FILE)
    for version in verdict.about:
        tag_version(version.name, version.version, {"promotion.page": f"runs:/{run_id}/{FILE}"})


def verdict_page(verdict: Verdict) -> str:
    """HTML without anything from elsewhere; all that was found is escaped."""
    served = f"promoted, served as {verdict.served.full_name}" if verdict.served else "refused"
    rows = [
        {"check": c.name, "passed": "yes" if c.passed else "NO", "found": c.found, "wanted": c.wanted}
        for c in verdict.checks
    ]
    with pd.option_context("display.max_colwidth", None):
        table = pd.DataFrame(rows).to_html(index=False, border=0, justify="left")
    figure = f"{verdict.gate.figure}: {verdict.figure or 'never measured'}"
    return PAGE.format(title=escape(f"{verdict.candidate.full_name}: {served}"), figure=escape(figure), table=table)
