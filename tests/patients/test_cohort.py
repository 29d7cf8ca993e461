"""A cohort is read whole or refused with file, row and column; nobody is lost in silence."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nic.errors import (
    CohortError,
    ConflictingLabels,
    EmptyCohort,
    EndpointError,
    NoEvents,
    OneClass,
    PatientInTwoParts,
    UnknownColumn,
)
from nic.patients.cohort import Cohort, Endpoint, positive_among
from nic.patients.cohort_table import Columns, read_cohort
from nic.patients.targets import Categories, Classes, Grades, Survival, Values, label_columns
from nic.slides.search import file_of
from nic.tables.text import TextForm

HEADER = "patient,slide,split,site,mpp,score,pattern,time_months,event"
ROWS = (
    "007,slides/a.svs,train,utrecht,,0.5,replacement,12,1",
    "007,slides/b.svs,train,delft,0.25,0.5,replacement,12,1",
    "8,slides/c.svs,train,utrecht,,-0.25,desmoplastic,30.5,false",
    "9,slides/d.svs,external,leiden,,,desmoplastic,3,True",
    "10,slides/e.svs,external,leiden,,1e-1,replacement,3,0",
)
SCORE = Endpoint("score", "regression", ("score",), "points")
PATTERN = Endpoint("pattern", "classification", ("pattern",), positive="desmoplastic")
SURVIVAL = Endpoint("survival", "survival", ("time_months", "event"))


def cohort(folder: Path, *rows: str, header: str = HEADER) -> Cohort:
    path = folder / "liver.csv"
    path.write_text("\n".join([header, *(rows or ROWS)]) + "\n")
    return read_cohort(path)


def test_patients_keep_their_names_slides_and_sites(tmp_path: Path) -> None:
    first = cohort(tmp_path).patients[0]
    assert (first.patient_id, first.split, first.site) == ("007", "train", "delft+utrecht")
    assert [s.slide_id for s in first.slides] == ["a", "b"]
    assert [s.mpp for s in first.slides] == [None, 0.25]
    assert first.slides[0].path == tmp_path / "slides" / "a.svs"


def test_each_kind_of_endpoint_gives_its_arrays(tmp_path: Path) -> None:
    read = cohort(tmp_path)
    values = read.labelled(SCORE, "train").targets
    assert isinstance(values, Values)
    np.testing.assert_array_equal(values.value, [0.5, -0.25])
    classes = read.labelled(PATTERN, "external").targets
    assert isinstance(classes, Classes)
    assert classes.names == ("replacement", "desmoplastic")
    np.testing.assert_array_equal(classes.positive, [True, False])
    survival = read.labelled(SURVIVAL, "train").targets
    assert isinstance(survival, Survival)
    np.testing.assert_array_equal(survival.time_months, [12, 30.5])
    np.testing.assert_array_equal(survival.event, [True, False])


def test_a_patient_without_label_is_left_out_and_named(tmp_path: Path) -> None:
    labelled = cohort(tmp_path).labelled(SCORE, "external")
    assert [p.patient_id for p in labelled.patients] == ["10"]
    assert labelled.excluded == ("9",)


def test_a_label_on_one_of_two_slides_is_the_patients(tmp_path: Path) -> None:
    read = cohort(tmp_path, "1,a.svs,train,,,NA,,,", "1,b.svs,train,,,0.5,,,")
    np.testing.assert_array_equal(read.labelled(SCORE, "train").targets.arrays[0], [0.5])


def test_taking_some_keeps_patients_and_targets_together(tmp_path: Path) -> None:
    taken = cohort(tmp_path).labelled(SCORE, "train").take(np.array([False, True]))
    assert [p.patient_id for p in taken.patients] == ["8"]
    np.testing.assert_array_equal(taken.targets.arrays[0], [-0.25])


def test_the_digest_of_a_plain_table_stays_what_it_was(tmp_path: Path) -> None:
    """Another digest would have every stage run again. The numbers were read from the csv module's cells."""
    assert cohort(tmp_path).digest == "42a9cf33cb26a70c"
    rows = [f"{i},{row}" for i, row in enumerate(ROWS)]
    assert cohort(tmp_path, *rows, header=f",{HEADER}").digest == "b0125778940171f6"  # with the index of pandas


