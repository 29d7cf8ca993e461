"""Workbooks are read like the CSV that a spreadsheet would save."""

import datetime
import zipfile
from pathlib import Path

import pytest

from nic.errors import TableError
from nic.tables.table import read_table

openpyxl = pytest.importorskip("openpyxl")
COLUMNS = ("patient", "slide")


def book(path: Path, *sheets: list[list[object]]) -> Path:
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    for number, rows in enumerate(sheets):
        sheet = workbook.create_sheet(f"sheet {number}")
        for row in rows:
            sheet.append(row)
    workbook.save(path)
    return path


def test_cells_are_the_text_that_the_workbook_shows(tmp_path: Path) -> None:
    moment = datetime.datetime(2026, 1, 31)
    rows = [["patient", "slide", "score", "day", "seen"], ["007", " a.svs ", 0.1 + 0.2, moment, True], [123.0, 5, None]]
    table = read_table(book(tmp_path / "t.xlsx", rows), COLUMNS)
    assert table.numbers == (2, 3)
    assert table.cells == {
        "patient": ["007", "123"],
        "slide": ["a.svs", "5"],
        "score": ["0.3", ""],
        "day": ["2026-01-31", ""],
        "seen": ["TRUE", ""],
    }


def test_zeros_that_a_format_shows_are_read(tmp_path: Path) -> None:
    path = book(tmp_path / "t.xlsx", [["patient", "slide"], [123, "a.svs"]])
    workbook = openpyxl.load_workbook(path)
    workbook.active["A2"].number_format = "00000"
    workbook.save(path)
    assert read_table(path, COLUMNS).cells["patient"] == ["00123"]


def test_blank_rows_and_columns_do_no_harm_and_rows_keep_their_numbers(tmp_path: Path) -> None:
    rows = [[], [None, "patient", "slide", None], [None, "1", "a.svs"], [], [None, "2", "b.svs", " "]]
    table = read_table(book(tmp_path / "t.xlsx", rows), COLUMNS)
    assert (table.columns, table.numbers) == (COLUMNS, (3, 5))


def test_of_several_sheets_the_one_with_the_columns_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    legend, cohort = [["column", "meaning"], ["a", "b"]], [list(COLUMNS), ["1", "a.svs"]]
    assert read_table(book(tmp_path / "t.xlsx", [], legend, cohort), COLUMNS).cells["patient"] == ["1"]
    assert "sheet 'sheet 2' is read" in caplog.text
    with pytest.raises(TableError, match="2 sheets, sheet 0, sheet 1; 2 of them have the columns patient, slide"):
        read_table(book(tmp_path / "t.xlsx", cohort, cohort), COLUMNS)


def test_a_formula_without_its_value_is_refused(tmp_path: Path) -> None:
    path = book(tmp_path / "t.xlsx", [["patient", "slide", "score"], ["1", "a.svs", "=1+1"]])
    with pytest.raises(TableError, match=r"t\.xlsx, row 2: cell C2 is a formula without its value"):
        read_table(path, COLUMNS)


def test_an_archive_without_a_workbook_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.xlsx", "w") as archive:
        archive.writestr("content.xml", "<office/>")
    with pytest.raises(TableError, match=r"t\.xlsx: a ZIP, but no \.xlsx workbook"):
        read_table(tmp_path / "t.xlsx", COLUMNS)


def test_an_empty_workbook_has_no_rows(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no rows"):
        read_table(book(tmp_path / "t.xlsx", []), COLUMNS)
