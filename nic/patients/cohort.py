"""Patients, their slides and their labels, read from one table a cohort. Needs no torch."""

import hashlib
import json
import logging
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from nic.errors import (
    CohortError,
    ConflictingLabels,
    EmptyCohort,
    EmptyTable,
    EndpointError,
    NoColumn,
    OneClass,
    PatientInTwoParts,
    TableError,
    UnknownColumn,
)
from nic.patients.targets import Classes, Index, Survival, Targets, Values, check_teachable
from nic.slides.search import in_table
from nic.slides.slide import SlideSource
from nic.tables.cells import MISSING as MISSING
from nic.tables.cells import SPREADSHEET_ERROR, is_missing, number
from nic.tables.table import Table, existing_names, read_table

Kind = Literal["regression", "classification", "survival"]
Split = Literal["train", "external"]
SPLITS = ("train", "external")
REQUIRED = ("patient", "slide", "split")
ALWAYS_READ = (*REQUIRED, "mpp", "site")
"""Columns that every stage reads, under our names."""
EVENTS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
LOST_AT_ONCE = [(zero, event) for zero in ("0", "0.0") for event, seen in EVENTS.items() if not seen]
"""Survival labels, (time, event), that say nothing."""
LONGEST_MONTHS = 1320.0
"""110 years: nobody is followed for longer, and days that are taken for months soon are."""
ROUNDED = re.compile(r"\d(?:\.\d+)?[eE]\+\d+")
"""What a spreadsheet makes of a long number: many patients come out as one."""
WHOLE_NUMBER = re.compile(r"0*(\d+?)(?:\.0+)?", re.ASCII)
LOG = logging.getLogger(__name__)
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

    @property
    def without_split(self) -> "Columns":
        """For patients who are only compressed or scored: nobody asks which part they are in, and no column is read."""
        return replace(self, split=None)

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
                there_are = existing_names(column, self.columns)
                raise UnknownColumn(f"{self.file}: no column {column!r} for endpoint {endpoint.name}; {there_are}")

    def _is_known(self, endpoint: Endpoint, patient: Patient) -> bool:
        labels = [self._label(patient, column) for column in endpoint.columns]
        if not all(labels):
            return False
        texts = tuple(label[1].lower() for label in labels if label)
        return endpoint.kind != "survival" or texts not in LOST_AT_ONCE

    def _label(self, patient: Patient, column: str) -> tuple[Row, str] | None:
        """Where the patient's label stands and its text; None when it is empty."""
        labels = [(row, row.cells[column]) for row in patient.rows if not is_missing(row.cells[column])]
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
            return Values(np.array(self._parsed(patients, endpoint.columns[0], number, "a number"), np.float64))
        if endpoint.kind == "survival":
            time, event = endpoint.columns
            months = np.array(self._parsed(patients, time, _positive, "months > 0"), np.float64)
            self._check_lifetimes(patients, time, months)
            return Survival(months, np.array(self._parsed(patients, event, _event, "0, 1, true or false"), np.bool_))
        return self._classes(endpoint, patients)

    def _check_lifetimes(self, patients: list[Patient], column: str, months: NDArray[np.float64]) -> None:
        if (months > LONGEST_MONTHS).any():
            longest, patient_id = months.max(), patients[int(months.argmax())].patient_id
            raise CohortError(
                f"{self.file}, column {column!r}: patient {patient_id} is followed for {longest:g} months, "
                f"{longest / 12:.0f} years; if these are days, divide the column by 30.44"
            )

    def _classes(self, endpoint: Endpoint, patients: list[Patient]) -> Classes:
        """The class names are those of the whole cohort, so that every split calls them the same."""
        column, positive = endpoint.columns[0], endpoint.positive
        where = f"{self.file}, column {column!r}, endpoint {endpoint.name}"
        names = sorted({label[1] for patient in self.patients if (label := self._label(patient, column))})
        if broken := [name for name in names if SPREADSHEET_ERROR.fullmatch(name)]:
            raise EndpointError(f"{where}: {broken[0]} is a spreadsheet's error; mend its cell, or leave it empty")
        if "-" in names and "+" not in names:
            raise EndpointError(f"{where}: '-' may be a class or nothing known; write a word, or leave the cell empty")
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
    """Read a table of one row a slide: `patient, slide, split` and any of `mpp`, `site`, labels, covariates.

    columns: what the table calls the first three. Slide paths are relative to the table; whether the files exist is
    found out where they are opened. Identifiers are text: "007" stays. Raises EmptyCohort, UnknownColumn,
    PatientInTwoParts, CohortError, naming file, row and column.
    """
    path = Path(path)
    rows = [_row(path, number, cells) for number, cells in _read_rows(path, columns)]
    _check_slides(path.name, rows)
    patients: dict[str, list[Row]] = {}
    for row in rows:
        patients.setdefault(row.cells["patient"], []).append(row)
    _check_patients(path.name, {patient_id: of_patient[0].number for patient_id, of_patient in patients.items()})
    return Cohort(
        name=name or path.stem,
        file=path.name,
        patients=tuple(_patient(path.name, patient_id, of_patient) for patient_id, of_patient in patients.items()),
        columns=tuple(rows[0].cells),
        digest=_digest(rows),
    )


