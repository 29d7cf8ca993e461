"""Patients, their slides and their labels. Needs no torch."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from nic.errors import (
    CohortError,
    ConflictingLabels,
    EmptyCohort,
    EndpointError,
    UnknownColumn,
    raise_all,
)
from nic.patients.bad_cells import A_NUMBER, AN_EVENT, bad_cells
from nic.patients.choices import Kind
from nic.patients.class_names import negative_and_positive, place_of, readable_labels, several_classes
from nic.patients.targets import (
    Categories,
    Classes,
    Grades,
    Index,
    Survival,
    Targets,
    Values,
    check_teachable,
)
from nic.slides.slide import SlideSource
from nic.tables.cells import is_missing, number
from nic.tables.table import existing_names

Split = Literal["train", "external"]
SPLITS = ("train", "external")
REQUIRED = ("patient", "slide", "split")
ALWAYS_READ = (*REQUIRED, "mpp", "site")
"""Columns that every stage reads, under our names."""
TRUTH = {"1": True, "1.0": True, "true": True, "yes": True, "0": False, "0.0": False, "false": False, "no": False}
"""What yes and no are written as in a table, in small letters."""
LATER_FIELDS = ("values", "classes")
"""Fields of an endpoint that older definitions lack."""
LONGEST_MONTHS = 1320.0
"""110 years. A longer follow-up is in days, not months."""
T = TypeVar("T")


@dataclass(frozen=True)
class Endpoint:
    """What is predicted for a patient.

    columns: the label's column; for survival (time in months, event). positive: the class that counts as 1, see
    `positive_among`. values: what words of a regression's or an event's column mean, (word, number). classes: of
    several; grades from the lowest on. Empty when the column says which there are.
    """

    name: str
    kind: Kind
    columns: tuple[str, ...]
    unit: str = ""
    positive: str | None = None
    values: tuple[tuple[str, float], ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def definition(self) -> str:
        """The fields as one line of JSON; labels of another definition are not those that a model learned.

        LATER_FIELDS are in it only where they are set, so that models of older definitions can be compared.
        """
        fields = {name: value for name, value in asdict(self).items() if value or name not in LATER_FIELDS}
        return json.dumps(fields, sort_keys=True)

    def number_in(self, text: str) -> float:
        """The number that a cell means: of a word in `values`, else as it is written. Raises ValueError."""
        words = {word.casefold(): value for word, value in self.values}
        return words[text.casefold()] if text.casefold() in words else number(text)

    def event_in(self, text: str) -> bool:
        """Whether a cell means that the event was seen: by `values`, else by TRUTH. Raises ValueError."""
        words = {word.casefold(): bool(value) for word, value in self.values}
        for meanings in (words, TRUTH):
            if text.casefold() in meanings:
                return meanings[text.casefold()]
        raise ValueError(text)


@dataclass(frozen=True)
class SlideRow:
    """One line of the table. number: as a spreadsheet counts, the header being row 1. cells: text by column.

    places: file and row of the cells that come from a second table.
    """

    number: int
    slide: SlideSource
    cells: Mapping[str, str]
    places: Mapping[str, tuple[str, int]] = field(default_factory=dict, repr=False)

    def place(self, file: str, column: str) -> tuple[str, int]:
        """File and row of a cell. file: of the line."""
        return self.places.get(column, (file, self.number))


@dataclass(frozen=True)
class Patient:
    """All slides of one person. site: of the slides; "a+b" where they differ, empty where the table has none."""

    patient_id: str
    split: Split
    rows: tuple[SlideRow, ...]

    @property
    def slides(self) -> tuple[SlideSource, ...]:
        return tuple(row.slide for row in self.rows)

    @property
    def site(self) -> str:
        sites = {row.cells.get("site", "") for row in self.rows}
        return "+".join(sorted(site for site in sites if not is_missing(site)))


@dataclass(frozen=True)
class Labelled:
    """Patients of one split that have a label, and those left out because theirs is empty."""

    patients: tuple[Patient, ...]
    targets: Targets
    excluded: tuple[str, ...]

    def take(self, index: Index) -> "Labelled":
        kept = np.arange(len(self.patients))[index]
        return Labelled(tuple(self.patients[i] for i in kept), self.targets.take(index), self.excluded)


@dataclass(frozen=True)
class Cohort:
    """Patients in the order of their first row. digest: of all cells, whatever the folder and the order of rows."""

    name: str
    file: str
    patients: tuple[Patient, ...]
    columns: tuple[str, ...] = field(repr=False)
    digest: str

    def digest_of(self, columns: Iterable[str]) -> str:
        """Digest of patients, splits, sites, slides and these columns alone, whatever else the table holds."""
        return digest_of_rows([row for patient in self.patients for row in patient.rows], frozenset(columns))

    def labelled(self, endpoint: Endpoint, split: Split) -> Labelled:
        """The split's patients with a label for `endpoint`; an empty label excludes its patient, and is counted.

        So does a survival time of 0 without an event: nothing was seen of that patient.
        Raises UnknownColumn, ConflictingLabels, CohortError (a cell that cannot be read), EmptyCohort, EndpointError;
        in the training split also OneClass and NoEvents.
        """
        self._require(endpoint.columns, endpoint)
        members = [patient for patient in self.patients if patient.split == split]
        known, conflicts = [], []
        for patient in members:
            try:
                known += [patient] if self._is_known(endpoint, patient) else []
            except ConflictingLabels as conflict:
                conflicts.append(conflict)
        raise_all(conflicts)
        if not known:
            raise EmptyCohort(
                f"{self.file}: {len(members)} patients in split {split!r}, none with a label in "
                f"{', '.join(endpoint.columns)} for endpoint {endpoint.name}"
            )
        targets = self._targets(endpoint, known)
        if split == "train":
            check_teachable(targets, f"{self.file}: endpoint {endpoint.name}, split train")
        excluded = {p.patient_id for p in members} - {p.patient_id for p in known}
        return Labelled(tuple(known), targets, tuple(sorted(excluded)))

    def _require(self, columns: tuple[str, ...], endpoint: Endpoint) -> None:
        wanted = 2 if endpoint.kind == "survival" else 1
        if len(columns) != wanted:
            raise EndpointError(f"endpoint {endpoint.name}: {endpoint.kind} takes {wanted} column(s), found {columns}")
        beginnings = {c: f"{self.file}: no column {c!r} for endpoint {endpoint.name}" for c in columns}
        missing = [column for column in columns if column not in self.columns]
        raise_all([UnknownColumn(f"{beginnings[c]}; {existing_names(c, self.columns)}") for c in missing])

    def _is_known(self, endpoint: Endpoint, patient: Patient) -> bool:
        texts = [label[1] for column in endpoint.columns if (label := self._label(patient, column))]
        if len(texts) < len(endpoint.columns):
            return False
        return endpoint.kind != "survival" or texts[0] not in ("0", "0.0") or not _is_censored(endpoint, texts[1])

    def _label(self, patient: Patient, column: str) -> tuple[SlideRow, str] | None:
        """Where the patient's label stands and its text; None when it is empty."""
        labels = [(row, row.cells[column]) for row in patient.rows if not is_missing(row.cells[column])]
        for row, text in labels[1:]:
            first, label = labels[0]
            if text != label:
                raise ConflictingLabels(
                    f"{self.file}, column {column!r}: patient {patient.patient_id} is {label!r} in row {first.number} "
                    f"and {text!r} in row {row.number}"
                )
        return labels[0] if labels else None

    def _targets(self, endpoint: Endpoint, patients: list[Patient]) -> Targets:
        faults: list[CohortError] = []
        if endpoint.kind == "regression":
            (column,) = endpoint.columns
            numbers = self._parsed(patients, column, endpoint.number_in, A_NUMBER, faults)
            raise_all(faults)
            return Values(np.array(numbers, np.float64))
        if endpoint.kind == "survival":
            time, event = endpoint.columns
            months = self._parsed(patients, time, positive_number, "months > 0", faults)
            seen = self._parsed(patients, event, endpoint.event_in, AN_EVENT, faults)
            raise_all(faults)
            survival = Survival(np.array(months, np.float64), np.array(seen, np.bool_))
            self._check_lifetimes(patients, time, survival.time_months)
            return survival
        return self._classes(endpoint, patients)

    def _check_lifetimes(self, patients: list[Patient], column: str, months: NDArray[np.float64]) -> None:
        if (months > LONGEST_MONTHS).any():
            longest, patient_id = months.max(), patients[int(months.argmax())].patient_id
            raise CohortError(
                f"{self.file}, column {column!r}: patient {patient_id} is followed for {longest:g} months, "
                f"{longest / 12:.0f} years; if these are days, divide the column by 30.44"
            )

    def _classes(self, endpoint: Endpoint, patients: list[Patient]) -> Classes | Categories | Grades:
        """The names are those of the whole cohort, so that every split calls them the same."""
        (column,) = endpoint.columns
        where = f"{self.file}, column {column!r}, endpoint {endpoint.name}"
        there = readable_labels((label[1] for p in self.patients if (label := self._label(p, column))), where)
        names: tuple[str, ...]
        if endpoint.kind == "classification":
            positive = positive_among(there, endpoint.positive or "")
            names = negative_and_positive(there, positive, where)
            texts = [label[1] for patient in patients if (label := self._label(patient, column))]
            return Classes(np.array([text == positive for text in texts]), names)
        names = endpoint.classes or several_classes(there, endpoint.kind, where)
        faults: list[CohortError] = []
        allowed = f"one of {', '.join(names)}"
        places = self._parsed(patients, column, lambda text: place_of(text, names), allowed, faults)
        raise_all(faults)
        index = np.array(places, np.intp)
        return Categories(index, names) if endpoint.kind == "multiclass" else Grades(index, names)

    def _parsed(
        self, patients: list[Patient], column: str, parse: Callable[[str], T], wanted: str, faults: list[CohortError]
    ) -> list[T]:
        """Labels of patients that have one, parsed. faults: one is added where cells cannot be read; it names rows."""
        parsed, unread = [], []
        for patient in patients:
            label = self._label(patient, column)
            assert label is not None
            row, text = label
            try:
                parsed.append(parse(text))
            except ValueError:
                unread.append((row.place(self.file, column), text))
        for file in sorted({place[0] for place, _ in unread}):
            cells = sorted((place[1], text) for place, text in unread if place[0] == file)
            faults.append(bad_cells(file, cells, column, wanted))
        return parsed


