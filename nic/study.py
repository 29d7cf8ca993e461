"""The study file: the tile tasks, cohorts and endpoints of a study. A user copies an existing one and edits it."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from nic.errors import StudyError
from nic.patients.choices import Kind
from nic.patients.cohort import Cohort, Endpoint
from nic.patients.cohort_table import Columns, read_cohort
from nic.patients.targets import LEAST_CLASSES
from nic.slides.qc import qc_tests_named
from nic.strict_yaml import fault_sentence, read_yaml
from nic.tasks.entries import ENTRIES, TileTaskEntry, Words


class _StudyPart(BaseModel):
    """Refuses unknown keys: they are typing errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EndpointEntry(_StudyPart):
    """What is predicted for a patient, and the columns of the cohort's table that hold it.

    classes: of a multiclass or an ordinal endpoint; grades from the lowest on. Without them the column says which there
    are; grades then are numbers.
    covariates: columns of what else is known (age, stage); `evaluate` measures what a survival model adds to them.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    cohort: str
    kind: Kind
    column: str | None = None
    positive: str | None = None
    classes: Words = ()
    time: str | None = None
    event: str | None = None
    unit: str = ""
    covariates: Words = ()

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
            raise ValueError(f"{self.kind} takes {', '.join(needed[self.kind])}; missing {missing}, surplus {surplus}")
        if self.covariates and self.kind != "survival":
            raise ValueError(f"covariates are for survival only; leave them out of a {self.kind}")
        if self.classes and self.kind not in ("multiclass", "ordinal"):
            raise ValueError(f"classes are for multiclass and ordinal only; leave them out of a {self.kind}")
        if self.classes and (len(self.classes) < LEAST_CLASSES or len(set(self.classes)) < len(self.classes)):
            raise ValueError(f"classes: wanted {LEAST_CLASSES} or more, each once, not {', '.join(self.classes)}")
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


def _whole_number(value: Any) -> Any:
    """The number that a text stands for: pydantic does not convert text where it expects one of several numbers."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


class CompressEntry(_StudyPart):
    """How a cohort's slides are compressed, where it differs from the defaults of `compress`.

    Each field is the parameter of that name. masks: a folder of tissue masks, in place of `tissue`.
    mask_bounds: whether coordinates of GeoJSON masks begin at the corner of the slide's bounds.
    """

    min_tissue: float | None = Field(default=None, gt=0, le=1)
    overlap_px: int | None = Field(default=None, ge=0, lt=64)  # our encoders' tiles are 64 px wide
    variants: Annotated[Literal[1, 8] | None, BeforeValidator(_whole_number)] = None
    exclude: Words | None = None
    tissue: Literal["otsu", "all"] | Annotated[float, Field(ge=0, lt=255)] | None = None
    masks: Path | None = None
    mask_bounds: bool | None = None

    @field_validator("exclude")
    @classmethod
    def _tests_are_known(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return qc_tests_named(",".join(names)) if names else names

    @model_validator(mode="after")
    def _one_rule_for_tissue(self) -> "CompressEntry":
        if self.tissue is not None and self.masks:
            raise ValueError("both tissue and masks; leave one of them out")
        return self

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters that differ from the defaults, as `compress` takes them."""
        parameters = self.model_dump(exclude_none=True)
        if self.exclude is not None:
            parameters["exclude"] = ",".join(self.exclude)
        tissue = parameters.pop("masks", parameters.get("tissue"))
        return parameters if tissue is None else parameters | {"tissue": str(tissue)}


class CohortEntry(_StudyPart):
    """A cohort's table, its names of the columns that every cohort has, and how its slides are compressed.

    split: None when all patients are for training.
    """

    table: Path
    patient: str = "patient"
    slide: str = "slide"
    split: str | None = "split"
    compress: CompressEntry = CompressEntry()

    @model_validator(mode="before")
    @classmethod
    def _a_path_alone_is_a_table(cls, content: Any) -> Any:
        return {"table": content} if isinstance(content, str) else content

    @property
    def columns(self) -> Columns:
        return Columns(self.patient, self.slide, self.split)

    def under(self, root: Path) -> "CohortEntry":
        masks = self.compress.masks
        compress = self.compress.model_copy(update={"masks": root / masks if masks else None})
        return self.model_copy(update={"table": root / self.table, "compress": compress})

    def read(self) -> Cohort:
        """Raises CohortError and what `read_cohort` raises."""
        return read_cohort(self.table, columns=self.columns)


class Study(_StudyPart):
    """The whole file. Paths in it are relative to `root`, and `root` is relative to the file.

    A study without cohorts and endpoints trains encoders only.
    """

    name: str
    root: Path = Path()
    phantom: bool = False
    tile_tasks: tuple[TileTaskEntry, ...] = Field(min_length=1)
    cohorts: dict[str, CohortEntry] = {}
    endpoints: tuple[EndpointEntry, ...] = ()
    truth: Path | None = None

    @model_validator(mode="after")
    def _names_are_unique_and_known(self) -> "Study":
        for what, names in (
            ("tile task", [t.name for t in self.tile_tasks]),
            ("endpoint", [e.name for e in self.endpoints]),
        ):
            if twice := sorted({n for n in names if names.count(n) > 1}):
                raise ValueError(f"{what} named twice: {', '.join(twice)}")
        if self.cohorts and not self.endpoints:
            raise ValueError("cohorts but no endpoints; add what is predicted for their patients")
        if unknown := [e for e in self.endpoints if e.cohort not in self.cohorts]:
            known = ", ".join(self.cohorts) or "none"
            raise ValueError(f"endpoint {unknown[0].name}: cohort {unknown[0].cohort!r} is not among {known}")
        return self

    def endpoint(self, name: str) -> EndpointEntry:
        """Raises StudyError when the study has no such endpoint."""
        for entry in self.endpoints:
            if entry.name == name:
                return entry
        known = ", ".join(e.name for e in self.endpoints) or "none"
        raise StudyError(f"study {self.name}: no endpoint {name!r}; it has {known}")


def _keys_at(place: Sequence[int | str]) -> Collection[str]:
    """The keys that are allowed beside a key. place: of that key, as pydantic gives it."""
    entry: type[BaseModel] = Study
    match place:
        case ("tile_tasks", _, str(layout), _, *_):
            entry = ENTRIES[layout]
        case ("cohorts", _, "compress", _, *_):
            entry = CompressEntry
        case ("cohorts", _, _, *_):
            entry = CohortEntry
        case ("endpoints", _, _, *_):
            entry = EndpointEntry
    return entry.model_fields


def read_study(path: Path) -> Study:
    """Read and check a study file; its paths are returned resolved.

    Raises StudyError, which names the file and the field. Whether a path exists is checked where it is opened: the
    paths of the phantom study do not exist before it is drawn.
    """
    content = read_yaml(path)
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        faults = error.errors()
        # A list whose items are all wrong also counts as too short: only its items are reported.
        wrong = {fault["loc"][:1] for fault in faults if fault["type"] != "too_short"}
        own = [fault for fault in faults if fault["type"] != "too_short" or fault["loc"][:1] not in wrong]
        sentences = "; ".join(fault_sentence(fault, _keys_at(fault["loc"])) for fault in own)
        raise StudyError(f"{path.name}: {sentences}") from error
    return _resolved(study, path.parent)


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
