"""Columns of a cohort's table become numbers, and what is not known stays unknown."""

from pathlib import Path

import numpy as np
import pytest

from nic.errors import ConflictingLabels, UnknownColumn
from nic.patients.cohort import Patient, read_cohort
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