def test_the_digest_does_not_follow_the_encoding(tmp_path: Path) -> None:
    digest = cohort(tmp_path).digest
    text = (tmp_path / "liver.csv").read_text()
    for content in (
        text.encode("utf-16"),
        text.replace(",", ";").encode(),
        text.replace(",", " ,").encode("utf-8-sig"),
    ):
        (tmp_path / "liver.csv").write_bytes(content)
        assert read_cohort(tmp_path / "liver.csv").digest == digest


def test_the_digest_is_of_the_content_alone(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    digest = cohort(here).digest
    assert cohort(there, *reversed(ROWS)).digest == digest
    assert cohort(there, *ROWS[:-1]).digest != digest
    changed = [row.replace("0.5", "0.6") for row in ROWS]
    assert cohort(there, *changed).digest != digest


def test_a_spreadsheets_byte_order_mark_and_blank_lines_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "bom.csv"
    path.write_text("patient,slide,split\n1,a.svs,train\n,,\n\n2,b.svs,train\n", encoding="utf-8-sig")
    assert [row.number for p in read_cohort(path).patients for row in p.rows] == [2, 5]


@pytest.mark.parametrize(
    ("rows", "error", "said"),
    [
        (["1,a.svs,test,,,1,a,1,1"], CohortError, r"liver\.csv, row 2, column 'split'.*'test'"),
        ([",a.svs,train,,,1,a,1,1"], CohortError, r"row 2, column 'patient'"),
        (["1,,train,,,1,a,1,1"], CohortError, r"row 2, column 'slide'"),
        (["1,a.svs,train,,wide,1,a,1,1"], CohortError, r"row 2, column 'mpp'.*'wide'"),
        (["1,a.svs,train,,-0.5,1,a,1,1"], CohortError, r"row 2, column 'mpp'"),
        (["1,a.svs,train,,,1,a,1"], CohortError, r"row 2: 8 cells.* 9"),
        (["1,x/a.svs,train,,,1,a,1,1", "2,y/a.svs,train,,,1,a,1,1"], CohortError, r"rows 2 and 3.*slide a"),
        (["1,a.svs,train,,,1,a,1,1", "1,b.svs,external,,,1,a,1,1"], PatientInTwoParts, r"patient 1.*row 2.*row 3"),
    ],
)
def test_a_wrong_table_is_refused_by_row_and_column(
    tmp_path: Path, rows: list[str], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        cohort(tmp_path, *rows)


@pytest.mark.parametrize("text", ["", "patient,slide,split\n", "\n\n"])
def test_an_empty_table_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "none.csv"
    path.write_text(text)
    with pytest.raises(EmptyCohort, match=r"none\.csv"):
        read_cohort(path)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmptyCohort, match=r"nowhere\.csv"):
        read_cohort(tmp_path / "nowhere.csv")


def test_a_missing_or_doubled_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownColumn, match=r"no column 'slide'; it has patient, split"):
        cohort(tmp_path, "1,train", header="patient,split")
    with pytest.raises(CohortError, match="'split' stands twice"):
        cohort(tmp_path, "1,a.svs,train,train", header="patient,slide,split,split")


