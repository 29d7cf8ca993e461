"""Text tables, as spreadsheets of all countries write them: encodings, line ends and separators."""

import codecs
import csv
import io
import logging
import re
from collections.abc import Collection, Iterator

from nic.errors import TableError
from nic.tables.cells import stripped

SEPARATORS = (",", ";", "\t", "|")
DECLARED = re.compile(r'"?sep=([,;\t|])"?[ ,;\t|]*(?:\r\n|\r|\n)', re.IGNORECASE)
"""A first line that Excel writes and does not show."""
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16's, which begins it
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
CONTROL = re.compile(r"[\x00-\x08\x0e-\x19\x1b-\x1f]")
END = "\ue000the end of the table\ue000"
Record = tuple[int, list[str]]
"""A row's number as a spreadsheet counts, and its stripped cells."""
LOG = logging.getLogger(__name__)


def text_records(content: bytes, columns: Collection[str], file: str) -> tuple[list[Record], str]:
    """The rows that are not blank, and the separator. columns: those that the header should have.

    Raises TableError, which names the file: bytes that are no text, a quotation mark that is never closed.
    """
    text = decoded(content, file)
    if CONTROL.search(text):
        raise TableError(f"{file}: binary, not a table; wanted .csv, .tsv or .xlsx")
    if text.lstrip()[:1] == "<":
        raise TableError(f"{file}: HTML or XML, not a table; save it as .xlsx or CSV")
    declared = DECLARED.match(text)
    if declared:
        text = text[declared.end() :]
    separator = declared[1] if declared else _separator(text, columns)
    try:
        rows = [[stripped(cell) for cell in line] for line in _lines(f"{text}\n{END}", separator)]
    except csv.Error as error:
        raise TableError(f"{file}: not a CSV: {error}; is a quotation mark left open?") from error
    if rows.pop() != [END]:
        raise TableError(f"{file}, row {len(rows) + 1}: a quotation mark opens a cell and is never closed")
    return [(number, row) for number, row in enumerate(rows, start=1) if any(row)], separator


def decoded(content: bytes, file: str) -> str:
    """The text by its byte order mark, else as UTF-8, else as Western spreadsheets write it, with a warning.

    Raises TableError when it is none of these.
    """
    for mark, encoding in BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return _strictly(content[len(mark) :], encoding, file)
    if encoding := _unmarked_utf16(content):
        return _strictly(content, encoding, file)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        # Excel for the Mac ends lines by a carriage return alone where it writes its own letters.
        encoding = "mac_roman" if b"\n" not in content and b"\r" in content else "cp1252"
        text = _strictly(content, encoding, file)
        start = len(content[: error.start].decode())
        LOG.warning(
            "%s: not UTF-8, read as %s: ...%s...", file, encoding, text[max(0, start - 12) : start + 12].strip()
        )
        return text


def _strictly(content: bytes, encoding: str, file: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise TableError(f"{file}: neither UTF-8 nor {encoding}, at byte {error.start}; save it as UTF-8") from error


def _unmarked_utf16(content: bytes) -> str:
    """Every second byte of ASCII in UTF-16 is 0."""
    first, second = content[:400:2], content[1:400:2]
    if len(content) % 2 or not content:
        return ""
    if second.count(0) > 0.8 * len(second) and first.count(0) == 0:
        return "utf-16-le"
    return "utf-16-be" if first.count(0) > 0.8 * len(first) and second.count(0) == 0 else ""


def _separator(text: str, columns: Collection[str]) -> str:
    """The separator that gives the header the most cells, among those that give the columns where any does."""
    headers = {separator: _header(text, separator) for separator in SEPARATORS}
    names = {name.casefold() for name in columns}
    fitting = [s for s in SEPARATORS if names <= {cell.casefold() for cell in headers[s]}]
    return max(fitting or SEPARATORS, key=lambda separator: len(headers[separator]))


def _header(text: str, separator: str) -> list[str]:
    rows = ([stripped(cell) for cell in line] for line in _lines(text, separator))
    return next((row for row in rows if any(row)), [])


def _lines(text: str, separator: str) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
