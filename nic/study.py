"""The study file: the encoder or its tile tasks, the cohorts and the endpoints. docs/study.md explains each key."""

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticKnownError

from nic.cohort_entry import ClinicalEntry, CohortEntry, CohortOrTable
from nic.compression.compress_entry import CompressEntry
from nic.errors import StudyError
from nic.evaluation.published import PublishedResult
from nic.patients.choices import DEFAULT_NETWORK, Kind, NetworkName
from nic.patients.cohort import TRUTH, Cohort, Endpoint
from nic.patients.targets import LEAST_CLASSES
from nic.strict_yaml import UNKNOWN_KEY, Place, fault_sentence, read_yaml, valid_part
from nic.tables.cells import is_missing
from nic.tasks.entries import ENTRIES, About, TileTaskEntry, Words
from nic.tracking.gates import Gate

VERSION = re.compile(r"(models:/)?[^/@:]+(/\d+|@[^/@]+)")


class _StudyPart(BaseModel):
    """Refuses unknown keys: they are typing errors. The text below a field is its help in an editor."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _number_of_truth(value: Any) -> Any:
    return float(TRUTH[str(value).lower()]) if str(value).lower() in TRUTH else value


def _as_word(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


class EndpointEntry(_StudyPart):
    """What is predicted for a patient, and the columns of the cohort's table that hold it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Small letters, digits and hyphens. The model is registered as nic-<name>."""
    cohort: str
    """Name of one of the cohorts."""
    kind: Kind
    """regression: a number. classification: two classes. multiclass: three or more. ordinal: three or more grades.
    survival: months and an event."""
    column: str | None = None
    """The label's column, of all kinds but survival."""
    positive: Annotated[str | None, BeforeValidator(_as_word)] = None
    """The class that counts as 1, of a classification; capitals do not matter, and yes, true and 1 are the same."""
    classes: Words = ()
    """The labels of a multiclass or an ordinal endpoint, grades from the lowest on. Without them those in the column;
    grades then must be numbers."""
    time: str | None = None
    """The column of months until the event or the last contact, of survival."""
    event: str | None = None
    """The column that says whether the event was seen: 1, true, yes; or 0, false, no."""
    values: dict[str, Annotated[float, BeforeValidator(_number_of_truth)]] = {}
    """Words of the event's or the regression's column, and what they mean: {Dead: 1, Alive: 0}."""
    unit: str = ""
    """Unit of the answer, for reports."""
    covariates: Words = ()
    """Columns of what else is known (age, stage), of survival. No input of the model: `evaluate` measures what the
    model adds to them."""
    gate: Gate | None = None
    """What a version must show to be promoted; else the gate of registry/promotion.yaml, if it has one."""
    published: tuple[PublishedResult, ...] = ()
    """Published results, which reports show beside the study's own."""

    @model_validator(mode="after")
    def _columns_fit_the_kind(self) -> "EndpointEntry":
        needed = {
            "regression": ("column",),
            "classification": ("column", "positive"),
            "multiclass": ("column",),
            "ordinal": ("column",),
            "survival": ("time", "event"),
        }
        fields = ("column", "positive", "time", "event")
        missing = [f for f in needed[self.kind] if getattr(self, f) is None]
        surplus = [f for f in fields if f not in needed[self.kind] and getattr(self, f) is not None]
        if missing or surplus:
            faults = {"missing": missing, "to leave out": surplus}
            words = "; ".join(f"{what}: {', '.join(names)}" for what, names in faults.items() if names)
            meant = self.kind == "survival" and self.positive is not None
            hint = "; what words mean stands under values: {Dead: 1, Alive: 0}" if meant else ""
            raise ValueError(f"{self.kind} takes {', '.join(needed[self.kind])}; {words}{hint}")
        if self.covariates and self.kind != "survival":
            raise ValueError(f"covariates are for survival only; leave them out of a {self.kind}")
        if self.classes and self.kind not in ("multiclass", "ordinal"):
            raise ValueError(f"classes are for multiclass and ordinal only; leave them out of a {self.kind}")
        if self.classes and (len(self.classes) < LEAST_CLASSES or len(set(self.classes)) < len(self.classes)):
            raise ValueError(f"classes: wanted {LEAST_CLASSES} or more, each once, not {', '.join(self.classes)}")
        return self

    @model_validator(mode="after")
    def _words_have_one_meaning(self) -> "EndpointEntry":
        if self.values and self.kind not in ("regression", "survival"):
            raise ValueError("values are for a regression or an event; a class is the word in the table, see positive")
        if unread := [word for word in self.values if is_missing(word)]:
            raise ValueError(f"values: {unread[0]!r} means an empty cell in every table; its patients have no label")
        if len({word.casefold() for word in self.values}) < len(self.values):
            raise ValueError("values: two words differ in capitals only; write one of them, capitals do not matter")
        if self.kind == "survival" and (odd := [w for w, value in self.values.items() if value not in (0, 1)]):
            raise ValueError(f"values: {odd[0]}: {self.values[odd[0]]:g}, wanted 1 (the event was seen) or 0")
        return self

    @property
    def endpoint(self) -> Endpoint:
        columns = (self.time, self.event) if self.kind == "survival" else (self.column,)
        return Endpoint(
            name=self.name,
            kind=self.kind,
            columns=tuple(column for column in columns if column is not None),
            unit=self.unit,
            positive=self.positive,
            values=tuple(self.values.items()),
            classes=self.classes,
        )

    def cohort_digest(self, cohort: Cohort) -> str:
        """Digest of what a model of this endpoint is trained and measured on: patients, slides and their labels.

        Other columns of the table do not change it.
        """
        return cohort.digest_of(self.endpoint.columns)

    def read_from(self, cohort: Cohort, columns: Iterable[str] = ()) -> dict[str, str]:
        """Inputs of a stage that reads the endpoint and its cohort: digests and the definition, by name.

        columns: those that it reads besides the labels. The study file's place and its other entries are no inputs.
        """
        others = sorted(set(columns))
        labels = {"cohort": self.cohort_digest(cohort), "endpoint": self.endpoint.definition}
        return labels | ({"columns": f"{', '.join(others)}: {cohort.digest_of(others)}"} if others else {})

    @property
    def model_name(self) -> str:
        """The registered name of the endpoint's model."""
        return f"nic-{self.name}"


