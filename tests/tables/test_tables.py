"""Tables as spreadsheets of all countries write them: the same cells, or a sentence that names file and row."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from nic.errors import EmptyTable, NoColumn, TableError
from nic.tables.cells import is_missing, number, stripped
from nic.tables.table import Table, is_table, read_table
from nic.tables.text import TextForm

TEXT = "patient,slide,site\n007,Größe.svs,Düsseldorf\n8,b.svs,Köln\n"
CELLS = {"patient": ["007", "8"], "slide": ["Größe.svs", "b.svs"], "site": ["Düsseldorf", "Köln"]}


def read(folder: Path, content: bytes | str, columns: tuple[str, ...] = (), name: str = "t.csv") -> Table:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(folder / name, columns)


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode(),
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("utf-16-le"),
        lambda text: text.encode("utf-16-be"),
        lambda text: text.encode("utf-32"),
        lambda text: text.replace(",", "\t").encode("utf-16"),
        lambda text: text.encode("cp1252"),
        lambda text: text.replace("\n", "\r").encode("mac_roman"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: text.replace(",", ";").encode(),
        lambda text: text.replace(",", "|").encode(),
        lambda text: f"sep=;\n{text}".replace(",", ";").encode(),
        lambda text: f'"sep=\t"\r\n{text}'.replace(",", "\t").encode(),
        lambda text: text.replace(",", " ,\xa0").encode(),
        lambda text: text.replace(",", "\u200b,\ufeff").encode(),
        lambda text: text.replace("\n", ",,\n").encode() + b",,,,\n\n",
        lambda text: "\n".join(f'"{line}"'.replace(",", '", "') for line in text.splitlines()).encode(),
    ],
)
def test_all_that_spreadsheets_write_gives_the_same_cells(tmp_path: Path, encode: Callable[[str], bytes]) -> None:
    table = read(tmp_path, encode(TEXT), ("patient", "slide"))
    assert table.cells == CELLS
    assert table.numbers == (2, 3)


def test_a_guessed_encoding_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read(tmp_path, TEXT.encode())
        assert not caplog.text
        read(tmp_path, TEXT.encode("cp1252"))
    assert "t.csv: not UTF-8, read as cp1252: " in caplog.text
    assert "Größe.svs" in caplog.text


def test_rows_are_counted_as_a_spreadsheet_does(tmp_path: Path) -> None:
    table = read(tmp_path, 'a,b\n\n"two\nlines",1\n,\n"with ""quotes"", and comma",2\n')
    assert table.numbers == (3, 5)
    assert table.cells == {"a": ["two\nlines", 'with "quotes", and comma'], "b": ["1", "2"]}


def test_the_separator_is_the_one_that_gives_the_required_columns(tmp_path: Path) -> None:
    assert read(tmp_path, "patient,slide,a;b;c;d\n1,a.svs,x\n", ("patient", "slide")).columns[2] == "a;b;c;d"
    assert read(tmp_path, "patient;slide;a,b,c,d\n1;a.svs;x\n", ("patient", "slide")).columns[2] == "a,b,c,d"
    assert read(tmp_path, "patient\n1\n", ("patient",)).cells == {"patient": ["1"]}


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["0,5", "1", "NA"], ["0.5", "1", "NA"]),
        (["1,234", "0,5"], ["1.234", "0.5"]),
        (["1,234", "2,000"], ["1,234", "2,000"]),  # thousands perhaps
        (["0,5", "0.5"], ["0,5", "0.5"]),
        (["0,5", "high"], ["0,5", "high"]),
        (["1.234,5", "0,5"], ["1.234,5", "0,5"]),
    ],
)
def test_decimal_commas_are_read_where_they_are_unambiguous(
    tmp_path: Path, cells: list[str], expected: list[str]
) -> None:
    rows = "".join(f"{cell};{cell}\n" for cell in cells)
    table = read(tmp_path, f"name;score\n{rows}", ("name",))
    assert table.cells == {"name": cells, "score": expected}
    quoted = "".join(f'a,"{cell}"\n' for cell in cells)
    assert read(tmp_path, f"name,score\n{quoted}", ("name",)).cells["score"] == cells


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", EmptyTable, "t.csv: no rows"),
        (b"\xef\xbb\xbf\n\n", EmptyTable, "t.csv: no rows"),
        ("a,b\n1\n", TableError, "row 2: 1 cells, the header has 2"),
        ("a,b\n1,2\n1,2,3\n", TableError, "row 3: 3 cells, the header has 2"),
        ("a,b,a\n1,2,3\n", TableError, "column 'a' stands twice"),
        ("a,b,,\n1,2,3,4\n", TableError, "two columns have no name"),
        ('a,b\n1,2\n1,"2\n3,4\n', TableError, "row 3: a quotation mark opens a cell and is never closed"),
        ("a;b\n1;2\n", NoColumn, "no column 'patient'; it has a, b$"),
        ("Patient\n1\n", NoColumn, "no column 'patient'; it has Patient; did you mean 'Patient'"),
        ("patinet\n1\n", NoColumn, "did you mean 'patinet'"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", TableError, "t.csv: an old Excel workbook"),
        (b"PK\x03\x04 no archive", TableError, "t.csv: a damaged workbook"),
        (b"\x1f\x8b\x08\x00\x00\x00", TableError, "t.csv: binary"),
        (b"a,b\n\x81,\x8d\n", TableError, "neither UTF-8 nor cp1252, at byte 4; save it as UTF-8"),
        ("<html><table></table></html>", TableError, "HTML or XML"),
        (b"%PDF-1.7\n", TableError, "t.csv: a PDF, not a table; save the table as .xlsx or CSV"),
        (b"\x89PNG\r\n\x1a\n", TableError, "t.csv: a PNG picture, not a table"),
        (b"\xff\xd8\xff\xe0\x00", TableError, "t.csv: a JPEG picture, not a table"),
        (b"\xff\xfea\x00,", TableError, "neither UTF-8 nor utf-16-le"),
    ],
)
def test_files_that_are_no_table_are_refused_by_name(
    tmp_path: Path, content: bytes | str, error: type[TableError], message: str
) -> None:
    with pytest.raises(error, match=message):
        read(tmp_path, content, ("patient",) if error is NoColumn else ())


def test_places_without_a_table_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(EmptyTable, match=r"gone\.csv: no such table"):
        read_table(tmp_path / "gone.csv", ())
    with pytest.raises(TableError, match="a folder, wanted a table"):
        read_table(tmp_path, ())
    with pytest.raises(TableError, match=r"t\.xlsx: not a readable workbook; save it as \.xlsx, or name it \.csv"):
        read(tmp_path, TEXT, name="t.xlsx")


def test_a_table_is_known_by_its_suffix_in_any_case() -> None:
    assert all(is_table(name) for name in ("a.csv", "A.CSV", "b.tsv", "c.txt", "x/d.xlsx", "e.xls", "f.ods"))
    assert not any(is_table(name) for name in ("a.svs", "slides", "*.tif", "csv", ""))


@pytest.mark.parametrize("text", ["1_2", "inf", "nan", "0x10", "1,5", "١٢", "1e999", "", " 1", "1 2", "½", "²", "--1"])
def test_texts_that_only_python_reads_as_numbers_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a number"):
        number(text)


@pytest.mark.parametrize(("text", "value"), [("-1.5e-2", -0.015), ("+3", 3), (".5", 0.5), ("5.", 5), ("007", 7)])
def test_decimal_numbers_are_read(text: str, value: float) -> None:
    assert number(text) == value


def test_words_for_missing_values() -> None:
    assert all(map(is_missing, ("", "NA", "n/a", "NaN", "NULL", "#N/A", "[Not Available]", "?", "'--", "Unknown")))
    assert not any(map(is_missing, ("-", "none", "0", "no", "negative")))
    assert stripped("\u200b \xa0a b\ufeff\t") == "a b"


def test_how_a_table_is_written_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = "name;score\na;0,5\n".encode("utf-8-sig")
    with caplog.at_level(logging.WARNING):
        assert read(tmp_path, content).form == "separator ';', decimal comma, utf-8"
        read(tmp_path, content)
        assert [record.getMessage() for record in caplog.records] == ["t.csv: separator ';', decimal comma, utf-8"]
        caplog.clear()
        assert read(tmp_path, "a,b\n1,2\n", name="plain.csv").form == "separator ',', decimal point, utf-8"
        assert not caplog.text
    assert read(tmp_path, "a\tb\nü\t2\n".encode("cp1252")).form == "separator tab, decimal point, cp1252"


def test_a_table_is_read_as_it_is_said_to_be_written(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("name|a;b\nŁ;d|1,234\n".encode("cp1250"))
    form = TextForm.named({"separator": "bar", "decimal": "comma", "encoding": "cp1250"})
    assert read_table(tmp_path / "t.csv", ("name",), form=form).cells == {"name": ["Ł;d"], "a;b": ["1.234"]}
    thousands = TextForm(separator="|", decimal="point", encoding="cp1250")
    assert read_table(tmp_path / "t.csv", ("name",), form=thousands).cells["a;b"] == ["1234"]
    assert read_table(tmp_path / "t.csv", ("name",), form=TextForm("|")).ambiguous == ("a;b",)
    assert TextForm.named(form.words) == form


def test_a_word_among_numbers_of_a_known_sign_stays_alone(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("name;score\n" + "a;0,5\n" * 8 + "b;0,O5\n")
    assert read_table(tmp_path / "t.csv", ("name",)).cells["score"] == ["0,5"] * 8 + ["0,O5"]
    with_commas = read_table(tmp_path / "t.csv", ("name",), form=TextForm(decimal="comma"))
    assert with_commas.cells["score"] == ["0.5"] * 8 + ["0,O5"]


def test_a_point_in_a_table_of_decimal_commas_is_refused_by_its_cell(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("name;score\na;0,5\nb;1.234\n")
    with pytest.raises(TableError, match=r"t\.csv, row 3, column 'score': found '1\.234'"):
        read_table(tmp_path / "t.csv", ("name",), form=TextForm(decimal="comma"))


def test_two_separators_that_fit_are_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="',' or ';' may stand between the cells; write which, as `separator: comma`"):
        read(tmp_path, "a,b;c\n1,2;3\n")
    assert read(tmp_path, "a,b;c\n1;3\n").columns == ("a,b", "c")
    assert read(tmp_path, "a,b;c;d\n1,2;3;4\n").columns == ("a,b", "c", "d")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"separator": "blank"}, "separator: found 'blank', wanted comma, semicolon, tab, bar"),
        ({"decimal": "."}, "decimal: found '.', wanted comma or point"),
        ({"encoding": "ansi8"}, "encoding: found 'ansi8', wanted a name such as utf-8"),
    ],
)
def test_a_form_that_no_table_has_is_refused(words: dict[str, str], message: str) -> None:
    with pytest.raises(TableError, match=message):
        TextForm.named(words)


def test_a_table_without_a_header_has_the_names_that_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("1,-0.35\n\n3,0.20\n")
    form = TextForm(header=("grade", "score"))
    table = read_table(tmp_path / "t.csv", ("score",), form=form)
    assert table.cells == {"grade": ["1", "3"], "score": ["-0.35", "0.20"]}
    assert table.numbers == (1, 3)  # a blank row keeps the numbers of those below it
    assert TextForm.named(form.words) == form
    with pytest.raises(TableError, match=r"t\.csv, row 1: 2 cells, the header has 1"):
        read_table(tmp_path / "t.csv", (), form=TextForm(header=("grade",)))
    (tmp_path / "t.csv").write_text("\n")
    with pytest.raises(EmptyTable, match=r"t\.csv: no rows"):
        read_table(tmp_path / "t.csv", (), form=form)