def digest_of_rows(rows: list[SlideRow], columns: frozenset[str] | None = None) -> str:
    """Sixteen hex digits of all cells; of a slide's path only what the table says, without folders above it.

    columns: those that count beside ALWAYS_READ; None for all.
    """
    cells = [{**row.cells, "slide": _relative(row.cells["slide"])} for row in rows]
    if columns is not None:
        cells = [{name: text for name, text in c.items() if name in columns or name in ALWAYS_READ} for c in cells]
    lines = sorted(json.dumps(c, sort_keys=True) for c in cells)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _relative(slide: str) -> str:
    path = Path(slide)
    return path.name if path.is_absolute() else path.as_posix()


def positive_among(classes: Sequence[str], positive: str) -> str:
    """The class of a table that a study means: the same word, else the same but for capitals, else the same truth.

    A table's TRUE, Yes or 1 is thus `positive: yes`. Where none or several are alike, the study's word.
    """
    truth = TRUTH.get(positive.lower())
    alike = [name for name in classes if name.casefold() == positive.casefold()]
    alike = alike or [name for name in classes if truth is not None and TRUTH.get(name.lower()) is truth]
    return alike[0] if positive not in classes and len(alike) == 1 else positive


def positive_number(text: str) -> float:
    value = number(text)
    if value <= 0:
        raise ValueError(text)
    return value


def _is_censored(endpoint: Endpoint, event: str) -> bool:
    try:
        return not endpoint.event_in(event)
    except ValueError:  # reported with all cells that cannot be read
        return False