@pytest.mark.parametrize(
    ("endpoint", "rows", "error", "said"),
    [
        (Endpoint("g", "regression", ("grade",)), ROWS, UnknownColumn, r"no column 'grade' for endpoint g; it has"),
        (SCORE, ["1,a.svs,train,,,high,a,1,1"], CohortError, r"row 2, column 'score'.*'high'.*a number"),
        (SCORE, ["1,a.svs,train,,,inf,a,1,1"], CohortError, r"row 2, column 'score'.*'inf'"),
        (SCORE, ["1,a.svs,train,,,,a,1,1"], EmptyCohort, r"1 patients in split 'train', none with a label"),
        (SCORE, ["1,a.svs,external,,,1,a,1,1"], EmptyCohort, r"0 patients in split 'train'"),
        (
            SCORE,
            ["1,a.svs,train,,,1,a,1,1", "1,b.svs,train,,,2,a,1,1"],
            ConflictingLabels,
            r"column 'score'.*patient 1 is '1' in row 2 and '2' in row 3",
        ),
        (SURVIVAL, ["1,a.svs,train,,,1,a,0,1"], CohortError, r"row 2, column 'time_months'.*'0'.*months > 0"),
        (
            SURVIVAL,
            ["1,a.svs,train,,,1,a,5,dead"],
            CohortError,
            r"row 2, column 'event'.*'dead'.*0, 1, true, .* yes or no",
        ),
        (SURVIVAL, ["1,a.svs,train,,,1,a,5,2"], CohortError, r"row 2, column 'event'.*'2'"),
        (SURVIVAL, ["1,a.svs,train,,,1,a,5,0", "2,b.svs,external,,,1,a,5,1"], NoEvents, r"none of 1 patients"),
        (PATTERN, ["1,a.svs,train,,,1,desmoplastic,1,1"], OneClass, r"all patients are 'desmoplastic'"),
        (
            PATTERN,
            ["1,a.svs,train,,,1,replacement,1,1", "2,b.svs,external,,,1,desmoplastic,1,1"],
            OneClass,
            r"split train: all 1 patients are 'replacement'",
        ),
        (SCORE, ['1,a.svs,train,,,"0,5",a,1,1'], CohortError, r"row 2, column 'score'.*'0,5'.*with a point"),
        (SCORE, ["1,a.svs,train,,,1_2,a,1,1"], CohortError, r"row 2, column 'score'.*'1_2'"),
        (SCORE, ["1,a.svs,train,,,01.05.2020,a,1,1"], CohortError, r"row 2, column 'score'.*'01\.05\.2020'"),
        (
            SURVIVAL,
            ["1,a.svs,train,,,1,a,4200,1"],
            CohortError,
            r"patient 1 .* 4200 months, 350 years; if .* by 30\.44",
        ),
        (
            PATTERN,
            ["1,a.svs,train,,,1,desmoplastic,1,1", "2,b.svs,train,,,1,#REF!,1,1"],
            EndpointError,
            r"#REF! is a spreadsheet's error",
        ),
        (
            PATTERN,
            ["1,a.svs,train,,,1,desmoplastic,1,1", "2,b.svs,train,,,1,-,1,1"],
            EndpointError,
            r"'-' may be a class or a missing value",
        ),
        (Endpoint("g", "regression", ("Score",)), ROWS, UnknownColumn, r"did you mean 'score'"),
        (PATTERN, ["1,a.svs,train,,,1,mixed,1,1"], EndpointError, r"positive class is 'desmoplastic', found mixed"),
        (
            PATTERN,
            [f"{i},{i}.svs,train,,,1,{name},1,1" for i, name in enumerate(["desmoplastic", "mixed", "replacement"])],
            EndpointError,
            r"wanted two classes, found 3: desmoplastic, mixed, replacement",
        ),
        (Endpoint("s", "survival", ("time_months",)), ROWS, EndpointError, r"survival takes 2 column"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(
    tmp_path: Path, endpoint: Endpoint, rows: list[str], error: type[Exception], said: str
) -> None:
    read = cohort(tmp_path, *rows)
    with pytest.raises(error, match=said):
        read.labelled(endpoint, "train")


def ids(folder: Path, *patients: str) -> list[str]:
    rows = (f'"{patient}",{i}.svs,train' for i, patient in enumerate(patients))
    return [p.patient_id for p in cohort(folder, *rows, header="patient,slide,split").patients]


def test_identifiers_that_a_spreadsheet_made_numbers_of(tmp_path: Path) -> None:
    assert ids(tmp_path, "123.0", "45.0") == ["123", "45"]
    assert ids(tmp_path, "00123", "45", "A-1.0") == ["00123", "45", "A-1.0"]
    with pytest.raises(CohortError, match=r"row 2, column 'patient': found '1\.23457E\+11', wanted .* as text"):
        ids(tmp_path, "1.23457E+11")


@pytest.mark.parametrize(
    ("one", "other"),
    [("123", "123.0"), ("00123", "123"), ("p-1", "P-1"), ("a  b", "a b"), ("Größe", "Gro\u0308ße"), ("0", "00")],
)
def test_two_spellings_of_one_patient_are_refused(tmp_path: Path, one: str, other: str) -> None:
    with pytest.raises(CohortError, match=r"\(row 2\) and .* \(row 4\) look like one patient"):
        ids(tmp_path, one, "x", other)


@pytest.mark.parametrize("word", ["nan", "NA", "NULL", "#N/A"])
def test_a_word_for_nothing_known_is_no_patient_and_no_site(tmp_path: Path, word: str) -> None:
    with pytest.raises(CohortError, match=r"row 2, column 'patient'"):
        ids(tmp_path, word)
    assert cohort(tmp_path, f"1,a.svs,train,{word},,1,a,1,1").patients[0].site == ""


def test_a_column_that_is_ours_but_for_its_letters_does_not_pass_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(CohortError, match="column 'MPP' is read as um/px under the name 'mpp' alone"):
        cohort(tmp_path, "1,a.svs,train,0.5", header="patient,slide,split,MPP")
    cohort(tmp_path, "1,a.svs,train,x", header="patient,slide,split,Site")
    assert "column 'Site' is not read as the site" in caplog.text
    with pytest.raises(UnknownColumn, match=r"no column 'patient'; it has Patient, .*did you mean 'Patient'"):
        cohort(tmp_path, "1,a.svs,train", header="Patient,Slide,Split")


def test_a_slide_of_a_table_from_windows_is_found(tmp_path: Path) -> None:
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "a.svs").touch()
    slide = cohort(tmp_path, r"1,slides\a.svs,train", header="patient,slide,split").patients[0].slides[0]
    assert (slide.slide_id, file_of(slide)) == ("a", tmp_path / "slides" / "a.svs")


def test_decimal_commas_of_a_table_with_semicolons_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("patient;slide;split;mpp;score\n1;a.svs;train;0,25;0,5\n2;b.svs;train;;1\n")
    read = read_cohort(tmp_path / "c.csv")
    assert read.labelled(SCORE, "train").targets.arrays[0].tolist() == [0.5, 1]
    assert read.patients[0].slides[0].mpp == 0.25


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="a folder, wanted a table"):
        read_cohort(tmp_path)


def test_a_real_table_of_another_study_is_refused_with_the_columns_it_lacks(shared_data: Path) -> None:
    table = next((shared_data / "tcga_brca_mako").glob("*.csv"))
    with pytest.raises(UnknownColumn, match="no column 'patient'; it has"):
        read_cohort(table)


def test_a_digest_of_columns_does_not_see_the_others(tmp_path):
    header, rows = "patient,slide,split,site,score,age", ["a,a.svs,train,x,1,50", "b,b.svs,external,y,2,60"]

    def digest_of_score(*lines: str) -> str:
        (tmp_path / "c.csv").write_text("\n".join(lines))
        return read_cohort(tmp_path / "c.csv").digest_of(["score"])

    first = digest_of_score(header, *rows)
    assert digest_of_score(header, *(row[:-2] + "99" for row in rows)) == first
    assert digest_of_score(header + ",new", *(row + ",n" for row in rows)) == first
    other_cells = ("a,a.svs,train,x,3,50", "a,z.svs,train,x,1,50", "a,a.svs,external,x,1,50", "c,a.svs,train,x,1,50")
    for changed in other_cells:
        assert digest_of_score(header, changed, rows[1]) != first


GRADED = ["1,a.svs,train,2,b", "2,b.svs,train,10,a", "3,c.svs,train,1,c", "4,d.svs,train,,a", "5,e.svs,external,2,c"]


def graded(folder: Path, *rows: str) -> Cohort:
    return cohort(folder, *(rows or GRADED), header="patient,slide,split,grade,kind")


def test_several_classes_and_grades_give_the_places_of_their_names(tmp_path: Path) -> None:
    read = graded(tmp_path)
    kinds = read.labelled(Endpoint("kind", "multiclass", ("kind",)), "train").targets
    assert isinstance(kinds, Categories)
    assert kinds.names == ("a", "b", "c")
    assert kinds.index.tolist() == [1, 0, 2, 0]
    grades = read.labelled(Endpoint("grade", "ordinal", ("grade",)), "train").targets
    assert isinstance(grades, Grades)
    assert grades.names == ("1", "2", "10")  # by number
    assert grades.index.tolist() == [1, 2, 0]
    ordered = Endpoint("kind", "ordinal", ("kind",), classes=("c", "a", "b"))
    assert read.labelled(ordered, "train").targets.arrays[0].tolist() == [2, 1, 0, 1]
    external = read.labelled(ordered, "external").targets
    assert isinstance(external, Grades)
    assert (external.names, external.index.tolist()) == (("c", "a", "b"), [0])
    assert label_columns(external)["label"].tolist() == ["c"]
    assert label_columns(external.take(np.array([0, 0])))["label"].tolist() == ["c", "c"]


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        (Endpoint("k", "ordinal", ("kind",)), r"the order of a, b, c is not known; write classes: \[...\]"),
        (
            Endpoint("k", "multiclass", ("kind",), classes=("a", "b", "d")),
            "liver.csv, row 4, column 'kind': found 'c', wanted one of a, b, d",
        ),
        (
            Endpoint("k", "ordinal", ("kind",), classes=("a", "b", "c", "d")),
            "none of 4 patients is 'd'; wanted patients of each of a, b, c, d",
        ),
        (Endpoint("k", "classification", ("kind",), positive="a"), "write kind: multiclass, or kind: ordinal"),
    ],
)
def test_classes_that_do_not_fit_are_refused(tmp_path: Path, endpoint: Endpoint, message: str) -> None:
    read = graded(tmp_path)
    with pytest.raises((EndpointError, CohortError), match=message):
        read.labelled(endpoint, "train")


