"""The steps of a study as they are taken, and what is shown of them in the end."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from shutil import get_terminal_size
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from nic.tracking.runs import Finished, artifact_place, run_or_reuse

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


LOOK = "Look:   mlflow ui"
REPORT = "Report: {} {}"
SERVE = "Serve:  NIC_SLIDE_ROOTS=.:/slides mlflow models serve -m models:/{}@champion --env-manager local -p 5999"


@dataclass
class Steps:
    """Finished stages by title."""

    finished: dict[str, Finished] = field(default_factory=dict)
    console: Console = field(default_factory=lambda: Console(width=max(100, get_terminal_size().columns)))

    def take(self, title: str, entry_point: ModuleType, config: "DataclassInstance") -> dict[str, Any]:
        """Run an entry point as a child run, or reuse a finished one; its result."""
        self.console.rule(f"[bold]{title}")
        stage = entry_point.__name__.rpartition(".")[2]
        self.finished[title] = step = run_or_reuse(stage, config, entry_point.inputs(config))
        self.console.print(f"{title}: {'reused' if step.reused else f'{step.seconds:.0f} s'}")
        return step.result

    def summary(self, endpoints: Sequence[str]) -> dict[str, Any]:
        """Figures and verdicts by endpoint, for the parent run."""
        stages = ("train", "evaluate", "promote")
        return {
            name: {k: v for stage in stages for k, v in self.finished[f"{stage} {name}"].result.items()}
            for name in endpoints
        }

    def show(self, endpoints: Sequence[str]) -> None:
        """Stage times, figures, what was registered and promoted, and where to look next."""
        times = Table("stage", "time", title="Stages")
        for title, step in self.finished.items():
            times.add_row(title, "reused" if step.reused else f"{step.seconds:.0f} s")
        figures = Table("endpoint", "figure", "cross-validated", "external [95% interval]", "oracle", title="Figures")
        for name, figure in self.summary(endpoints).items():
            figures.add_row(name, figure["metric"], figure["cross_validated"], figure["external"], figure["oracle"])
        models = Table("registered model", "version", "champion", title="Registry")
        verdicts = [step.result for title, step in self.finished.items() if title.startswith("promote")]
        for found in verdicts:
            verdict = "yes" if found["promoted"] else "refused: " + "; ".join(found["reasons"])
            models.add_row(found["name"], found["version"], verdict)
        self.console.print(times, figures, models)
        served = [found["name"] for found in verdicts[1:] if found["promoted"]]  # the first is the encoder
        evaluations = {name: self.finished[f"evaluate {name}"].run_id for name in endpoints}
        reports = [REPORT.format(name, artifact_place(run, "report.html")) for name, run in evaluations.items()]
        self.console.print(LOOK, *reports, *map(SERVE.format, served), sep="\n", soft_wrap=True)
