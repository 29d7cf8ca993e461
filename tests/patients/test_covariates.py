"""Columns of a cohort's table become numbers, and what is not known stays unknown."""

from pathlib import Path

import numpy as np
import pytest

from nic.errors import CohortError, ConflictingLabels, UnknownColumn
from nic.patients.cohort import Patient
from nic.patients.cohort_table import read_cohort
from nic.patients.covariates import covariates_of


def patients(folder: Path, *rows: str) -> tuple[Patient, ...]:
    path = folder / "cohort.csv"
    path.write_text("\n".join(["patient,slide,split,age,stage", *rows]))
    return read_cohort(path).patients


def test_numbers_stay_and_categories_become_columns(tmp_path: Path) -> None:
    known = patients(tmp_path, "a,a.svs,train,61,II", "b,b.svs,train,,I", "c,c.svs,train,40.5,III", "d,d.svs,train,NA,")
    found = covariates_of(known, ["age", "stage"])
    assert found.names == ("age", "stage=II", "stage=III")
    nan = np.nan
    np.testing.assert_array_equal(found.values, [[61, 1, 0], [nan, 0, 0], [40.5, 0, 1], [nan, nan, nan]])


def test_no_columns_are_no_covariates(tmp_path: Path) -> None:
    assert covariates_of(patients(tmp_path, "a,a.svs,train,61,II"), []).values.shape == (1, 0)


def test_the_slides_of_a_patient_must_agree(tmp_path: Path) -> None:
    same = patients(tmp_path, "a,a.svs,train,61,II", "a,b.svs,train,,II")
    assert covariates_of(same, ["age"]).values.tolist() == [[61.0]]
    with pytest.raises(ConflictingLabels, match="'age': patient a is 61 and 62"):
        covariates_of(patients(tmp_path, "a,a.svs,train,61,II", "a,b.svs,train,62,II"), ["age"])


def test_an_unknown_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownColumn, match=r"'grade'.*age, stage"):
        covariates_of(patients(tmp_path, "a,a.svs,train,61,II"), ["grade"])


def aged(folder: Path, *ages: str) -> tuple[Patient, ...]:
    return patients(folder, *(f'p{i},{i}.svs,train,"{age}",I' for i, age in enumerate(ages)))


NUMBERS = [str(age) for age in range(40, 70)]


@pytest.mark.parametrize("word", ["[Not Available]", "unknown", "#N/A", "NULL", "?", "'--", "\u200b"])
def test_a_word_for_nothing_known_leaves_a_column_of_numbers(tmp_path: Path, word: str) -> None:
    found = covariates_of(aged(tmp_path, word, *NUMBERS), ["age"])
    assert found.names == ("age",)
    assert np.isnan(found.values[0, 0])
    assert found.values[1:, 0].tolist() == list(range(40, 70))


@pytest.mark.parametrize("bound", [">89", "≥90", "90+", "< 18", ">= 89"])
def test_a_bound_counts_as_unknown_with_a_warning(tmp_path: Path, bound: str, caplog: pytest.LogCaptureFixture) -> None:
    found = covariates_of(aged(tmp_path, bound, *NUMBERS), ["age"])
    assert found.names == ("age",)
    assert np.isnan(found.values[0, 0])
    assert f"covariate 'age': row 2 {bound!r}: bounds, not numbers; counted as unknown" in caplog.text
    with pytest.raises(CohortError, match=r"row 2 .*, row 3 .* among numbers"):
        covariates_of(aged(tmp_path, bound, bound, *NUMBERS[:3]), ["age"])


@pytest.mark.parametrize("odd", ["63,5", "65 years", "-", "1_2", "inf", "0x41", "٤٢", "2020-05-01", "sixty", "#DIV/0!"])
def test_words_among_numbers_are_named_by_row(tmp_path: Path, odd: str) -> None:
    with pytest.raises(CohortError, match=r"covariate 'age': row 3 .* among numbers; wanted numbers with a decimal"):
        covariates_of(aged(tmp_path, "61", odd, *NUMBERS), ["age"])


def test_a_few_numbers_among_words_are_words(tmp_path: Path) -> None:
    found = covariates_of(aged(tmp_path, "0", "I", "II", "II"), ["age"])
    assert found.names == ("age=I", "age=II")


def test_a_category_of_as_many_words_as_patients_is_none(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"30 different words for 30 patients \(d40, d41, d42, \.\.\.\)"):
        covariates_of(aged(tmp_path, *(f"d{age}" for age in NUMBERS)), ["age"])
    with pytest.raises(CohortError, match="row 2 '#REF!': a spreadsheet's error"):
        covariates_of(aged(tmp_path, "#REF!", "I"), ["age"])


def test_a_column_that_looks_alike_is_offered(tmp_path: Path) -> None:
    with pytest.raises(UnknownColumn, match="did you mean 'age'"):
        covariates_of(aged(tmp_path, "1"), ["Age"])
