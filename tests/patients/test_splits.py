"""Folds keep patients and sites whole, are as balanced as that allows, or are those of the table."""

from pathlib import Path

import numpy as np
import pytest

from nic.errors import EndpointError, UnknownColumn
from nic.patients.cohort import Endpoint, Labelled
from nic.patients.cohort_table import read_cohort
from nic.patients.splits import check_folds, fixed_folds, inner_folds, site_folds, stratified_folds
from nic.patients.targets import Classes, Survival, Targets, Values


def targets_of(kind: str, patients: int) -> Targets:
    rng = np.random.default_rng(3)
    if kind == "regression":
        return Values(rng.normal(size=patients))
    if kind == "classification":
        return Classes(rng.random(patients) < 0.3, ("a", "b"))
    return Survival(rng.uniform(1, 60, patients), rng.random(patients) < 0.4)


@pytest.mark.parametrize("kind", ["regression", "classification", "survival"])
def test_no_site_stands_in_two_folds(kind: str) -> None:
    sites = [f"site{n % 11}" for n in range(120)]
    fold = site_folds(targets_of(kind, 120), sites, 5, seed=0)
    by_site = {site: {int(f) for f, s in zip(fold, sites, strict=True) if s == site} for site in sites}
    assert all(len(folds) == 1 for folds in by_site.values())
    assert set(fold) == set(range(5))


def test_too_few_sites_or_patients_without_one_are_refused() -> None:
    with pytest.raises(EndpointError, match=r"5 folds by site need 5 sites.*found 2 sites, 0 patients without"):
        site_folds(targets_of("regression", 20), ["a", "b"] * 10, 5, seed=0)
    with pytest.raises(EndpointError, match="3 sites, 5 patients without"):
        site_folds(targets_of("regression", 20), ["a", "b", "c", ""] * 5, 2, seed=0)


def test_another_seed_is_another_repetition_and_the_same_seed_the_same() -> None:
    targets = targets_of("classification", 60)
    one, same, other = (stratified_folds(targets, 5, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def labelled(folder: Path, rows: str) -> Labelled:
    (folder / "c.csv").write_text("patient,slide,split,score,fold\n" + rows)
    return read_cohort(folder / "c.csv").labelled(Endpoint("score", "regression", ("score",)), "train")


def test_the_tables_own_folds_are_taken(tmp_path: Path) -> None:
    found = labelled(
        tmp_path, "1,a.svs,train,1,north\n1,b.svs,train,1,north\n2,c.svs,train,2,south\n3,d.svs,train,3,east\n"
    )
    assert fixed_folds(found, "fold").tolist() == [1, 2, 0]
    with pytest.raises(UnknownColumn, match="no column 'part' for the folds; it has patient"):
        fixed_folds(found, "part")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1,a.svs,train,1,x\n1,b.svs,train,1,y\n2,c.svs,train,2,x\n", r"patient 1, column 'fold': found \['x', 'y'\]"),
        ("1,a.svs,train,1,x\n2,c.svs,train,2,\n", "patient 2, column 'fold'"),
        ("1,a.svs,train,1,x\n2,c.svs,train,2,x\n", "all training patients are in fold 'x'"),
    ],
)
def test_folds_of_the_table_that_are_none_are_refused(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(EndpointError, match=message):
        fixed_folds(labelled(tmp_path, rows), "fold")


def test_inner_folds_are_as_many_as_the_rarest_label_allows() -> None:
    positive = np.arange(30) < 3
    inner = inner_folds(Classes(positive, ("a", "b")), seed=0)
    assert len(inner) == 3
    assert all(positive[test].sum() == 1 for _, test in inner)
    assert sorted(i for _, test in inner for i in test) == list(range(30))


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (
            Classes(np.arange(20) < 3, ("a", "b")),
            r"^endpoint e: 5 folds need 5 .* found 3 of class .b.; take folds: 3",
        ),
        (Survival(np.ones(20), np.arange(20) >= 2), r"found 2 without an event; take folds: 2 in the study file"),
        (Survival(np.ones(20), np.arange(20) < 1), r"found 1 with an event; take more patients"),
        (Values(np.arange(4.0)), r"found 4 with a value; take folds: 4"),
    ],
)
def test_a_rare_label_is_named_with_the_folds_that_it_allows(targets: Targets, message: str) -> None:
    with pytest.raises(EndpointError, match=message):
        check_folds(targets, 5, "endpoint e")
    check_folds(targets, 1, "endpoint e")
