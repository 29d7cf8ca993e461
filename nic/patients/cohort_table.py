"""The table of a cohort: one row a slide, read strictly. Needs no torch."""

import logging
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from nic.errors import CohortError, EmptyCohort, PatientInTwoParts, UnknownColumn, raise_all
from nic.patients.bad_cells import bad_cell
from nic.patients.clinical_table import Clinical, TableRow, joined, read_clinical, unmatched
from nic.patients.cohort import (
    REQUIRED,
    SPLITS,
    Cohort,
    Patient,
    SlideRow,
    Split,
    digest_of_rows,
    positive_number,
)
from nic.patients.identifiers import check_spellings, table_of_patients
from nic.slides.search import in_table
from nic.slides.source import slide_id
from nic.tables.cells import is_missing
from nic.tables.table import existing_names, log_once
from nic.tables.text import BETWEEN_NAMES, DETECTED, TextForm

ROUNDED = re.compile(r"\d(?:\.\d+)?[eE]\+\d+")
"""What a spreadsheet makes of a long number: many patients come out as one."""
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Columns:
    """What a table calls the columns that every cohort has.

    split: None where all patients are for training; so they are in a table without a column `split`, the default.
    form: how the table is written, where it is not to be detected. numbered: the slide of each row, who is also its
    patient, where the table has no columns for them; each # is a digit of the row's number. leave_out: patients.
    """

    patient: str = "patient"
    slide: str = "slide"
    split: str | None = "split"
    form: TextForm = field(default=DETECTED, repr=False)
    numbered: str = ""
    leave_out: tuple[str, ...] = ()

    @property
    def required(self) -> tuple[str, ...]:
        split = () if self.split in (None, "split") else (self.split,)
        return split if self.numbered else (self.patient, self.slide, *split)

    @property
    def ours(self) -> dict[str, str]:
        """Our names by those of the table."""
        names = {} if self.numbered else {self.patient: "patient", self.slide: "slide"}
        return names if self.split is None else {**names, self.split: "split"}

    @property
    def without_split(self) -> "Columns":
        """For patients who are only compressed or scored: no split is read."""
        return replace(self, split=None)

    @classmethod
    def named(cls, text: str) -> "Columns":
        """From "patient=case_id,slide=file,split=": what is not named keeps our name, an empty split means none.

        It may also name separator=, decimal=, encoding=, header=a|b, numbered= and leave_out=a|b. Raises UnknownColumn
        for another name.
        """
        names = dict(part.strip().partition("=")[::2] for part in text.split(",") if part.strip())
        if unknown := sorted(set(names) - {*REQUIRED, *vars(DETECTED), "numbered", "leave_out"}):
            raise UnknownColumn(f"columns {text!r}: {unknown[0]!r}, wanted {', '.join(REQUIRED)}, each as ours=theirs")
        patient, slide, split = (names.get(ours, ours) for ours in REQUIRED)
        leave_out = tuple(filter(None, names.get("leave_out", "").split(BETWEEN_NAMES)))
        return cls(patient, slide, split or None, TextForm.named(names), names.get("numbered", ""), leave_out)

    def __str__(self) -> str:
        names = {ours: getattr(self, ours) for ours in REQUIRED if getattr(self, ours) != ours}
        others = {"numbered": self.numbered, "leave_out": BETWEEN_NAMES.join(self.leave_out)}
        words = {**self.form.words, **{key: value for key, value in others.items() if value}}
        return ",".join(f"{key}={value or ''}" for key, value in {**names, **words}.items())


NAMES = Columns()


def read_cohort(
    path: Path, name: str | None = None, columns: Columns = NAMES, clinical: Clinical | None = None
) -> Cohort:
    """Read a table of one row a slide: `patient, slide, split` and any of `mpp`, `site`, labels, covariates.

    columns: what the table calls the first three. clinical: a second table, whose columns are added to each slide of
    the patient; the split may be one of them. Slide paths are relative to the table; whether the files exist is
    found out where they are opened. Identifiers are text: "007" stays. Raises EmptyCohort, UnknownColumn,
    PatientInTwoParts, CohortError, naming file, row and column.
    """
    path = Path(path)
    rows, faults = [], []
    for row_of_table in _read_rows(path, columns, clinical):
        try:
            rows.append(_row(path, row_of_table))
        except CohortError as fault:
            faults.append(fault)
    raise_all(faults)
    _check_slides(path.name, rows)
    patients: dict[str, list[SlideRow]] = {}
    for row in rows:
        patients.setdefault(row.cells["patient"], []).append(row)
    first_rows = {patient_id: of_patient[0].number for patient_id, of_patient in patients.items()}
    check_spellings(path.name, "patient", first_rows)
    return Cohort(
        name=name or path.stem,
        file=path.name,
        patients=tuple(_patient(path.name, patient_id, of_patient) for patient_id, of_patient in patients.items()),
        columns=tuple(rows[0].cells),
        digest=digest_of_rows(rows),
    )


