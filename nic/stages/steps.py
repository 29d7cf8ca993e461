"""The steps of a study: each is run or reused, and all are shown in the end."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from rich.console import Console

from nic.errors import NicError, NoGate, StageFailed, StoreUnreached
from nic.patients.choices import CohortPart
from nic.patients.cohort import Cohort
from nic.stages.study_tables import StudyTable
from nic.tracking.aliases import rollback_reason
from nic.tracking.gates import EXAMPLE
from nic.tracking.registry import (
    CHAMPION,
    ENCODER_NAME,
    RegisteredVersion,
    alias_version,
    encoder_digest,
    find_version,
    model_place,
)
from nic.tracking.runs import Finished, artifact_place, run_or_reuse
from nic.tracking.store import ways_to_look

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


SERVE = (
    "Serve:  NIC_SLIDE_ROOTS=.:/slides mlflow models serve -m models:/{}@champion --env-manager local -p 5999"
    "  # version {}"
)

PUBLISHED_COLUMNS = ("endpoint", "method", "part", "figure", "value [95% interval]", "n")

ConfigT = TypeVar("ConfigT", bound="DataclassInstance")
Own = TypeVar("Own", contravariant=True)


class EntryPoint(Protocol[Own]):
    """A module of `entrypoints` with its own Config."""

    __name__: str

    def inputs(self, config: Own, /) -> dict[str, str]:
        """What it reads, as digests by name."""


@dataclass
class Steps:
    """Finished stages by the title of their step. failures: the reason of each endpoint that was not finished."""

    finished: dict[str, Finished] = field(default_factory=dict)
    console: Console = field(default_factory=lambda: Console(width=max(100, get_terminal_size().columns)))
    failures: dict[str, str] = field(default_factory=dict)

    def take(self, title: str, entry_point: EntryPoint[ConfigT], config: ConfigT) -> dict[str, Any]:
        """Run an entry point as a child run, or reuse a finished run; its result."""
        self.console.rule(f"[bold]{title}")
        stage = entry_point.__name__.rpartition(".")[2]
        self.finished[title] = step = run_or_reuse(stage, config, entry_point.inputs(config))
        self.console.print(f"{title}: {'reused' if step.reused else f'{step.seconds:.0f} s'}")
        return step.result

    def promote(self, title: str, entry_point: EntryPoint[ConfigT], config: ConfigT, model: str) -> dict[str, Any]:
        """As `take`, of `promote`. A model without a gate is skipped.

        So is one that was rolled back: only a person promotes it again.
        """
        version = find_version(model)
        if (reason := rollback_reason(version)) is not None:
            refusal = f"rolled back{reason and ': '}{reason}; promote it by hand to serve it again"
            return self._skip(title, version, refusal)
        try:
            return self.take(title, entry_point, config)
        except NoGate:
            return self._skip(title, version, self._gate_to_write(title))

    def _skip(self, title: str, version: RegisteredVersion, reason: str) -> dict[str, Any]:
        self.console.print(f"{title}: {version.full_name} is not promoted: {reason}", soft_wrap=True)
        result = {"name": version.name, "version": version.version, "promoted": False, "reasons": [reason]}
        self.finished[title] = Finished("", {**result, "skipped": True}, True, 0.0)
        return result

    def _gate_to_write(self, title: str) -> str:
        measured = self.finished.get(title.replace("promote", "evaluate"))
        if measured is None:  # an encoder
            return "no gate; add nic-encoder to registry/promotion.yaml"
        example = EXAMPLE.format(f"{measured.result['part']}.{measured.result['metric']}")
        return f"no gate; write one under the endpoint, such as {example}"

    @contextmanager
    def endpoint(self, name: str) -> Iterator[None]:
        """The stages of an endpoint. Where one fails the other endpoints go on, and `check` raises in the end."""
        try:
            yield
        except StoreUnreached:
            raise
        except NicError as error:
            self.failures[name] = str(error)
            self.console.print(f"[bold red]{name} failed[/]: {error}", soft_wrap=True)

    def check(self) -> None:
        """Raises StageFailed when an endpoint was not finished."""
        if self.failures:
            reasons = [f"endpoint {name}: {reason}" for name, reason in self.failures.items()]
            raise StageFailed(*reasons, "start again when this is corrected; finished stages are kept")

    def summary(self, endpoints: Sequence[str]) -> dict[str, Any]:
        """Figures and verdicts by endpoint, as they are kept with the parent run."""
        stages = ("train", "evaluate", "promote")
        return {
            name: {k: v for stage in stages for k, v in self.finished[f"{stage} {name}"].result.items()}
            for name in endpoints
            if name not in self.failures
        }

    def tables(self, endpoints: Sequence[str]) -> list[StudyTable]:
        """Figures, published results, registered and promoted versions, and times of stages.

        The column of an oracle is of the phantom.
        """
        figures = [
            (name, of["metric"], of["cross_validated"], _external(of), of["oracle"])
            for name, of in self.summary(endpoints).items()
        ]
        published = [
            (name, method or "this study", part.replace("_", "-"), figure, value, str(n))
            for name, of in self.summary(endpoints).items()
            for method, part, figure, value, n in of.get("published", [])  # older runs have none
        ]
        models = [
            (verdict["name"], verdict["version"], *_standing(verdict, alias_version(verdict["name"], CHAMPION)))
            for verdict in self._verdicts()
        ]
        failures = list(self.failures.items())
        times = [(title, _time(step)) for title, step in self.finished.items()]
        return [
            StudyTable(
                "Figures", ("endpoint", "figure", "cross-validated", "external [95% interval]", "oracle"), figures
            ),
            *([StudyTable("Published results", PUBLISHED_COLUMNS, published)] if published else []),
            StudyTable("Registry", ("registered model", "version", "promoted", "champion now"), models),
            *([StudyTable("Failures", ("endpoint", "why it was not finished"), failures)] if failures else []),
            StudyTable("Stages", ("stage", "time"), times),
        ]

    def show(self, endpoints: Sequence[str], run_id: str) -> None:
        """Print the tables, where everything lies, and the commands to look on with. run_id: of the study."""
        self.console.print(*(table.for_terminal() for table in reversed(self.tables(endpoints))))
        self.console.print(*self.places(endpoints, run_id), sep="\n", soft_wrap=True, markup=False, highlight=False)

    def places(self, endpoints: Sequence[str], run_id: str) -> list[str]:
        """Lines: where to look, where codes, reports and models lie, and how to serve the champions."""
        look, *pages = ways_to_look(run_id)
        lines = [f"Look:   {look}", *(f"        {page}" for page in pages)]
        for title, step in self.finished.items():
            stage, _, name = title.partition(" ")
            if stage == "compress":
                lines += [f"Codes:  {name} {place}" for place in step.result["outputs"]]
        for name in self.summary(endpoints):
            run = self.finished[f"evaluate {name}"].run_id
            lines.append(f"Report: {name} {artifact_place(run, 'report.html')}")
        versions = [find_version(f"models:/{of['name']}/{of['version']}") for of in self._verdicts()]
        lines += [f"Model:  {version.uri} {model_place(version)}" for version in versions]
        for name in sorted({version.name for version in versions} - {ENCODER_NAME}):
            if champion := alias_version(name, CHAMPION):
                lines.append(SERVE.format(name, champion.version))
        return lines

    def _verdicts(self) -> list[dict[str, Any]]:
        return [step.result for title, step in self.finished.items() if title.startswith("promote")]


def _time(step: Finished) -> str:
    if step.reused:
        return "skipped" if "skipped" in step.result else "reused"
    return f"{step.seconds:.0f} s"


def _external(figure: Mapping[str, str]) -> str:
    return figure["measured"] if figure["part"] == "external" else "no external patients"


def _standing(verdict: Mapping[str, Any], champion: RegisteredVersion | None) -> tuple[str, str]:
    """Whether the version was promoted, and which version is champion now: aliases may have moved since."""
    now = f"version {champion.version}" if champion else "none"
    if not verdict["promoted"]:
        return ("not promoted: " if "skipped" in verdict else "refused: ") + "; ".join(verdict["reasons"]), now
    if champion and champion.version == verdict["version"]:
        return "yes", now
    version = find_version(f"models:/{verdict['name']}/{verdict['version']}")
    reason = rollback_reason(version)
    since = "another one was promoted since" if reason is None else f"rolled back{reason and ': '}{reason}"
    return f"no more: {since}", now


def registered_encoder(uri: str) -> dict[str, str]:
    """A registered encoder as `train_encoder` would leave it: version and sha256. An alias becomes its version."""
    return {"version": find_version(uri).uri, "sha256": encoder_digest(uri)}


def part_to_measure(cohort: Cohort) -> CohortPart:
    """The external patients; in a cohort without any, the training patients, cross-validated."""
    return "external" if any(patient.split == "external" for patient in cohort.patients) else "cross_validated"
