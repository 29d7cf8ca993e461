"""A name has one id, whether it is a file's, a table's, an address or a Windows path."""

import os
import unicodedata
from pathlib import Path

import pytest

from nic.slides.source import LONGEST_ID, slide_id

TCGA = "TCGA-A1-A0SB-01Z-00-DX1.B34C267B-CAAA-4AB6-AD5C-276C26F997A1"


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (f"{TCGA}.svs", TCGA),
        (TCGA, TCGA),
        (f"{TCGA}.h5", TCGA),
        (f"{TCGA}.svs.h5", TCGA),
        ("a.b", "a.b"),
        ("a.b.TIF", "a.b"),
        ("a.ome.tiff", "a.ome"),
        ("slides/12.5 mm.ndpi", "12.5 mm"),
        ("a.czi", "a"),
        ("a.isyntax", "a"),
        ("v1.2/a.svs", "a"),
        (r"C:\slides\v1.2\a.b.svs", "a.b"),
        ("C:/slides/a.svs", "a"),
        (r"\\server\share\a.svs", "a"),
        (r"day 1\a.svs", "a"),
        ("s3://bucket/day.1/a.b.svs", "a.b"),
        ("s3://bucket/a#1 100%25?.svs", "a#1 100%25?"),
        ("s3://bucket/a.svs?versionId=xy.z", "a"),
        (f"https://host.org:8080/x/{TCGA}.svs?token=a.b/c", TCGA),
        ("https://host.org/M%C3%BCller%20%231.svs", "Müller #1"),
        ("https://host.org/%2e%2e", "%2e%2e"),
    ],
)
def test_known_suffixes_are_cut_off_and_nothing_else(place: str, expected: str) -> None:
    assert slide_id(place) == expected


def test_a_file_of_this_machine_may_have_a_backslash_in_its_name() -> None:
    assert slide_id(Path(r"slides/a\b.svs")) == r"a\b"


def test_one_name_in_two_forms_of_unicode_has_one_id() -> None:
    first, second = (unicodedata.normalize(form, "Größe.svs") for form in ("NFC", "NFD"))
    assert first != second
    assert slide_id(first) == slide_id(second) == slide_id(Path(second)) == "Größe"


def test_bytes_that_are_not_text_are_written_as_numbers() -> None:
    name = slide_id(Path(os.fsdecode(b"\xff\xfe 1.svs")))
    assert name == r"\xff\xfe 1"
    assert name.encode().decode() == name


@pytest.mark.parametrize("letter", ["L", "ü", "日"])
def test_long_ids_are_cut_and_stay_unique(letter: str) -> None:
    names = [letter * (246 // len(letter.encode())) + end for end in ("1", "2")]
    first, second = (slide_id(f"{name}.tif") for name in names)
    assert len(first.encode()) <= LONGEST_ID
    assert first != second
    assert first.startswith(letter * 50)
    assert slide_id(names[0]) == first
