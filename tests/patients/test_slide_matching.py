"""A slide belongs to the patient whose identifier stands in its name as whole words, or whom a column names."""

from pathlib import Path

from nic.patients.slide_matching import Matching, matched_by_column, matched_by_name, slide_column
from nic.slides.source import SlideSource, slide_id

NUMBER_AND_WORDS = ["2019/P007.HE.v1.2.tif", "2020/batch 2/P003 block 1.tif", "P1.tif", "P1-2 a.tif"]


def sources(*files: str) -> tuple[list[SlideSource], dict[str, str]]:
    slides = [SlideSource(slide_id(file), Path(file)) for file in files]
    return slides, {slide.slide_id: file for slide, file in zip(slides, files, strict=True)}


def by_name(patients: list[str], *files: str) -> Matching:
    return matched_by_name(patients, *sources(*files))


def test_identifiers_are_whole_words_and_the_longest_wins() -> None:
    matching = by_name(["P1", "P1-2", "P007", "p003", "P00"], *NUMBER_AND_WORDS)
    assert matching.patients == {"P007.HE.v1.2": "P007", "P003 block 1": "p003", "P1": "P1", "P1-2 a": "P1-2"}
    assert [(question.where, question.there) for question in matching.undecided] == [
        ("patient P00", "no slide has this in its name")
    ]


def test_a_folder_names_the_patient_where_the_file_does_not() -> None:
    assert by_name(["P1", "P2"], "P1/scan a.tif", "P1/P2.tif").patients == {"scan a": "P1", "P2": "P2"}


def test_two_patients_in_a_name_are_not_guessed() -> None:
    matching = by_name(["P5", "P6"], "P5 and P6.tif")
    assert not matching.patients
    assert [(question.where, question.there) for question in matching.undecided] == [
        ("P5 and P6.tif", "patients P5 and P6 in its name")
    ]


def test_who_has_no_slide_and_which_slide_has_nobody_are_listed() -> None:
    matching = by_name(["P009", "P1"], "P1.tif", "b/P0O9 HE.tif", "test.tif")
    assert [(question.where, question.write) for question in matching.undecided] == [
        ("patient P009", "perhaps 'b/P0O9 HE.tif'"),
        ("b/P0O9 HE.tif", "a row of the table, if it is of the study"),
        ("test.tif", "a row of the table, if it is of the study"),
    ]


def test_the_column_of_slides_is_known_by_what_it_names() -> None:
    slides, _ = sources("a/P1.x.tif", "b/P2.tif")
    cells = {
        "Age": ["1", "2", "3"],
        "File": ["P1.x.tif", "p2", "gone.tif"],
        "Note": ["P2", "", "x"],
        "No": ["", "", ""],
    }
    assert slide_column(cells, slides) == "File"
    assert slide_column({"Age": ["1", "2"]}, slides) is None


def test_a_column_names_slides_wherever_they_lie() -> None:
    slides, names = sources("a/P1.x.tif", "b/P2.tif", "b/other.tif")
    rows = [(2, "1", "scans/P1.x.tif"), (3, "2", "P2"), (4, "3", "othr.tif"), (5, "", "P2.tif"), (6, "1", "P2.tif")]
    matching = matched_by_column("File", rows, slides, names)
    assert matching.patients == {"P1.x": "1", "P2": "2"}
    assert matching.rows == {"P1.x": 2, "P2": 3}
    assert [(question.where, question.there, question.write) for question in matching.undecided] == [
        ("patient 3, column 'File'", "no slide 'othr.tif'", "perhaps 'other'"),
        ("column 'File', row 5", "'', 'P2.tif'", "a patient and a file, or remove the row"),
        ("patient 1, column 'File'", "slide 'P2.tif', which an earlier row names for patient 2", "each slide once"),
        ("b/other.tif", "not in column 'File', so left out", "a row of the table, if it is of the study"),
    ]


def test_of_many_rows_without_a_slide_the_first_are_named() -> None:
    slides, names = sources("a/P1.tif")
    matching = matched_by_column("File", [(n, str(n), f"gone {n}.tif") for n in range(30)], slides, names)
    assert len(matching.undecided) == 14
    assert matching.undecided[12].where == "18 more rows"