@pytest.mark.parametrize("classes", [(), ("1", "2", "3")])
def test_a_spreadsheets_whole_numbers_are_grades(tmp_path: Path, classes: tuple[str, ...]) -> None:
    rows = [f"{n},{n}.svs,train,{grade},x" for n, grade in enumerate(["1.0", "3.0", "", "2.0", "2"])]
    grades = graded(tmp_path, *rows).labelled(Endpoint("g", "ordinal", ("grade",), classes=classes), "train").targets
    assert isinstance(grades, Grades)
    assert (grades.names, grades.index.tolist()) == (("1", "2", "3"), [0, 2, 1, 1])


def test_two_classes_are_a_classification(tmp_path: Path) -> None:
    read = graded(tmp_path, "1,a.svs,train,1,a", "2,b.svs,train,2,b")
    for kind in ("multiclass", "ordinal"):
        with pytest.raises(EndpointError, match=r"takes 3 or more classes, found 2: .* kind: classification"):
            read.labelled(Endpoint("k", kind, ("kind",)), "train")  # type: ignore[arg-type]


def test_the_definition_of_an_endpoint_without_classes_is_that_of_before() -> None:
    assert PATTERN.definition == (
        '{"columns": ["pattern"], "kind": "classification", "name": "pattern", "positive": "desmoplastic", "unit": ""}'
    )
    assert '"classes": ["1", "2", "3"]' in Endpoint("g", "ordinal", ("g",), classes=("1", "2", "3")).definition


