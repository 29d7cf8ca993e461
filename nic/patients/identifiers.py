"""Tables of patients: identifiers as spreadsheets and keyboards change them."""

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from nic.errors import CohortError, EmptyCohort, EmptyTable, NoColumn, TableError, UnknownColumn
from nic.tables.table import Table, read_table
from nic.tables.text import TextForm

WHOLE_NUMBER = re.compile(r"0*(\d+?)(?:\.0+)?", re.ASCII)


def table_of_patients(path: Path, patient: str | None, columns: Collection[str], form: TextForm) -> Table:
    """A table with at least these columns. patient: that of the identifiers; None where it is not known yet.

    Raises EmptyCohort, UnknownColumn, CohortError.
    """
    try:
        table = read_table(path, columns, form=form)
    except EmptyTable as error:
        raise EmptyCohort(str(error)) from error
    except NoColumn as error:
        raise UnknownColumn(str(error)) from error
    except TableError as error:
        raise CohortError(str(error)) from error
    if patient is None:
        return table
    identifiers = table.cells[patient]
    if all(text.endswith(".0") and text[:-2].isdecimal() for text in identifiers):
        # A spreadsheet adds ".0" to all whole numbers of a column with gaps, never to some of them.
        return replace(table, cells={**table.cells, patient: [text[:-2] for text in identifiers]})
    return table


def check_spellings(file: str, column: str, first_rows: Mapping[str, int]) -> None:
    """Two spellings of one identifier would be two patients, perhaps on both sides of a split.

    first_rows: row by identifier. Raises CohortError.
    """
    spelled: dict[str, str] = {}
    for patient_id, row in first_rows.items():
        other = spelled.setdefault(spelling(patient_id), patient_id)
        if other != patient_id:
            raise CohortError(
                f"{file}, column {column!r}: {other!r} (row {first_rows[other]}) and {patient_id!r} (row {row}) look "
                "like one patient; spell one patient one way, and give two patients names that differ by more"
            )


def spelling(patient_id: str) -> str:
    """What is left of an identifier without what a spreadsheet or a keyboard changes: case, blanks, zeros, accents'
    encoding."""
    text = " ".join(unicodedata.normalize("NFKC", patient_id).casefold().split())
    whole = WHOLE_NUMBER.fullmatch(text)
    return whole[1] if whole else text
