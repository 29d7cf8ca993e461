"""Text tables, as spreadsheets of all countries write them: encodings, line ends and separators."""

import codecs
import csv
import io
import logging
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from nic.errors import TableError
from nic.tables.cells import Decimal, stripped

SEPARATORS = (",", ";", "\t", "|")
SEPARATOR_NAMES = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
"""What a separator is called where its sign cannot be written."""
NAME_OF = {sign: name for name, sign in SEPARATOR_NAMES.items()}
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
BETWEEN_NAMES = "|"
"""Stands between the names of a header that is written as one word."""
Record = tuple[int, list[str]]
"""A row's number as a spreadsheet counts, and its stripped cells."""
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextForm:
    """How a text table is written. What is None is detected.

    separator: between cells, one of SEPARATORS. decimal: the decimal sign. encoding: as Python calls it. header: names
    of the columns of a table whose first row is data; empty where the first row names them.
    """

    separator: str | None = None
    decimal: Decimal | None = None
    encoding: str | None = None
    header: tuple[str, ...] = ()

    @classmethod
    def named(cls, words: Mapping[str, str]) -> "TextForm":
        """From words by field; other keys are left alone. A separator may be its name or its sign.

        Raises TableError for a word that none of them can have.
        """
        separator, decimal, encoding = (words.get(name) or None for name in ("separator", "decimal", "encoding"))
        sign = SEPARATOR_NAMES.get(separator, separator) if separator else None
        if sign not in (None, *SEPARATORS):
            raise TableError(f"separator: found {separator!r}, wanted {', '.join(SEPARATOR_NAMES)}")
        try:
            codecs.lookup(encoding or "utf-8")
        except LookupError as error:
            raise TableError(f"encoding: found {encoding!r}, wanted a name such as utf-8, cp1252, latin-1") from error
        header = tuple(filter(None, words.get("header", "").split(BETWEEN_NAMES)))
        match decimal:
            case "comma" | "point" | None:
                return cls(sign, decimal, encoding, header)
        raise TableError(f"decimal: found {decimal!r}, wanted comma or point")

    @property
    def words(self) -> dict[str, str]:
        """What `named` reads; what is detected is left out."""
        words = {"separator": NAME_OF.get(self.separator or ""), "decimal": self.decimal, "encoding": self.encoding}
        words["header"] = BETWEEN_NAMES.join(self.header)
        return {name: word for name, word in words.items() if word}


DETECTED = TextForm()


def text_records(
    content: bytes, columns: Collection[str], file: str, form: TextForm = DETECTED
) -> tuple[list[Record], str, str]:
    """The rows that are not blank, the separator and the encoding. columns: those that the header should have.

    Raises TableError, which names the file: bytes that are no text, a quotation mark that is never closed, two
    separators that fit equally well.
    """
    text, encoding = _decoded(content, file, form.encoding)
    if CONTROL.search(text):
        raise TableError(f"{file}: binary, not a table; wanted .csv, .tsv or .xlsx")
    if text.lstrip()[:1] == "<":
        raise TableError(f"{file}: HTML or XML, not a table; save it as .xlsx or CSV")
    declared = DECLARED.match(text)
    if declared:
        text = text[declared.end() :]
    separator = form.separator or (declared[1] if declared else _separator(text, columns, file))
    try:
        rows = [[stripped(cell) for cell in line] for line in _lines(f"{text}\n{END}", separator)]
    except csv.Error as error:
        raise TableError(f"{file}: not a CSV: {error}; is a quotation mark left open?") from error
    if rows.pop() != [END]:
        raise TableError(f"{file}, row {len(rows) + 1}: a quotation mark opens a cell and is never closed")
    return [(number, row) for number, row in enumerate(rows, start=1) if any(row)], separator, encoding


def decoded(content: bytes, file: str) -> str:
    """The text by its byte order mark, else as UTF-8, else as Western spreadsheets write it, with a warning.

    Raises TableError when it is none of these.
    """
    return _decoded(content, file, None)[0]


def _decoded(content: bytes, file: str, encoding: str | None) -> tuple[str, str]:
    """The text and its encoding. encoding: None where it is to be detected."""
    for mark, marked in BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return _strictly(content[len(mark) :], marked, file), marked
    if encoding := encoding or _unmarked_utf16(content):
        return _strictly(content, encoding, file), encoding
    try:
        return content.decode(), "utf-8"
    except UnicodeDecodeError as error:
        # Excel for the Mac ends lines by a carriage return alone where it writes its own letters.
        encoding = "mac_roman" if b"\n" not in content and b"\r" in content else "cp1252"
        text = _strictly(content, encoding, file)
        start = len(content[: error.start].decode())
        LOG.warning(
            "%s: not UTF-8, read as %s: ...%s...", file, encoding, text[max(0, start - 12) : start + 12].strip()
        )
        return text, encoding


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


def _separator(text: str, columns: Collection[str], file: str) -> str:
    """The separator that gives the header the most cells, among those that give the columns where any does.

    Raises TableError when two give the header and all rows equally many.
    """
    headers = {separator: header for separator in SEPARATORS if (header := _header(text, separator))}
    names = {name.casefold() for name in columns}
    fitting = [s for s, header in headers.items() if names <= {cell.casefold() for cell in header}] or list(headers)
    parting = [separator for separator in fitting if len(headers[separator]) > 1]
    if len(parting) < 2:
        return next(iter(parting or fitting), SEPARATORS[0])
    even = [separator for separator in parting if _is_even(text, separator, len(headers[separator]))] or parting
    most = max(len(headers[separator]) for separator in even)
    widest = [separator for separator in even if len(headers[separator]) == most]
    if len(widest) > 1:
        signs = " or ".join(map(repr, widest))
        raise TableError(
            f"{file}: {signs} may stand between the cells; write which, as `separator: {NAME_OF[widest[0]]}`"
        )
    return widest[0]


def _is_even(text: str, separator: str, width: int) -> bool:
    """Whether all rows have as many cells as the header."""
    try:
        return all(len(row) == width for row in _lines(text, separator) if any(map(stripped, row)))
    except csv.Error:
        return False


def _header(text: str, separator: str) -> list[str]:
    rows = ([stripped(cell) for cell in line] for line in _lines(text, separator))
    return next((row for row in rows if any(row)), [])


def _lines(text: str, separator: str) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
