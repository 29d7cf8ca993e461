"""Excel workbooks (.xlsx): the one sheet that is a table, with the cells that a CSV of it would hold."""

import datetime
import io
import logging
import re
import zipfile
import zlib
from collections.abc import Collection
from typing import Any

from nic.errors import TableError
from nic.tables.cells import stripped
from nic.tables.text import Record

SIGNIFICANT_DIGITS = 15
"""Digits of a number that Excel keeps and shows."""
LEADING_ZEROS = re.compile("00+")
"""A format that shows 123 as 00123."""
LOG = logging.getLogger(__name__)


def workbook_records(content: bytes, columns: Collection[str], file: str) -> tuple[list[Record], str]:
    """The rows that are not blank of the one sheet that has cells; of several, of the one with these columns; its name.

    Raises TableError, which names the file: no workbook, no or several such sheets, a formula without its value.
    """
    sheets = {sheet.title: records for sheet in _sheets(content, file) if (records := _records(sheet))}
    title = _chosen({name: records[0][1] for name, records in sheets.items()}, columns, file)
    if title is None:
        return [], ""
    if _has_formulas(content):
        _check_formulas(content, title, file)
    return sheets[title], title


def _sheets(content: bytes, file: str, data_only: bool = True) -> list[Any]:
    # Imported here: a served model reads no tables.
    from openpyxl import load_workbook

    try:
        if "xl/workbook.xml" not in zipfile.ZipFile(io.BytesIO(content)).namelist():
            raise TableError(f"{file}: a ZIP, but no .xlsx workbook in it; save it as .xlsx or CSV")
        book = load_workbook(io.BytesIO(content), data_only=data_only)
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, TypeError, SyntaxError, OSError, EOFError) as error:
        if isinstance(error, TableError):
            raise
        raise TableError(
            f"{file}: a damaged workbook ({error}); open it and save it again, or save it as CSV"
        ) from error
    return [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]


def _records(sheet: Any) -> list[Record]:
    rows = ((number, [cell_text(cell) for cell in row]) for number, row in enumerate(sheet.iter_rows(), start=1))
    return [(number, row) for number, row in rows if any(row)]


def _chosen(headers: dict[str, list[str]], columns: Collection[str], file: str) -> str | None:
    if len(headers) < 2:
        return next(iter(headers), None)
    names = {name.casefold() for name in columns}
    fitting = [title for title, header in headers.items() if names <= {cell.casefold() for cell in header}]
    if len(fitting) != 1:
        raise TableError(
            f"{file}: {len(headers)} sheets, {', '.join(headers)}; {len(fitting)} of them have the columns "
            f"{', '.join(columns)}; wanted one such sheet: save it by itself"
        )
    LOG.warning("%s: sheet %r is read, of %s", file, fitting[0], ", ".join(headers))
    return fitting[0]


def _has_formulas(content: bytes) -> bool:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name for name in archive.namelist() if name.startswith("xl/worksheets/")]
        return any(b"<f>" in archive.read(name) or b"<f " in archive.read(name) for name in names)


def _check_formulas(content: bytes, title: str, file: str) -> None:
    """A formula that was never calculated has no value, and would look like an empty cell."""
    values = next(sheet for sheet in _sheets(content, file) if sheet.title == title)
    formulas = next(sheet for sheet in _sheets(content, file, data_only=False) if sheet.title == title)
    for row in formulas.iter_rows():
        for cell in row:
            if cell.data_type == "f" and values[cell.coordinate].value is None:
                raise TableError(
                    f"{file}, row {cell.row}: cell {cell.coordinate} is a formula without its value; open the workbook "
                    "in a spreadsheet and save it"
                )


def cell_text(cell: Any) -> str:
    """The cell as a CSV would hold it: 123.0 is 123, with the leading zeros of its format; a day is 2026-01-31."""
    match cell.value:
        case None:
            return ""
        case bool(value):
            return "TRUE" if value else "FALSE"
        case int(value) | float(value):
            return _number_text(value, cell.number_format)
        case datetime.datetime() as moment:
            return moment.date().isoformat() if moment.time() == datetime.time() else moment.isoformat(" ")
        case value:
            return stripped(str(value))


def _number_text(value: float, number_format: str) -> str:
    if isinstance(value, float) and not value.is_integer():
        return format(value, f".{SIGNIFICANT_DIGITS}g")
    digits = len(number_format) if LEADING_ZEROS.fullmatch(number_format) else 0
    return f"{int(value):0{digits}d}"
