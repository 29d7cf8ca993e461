"""Reads the tables that users write: cohorts and labelled tiles. All cells are text."""

import difflib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nic.errors import EmptyTable, NoColumn, TableError
from nic.tables.cells import may_be_thousands, without_commas
from nic.tables.text import DETECTED, Record, TextForm, text_records
from nic.tables.workbook import workbook_records

READ = (".csv", ".tsv", ".txt", ".xlsx", ".xlsm")
REFUSED = (".xls", ".xlsb", ".ods", ".numbers")
"""Tables that a user must save as one of the others."""
OLD_EXCEL, ZIP = b"\xd0\xcf\x11\xe0", b"PK\x03\x04"
NO_TABLES = {
    **{b"%PDF": "a PDF", b"\x89PNG": "a PNG picture", b"\xff\xd8\xff": "a JPEG picture", b"GIF8": "a GIF picture"},
    **{b"II*\0": "a TIFF picture", b"MM\0*": "a TIFF picture", b"{\\rtf": "an RTF text"},
}
"""What a file is that begins so."""
A_SHEETS = "a sheet's"
"""Separator of the cells of a workbook."""
SHOWN = {"\t": "tab"}
DECIMAL = "<decimal>"
PLAIN = "separator ',', decimal point, utf-8"
"""How a table is written of which nothing is logged."""
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Table:
    """file: its name. numbers: [N] of the rows as a spreadsheet counts; the header is row 1. cells: [N] by column.

    form: separator, decimal sign and encoding in words. ambiguous: columns of numbers such as 1,234, whose commas are
    decimal signs or stand after thousands.
    """

    file: str
    numbers: tuple[int, ...]
    cells: Mapping[str, list[str]]
    form: str = ""
    ambiguous: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.cells)

    def require(self, columns: Collection[str]) -> None:
        """Raises NoColumn, which names the first missing column, the existing ones, and one with a similar name."""
        for column in columns:
            if column not in self.cells:
                raise NoColumn(f"{self.file}: no column {column!r}; {existing_names(column, self.columns)}")


def is_table(place: str | Path) -> bool:
    """Whether a name has the suffix of a table. The file may still be unreadable."""
    return str(place).lower().endswith((*READ, *REFUSED))


def read_table(
    path: Path, columns: Collection[str], verbatim: Collection[str] | None = None, form: TextForm = DETECTED
) -> Table:
    """A table with a header and at least these columns, without blank rows and without blanks around cells.

    Without a header of its own, it has that of the form.

    It is text in any encoding and with any separator that spreadsheets write, or a workbook. Where commas separate no
    cells, numbers with decimal commas are returned with points. How a table is written is logged once, unless it is a
    plain CSV. verbatim: columns that never are, names and labels; None means `columns`. form: what need not be
    detected. Raises EmptyTable, NoColumn and TableError, which name file and row.
    """
    verbatim = columns if verbatim is None else verbatim
    records, separator, words = _records(path, columns, form)
    if not form.header and len(records) < 2:
        raise EmptyTable(f"{path.name}: no rows; wanted a header and at least one row below it")
    if not records:
        raise EmptyTable(f"{path.name}: no rows")
    header, records = (list(form.header), records) if form.header else (records[0][1], records[1:])
    numbers = tuple(number for number, _ in records)
    rows = [(number, _fitted(cells, header, number, path.name)) for number, cells in records]
    written = _by_column(header, rows, path.name)
    cells = dict(written)
    if separator != "," or form.decimal:
        for name in set(cells) - set(verbatim):
            cells[name] = _with_points(name, written[name], numbers, path.name, form)
    words = words.replace(DECIMAL, f"decimal {form.decimal or ('comma' if cells != written else 'point')}")
    if words != PLAIN:
        log_once(str(path), f"{path.name}: {words}")
    unsure = [name for name in cells if name not in verbatim and may_be_thousands(cells[name])]
    table = Table(path.name, numbers, cells, words, tuple(unsure))
    table.require(columns)
    return table


@lru_cache(maxsize=1024)
def log_once(place: str, sentence: str) -> None:
    """Log a sentence about a file at a place, once in this process: several stages of a study read one table."""
    LOG.warning("%s", sentence)


def _with_points(column: str, texts: list[str], numbers: Sequence[int], file: str, form: TextForm) -> list[str]:
    try:
        return without_commas(texts, form.decimal)
    except ValueError as error:
        text = str(error)
        raise TableError(
            f"{file}, row {numbers[texts.index(text)]}, column {column!r}: found {text!r}, but the decimal sign is "
            "to be the comma; write this cell with a comma, or `decimal: point`"
        ) from error


def existing_names(name: str, names: Collection[str]) -> str:
    """The end of a message about a missing name: the names that exist, and one that is similar."""
    alike = [other for other in names if _loosely(other) == _loosely(name)]
    alike = alike or difflib.get_close_matches(name, names, n=1, cutoff=0.8)
    return f"it has {', '.join(names)}" + (f"; did you mean {alike[0]!r}? Names are exact" if alike else "")


def _loosely(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _records(path: Path, columns: Collection[str], form: TextForm) -> tuple[list[Record], str, str]:
    """The rows, the separator between cells, and in words how the table is written, DECIMAL being its decimal sign."""
    if path.is_dir():
        raise TableError(f"{path}: a folder, wanted a table ({', '.join(READ)})")
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise EmptyTable(f"{path}: no such table") from error
    except OSError as error:
        raise TableError(f"{path}: the table cannot be read: {error.strerror}") from error
    if content.startswith(OLD_EXCEL):
        raise TableError(f"{path.name}: an old Excel workbook, or one with a password; save it as .xlsx or CSV")
    if kind := next((kind for start, kind in NO_TABLES.items() if content.startswith(start)), None):
        raise TableError(f"{path.name}: {kind}, not a table; save the table as .xlsx or CSV")
    if content.startswith(ZIP):
        records, sheet = workbook_records(content, columns, path.name)
        return records, A_SHEETS, f"sheet {sheet!r}, {DECIMAL}"
    if path.suffix.lower() in (".xlsx", ".xlsm", *REFUSED) and content:
        raise TableError(f"{path.name}: not a readable workbook; save it as .xlsx, or name it .csv if it is text")
    records, separator, encoding = text_records(content, columns, path.name, form)
    return records, separator, f"separator {SHOWN.get(separator, repr(separator))}, {DECIMAL}, {encoding}"


def _fitted(cells: list[str], header: list[str], number: int, file: str) -> list[str]:
    """The cells, as many as the header has: spreadsheets add and drop empty cells at the end. Raises TableError."""
    width = len(header)
    named = max(i for i, name in enumerate(header, start=1) if name)
    if len(cells) < named or any(cells[width:]):
        raise TableError(f"{file}, row {number}: {len(cells)} cells, the header has {width}")
    return [*cells, *[""] * (width - len(cells))][:width]


def _by_column(header: list[str], rows: list[tuple[int, list[str]]], file: str) -> dict[str, list[str]]:
    columns = [[cells[i] for _, cells in rows] for i in range(len(header))]
    if header.count("") > 1:  # one alone is the index that pandas writes
        kept = [i for i, name in enumerate(header) if name or any(columns[i])]
        header, columns = [header[i] for i in kept], [columns[i] for i in kept]
    if twice := sorted({name for name in header if header.count(name) > 1}):
        what = f"column {twice[0]!r} stands twice in the header" if twice[0] else "two columns have no name"
        raise TableError(f"{file}: {what}")
    return dict(zip(header, columns, strict=True))
