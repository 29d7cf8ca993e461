"""A table of slides and a table of patients are one cohort, and nobody is lost in silence."""

import logging
from pathlib import Path

import pytest

from nic.errors import CohortError
from nic.patients.clinical_table import Clinical
from nic.patients.cohort import Cohort, Endpoint
from nic.patients.cohort_table import Columns, read_cohort
from nic.tables.text import TextForm

SLIDES = "patient,slide\nP1,a.svs\nP1,b.svs\nP2,c.svs\n"
CLINICAL = "Patient ID;part;Age;score\nP2;external;60,5;0,5\nP1;train;;0,25\n"
SLIDES_WITH_AGE = SLIDES.replace("slide\n", "slide,Age\n").replace("svs\n", "svs,7\n")
SCORE = Endpoint("score", "regression", ("score",))


def joined(folder: Path, clinical: str = CLINICAL, slides: str = SLIDES, split: str | None = "part") -> Cohort:
    (folder / "slides.csv").write_text(slides)
    (folder / "clinical.csv").write_text(clinical)
    second = Clinical(folder / "clinical.csv", "Patient ID")
    return read_cohort(folder / "slides.csv", columns=Columns(split=split), clinical=second)


def test_the_columns_of_both_tables_belong_to_the_patient(tmp_path: Path) -> None:
    cohort = joined(tmp_path)
    assert [(p.patient_id, p.split, len(p.slides)) for p in cohort.patients] == [
        ("P1", "train", 2),
        ("P2", "external", 1),
    ]
    assert cohort.labelled(SCORE, "train").targets.arrays[0].tolist() == [0.25]
    assert cohort.columns == ("patient", "slide", "split", "Age", "score")


def test_one_table_that_holds_the_same_has_the_same_digest(tmp_path: Path) -> None:
    one = tmp_path / "one.csv"
    one.write_text(
        "patient,slide,split,Age,score\nP1,a.svs,train,,0.25\nP1,b.svs,train,,0.25\nP2,c.svs,external,60.5,0.5\n"
    )
    assert joined(tmp_path).digest == read_cohort(one).digest


def test_who_is_in_one_table_alone_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            cohort = joined(tmp_path, f"{CLINICAL}P9;train;1;1\n", f"{SLIDES}P3,d.svs\n", split=None)
    messages = [record.getMessage() for record in caplog.records if "patient" in record.getMessage()]
    assert messages == [
        "slides.csv: 1 patient with no row in clinical.csv, so no label from there: P3 (row 5)",
        "clinical.csv: 1 patient with no slide in slides.csv, so not used: P9 (row 4)",
    ]
    assert cohort.labelled(SCORE, "train").excluded == ("P3",)


def test_a_wrong_cell_is_named_where_it_stands(tmp_path: Path) -> None:
    cohort = joined(tmp_path, CLINICAL.replace("0,25", "much"), split=None)
    with pytest.raises(CohortError, match=r"clinical\.csv, rows 2, 3, column 'score': found '0,5', 'much'"):
        cohort.labelled(SCORE, "train")
    with pytest.raises(CohortError, match=r"clinical\.csv, row 2, column 'split': found 'abroad'"):
        joined(tmp_path, CLINICAL.replace("external", "abroad"))


@pytest.mark.parametrize(
    ("clinical", "slides", "message"),
    [
        (f"{CLINICAL}P1;train;;0,3\n", SLIDES, "'score': patient P1 is '0.25' in row 3 and '0.3' in row 4"),
        (f"{CLINICAL};train;;0,3\n", SLIDES, "clinical.csv, row 4, column 'Patient ID': empty"),
        (CLINICAL.replace("P1", "p1"), SLIDES, r"'P1' \(slides.csv, row 2\) and 'p1' \(clinical.csv, row 3\)"),
        (CLINICAL.replace("P", "Q").replace("Qat", "Pat"), SLIDES, "no patient in common: 'P1' .* 'Q2'"),
        (
            CLINICAL,
            SLIDES_WITH_AGE,
            "slides.csv, row 4, column 'Age': patient P2 is '7', but '60.5' in clinical.csv, row 2",
        ),
        (CLINICAL.replace("Patient ID", "Patient"), SLIDES, "clinical.csv: no column 'Patient ID'"),
        (CLINICAL.replace("part", "where"), SLIDES, "slides.csv and clinical.csv: no column 'part'"),
        ("", SLIDES, "clinical.csv: no rows"),
    ],
)
def test_tables_that_do_not_agree_are_refused(tmp_path: Path, clinical: str, slides: str, message: str) -> None:
    with pytest.raises(CohortError, match=message):
        joined(tmp_path, clinical, slides)


def test_rows_of_a_patient_that_agree_are_one(tmp_path: Path) -> None:
    cohort = joined(tmp_path, f"{CLINICAL}P1;train;70;0,25\n")
    assert cohort.patients[0].rows[0].cells["Age"] == "70"
    assert cohort.patients[0].rows[0].place("slides.csv", "Age") == ("clinical.csv", 4)


def test_columns_say_how_their_table_is_written(tmp_path: Path) -> None:
    columns = Columns.named("patient=Case,separator=semicolon,decimal=comma,encoding=cp1252,split=")
    assert columns == Columns("Case", split=None, form=TextForm(";", "comma", "cp1252"))
    assert Columns.named(str(columns)) == columns
    (tmp_path / "s.csv").write_text("Case;slide;mpp\nP1;a.svs;0,250\n", encoding="cp1252")
    assert read_cohort(tmp_path / "s.csv", columns=columns).patients[0].slides[0].mpp == 0.25
