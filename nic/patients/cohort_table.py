"""The table of a cohort: one row a slide, read strictly. Needs no torch."""

import logging
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from nic.errors import (
    CohortError,
    EmptyCohort,
    EmptyTable,
    NoColumn,
    PatientInTwoParts,
    TableError,
    UnknownColumn,
    raise_all,
)
from nic.patients.bad_cells import bad_cell
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
from nic.slides.search import in_table
from nic.tables.cells import is_missing
from nic.tables.table import Table, read_table

ROUNDED = re.compile(r"\d(?:\.\d+)?[eE]\+\d+")
"""What a spreadsheet makes of a long number: many patients come out as one."""
WHOLE_NUMBER = re.compile(r"0*(\d+?)(?:\.0+)?", re.ASCII)
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Columns:
    """What a table calls the columns that every cohort has.

    split: None where all patients are for training; so they are in a table without a column `split`, the default.
    """

    patient: str = "patient"
    slide: str = "slide"
    split: str | None = "split"

    @property
    def required(self) -> tuple[str, ...]:
        split = () if self.split in (None, "split") else (self.split,)
        return (self.patient, self.slide, *split)

    @property
    def without_split(self) -> "Columns":
        """For patients who are only compressed or scored: no split is read."""
        return replace(self, split=None)

    @classmethod
    def named(cls, text: str) -> "Columns":
        """From "patient=case_id,slide=file,split=": what is not named keeps our name, an empty split means none.

        Raises UnknownColumn for a column that is none of the three.
        """
        names = dict(part.strip().partition("=")[::2] for part in text.split(",") if part.strip())
        if unknown := sorted(set(names) - set(REQUIRED)):
            raise UnknownColumn(f"columns {text!r}: {unknown[0]!r}, wanted {', '.join(REQUIRED)}, each as ours=theirs")
        patient, slide, split = (names.get(ours, ours) for ours in REQUIRED)
        return cls(patient, slide, split or None)

    def __str__(self) -> str:
        return ",".join(f"{ours}={theirs or ''}" for ours, theirs in vars(self).items() if theirs != ours)


NAMES = Columns()


def read_cohort(path: Path, name: str | None = None, columns: Columns = NAMES) -> Cohort:
    """Read a table of one row a slide: `patient, slide, split` and any of `mpp`, `site`, labels, covariates.

    columns: what the table calls the first three. Slide paths are relative to the table; whether the files exist is
    found out where they are opened. Identifiers are text: "007" stays. Raises EmptyCohort, UnknownColumn,
    PatientInTwoParts, CohortError, naming file, row and column.
    """
    path = Path(path)
    rows, faults = [], []
    for number, cells in _read_rows(path, columns):
        try:
            rows.append(_row(path, number, cells))
        except CohortError as fault:
            faults.append(fault)
    raise_all(faults)
    _check_slides(path.name, rows)
    patients: dict[str, list[SlideRow]] = {}
    for row in rows:
        patients.setdefault(row.cells["patient"], []).append(row)
    _check_patients(path.name, {patient_id: of_patient[0].number for patient_id, of_patient in patients.items()})
    return Cohort(
        name=name or path.stem,
        file=path.name,
        patients=tuple(_patient(path.name, patient_id, of_patient) for patient_id, of_patient in patients.items()),
        columns=tuple(rows[0].cells),
        digest=digest_of_rows(rows),
    )


def _read_rows(path: Path, columns: Columns) -> Iterator[tuple[int, dict[str, str]]]:
    """Row number and cells by column, under our names."""
    table = _table(path, columns)
    ours = dict(zip(columns.required, REQUIRED, strict=False))  # without a split of its own name there are but two
    header = [ours.get(column, column) for column in table.columns]
    if twice := sorted({column for column in header if header.count(column) > 1}):
        raise CohortError(f"{path.name}: column {twice[0]!r} stands twice in the header")
    _check_own_names(path.name, header, columns.split is not None)
    everybody = {} if columns.split and "split" in header else {"split": "train"}
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
        # A spreadsheet adds ".0" to all whole numbers of a column with gaps, never to some of them.
        return replace(table, cells={**table.cells, columns.patient: [text[:-2] for text in identifiers]})
    return table


def _check_own_names(file: str, header: list[str], is_split: bool) -> None:
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


def _row(path: Path, number: int, cells: dict[str, str]) -> SlideRow:
    for column in REQUIRED:
        if is_missing(text := cells[column]):
            raise CohortError(f"{path.name}, row {number}, column {column!r}: {repr(text) if text else 'empty'}")
    if cells["split"] not in SPLITS:
        raise bad_cell(path.name, number, "split", cells["split"], " or ".join(SPLITS))
    if ROUNDED.fullmatch(cells["patient"]):
        remedy = "an identifier that no spreadsheet has rounded; format its column as text"
        raise bad_cell(path.name, number, "patient", cells["patient"], remedy)
    text = cells.get("mpp", "")
    try:
        mpp = None if is_missing(text) else positive_number(text)
    except ValueError as error:
        raise bad_cell(path.name, number, "mpp", text, "um/px > 0, or nothing") from error
    return SlideRow(number, in_table(cells["slide"], path.parent, mpp), cells)


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
