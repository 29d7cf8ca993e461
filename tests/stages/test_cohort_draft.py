"""Tables and a folder of slides as they are become the rows of a cohort; what is not sure is question."""

from pathlib import Path

import pytest

from nic.errors import CohortError, UnknownColumn, UnreachedSlide
from nic.stages.cohort_draft import CohortDraft, Sources, cohort_draft
from nic.tables.text import DETECTED

FILES = ("2019/P1 a.tif", "2020/batch 2/P1.b.v1.tif", "P2.tif", "P3.tif", "left over.tif")
CLINICAL = "Patient ID;Hospital;Score\nP1;oak;0,5\nP2;elm;\nP3;elm;1,5\n"
SLIDES = "case,File,MPP\nP1,P1 a.tif,0.25\nP1,P1.b.v1.tif,\nP2,P2.tif,\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / "slides" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "slides" / name).touch()
    return tmp_path


def draft(folder: Path, *tables: str, site: str = "", external: tuple[str, ...] = (), **columns: str) -> CohortDraft:
    paths = []
    for number, text in enumerate(tables):
        paths.append(folder / f"t{number}.csv")
        paths[-1].write_text(text)
    patient, slide = columns.get("patient", ""), columns.get("slide", "")
    sources = Sources(tuple(paths), folder / "slides", patient, slide, site, external, DETECTED)
    return cohort_draft(sources, folder / "studies")


def test_one_table_of_patients_finds_slides_by_their_names(folder: Path) -> None:
    cohort = draft(folder, CLINICAL)
    assert cohort.rows == (
        {"patient": "P1", "slide": "../slides/2019/P1 a.tif", "Hospital": "oak", "Score": "0.5"},
        {"patient": "P1", "slide": "../slides/2020/batch 2/P1.b.v1.tif", "Hospital": "oak", "Score": "0.5"},
        {"patient": "P2", "slide": "../slides/P2.tif", "Hospital": "elm", "Score": ""},
        {"patient": "P3", "slide": "../slides/P3.tif", "Hospital": "elm", "Score": "1.5"},
    )
    assert [(question.where, question.write) for question in cohort.undecided] == [
        ("left over.tif", "a row of the table, if it is of the study"),
        ("column 'Hospital'", "site=Hospital external=ONE OF THEM, if one is to be"),
    ]
    assert cohort.notes == (
        "t0.csv: separator ';', decimal comma, utf-8; patients in column 'Patient ID'",
        "4 of 5 slides belong to 3 patients: by the patient in the file's name",
    )


def test_a_table_of_slides_and_one_of_patients_are_joined(folder: Path) -> None:
    for tables in ((CLINICAL, SLIDES), (SLIDES, CLINICAL)):
        cohort = draft(folder, *tables, site="Hospital", external=("elm",))
        first = {"patient": "P1", "slide": "../slides/2019/P1 a.tif", "split": "train", "site": "oak", "mpp": "0.25"}
        assert cohort.rows[0] == {**first, "Score": "0.5"}
        assert [row["split"] for row in cohort.rows] == ["train", "train", "external"]
        assert [row.slide.mpp for row in cohort.slides] == [0.25, None, None]
        assert any("P3" in question.there and "no slide" in question.there for question in cohort.undecided)


def test_a_patient_without_a_site_is_in_no_part(folder: Path) -> None:
    cohort = draft(folder, CLINICAL.replace("oak", ""), site="Hospital", external=("elm",))
    assert [row["split"] for row in cohort.rows] == ["", "", "external", "external"]
    assert {question.where for question in cohort.undecided} >= {"patient P1, column 'Hospital'"}


def test_a_split_of_the_table_is_kept(folder: Path) -> None:
    cohort = draft(folder, CLINICAL.replace("Hospital", "Split").replace("oak", "train").replace("elm", "test"))
    assert [row["split"] for row in cohort.rows] == ["train", "train", "test", "test"]
    question = cohort.undecided[-1]
    assert (question.where, question.there, question.write) == (
        "column 'split', patient P3",
        "'test'",
        "train or external",
    )


@pytest.mark.parametrize(
    ("tables", "columns", "error", "message"),
    [
        ((CLINICAL.replace("Patient ID", "Who"),), {}, UnknownColumn, "t0.csv: which column holds the patients"),
        ((CLINICAL,), {"site": "Hospitl"}, UnknownColumn, "no column 'Hospitl' for site; .* did you mean 'Hospital'"),
        ((CLINICAL,), {"site": "Hospital", "external": ("ash",)}, CohortError, "no patient of site 'ash'; .* elm, oak"),
        ((CLINICAL,), {"external": ("elm",)}, CohortError, "write site=NAME too"),
        ((CLINICAL.replace("P", "Q").replace("Qat", "Pat"),), {}, CohortError, "no slide belongs to a patient"),
        ((f"{CLINICAL}p1;elm;1\n",), {}, CohortError, r"'P1' \(row 2\) and 'p1' \(row 5\) look like one patient"),
        ((f"{CLINICAL}P1;elm;1\n",), {}, CohortError, "'Hospital': patient P1 is 'oak' in row 2 and 'elm' in row 5"),
    ],
)
def test_what_cannot_be_a_cohort_is_refused(
    folder: Path, tables: tuple[str], columns: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        draft(folder, *tables, **columns)  # type: ignore[arg-type]


def test_slides_are_wanted_in_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UnreachedSlide, match="no such folder of slides"):
        draft(tmp_path, CLINICAL)


def test_numbers_that_may_be_thousands_are_asked(folder: Path) -> None:
    cohort = draft(folder, CLINICAL.replace("0,5", "1,234").replace("1,5", "2,345"))
    assert [question.where for question in cohort.undecided if "thousands" in question.there] == [
        "t0.csv, column 'Score'"
    ]
