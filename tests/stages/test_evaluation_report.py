"""A report says of every patient of the table where he went, and what his labels and answers were."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from nic.compression.codes_folder import CodesFolder, Quarantined
from nic.errors import UnknownColumn
from nic.patients.calibration import ResidualInterval
from nic.patients.cohort import Endpoint, read_cohort
from nic.patients.predictor import PatientPrediction
from nic.patients.spec import PatientModelSpec
from nic.stages.cohort_flow import flow
from nic.stages.evaluation_report import calibration_picture, goodness, lineage, subgroups
from nic.stages.model_evaluation import Evaluation
from nic.stages.report_words import case_words, misuses, question
from nic.tracking.registry import RegisteredVersion

ENDPOINT = Endpoint("score", "regression", ("score",), "points")
PROMISE = ResidualInterval(0.9, 2.0)
SPEC = PatientModelSpec(
    "score", "regression", "points", (), "a" * 64, "nic-encoder/3", 64.0, 5, "c0ffee", 80, 0.0, PROMISE
)
TABLE = """patient,slide,split,site,stage,score
T,t.svs,train,a,1,1
A,a1.svs,external,a,1,1
A,a2.svs,external,b,1,1
B,b.svs,external,b,,4
C,c.svs,external,b,2,
D,d.svs,external,b,2,3
E,e.svs,external,b,2,5
"""


@pytest.fixture
def done(tmp_path: Path) -> Evaluation:
    """Of five external patients one has no label, one a slide in quarantine, and one no codes."""
    (tmp_path / "cohort.csv").write_text(TABLE)
    codes = CodesFolder(tmp_path / "codes")
    codes.quarantine(Quarantined("a2", "OutOfFocus", "a2: blurred", "look"))
    for slide in ("a1", "b"):
        codes.file(slide).touch()
    codes.quarantine(Quarantined("d", "NoTissue", "d: no tile", "look"))
    cohort = read_cohort(tmp_path / "cohort.csv")
    labelled = cohort.labelled(ENDPOINT, "external")
    answered = np.array([patient.patient_id in ("A", "B") for patient in labelled.patients])
    answers = [
        PatientPrediction(score, score, 0.1, (np.zeros((2, 2), np.float32),), 4, {"low": score - 2, "high": score + 2})
        for score in (1.5, 7.0)
    ]
    return Evaluation(
        name="score",
        part="external",
        cohort=cohort,
        version=RegisteredVersion("nic-score", "7", {"nic.cohort": "c0ffee"}),
        spec=SPEC,
        labelled=labelled.take(answered),
        answers=answers,
        unanswered=labelled.take(~answered).patients,
        estimates=[],
        codes=codes.path,
        synthetic=False,
        endpoint=ENDPOINT,
        graph="b" * 64,
        audit=[],
    )


def test_every_patient_of_the_table_is_accounted_for(done: Evaluation) -> None:
    steps = flow(done)
    assert [step.patients for step in steps] == [6, 5, 4, 2]
    for before, after in pairwise(steps):
        assert before.patients - sum(group.patients for group in after.excluded) == after.patients
    left = {group.reason: list(group.names) for step in steps for group in step.excluded}
    assert left == {
        "of split 'train'": [],
        "without a label:": ["C"],
        "whose slides cannot be used (NoTissue):": ["D"],
        "whose slides cannot be used (no codes):": ["E"],
    }
    assert steps[-1].what == "Measured, from 2 slides"
    assert steps[-1].note == "Answered without some of their slides: a2 (OutOfFocus)."


def test_patients_are_told_by_label_and_answer(done: Evaluation) -> None:
    assert case_words(done, 0) == "label 1.00, answer 1.50 (stated: -0.50 to 3.50)"
    assert goodness(done).tolist() == [-0.5, -3.0]


def test_subgroups_are_of_any_column(done: Evaluation) -> None:
    """Slides of two sites are a group of their own; who is of no stage is not known."""
    found = [(group.column, group.name) for group in subgroups(done, ["site", "stage"], seed=0)]
    assert found == [("", "all"), ("site", "a+b"), ("site", "b"), ("stage", "1"), ("stage", "not known")]
    with pytest.raises(UnknownColumn, match=r"no column 'age' for subgroups; there are site, .*stage"):
        subgroups(done, ["age"], seed=0)


def test_a_model_that_promises_nothing_has_no_calibration(done: Evaluation) -> None:
    assert calibration_picture(replace(done, spec=replace(SPEC, calibration=None))) is None
    picture = calibration_picture(done)
    assert picture is not None
    assert picture.png.startswith(b"\x89PNG")


def test_lineage_says_what_is_not_recorded(done: Evaluation) -> None:
    told = lineage(done, "run7")
    assert told["Model"] == "models:/nic-score/7"
    assert told["Training cohort, digest"] == "c0ffee"
    assert told["Encoder"] == "not recorded"
    assert (told["Training sites in this table"], told["Sites measured"]) == ("a", "a+b, b")
    assert done.cohort.digest in told["Measured cohort"]


def test_what_is_asked_and_forbidden_is_of_the_kind() -> None:
    classes = replace(SPEC, kind="classification", classes=("mild", "severe"))
    assert "the probability of severe rather than mild" in question(classes)
    assert any("mix of classes" in sentence for sentence in misuses(classes))
    assert any("no life expectancy" in sentence for sentence in misuses(replace(SPEC, kind="survival")))
