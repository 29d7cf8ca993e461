"""A table of real patients under its own column names; Cox regression on its clinical columns."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv

from nic.errors import CohortError, UnknownColumn
from nic.evaluation.cox import fit_cox
from nic.evaluation.endpoint_figures import deciding_figure
from nic.evaluation.figure import estimate
from nic.patients.cohort import Cohort, Endpoint
from nic.patients.cohort_table import Columns, read_cohort
from nic.patients.covariates import covariates_of
from nic.study import read_study

TCGA = Columns(patient="STUDYID", slide="SLIDEID", split=None)
TIME, EVENT = "recurrence_years_censored_10_years", "recurrence_event_censored_10_years"
RECURRENCE = Endpoint("recurrence", "survival", (TIME, EVENT), "log hazard")


@pytest.fixture(scope="module")
def table(shared_data: Path) -> Path:
    return shared_data / "tcga_brca_mako" / "labels.csv"


@pytest.fixture(scope="module")
def cohort(table: Path) -> Cohort:
    return read_cohort(table, columns=TCGA)


def test_the_table_is_read_under_its_own_names(cohort: Cohort) -> None:
    recurrence = cohort.labelled(RECURRENCE, "train")
    assert (len(cohort.patients), len(recurrence.patients)) == (729, 624)
    assert int(recurrence.targets.event.sum()) == 52
    assert len(recurrence.excluded) == 99 + 6  # without a label, and followed for no time at all
    ror = cohort.labelled(Endpoint("ror-p", "regression", ("ror_p_score_div100",)), "train")
    high = cohort.labelled(Endpoint("rorp", "classification", ("rorp_2class",), positive="high"), "train")
    assert len(ror.patients) == len(high.patients) == 729
    assert ror.targets.value[high.targets.positive].min() > ror.targets.value[~high.targets.positive].max()


def test_cox_on_clinical_columns_has_scikit_survivals_c_index(cohort: Cohort, table: Path) -> None:
    recurrence = cohort.labelled(RECURRENCE, "train")
    clinical = covariates_of(recurrence.patients, ["age", "stage", "race"])
    known = np.isfinite(clinical.values).all(1)
    months, event = (a[known] for a in recurrence.targets.arrays)
    log_hazard = clinical.values[known] @ fit_cox(months, event, clinical.values[known]).coefficients
    ours = estimate(deciding_figure("survival", (months, event), log_hazard), seed=0)

    frame = pd.read_csv(table).dropna(subset=[TIME, EVENT, "age", "stage", "race"])
    frame = frame[frame[TIME] > 0]
    design = pd.get_dummies(frame[["age", "stage", "race"]], drop_first=True).astype(float)
    outcome = Surv.from_arrays(frame[EVENT] == 1, frame[TIME])
    theirs = CoxPHSurvivalAnalysis(ties="efron").fit(design, outcome).score(design, outcome)
    assert ours.n == len(frame)
    assert ours.value == pytest.approx(theirs)
    assert ours.low > 0.5


def test_an_unknown_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("case,file,part,patient\na,a.svs,train,x\n")
    with pytest.raises(UnknownColumn, match="no column 'slide'"):
        read_cohort(tmp_path / "c.csv", columns=Columns(patient="case"))
    with pytest.raises(CohortError, match="column 'patient' stands twice"):
        read_cohort(tmp_path / "c.csv", columns=Columns("case", "file", "part"))


def test_columns_are_named_in_words_and_in_a_study_file(table: Path, tmp_path: Path) -> None:
    assert Columns.named(str(TCGA)) == TCGA
    assert str(TCGA) == "patient=STUDYID,slide=SLIDEID,split="
    assert Columns.named("") == Columns()
    with pytest.raises(UnknownColumn, match="'case', wanted patient, slide, split"):
        Columns.named("case=STUDYID")
    study = {
        "name": "tcga",
        "tile_tasks": [{"name": "any", "path": "tiles", "mpp": 1.0}],
        "cohorts": {"brca": {"table": str(table), "patient": "STUDYID", "slide": "SLIDEID", "split": None}},
        "endpoints": [{"name": "recurrence", "cohort": "brca", "kind": "survival", "time": TIME, "event": EVENT}],
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    entry = read_study(tmp_path / "study.yaml").cohorts["brca"]
    assert len(entry.read().patients) == 729
    assert entry.columns == TCGA
