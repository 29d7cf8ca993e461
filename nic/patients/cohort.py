"""Patients, their slides and their labels, read from one CSV a cohort. Needs no torch."""

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from nic.errors import (
    CohortError,
    ConflictingLabels,
    EmptyCohort,
    EndpointError,
    OneClass,
    PatientInTwoParts,
    UnknownColumn,
)
from nic.patients.targets import Classes, Index, Survival, Targets, Values, check_teachable
from nic.slides.slide import SlideSource, is_address

Kind = Literal["regression", "classification", "survival"]
Split = Literal["train", "external"]
SPLITS = ("train", "external")
REQUIRED = ("patient", "slide", "split")
ALWAYS_READ = (*REQUIRED, "mpp", "site")
"""Columns that every stage reads, under our names."""
MISSING = ("", "na", "n/a", "nan")
"""What stands in a table where nothing is known, in any case of letters."""
EVENTS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
LOST_AT_ONCE = [(zero, event) for zero in ("0", "0.0") for event, seen in EVENTS.items() if not seen]
"""Survival labels, (time, event), that say nothing."""
T = TypeVar("T")


@dataclass(frozen=True)
class Endpoint:
    """What is predicted for a patient.

    columns: the label's column; for survival (time in months, event). positive: the class that counts as 1.
    """

    name: str
    kind: Kind
    columns: tuple[str, ...]
    unit: str = ""
    positive: str | None = None

    @property
    def definition(self) -> str:
        """All fields as one line of JSON; labels of another definition are not those that a model learned."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True)
class Columns:
    """What a table calls that which every cohort has. split: None where all its patients are for training."""

    patient: str = "patient"
    slide: str = "slide"
    split: str | None = "split"

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(name for name in (self.patient, self.slide, self.split) if name is not None)

    @classmethod
    def named(cls, text: str) -> "Columns":
        """From "patient=case_id,slide=file,split=": what is not named keeps our name, an empty split means none.

        Raises UnknownColumn for a column that is none of the three.
        """
        given = dict(part.strip().partition("=")[::2] for part in text.split(",") if part.strip())
        if unknown := sorted(set(given) - set(REQUIRED)):
            raise UnknownColumn(f"columns {text!r}: {unknown[0]!r}, wanted {', '.join(REQUIRED)}, each as ours=theirs")
        patient, slide, split = (given.get(ours, ours) for ours in REQUIRED)
        return cls(patient, slide, split or None)

    def __str__(self) -> str:
        return ",".join(f"{ours}={theirs or ''}" for ours, theirs in vars(self).items() if theirs != ours)


NAMES = Columns()


@dataclass(frozen=True)
class Row:
    """One line of the table. number: as a spreadsheet counts, the header being row 1. cells: text by column."""

    number: int
    slide: SlideSource
    cells: Mapping[str, str]


@dataclass(frozen=True)
class Patient:
    """All slides of one person. site: of the slides; "a+b" where they differ, empty where the table has none."""

    patient_id: str
    split: Split
    rows: tuple[Row, ...]

    @property
    def slides(self) -> tuple[SlideSource, ...]:
        return tuple(row.slide for row in self.rows)

    @property
    def site(self) -> str:
        return "+".join(sorted({row.cells.get("site", "") for row in self.rows} - {""}))


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
        return _digest([row for patient in self.patients for row in patient.rows], frozenset(columns))

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
                raise UnknownColumn(
                    f"{self.file}: no column {column!r} for endpoint {endpoint.name}; it has {', '.join(self.columns)}"
                )

    def _is_known(self, endpoint: Endpoint, patient: Patient) -> bool:
        labels = [self._label(patient, column) for column in endpoint.columns]
        if not all(labels):
            return False
        texts = tuple(label[1].lower() for label in labels if label)
        return endpoint.kind != "survival" or texts not in LOST_AT_ONCE

    def _label(self, patient: Patient, column: str) -> tuple[Row, str] | None:
        """Where the patient's label stands and its text; None when it is empty."""
        labels = [(row, row.cells[column]) for row in patient.rows if row.cells[column].lower() not in MISSING]
        for row, text in labels[1:]:
            first, said = labels[0]
            if text != said:
                raise ConflictingLabels(
                    f"{self.file}, column {column!r}: patient {patient.patient_id} is {said!r} in row {first.number} "
                    f"and {text!r} in row {row.number}"
                )
        return labels[0] if labels else None

    def _targets(self, endpoint: Endpoint, patients: list[Patient]) -> Targets:
        if endpoint.kind == "regression":
            return Values(np.array(self._parsed(patients, endpoint.columns[0], _number, "a number"), np.float64))
        if endpoint.kind == "survival":
            time, event = endpoint.columns
            months = np.array(self._parsed(patients, time, _positive, "months > 0"), np.float64)
            return Survival(months, np.array(self._parsed(patients, event, _event, "0, 1, true or false"), np.bool_))
        return self._classes(endpoint, patients)

    def _classes(self, endpoint: Endpoint, patients: list[Patient]) -> Classes:
        """The class names are those of the whole cohort, so that every split calls them the same."""
        column, positive = endpoint.columns[0], endpoint.positive
        where = f"{self.file}, column {column!r}, endpoint {endpoint.name}"
        names = sorted({label[1] for patient in self.patients if (label := self._label(patient, column))})
        if positive not in names:
            raise EndpointError(f"{where}: the positive class is {positive!r}, found {', '.join(names)}")
        if len(names) == 1:
            raise OneClass(f"{where}: all patients are {positive!r}; wanted both classes")
        if len(names) > 2:
            raise EndpointError(f"{where}: wanted two classes, found {len(names)}: {', '.join(names)}")
        negative = next(name for name in names if name != positive)
        texts = self._parsed(patients, column, str, "a class")
        return Classes(np.array([text == positive for text in texts]), (negative, positive))

    def _parsed(self, patients: list[Patient], column: str, parse: Callable[[str], T], wanted: str) -> list[T]:
        """Labels of patients that have one, parsed. Raises CohortError naming file, row and column."""
        parsed = []
        for patient in patients:
            found = self._label(patient, column)
            assert found is not None
            row, text = found
            try:
                parsed.append(parse(text))
            except ValueError as error:
                raise _bad_cell(self.file, row.number, column, text, wanted) from error
        return parsed


