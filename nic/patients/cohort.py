"""Patients, their slides and their labels. Needs no torch."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
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
    OneClass,
    UnknownColumn,
)
from nic.patients.choices import Kind
from nic.patients.targets import (
    LEAST_CLASSES,
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
from nic.tables.cells import SPREADSHEET_ERROR, is_missing, number
from nic.tables.table import existing_names

Split = Literal["train", "external"]
SPLITS = ("train", "external")
REQUIRED = ("patient", "slide", "split")
ALWAYS_READ = (*REQUIRED, "mpp", "site")
"""Columns that every stage reads, under our names."""
EVENTS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
NOTHING_SEEN = [(zero, event) for zero in ("0", "0.0") for event, seen in EVENTS.items() if not seen]
"""Survival labels, (time, event), of patients who were never followed."""
LONGEST_MONTHS = 1320.0
"""110 years. A longer follow-up is in days, not months."""
T = TypeVar("T")


@dataclass(frozen=True)
class Endpoint:
    """What is predicted for a patient.

    columns: the label's column; for survival (time in months, event). positive: of two classes, the one that counts as
    1. classes: of several; grades from the lowest on. Empty when the column says which there are.
    """

    name: str
    kind: Kind
    columns: tuple[str, ...]
    unit: str = ""
    positive: str | None = None
    classes: tuple[str, ...] = ()

    @property
    def definition(self) -> str:
        """All fields as one line of JSON; labels of another definition are not those that a model learned.

        Without classes there is no such field: definitions from before there were several are equal to those of today.
        """
        fields = asdict(self)
        if not self.classes:
            del fields["classes"]
        return json.dumps(fields, sort_keys=True)


@dataclass(frozen=True)
class SlideRow:
    """One line of the table. number: as a spreadsheet counts, the header being row 1. cells: text by column."""

    number: int
    slide: SlideSource
    cells: Mapping[str, str]


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
        known = [patient for patient in members if self._is_known(endpoint, patient)]
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
        for column in columns:
            if column not in self.columns:
                there_are = existing_names(column, self.columns)
                raise UnknownColumn(f"{self.file}: no column {column!r} for endpoint {endpoint.name}; {there_are}")

    def _is_known(self, endpoint: Endpoint, patient: Patient) -> bool:
        labels = [self._label(patient, column) for column in endpoint.columns]
        if not all(labels):
            return False
        texts = tuple(label[1].lower() for label in labels if label)
        return endpoint.kind != "survival" or texts not in NOTHING_SEEN

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
        if endpoint.kind == "regression":
            return Values(np.array(self._parsed(patients, endpoint.columns[0], number, "a number"), np.float64))
        if endpoint.kind == "survival":
            time, event = endpoint.columns
            months = np.array(self._parsed(patients, time, positive_number, "months > 0"), np.float64)
            self._check_lifetimes(patients, time, months)
            return Survival(months, np.array(self._parsed(patients, event, _event, "0, 1, true or false"), np.bool_))
        if endpoint.kind == "classification":
            return self._classes(endpoint, patients)
        names = self._names(endpoint)
        place = names.index  # raises ValueError for another label, as _parsed wants it
        labels = self._parsed(patients, endpoint.columns[0], place, f"one of the classes {', '.join(names)}")
        index = np.array(labels, np.intp)
        return Categories(index, names) if endpoint.kind == "multiclass" else Grades(index, names)

    def _check_lifetimes(self, patients: list[Patient], column: str, months: NDArray[np.float64]) -> None:
        if (months > LONGEST_MONTHS).any():
            longest, patient_id = months.max(), patients[int(months.argmax())].patient_id
            raise CohortError(
                f"{self.file}, column {column!r}: patient {patient_id} is followed for {longest:g} months, "
                f"{longest / 12:.0f} years; if these are days, divide the column by 30.44"
            )

    def _classes(self, endpoint: Endpoint, patients: list[Patient]) -> Classes:
        column, positive = endpoint.columns[0], endpoint.positive
        where, names = self._where(endpoint), self._labels_of(endpoint)
        if positive not in names:
            raise EndpointError(f"{where}: the positive class is {positive!r}, found {', '.join(names)}")
        if len(names) == 1:
            raise OneClass(f"{where}: all patients are {positive!r}; wanted both classes")
        if len(names) > 2:
            raise EndpointError(
                f"{where}: wanted two classes, found {len(names)}: {', '.join(names)}; write kind: multiclass, or "
                "kind: ordinal where they have an order, without positive"
            )
        negative = next(name for name in names if name != positive)
        texts = self._parsed(patients, column, str, "a class")
        return Classes(np.array([text == positive for text in texts]), (negative, positive))

    def _names(self, endpoint: Endpoint) -> tuple[str, ...]:
        """Of several classes: as the endpoint lists them; else sorted, grades by number and classes by name."""
        there, where = self._labels_of(endpoint), self._where(endpoint)
        if endpoint.classes:
            return endpoint.classes
        if len(there) < LEAST_CLASSES:
            raise EndpointError(
                f"{where}: {endpoint.kind} takes {LEAST_CLASSES} or more classes, found {len(there)}: "
                f"{', '.join(there)}; for two write kind: classification and positive:, or list all under classes:"
            )
        if endpoint.kind == "multiclass":
            return tuple(there)
        try:
            return tuple(sorted(there, key=number))
        except ValueError as error:
            raise EndpointError(
                f"{where}: the order of {', '.join(there)} is not known; write classes: [...], the lowest first"
            ) from error

    def _labels_of(self, endpoint: Endpoint) -> list[str]:
        """The classes of the whole cohort, sorted, so that every split calls them the same."""
        names = sorted({label[1] for p in self.patients if (label := self._label(p, endpoint.columns[0]))})
        where = self._where(endpoint)
        if broken := [name for name in names if SPREADSHEET_ERROR.fullmatch(name)]:
            raise EndpointError(f"{where}: {broken[0]} is a spreadsheet's error; correct the cell, or leave it empty")
        if "-" in names and "+" not in names:
            raise EndpointError(
                f"{where}: '-' may be a class or a missing value; write a word, or leave the cell empty"
            )
        return names

    def _where(self, endpoint: Endpoint) -> str:
        return f"{self.file}, column {endpoint.columns[0]!r}, endpoint {endpoint.name}"

    def _parsed(self, patients: list[Patient], column: str, parse: Callable[[str], T], wanted: str) -> list[T]:
        """Labels of patients that have one, parsed. Raises CohortError naming file, row and column."""
        parsed = []
        for patient in patients:
            label = self._label(patient, column)
            assert label is not None
            row, text = label
            try:
                parsed.append(parse(text))
            except ValueError as error:
                raise bad_cell(self.file, row.number, column, text, wanted) from error
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


def bad_cell(file: str, row: int, column: str, text: str, wanted: str) -> CohortError:
    hint = "; write decimals with a point, thousands without a comma" if re.fullmatch(r"[\d.]+,\d+", text) else ""
    return CohortError(f"{file}, row {row}, column {column!r}: found {text!r}, wanted {wanted}{hint}")


def positive_number(text: str) -> float:
    value = number(text)
    if value <= 0:
        raise ValueError(text)
    return value


def _event(text: str) -> bool:
    try:
        return EVENTS[text.lower()]
    except KeyError as error:
        raise ValueError(text) from error