def test_a_table_without_a_split_is_all_training(tmp_path: Path) -> None:
    read = cohort(tmp_path, "1,a.svs,1", "2,b.svs,2", header="patient,slide,score")
    assert [patient.split for patient in read.patients] == ["train", "train"]
    with pytest.raises(CohortError, match=r"column 'Split' is read as the split under the name 'split' alone; rename"):
        cohort(tmp_path, "1,a.svs,external", header="patient,slide,Split")
    (tmp_path / "other.csv").write_text("patient,slide,part\n1,a.svs,external\n")
    with pytest.raises(UnknownColumn, match="no column 'fold'"):
        read_cohort(tmp_path / "other.csv", columns=Columns(split="fold"))


def test_all_bad_rows_of_a_table_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(CohortError) as caught:
        cohort(tmp_path, "1,a.svs,test,,,1,a,1,1", "2,b.svs,train,,wide,1,a,1,1", ",c.svs,train,,,1,a,1,1", ROWS[0])
    assert [sentence.split(":")[0] for sentence in str(caught.value).splitlines()] == [
        "liver.csv, row 2, column 'split'",
        "liver.csv, row 3, column 'mpp'",
        "liver.csv, row 4, column 'patient'",
    ]
    with pytest.raises(CohortError, match="8 more faults of this kind"):
        cohort(tmp_path, *[f"{n},{n}.svs,test,,,1,a,1,1" for n in range(20)])