def _read_rows(path: Path, columns: Columns) -> Iterator[tuple[int, dict[str, str]]]:
    """Row number and cells by column, under our names."""
    table = _table(path, columns)
    ours = dict(zip(columns.required, REQUIRED, strict=False))  # without a split there are but two
    header = [ours.get(column, column) for column in table.columns]
    if twice := sorted({column for column in header if header.count(column) > 1}):
        raise CohortError(f"{path.name}: column {twice[0]!r} stands twice in the header")
    _check_own_names(path.name, header)
    everybody = {} if columns.split else {"split": "train"}
    for row, cells in zip(table.numbers, zip(*table.cells.values(), strict=True), strict=True):
        yield row, dict(zip(header, cells, strict=True)) | everybody


def _table(path: Path, columns: Columns) -> Table:
    try:
        table = read_table(path, columns.required)
    except EmptyTable as error:
        raise EmptyCohort(str(error)) from error
    except NoColumn as error:
        raise UnknownColumn(str(error)) from error
    except TableError as error:
        raise CohortError(str(error)) from error
    identifiers = table.cells[columns.patient]
    if all(text.endswith(".0") and text[:-2].isdecimal() for text in identifiers):
        # Numbers that passed through a column with gaps; where one has no ".0" it is no spreadsheet's doing.
        return replace(table, cells={**table.cells, columns.patient: [text[:-2] for text in identifiers]})
    return table


def _check_own_names(file: str, header: list[str]) -> None:
    """`mpp` and `site` are read where they are there, so that a name that is but alike must not pass in silence."""
    for column in header:
        if column.lower() == "mpp" and "mpp" not in header:
            raise CohortError(f"{file}: column {column!r} is read as um/px under the name 'mpp' alone; rename it")
        if column.lower() == "site" and "site" not in header:
            LOG.warning("%s: column %r is not read as the site; rename it to 'site' if it is", file, column)


def _row(path: Path, number: int, cells: dict[str, str]) -> Row:
    for column in REQUIRED:
        if is_missing(text := cells[column]):
            raise CohortError(f"{path.name}, row {number}, column {column!r}: {repr(text) if text else 'empty'}")
    if cells["split"] not in SPLITS:
        raise _bad_cell(path.name, number, "split", cells["split"], " or ".join(SPLITS))
    if ROUNDED.fullmatch(cells["patient"]):
        wanted = "an identifier that no spreadsheet has rounded; format its column as text"
        raise _bad_cell(path.name, number, "patient", cells["patient"], wanted)
    text = cells.get("mpp", "")
    try:
        mpp = None if is_missing(text) else _positive(text)
    except ValueError as error:
        raise _bad_cell(path.name, number, "mpp", text, "um/px > 0, or nothing") from error
    return Row(number, in_table(cells["slide"], path.parent, mpp), cells)


def _check_patients(file: str, first_rows: Mapping[str, int]) -> None:
    """Two spellings of one identifier would be two patients, perhaps on both sides of a split."""
    spelled: dict[str, str] = {}
    for patient_id, row in first_rows.items():
        other = spelled.setdefault(_spelling(patient_id), patient_id)
        if other != patient_id:
            raise CohortError(
                f"{file}, column 'patient': {other!r} (row {first_rows[other]}) and {patient_id!r} (row {row}) look "
                "like one patient; spell one patient one way, and give two patients names that differ by more"
            )


def _spelling(patient_id: str) -> str:
    """What is left of an identifier without what a spreadsheet or a keyboard changes: case, blanks, zeros, accents'
    encoding."""
    text = " ".join(unicodedata.normalize("NFKC", patient_id).casefold().split())
    whole = WHOLE_NUMBER.fullmatch(text)
    return whole[1] if whole else text


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
    hint = "; write decimals with a point, thousands without a comma" if re.fullmatch(r"[\d.]+,\d+", text) else ""
    return CohortError(f"{file}, row {row}, column {column!r}: found {text!r}, wanted {wanted}{hint}")


def _positive(text: str) -> float:
    value = number(text)
    if value <= 0:
        raise ValueError(text)
    return value


def _event(text: str) -> bool:
    try:
        return EVENTS[text.lower()]
    except KeyError as error:
        raise ValueError(text) from error
