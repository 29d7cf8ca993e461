"""The phantom's tables: new columns change nothing that is there, and an older phantom gets them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from nic.phantom.phantom_study import PhantomConfig, tables_of
from nic.phantom.synthetic_patients import GRADE_CUTS, TUMOUR_PATTERNS, breast_patients, liver_patients
from nic.study import read_study
from nic.tracking.answers import Answers, slides_of
from nic.tracking.gates import read_gates

PROJECT = Path(__file__).parents[2]


def test_the_patients_that_decide_are_those_of_the_gates(tmp_path: Path) -> None:
    """Each gate names a digest of labels and slides: a new column, or a changed one, would refuse every model."""
    for name, text in tables_of(PhantomConfig()).items():
        (tmp_path / name).write_text(text)
    gates = read_gates(PROJECT / "registry" / "promotion.yaml")
    study = read_study(PROJECT / "studies" / "phantom.yaml")
    for entry in study.endpoints:
        cohort = study.cohorts[entry.cohort].model_copy(update={"table": tmp_path / f"{entry.cohort}.csv"})
        labelled = cohort.read().labelled(entry.endpoint, "external")
        zeros = np.zeros(len(labelled.patients))
        answers = Answers(
            definition=entry.endpoint.definition,
            model="",
            graph="",
            part="external",
            cohort="",
            seed=0,
            patients=tuple(patient.patient_id for patient in labelled.patients),
            slides=tuple(slides_of(patient) for patient in labelled.patients),
            labels=labelled.targets,
            score=zeros,
            prediction=zeros,
        )
        assert answers.data == gates[entry.model_name].patients, entry.name


def drawn(seed: int = 3) -> tuple[pd.DataFrame, pd.DataFrame]:
    both = (cohort(seed, 600, 600)[0] for cohort in (breast_patients, liver_patients))
    breast, liver = (of.labels.drop_duplicates("patient").merge(of.truth, on=["patient", "split"]) for of in both)
    return breast, liver


def test_the_grade_is_the_proliferation_that_mitoses_make_with_some_noise() -> None:
    breast, _ = drawn()
    without_noise = 1 + np.searchsorted(GRADE_CUTS, breast.oracle_grade)
    kappa = cohen_kappa_score(breast.grade, without_noise, weights="quadratic")
    assert 0.8 < kappa < 0.95
    assert breast.grade.value_counts(normalize=True).between(0.25, 0.45).all()


def test_the_oracle_of_the_pattern_gives_probabilities_that_are_calibrated() -> None:
    _, liver = drawn()
    probability = liver[[f"oracle_tumour_pattern_{name}" for name in TUMOUR_PATTERNS]].to_numpy()
    np.testing.assert_allclose(probability.sum(1), 1)
    index = liver.tumour_pattern.map(TUMOUR_PATTERNS.index)
    assert roc_auc_score(index, probability, multi_class="ovr") == pytest.approx(0.98, abs=0.015)
    shares = pd.get_dummies(liver.tumour_pattern)[list(TUMOUR_PATTERNS)].mean()
    np.testing.assert_allclose(probability.mean(0), shares, atol=0.02)
    assert shares.between(0.25, 0.42).all()
