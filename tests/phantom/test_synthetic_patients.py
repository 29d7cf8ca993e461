"""Synthetic patients, drawn by the hundred without pixels."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from sksurv.metrics import concordance_index_censored

from nic.phantom.labs import EXTERNAL_LABS, TILE_LABS, TRAIN_LABS
from nic.phantom.synthetic_patients import LIVER_CELLS, Patients, breast_patients, liver_patients


def by_patient(patients: Patients) -> pd.DataFrame:
    return patients.labels.drop_duplicates("patient").merge(patients.truth, on=["patient", "split"])


@pytest.fixture(scope="module")
def breast() -> pd.DataFrame:
    return by_patient(breast_patients(7, 600, 600)[0])


@pytest.fixture(scope="module")
def liver() -> pd.DataFrame:
    return by_patient(liver_patients(7, 600, 600)[0])


def test_the_oracles_are_good_and_not_perfect(breast: pd.DataFrame, liver: pd.DataFrame) -> None:
    assert spearmanr(breast.proliferation, breast.oracle_proliferation).statistic == pytest.approx(0.90, abs=0.02)
    assert roc_auc_score(liver.growth_pattern == "desmoplastic", liver.oracle_growth_pattern) == pytest.approx(
        0.96, abs=0.02
    )
    concordance = concordance_index_censored(liver.event.astype(bool), liver.time_months, liver.oracle_survival)[0]
    assert concordance == pytest.approx(0.80, abs=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_censoring_and_months_are_plausible(seed: int) -> None:
    liver = by_patient(liver_patients(seed, 100, 64)[0])
    assert 0.4 <= 1 - liver.event.mean() <= 0.6
    assert liver.time_months.between(0.1, 66).all()


def test_each_latent_of_survival_pulls_the_way_it_should(liver: pd.DataFrame) -> None:
    dead = liver[liver.event == 1]
    assert spearmanr(dead.encapsulated_share, dead.time_months).statistic > 0.1
    assert spearmanr(dead.lymphocytes_per_mm2, dead.time_months).statistic > 0.1
    assert spearmanr(dead.radius_um, dead.time_months).statistic < -0.1


def test_nuisances_do_not_predict_the_label(breast: pd.DataFrame, liver: pd.DataFrame) -> None:
    for nuisance in ("pyknoses_per_mm2", "lymphocytes_per_mm2", "tumour_share", "nucleus_size"):
        assert spearmanr(breast[nuisance], breast.proliferation).statistic == pytest.approx(0, abs=0.1)
    for nuisance in ("nests", "radius_um", "lymphocytes_per_mm2", "nucleus_size"):
        assert spearmanr(liver[nuisance], liver.desmoplastic).statistic == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("cohort", [breast_patients, liver_patients])
def test_labs_of_one_part_are_never_seen_in_another(cohort) -> None:  # type: ignore[no-untyped-def]
    labels = cohort(0, 64, 64)[0].labels
    sites = labels.groupby("split").site.unique()
    assert set(sites["train"]) == {lab.name for lab in TRAIN_LABS}
    assert set(sites["external"]) == {lab.name for lab in EXTERNAL_LABS}
    names = [lab.name for lab in (*TRAIN_LABS, *EXTERNAL_LABS, *TILE_LABS)]
    assert len(set(names)) == len(names)
    assert labels.groupby("patient").split.nunique().max() == 1


@pytest.mark.parametrize("cohort", [breast_patients, liver_patients])
def test_the_same_seed_gives_the_same_patients_and_some_have_two_slides(cohort) -> None:  # type: ignore[no-untyped-def]
    first, again, other = cohort(3, 100, 60), cohort(3, 100, 60), cohort(4, 100, 60)
    pd.testing.assert_frame_equal(first[0].labels, again[0].labels)
    pd.testing.assert_frame_equal(first[0].truth, again[0].truth)
    assert first[1] == again[1]
    assert first[1] != other[1]
    slides = first[0].labels.groupby("patient").slide.nunique()
    assert slides.max() == 2
    assert 0.02 < (slides == 2).mean() < 0.2


def test_growth_patterns_are_balanced_and_slides_have_known_sizes() -> None:
    patients, slides = liver_patients(0, 100, 64)
    assert list(patients.truth.groupby("split").desmoplastic.mean()) == [0.5, 0.5]
    assert all(slide.cells == LIVER_CELLS[slide.count] for slide in slides)
    assert all(0 <= slide.encapsulated <= slide.count for slide in slides)
    assert np.isfinite(patients.truth.oracle_survival).all()