def _read_rows(path: Path, columns: Columns, clinical: Clinical | None) -> Iterator[TableRow]:
    required = columns.without_split.required if clinical else columns.required
    table = table_of_patients(path, None if columns.numbered else columns.patient, required, columns.form)
    header = [columns.ours.get(column, column) for column in table.columns]
    if twice := sorted({column for column in header if header.count(column) > 1}):
        raise CohortError(f"{path.name}: column {twice[0]!r} stands twice in the header")
    rows = [
        TableRow(number, dict(zip(header, cells, strict=True)))
        for number, cells in zip(table.numbers, zip(*table.cells.values(), strict=True), strict=True)
    ]
    if columns.numbered:
        rows = _numbered(path.name, rows, columns)
    rows = _without(path.name, rows, columns.leave_out)
    if clinical:
        known = read_clinical(clinical)
        for sentence in unmatched(path.name, rows, clinical.table.name, known):
            log_once(str(path), sentence)
        rows = joined(path.name, rows, clinical.table.name, known, {columns.split: "split"} if columns.split else {})
        if columns.split not in (None, "split") and "split" not in rows[0].cells:
            there_are = existing_names(str(columns.split), tuple(rows[0].cells))
            raise UnknownColumn(f"{path.name} and {clinical.table.name}: no column {columns.split!r}; {there_are}")
    _check_own_names(path.name, rows[0].cells, columns.split is not None)
    everybody = {} if columns.split and "split" in rows[0].cells else {"split": "train"}
    return (replace(row, cells=row.cells | everybody) for row in rows)


def _numbered(file: str, rows: list[TableRow], columns: Columns) -> list[TableRow]:
    """The rows with the slides and patients of their numbers. Raises CohortError where the table names its own."""
    if own := [name for name in ("patient", "slide") if name in rows[0].cells]:
        raise CohortError(f"{file}: it has a column {own[0]!r}, and numbered: names a slide for each row; wanted one")
    slides = [_slide_in_row(file, row.number, columns.numbered) for row in rows]
    return [
        replace(row, cells={"patient": slide_id(slide), "slide": slide, **row.cells})
        for row, slide in zip(rows, slides, strict=True)
    ]


def _slide_in_row(file: str, number: int, numbered: str) -> str:
    """Raises CohortError where the row's number has more digits than the name."""
    places = numbered.count("#")
    if len(digits := str(number).zfill(places)) > places:
        raise CohortError(f"{file}, row {number}: numbered: {numbered} has {places} digits; write a # for each digit")
    left = iter(digits)
    return "".join(next(left) if sign == "#" else sign for sign in numbered)


def _without(file: str, rows: list[TableRow], patients: Collection[str]) -> list[TableRow]:
    """Raises CohortError for a patient who is not in the table, and where nobody is left."""
    if unknown := sorted(set(patients) - {row.cells["patient"] for row in rows}):
        raise CohortError(f"{file}: leave_out names {unknown[0]!r}, who is not in the table; correct the name")
    left = [row for row in rows if row.cells["patient"] not in patients]
    if not left:
        raise EmptyCohort(f"{file}: leave_out names all patients")
    return left


def _check_own_names(file: str, header: Collection[str], is_split: bool) -> None:
    """`mpp`, `site` and `split` are optional: a name that is nearly theirs must not pass in silence.

    is_split: whether a split is read.
    """
    for column in header:
        if column.lower() == "mpp" and "mpp" not in header:
            raise CohortError(f"{file}: column {column!r} is read as um/px under the name 'mpp' alone; rename it")
        if is_split and column.lower() == "split" and "split" not in header:
            raise CohortError(
                f"{file}: column {column!r} is read as the split under the name 'split' alone; rename it, or write "
                f"split: {column} in the study file, or split: null if all patients are for training"
            )
        if column.lower() == "site" and "site" not in header:
            LOG.warning("%s: column %r is not read as the site; rename it to 'site' if it is", file, column)


def _row(path: Path, row: TableRow) -> SlideRow:
    cells, places = row.cells, row.places
    for column in REQUIRED:
        if is_missing(text := cells[column]):
            raise CohortError(f"{path.name}, row {row.number}, column {column!r}: {repr(text) if text else 'empty'}")
    if cells["split"] not in SPLITS:
        file, number = places.get("split", (path.name, row.number))
        raise bad_cell(file, number, "split", cells["split"], " or ".join(SPLITS))
    if ROUNDED.fullmatch(cells["patient"]):
        remedy = "an identifier that no spreadsheet has rounded; format its column as text"
        raise bad_cell(path.name, row.number, "patient", cells["patient"], remedy)
    text = cells.get("mpp", "")
    try:
        mpp = None if is_missing(text) else positive_number(text)
    except ValueError as error:
        raise bad_cell(path.name, row.number, "mpp", text, "um/px > 0, or nothing") from error
    return SlideRow(row.number, in_table(cells["slide"], path.parent, mpp), cells, places)


def _patient(file: str, patient_id: str, rows: list[SlideRow]) -> Patient:
    for row in rows[1:]:
        if row.cells["split"] != rows[0].cells["split"]:
            raise PatientInTwoParts(
                f"{file}: patient {patient_id} is in {rows[0].cells['split']!r} (row {rows[0].number}) "
                f"and in {row.cells['split']!r} (row {row.number})"
            )
    split: Split = "train" if rows[0].cells["split"] == "train" else "external"
    return Patient(patient_id, split, tuple(rows))


def _check_slides(file: str, rows: list[SlideRow]) -> None:
    seen: dict[str, int] = {}
    for row in rows:
        if (first := seen.setdefault(row.slide.slide_id, row.number)) != row.number:
            raise CohortError(
                f"{file}, column 'slide': rows {first} and {row.number} both name slide {row.slide.slide_id}; "
                "wanted each slide once, under a name of its own"
            )
