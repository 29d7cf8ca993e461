"""The page of a study's run: its tables and links as the description, its figures as metrics, its tables as files."""

from collections.abc import Sequence

from nic.stages.steps import Steps
from nic.stages.study_tables import StudyTable
from nic.tracking.registry import find_version
from nic.tracking.runs import StageRun, metrics_of, run_page

ENDS = ("", ".low", ".high")


def log_study(steps: Steps, endpoints: Sequence[str], stage: StageRun) -> None:
    """Log the tables, and the deciding figure of each endpoint, as <endpoint>.<part>.<figure>, .low and .high."""
    tables = steps.tables(endpoints)
    for table in tables:
        stage.log_table(table.frame, f"{table.title.lower().replace(' ', '_')}.csv")
    for name, of in steps.summary(endpoints).items():
        figure, measured = f"{of['part']}.{of['metric']}", metrics_of(steps.finished[f"evaluate {name}"].run_id)
        for metric in (f"{figure}{end}" for end in ENDS):
            if metric in measured:  # an interval may not be defined
                stage.log(f"{name}.{metric}", measured[metric])
    stage.describe("\n\n".join(linked(table, steps).markdown() for table in tables))


def linked(table: StudyTable, steps: Steps) -> StudyTable:
    """The table with links from its first column to reports, versions and runs."""
    return StudyTable(table.title, table.columns, [(_link(table.title, row, steps), *row[1:]) for row in table.rows])


def _link(title: str, row: Sequence[str], steps: Steps) -> str:
    first = row[0]
    match title:
        case "Figures":
            return f"[{first}]({run_page(steps.finished[f'evaluate {first}'].run_id, 'report.html')})"
        case "Registry":
            return f"[{first}]({find_version(f'models:/{first}/{row[1]}').page})"
        case "Failures" | "Published results":
            return first
    run = steps.finished[first].run_id
    return f"[{first}]({run_page(run)})" if run else first