def _registered(name: str) -> str:
    """The URI of a registered version. Raises ValueError, which is what pydantic expects."""
    if not VERSION.fullmatch(name):
        raise ValueError(
            f"found {name!r}, wanted a registered version: models:/nic-encoder/3 or nic-encoder@champion; "
            "register a file by -e import_encoder"
        )
    return name if name.startswith("models:/") else f"models:/{name}"


class PhantomEntry(_StudyPart):
    """A phantom that `make_phantom` draws, by its parameters."""

    seed: int = 0
    """Seed of all that is drawn."""
    train: int = Field(default=0, ge=0)
    """Training patients of each cohort; 0: as many as the embedded study has."""
    external: int = Field(default=0, ge=0)
    """External patients of each cohort; 0: as many as the embedded study has."""


def _as_phantom(content: Any) -> Any:
    if content is None or isinstance(content, dict | PhantomEntry):
        return content
    try:
        return PhantomEntry() if TypeAdapter(bool).validate_python(content) else None
    except ValidationError as error:
        raise PydanticKnownError("bool_parsing") from error


class Study(_StudyPart):
    """The whole file. Paths in it are relative to `root`, and `root` is relative to the file."""

    name: str
    """Name of the study, for messages."""
    root: Path = Path()
    """Folder of the data, relative to the study file; all other paths are relative to it. Absolute paths stay."""
    phantom: Annotated[
        PhantomEntry | None, BeforeValidator(_as_phantom, json_schema_input_type=bool | PhantomEntry)
    ] = None
    """true where `make_phantom` draws the data into the root; or how much it draws: {train: 200, external: 100}."""
    encoder: Annotated[str, AfterValidator(_registered)] | None = None
    """A registered encoder to use, models:/nic-encoder/3 or nic-encoder@champion; `main` then trains none."""
    tile_tasks: tuple[TileTaskEntry, ...] = Field(default=(), min_length=1)
    """Labelled tiles that the encoder learns from; optional where `encoder` is set."""
    cohorts: dict[str, CohortOrTable] = {}
    """Cohorts by name: a table, or a table and the names of its columns."""
    endpoints: tuple[EndpointEntry, ...] = ()
    """What is predicted; without cohorts and endpoints a study trains encoders only."""
    folds: int = Field(default=5, ge=2)
    """Folds of each training: a network is trained for each, without its patients. No more than patients of a label."""
    network: NetworkName = DEFAULT_NETWORK
    """The patients' network."""
    epochs: int = Field(default=0, ge=0)
    """Epochs of each patients' network; 0: as many as 160 steps of the optimizer take, 240 of classes, at least 40."""
    truth: Path | None = None
    """Only for a phantom: the answers of an oracle."""

    def endpoint(self, name: str) -> EndpointEntry:
        """Raises StudyError when the study has no such endpoint."""
        for entry in self.endpoints:
            if entry.name == name:
                return entry
        known = ", ".join(e.name for e in self.endpoints) or "none"
        raise StudyError(f"study {self.name}: no endpoint {name!r}; it has {known}")

    @property
    def gates(self) -> dict[str, Gate]:
        """The gates in the file, by registered name."""
        return {entry.model_name: entry.gate for entry in self.endpoints if entry.gate}