def test_all_bad_cells_of_both_columns_are_reported_at_once(tmp_path: Path) -> None:
    rows = [f"{n},{n}.svs,train,,,1,a,{time},{event}" for n, (time, event) in enumerate([(-1, "Dead"), (2, "Alive")])]
    with pytest.raises(CohortError) as caught:
        cohort(tmp_path, *rows, "9,z.svs,train,,,1,a,x,Dead").labelled(SURVIVAL, "train")
    assert str(caught.value).splitlines() == [
        "liver.csv, rows 2, 4, column 'time_months': found '-1', 'x', wanted months > 0",
        "liver.csv, rows 2, 3, 4, column 'event': found 'Dead', 'Alive', wanted 0, 1, true, false, yes or no; or say "
        "in the study file what the words mean, values: {Dead: 0 or 1, Alive: 0 or 1}",
    ]
    many = cohort(tmp_path, *[f"{n},{n}.svs,train,,,w{n},a,1,1" for n in range(9)])
    with pytest.raises(CohortError, match=r"rows 2, 3, 4, 5, 6 and 4 more, .* found 'w0', .*'w4' and 4 more, wanted"):
        many.labelled(SCORE, "train")


def test_all_conflicts_and_all_missing_columns_are_reported_at_once(tmp_path: Path) -> None:
    rows = [f"{n},{slide}{n}.svs,train,,,{score},a,1,1" for n in (1, 2) for slide, score in (("a", 1), ("b", 2))]
    with pytest.raises(ConflictingLabels) as caught:
        cohort(tmp_path, *rows).labelled(SCORE, "train")
    assert [line.split(" is ")[0] for line in str(caught.value).splitlines()] == [
        f"liver.csv, column 'score': patient {n}" for n in (1, 2)
    ]
    with pytest.raises(UnknownColumn) as missing:
        cohort(tmp_path).labelled(Endpoint("s", "survival", ("months", "dead")), "train")
    assert len(str(missing.value).splitlines()) == 2