def read_cohort(path: Path, name: str | None = None, columns: Columns = NAMES) -> Cohort:
    """Read a CSV of one row a slide: `patient, slide, split` and any of `mpp`, `site`, labels, covariates.

    columns: what the table calls the first three. Slide paths are relative to the CSV; whether the files exist is found
    out where they are opened. Identifiers are text: "007" stays. Raises EmptyCohort, UnknownColumn, PatientInTwoParts,
    CohortError, naming file, row and column.
    """
    path = Path(path)
    table = list(_read_rows(path, columns))
    rows = [_row(path, number, cells) for number, cells in table]
    _check_slides(path.name, rows)
    patients: dict[str, list[Row]] = {}
    for row in rows:
        patients.setdefault(row.cells["patient"], []).append(row)
    return Cohort(
        name=name or path.stem,
        file=path.name,
        patients=tuple(_patient(path.name, patient_id, of_patient) for patient_id, of_patient in patients.items()),
        columns=tuple(rows[0].cells),
        digest=_digest(rows),
    )


def _read_rows(path: Path, columns: Columns) -> Iterator[tuple[int, dict[str, str]]]:
    """Row number and stripped cells by column, under our names; blank lines are passed over."""
    if not path.is_file():
        raise EmptyCohort(f"{path}: no such cohort table")
    # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [(n, [cell.strip() for cell in line]) for n, line in enumerate(csv.reader(file), start=1) if any(line)]
    if len(lines) < 2:
        raise EmptyCohort(f"{path.name}: no rows; wanted a header and one row a slide")
    header = lines[0][1]
    for column in columns.required:
        if column not in header:
            raise UnknownColumn(f"{path.name}: no column {column!r}; it has {', '.join(header)}")
    ours = dict(zip(columns.required, REQUIRED, strict=False))  # without a split there are but two
    header = [ours.get(column, column) for column in header]
    everybody = {} if columns.split else {"split": "train"}
    if twice := sorted({column for column in header if header.count(column) > 1}):
        raise CohortError(f"{path.name}: column {twice[0]!r} stands twice in the header")
    for number, line in lines[1:]:
        if len(line) != len(header):
            raise CohortError(f"{path.name}, row {number}: {len(line)} cells, the header has {len(header)}")
        yield number, dict(zip(header, line, strict=True)) | everybody


def _row(path: Path, number: int, cells: dict[str, str]) -> Row:
    for column in REQUIRED:
        if not cells[column]:
            raise CohortError(f"{path.name}, row {number}, column {column!r}: empty")
    if cells["split"] not in SPLITS:
        raise _bad_cell(path.name, number, "split", cells["split"], " or ".join(SPLITS))
    text = cells.get("mpp", "")
    try:
        mpp = None if text.lower() in MISSING else _positive(text)
    except ValueError as error:
        raise _bad_cell(path.name, number, "mpp", text, "um/px > 0, or nothing") from error
    if is_address(cells["slide"]):
        return Row(number, SlideSource.elsewhere(cells["slide"], mpp), cells)
    slide = path.parent / cells["slide"]
    return Row(number, SlideSource(slide.name if _is_folder(slide) else slide.stem, slide, mpp), cells)


def _is_folder(slide: Path) -> bool:
    """False also where it cannot be looked at now: whoever opens the slide says so."""
    try:
        return slide.is_dir()
    except OSError:
        return False


def _patient(file: str, patient_id: str, rows: list[Row]) -> Patient:
    for row in rows[1:]:
        if row.cells["split"] != rows[0].cells["split"]:
            raise PatientInTwoParts(
                f"{file}: patient {patient_id} is in {rows[0].cells['split']!r} (row {rows[0].number}) "
                f"and in {row.cells['split']!r} (row {row.number})"
            )
    split: Split = "train" if rows[0].cells["split"] == "train" else "external"
    return Patient(patient_id, split, tuple(rows))


def _check_slides(file: str, rows: list[Row]) -> None:
    seen: dict[str, int] = {}
    for row in rows:
        if (first := seen.setdefault(row.slide.slide_id, row.number)) != row.number:
            raise CohortError(
                f"{file}, column 'slide': rows {first} and {row.number} both name slide {row.slide.slide_id}; "
                "wanted each slide once, under a name of its own"
            )


def _digest(rows: list[Row], columns: frozenset[str] | None = None) -> str:
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


def _bad_cell(file: str, row: int, column: str, text: str, wanted: str) -> CohortError:
    return CohortError(f"{file}, row {row}, column {column!r}: found {text!r}, wanted {wanted}")


def _number(text: str) -> float:
    number = float(text)
    if not np.isfinite(number):
        raise ValueError(text)
    return number


def _positive(text: str) -> float:
    number = _number(text)
    if number <= 0:
        raise ValueError(text)
    return number


def _event(text: str) -> bool:
    try:
        return EVENTS[text.lower()]
    except KeyError as error:
        raise ValueError(text) from error
