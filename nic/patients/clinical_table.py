"""A second table of a cohort, of one row a patient, and its join with the table of slides. Needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nic.errors import CohortError, raise_all
from nic.patients.identifiers import check_spellings, spelling, table_of_patients
from nic.tables.cells import is_missing
from nic.tables.text import DETECTED, TextForm

NAMED = 12
"""Patients that a sentence names."""


@dataclass(frozen=True)
class Clinical:
    """A table with what is known of each patient. patient: its column of identifiers. form: how it is written."""

    table: Path
    patient: str = "patient"
    form: TextForm = DETECTED


@dataclass(frozen=True)
class ClinicalRow:
    """What is known of a patient. number: of the first row. cells: text by column. rows: the row of each cell."""

    number: int
    cells: Mapping[str, str]
    rows: Mapping[str, int]


@dataclass(frozen=True)
class TableRow:
    """A row of a table of slides, under our names. number: as a spreadsheet counts. cells: text by column.

    places: file and row of the cells that come from another table.
    """

    number: int
    cells: dict[str, str]
    places: dict[str, tuple[str, int]] = field(default_factory=dict)


def read_clinical(clinical: Clinical) -> dict[str, ClinicalRow]:
    """The rows by patient, without the column of identifiers. Several rows of a patient are one where they agree.

    Raises EmptyCohort, UnknownColumn, and CohortError for a row without a patient and for rows that differ.
    """
    file = clinical.table.name
    table = table_of_patients(clinical.table, clinical.patient, (clinical.patient,), clinical.form)
    names = [name for name in table.columns if name != clinical.patient]
    by_patient: dict[str, ClinicalRow] = {}
    faults: list[CohortError] = []
    for place, number in enumerate(table.numbers):
        patient_id = table.cells[clinical.patient][place]
        if is_missing(patient_id):
            shown = repr(patient_id) if patient_id else "empty"
            faults.append(CohortError(f"{file}, row {number}, column {clinical.patient!r}: {shown}"))
            continue
        cells = {name: table.cells[name][place] for name in names}
        row = ClinicalRow(number, cells, dict.fromkeys(names, number))
        earlier = by_patient.get(patient_id)
        by_patient[patient_id] = _merged(file, patient_id, earlier, row, faults) if earlier else row
    raise_all(faults)
    check_spellings(file, clinical.patient, {patient_id: row.number for patient_id, row in by_patient.items()})
    return by_patient


def _merged(
    file: str, patient_id: str, first: ClinicalRow, second: ClinicalRow, faults: list[CohortError]
) -> ClinicalRow:
    """Two rows of a patient as one. faults: one is added where they differ in more than that one lacks a value."""
    cells, rows = dict(first.cells), dict(first.rows)
    for column, text in second.cells.items():
        if is_missing(text):
            continue
        if is_missing(cells[column]):
            cells[column], rows[column] = text, second.rows[column]
        elif cells[column] != text:
            values = f"{cells[column]!r} in row {rows[column]} and {text!r} in row {second.number}"
            remedy = "keep one row per patient"
            faults.append(CohortError(f"{file}, column {column!r}: patient {patient_id} is {values}; {remedy}"))
    return ClinicalRow(first.number, cells, rows)


def joined(
    slides_file: str,
    rows: Sequence[TableRow],
    clinical_file: str,
    known: Mapping[str, ClinicalRow],
    ours: Mapping[str, str],
) -> list[TableRow]:
    """The rows with the columns of the clinical table; empty cells for a patient that it has not.

    ours: our names by those of the clinical table. Raises CohortError when the tables differ in a cell.
    """
    names = next(iter(known.values())).cells
    joined_rows, faults = [], list[CohortError]()
    for row in rows:
        cells, places, clinical = dict(row.cells), dict(row.places), known.get(row.cells["patient"])
        for theirs in names:
            column, own = ours.get(theirs, theirs), cells.get(ours.get(theirs, theirs), "")
            if clinical is None:
                cells[column] = own
            elif is_missing(own):
                cells[column], places[column] = clinical.cells[theirs], (clinical_file, clinical.rows[theirs])
            elif not is_missing(text := clinical.cells[theirs]) and text != own:
                here = f"{slides_file}, row {row.number}, column {column!r}"
                there = f"{text!r} in {clinical_file}, row {clinical.rows[theirs]}"
                remedy = "leave the column in one of the tables"
                faults.append(CohortError(f"{here}: patient {row.cells['patient']} is {own!r}, but {there}; {remedy}"))
        joined_rows.append(TableRow(row.number, cells, places))
    raise_all(faults)
    return joined_rows


def unmatched(
    slides_file: str, rows: Sequence[TableRow], clinical_file: str, known: Mapping[str, ClinicalRow]
) -> list[str]:
    """Sentences about the patients that one table has and the other has not.

    Raises CohortError when no patient is in both, and when one seems to be spelled in two ways.
    """
    slide_patients: dict[str, int] = {}
    for row in rows:
        slide_patients.setdefault(row.cells["patient"], row.number)
    clinical_patients = {patient_id: clinical.number for patient_id, clinical in known.items()}
    spelled = {spelling(patient_id): patient_id for patient_id in clinical_patients}
    for patient_id, number in slide_patients.items():
        other = spelled.get(spelling(patient_id))
        if other is not None and patient_id not in clinical_patients:
            raise CohortError(
                f"{patient_id!r} ({slides_file}, row {number}) and {other!r} ({clinical_file}, row "
                f"{clinical_patients[other]}) look like one patient; spell one patient one way in both tables"
            )
    without_clinical = [patient_id for patient_id in slide_patients if patient_id not in clinical_patients]
    without_slides = [patient_id for patient_id in clinical_patients if patient_id not in slide_patients]
    if len(without_clinical) == len(slide_patients):
        raise CohortError(
            f"{slides_file} and {clinical_file} have no patient in common: {without_clinical[0]!r} (row "
            f"{slide_patients[without_clinical[0]]}) and {without_slides[0]!r} (row "
            f"{clinical_patients[without_slides[0]]}), for example; name the columns of patients that agree"
        )
    return [
        *_sentence(without_clinical, slide_patients, slides_file, f"no row in {clinical_file}, so no label from there"),
        *_sentence(without_slides, clinical_patients, clinical_file, f"no slide in {slides_file}, so not used"),
    ]


def _sentence(patients: Sequence[str], rows: Mapping[str, int], file: str, what: str) -> list[str]:
    if not patients:
        return []
    named = ", ".join(f"{patient_id} (row {rows[patient_id]})" for patient_id in patients[:NAMED])
    more = f" and {len(patients) - NAMED} more" if len(patients) > NAMED else ""
    return [f"{file}: {len(patients)} patient{'s' if len(patients) > 1 else ''} with {what}: {named}{more}"]