def test_words_have_the_meaning_that_the_study_gives_them(tmp_path: Path) -> None:
    rows = ["1,a.svs,train,,,weak,a,5,Dead", "2,b.svs,train,,,2.5,a,0,alive", "3,c.svs,train,,,none,a,7,ALIVE"]
    read = cohort(tmp_path, *rows)
    dead = replace(SURVIVAL, values=(("Dead", 1.0), ("Alive", 0.0)))
    labelled = read.labelled(dead, "train")
    assert [patient.patient_id for patient in labelled.patients] == ["1", "3"]  # nothing was seen of 2
    assert labelled.targets.arrays[1].tolist() == [True, False]
    graded = replace(SCORE, values=(("none", 0.0), ("weak", 1.0)))
    assert read.labelled(graded, "train").targets.arrays[0].tolist() == [1.0, 2.5, 0.0]
    with pytest.raises(CohortError, match=r"row 2, column 'score': found 'weak', wanted a number"):
        read.labelled(replace(SCORE, values=(("none", 0.0),)), "train")


@pytest.mark.parametrize("cell", ["1", "1.0", "true", "TRUE", "yes", "Yes"])
def test_an_event_may_be_any_word_for_yes(tmp_path: Path, cell: str) -> None:
    read = cohort(tmp_path, f"1,a.svs,train,,,1,a,5,{cell}", "2,b.svs,train,,,1,a,5,no")
    assert read.labelled(SURVIVAL, "train").targets.arrays[1].tolist() == [True, False]


@pytest.mark.parametrize(
    ("classes", "positive", "wanted"),
    [
        (["no", "yes"], "yes", "yes"),
        (["No", "Yes"], "yes", "Yes"),
        (["FALSE", "TRUE"], "yes", "TRUE"),
        (["0", "1"], "true", "1"),
        (["0.0", "1.0"], "1", "1.0"),
        (["0", "1"], "no", "0"),
        (["high", "low"], "High", "high"),
        (["1", "true"], "yes", "yes"),
        (["a", "b"], "yes", "yes"),
        (["A", "a"], "a", "a"),
    ],
)
def test_the_positive_class_is_the_tables_word(classes: list[str], positive: str, wanted: str) -> None:
    assert positive_among(classes, positive) == wanted


NUMBERED = Columns(split=None, form=TextForm(header=("grade", "score")), numbered="slides/T-###.svs")


def test_rows_without_names_are_those_of_numbered_slides(tmp_path: Path) -> None:
    """As the ground truth of TUPAC16: no header, and row i is slide i."""
    (tmp_path / "truth.csv").write_text("1,-0.35\n2,0.10\n3,0.20\n")
    cohort = read_cohort(tmp_path / "truth.csv", columns=NUMBERED)
    assert [patient.patient_id for patient in cohort.patients] == ["T-001", "T-002", "T-003"]
    assert cohort.patients[2].slides[0].path == tmp_path / "slides" / "T-003.svs"
    assert {patient.split for patient in cohort.patients} == {"train"}
    score = Endpoint("score", "regression", ("score",))
    assert cohort.labelled(score, "train").targets.arrays[0].tolist() == [-0.35, 0.1, 0.2]
    fewer = replace(NUMBERED, leave_out=("T-002",))
    left = read_cohort(tmp_path / "truth.csv", columns=fewer)
    assert [patient.patient_id for patient in left.patients] == ["T-001", "T-003"]
    assert Columns.named(str(fewer)) == fewer


@pytest.mark.parametrize(
    ("columns", "text", "message"),
    [
        (replace(NUMBERED, leave_out=("T-009",)), "1,2\n", "leave_out names 'T-009', who is not in the table"),
        (replace(NUMBERED, leave_out=("T-001",)), "1,2\n", "leave_out names all patients"),
        (replace(NUMBERED, numbered="T-#.svs"), "1,2\n" * 10, "row 10: numbered: T-#.svs has 1 digits"),
        (replace(NUMBERED, form=TextForm(header=("slide", "b"))), "1,2\n", "it has a column 'slide', and numbered"),
    ],
)
def test_numbered_rows_that_cannot_be_are_refused(tmp_path: Path, columns: Columns, text: str, message: str) -> None:
    (tmp_path / "truth.csv").write_text(text)
    with pytest.raises(CohortError, match=re.escape(message)):
        read_cohort(tmp_path / "truth.csv", columns=columns)