def _keys_at(place: Place) -> Collection[str]:
    """The keys that are allowed beside a key. place: of that key, as pydantic gives it."""
    entry: type[BaseModel] = Study
    match place:
        case ("tile_tasks" | "cohorts", _, "about", _, *_) | ("tile_tasks", _, str(), "about", _, *_):
            entry = About
        case ("tile_tasks", _, str(layout), _, *_):
            entry = ENTRIES[layout]
        case ("cohorts", _, "compress", _, *_):
            entry = CompressEntry
        case ("cohorts", _, "clinical", _, *_):
            entry = ClinicalEntry
        case ("cohorts", _, _, *_):
            entry = CohortEntry
        case ("phantom", _, *_):
            entry = PhantomEntry
        case ("endpoints", _, "gate", _, *_):
            entry = Gate
        case ("endpoints", _, "published", _, _, *_):
            entry = PublishedResult
        case ("endpoints", _, _, *_):
            entry = EndpointEntry
    return entry.model_fields


def read_study(path: Path) -> Study:
    """Read and check a study file; its paths are returned resolved.

    Raises StudyError with a sentence for each fault, which names the file and the field. Whether a path exists is
    checked where it is opened: the paths of the phantom study do not exist before it is drawn.
    """
    study, faults = readable_part(path)
    if faults:
        raise StudyError(*faults)
    return study


def readable_part(path: Path) -> tuple[Study, tuple[str, ...]]:
    """The study without its faulty entries, and a sentence for each fault.

    Raises StudyError when the file is missing or not YAML.
    """
    study, faults = valid_part(Study, {"name": path.stem}, read_yaml(path))
    # A list whose items are all wrong also counts as too short: only its items are reported.
    wrong = {fault["loc"][:1] for fault in faults if fault["type"] != "too_short"}
    own = [fault for fault in faults if fault["type"] != "too_short" or fault["loc"][:1] not in wrong]
    sentences = [fault_sentence(fault, _keys_at(fault["loc"])) for fault in own]
    incomplete = {str(fault["loc"][0]) for fault in faults if fault["type"] != UNKNOWN_KEY}
    sentences += _faults_between(study, incomplete)
    return _resolved(study, path.parent), tuple(f"{path.name}: {sentence}" for sentence in sentences)


def _faults_between(study: Study, incomplete: Collection[str]) -> Iterator[str]:
    """Faults that lie between entries. incomplete: keys of which entries were left out."""
    for what, names in (("tile task", study.tile_tasks), ("endpoint", study.endpoints)):
        if twice := sorted({e.name for e in names if [other.name for other in names].count(e.name) > 1}):
            yield f"{what} named twice: {', '.join(twice)}"
    if not (study.tile_tasks or study.encoder or {"tile_tasks", "encoder"} & set(incomplete)):
        yield "neither tile_tasks nor encoder; add tile_tasks to train an encoder, or name a registered one"
    if study.cohorts and not study.endpoints and "endpoints" not in incomplete:
        yield "cohorts but no endpoints; add what is predicted for their patients"
    for entry in study.endpoints if "cohorts" not in incomplete else ():
        if entry.cohort not in study.cohorts:
            yield f"endpoint {entry.name}: cohort {entry.cohort!r} is not among {', '.join(study.cohorts) or 'none'}"


def read_whole_study(path: Path) -> Study:
    """As read_study; raises StudyError also when the study has no endpoints."""
    study = read_study(path)
    if not study.endpoints:
        raise StudyError(f"{path.name}: tile tasks only, no cohorts and endpoints; add them, or run -e train_encoder")
    return study


def _resolved(study: Study, folder: Path) -> Study:
    root = (folder / study.root).resolve()
    return study.model_copy(
        update={
            "root": root,
            "tile_tasks": tuple(task.under(root) for task in study.tile_tasks),
            "cohorts": {name: cohort.under(root) for name, cohort in study.cohorts.items()},
            "truth": root / study.truth if study.truth else None,
        }
    )
