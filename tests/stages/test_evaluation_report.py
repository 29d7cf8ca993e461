"""A report accounts for every patient of the table, and shows the labels and answers of some."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from nic.compression.codes_folder import CodesFolder, Quarantined
from nic.errors import UnknownColumn
from nic.evaluation.figure import Estimate
from nic.evaluation.published import PublishedResult
from nic.patients.calibration import GradeProbabilities, ResidualInterval, SoftmaxProbabilities
from nic.patients.cohort import Endpoint
from nic.patients.cohort_table import read_cohort
from nic.patients.model_spec import PatientModelSpec
from nic.patients.predictor import PatientPrediction, answered
from nic.patients.targets import Categories, Classes, Grades
from nic.stages.cohort_flow import cohort_flow
from nic.stages.evaluation_report import best_and_worst, goodness, lineage, subgroups
from nic.stages.model_evaluation import Evaluation, oracle_of
from nic.stages.model_figures import model_estimates
from nic.stages.report_pictures import calibration_picture, confusion_picture, result_picture
from nic.stages.report_words import case_words, map_scale, misuses, outcome_counts, question
from nic.study import Study
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
def evaluation(tmp_path: Path) -> Evaluation:
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


def test_every_patient_of_the_table_is_accounted_for(evaluation: Evaluation) -> None:
    steps = cohort_flow(evaluation)
    assert [step.patients for step in steps] == [6, 5, 4, 2]
    for before, after in pairwise(steps):
        assert before.patients - sum(group.patients for group in after.excluded) == after.patients
    left = {group.reason: list(group.names) for step in steps for group in step.excluded}
    assert left == {
        "in split 'train'": [],
        "without a label:": ["C"],
        "whose slides cannot be used (NoTissue):": ["D"],
        "whose slides cannot be used (no codes):": ["E"],
    }
    assert steps[-1].what == "Measured, from 2 slides"
    assert steps[-1].note == "Some slides of these patients were not used: a2 (OutOfFocus)."


def test_a_patient_is_described_by_label_and_answer(evaluation: Evaluation) -> None:
    assert case_words(evaluation, 0) == "label 1.00, answer 1.50 (interval -0.50 to 3.50)"
    assert goodness(evaluation).tolist() == [-0.5, -3.0]


def test_published_results_are_those_of_the_measured_part(evaluation: Evaluation) -> None:
    estimates = [Estimate("spearman", 0.5, 0.4, 0.6, 0.95, 2)]
    published = [PublishedResult(method="A", value=0.6, n=321), PublishedResult(method="B", value=0.5, n=321)]
    published.append(PublishedResult(method="A", value=0.62, n=500, part="cross_validated"))
    of = replace(evaluation, estimates=estimates, published=published)
    assert [(row.method, row.estimate.value) for row in of.compared] == [("", 0.5), ("A", 0.6), ("B", 0.5)]
    assert [row.method for row in replace(of, part="cross_validated").compared] == ["", "A"]
    assert replace(of, part="train").compared == []


def test_subgroups_are_of_any_column(evaluation: Evaluation) -> None:
    """Slides of two sites are a group of their own; who is of no stage is not known."""
    groups = [(group.column, group.name) for group in subgroups(evaluation, ["site", "stage"], seed=0)]
    assert groups == [("", "all"), ("site", "a+b"), ("site", "b"), ("stage", "1"), ("stage", "not known")]
    with pytest.raises(UnknownColumn, match=r"no column 'age' for subgroups; there are site, .*stage"):
        subgroups(evaluation, ["age"], seed=0)


CALIBRATIONS = {
    "multiclass": SoftmaxProbabilities(("low", "mid", "high"), 1.0, (0.0, 0.0, 0.0)),
    "ordinal": GradeProbabilities(("low", "mid", "high"), 1.0, (-1.0, 1.0)),
}


def of_classes(evaluation: Evaluation, kind: str) -> Evaluation:
    """Thirty patients of whom half are called their true class; the pictures need no slides."""
    names, index = ("low", "mid", "high"), np.repeat(np.arange(3), 10)
    rng = np.random.default_rng(0)
    labels = Categories(index, names) if kind == "multiclass" else Grades(index, names)
    spec = replace(SPEC, kind=kind, classes=names, calibration=CALIBRATIONS[kind], shares=(0.3, 0.3, 0.4))
    scores = np.eye(3)[index] + rng.normal(size=(30, 3)) if kind == "multiclass" else index - 1 + rng.normal(size=30)
    answers = [answered(spec, np.asarray(score), np.asarray(score), 0.1, (), 4, ()) for score in scores]
    labelled = replace(evaluation.labelled, patients=evaluation.labelled.patients[:1] * 30, targets=labels)
    estimates = model_estimates(labelled, answers, spec, [], seed=0)
    return replace(evaluation, spec=spec, labelled=labelled, answers=answers, estimates=estimates)


@pytest.mark.parametrize("kind", CALIBRATIONS)
def test_classes_and_grades_have_their_pictures_and_words(evaluation: Evaluation, kind: str) -> None:
    of = of_classes(evaluation, kind)
    for picture in (result_picture(of), confusion_picture(of), calibration_picture(of)):
        assert picture is not None
        assert picture.png.startswith(b"\x89PNG")
        assert picture.caption
    of_kind = "of grade " if kind == "ordinal" else ""
    assert outcome_counts(of.labelled.targets) == f"; 10 {of_kind}low, 10 {of_kind}mid, 10 {of_kind}high"
    assert "low" in question(of.spec)
    assert "before calibration" in map_scale(of)
    assert any("mix of" in sentence for sentence in misuses(of.spec))


@pytest.mark.parametrize("kind", CALIBRATIONS)
def test_the_goodness_of_a_class_is_the_probability_of_the_true_one(evaluation: Evaluation, kind: str) -> None:
    of = of_classes(evaluation, kind)
    expected = [
        answer.calibrated[f"probability_{of.spec.classes[place]}"]
        for answer, place in zip(of.answers, of.labelled.targets.index, strict=True)
    ]
    np.testing.assert_allclose(goodness(of), expected)


def test_a_patient_of_another_class_than_called_is_described_with_both(evaluation: Evaluation) -> None:
    of = of_classes(evaluation, "multiclass")
    wrong = int(np.flatnonzero(of.called != of.labelled.targets.index)[0])
    answer, true = of.answers[wrong], of.spec.classes[of.labelled.targets.index[wrong]]
    own = answer.calibrated[f"probability_{true}"]
    words = f"{true}; answer: {answer.class_name} with probability {answer.prediction:.2f}, {true} with {own:.2f}"
    assert case_words(of, wrong) == words


def test_a_grade_is_described_with_the_expected_grade(evaluation: Evaluation) -> None:
    of = of_classes(evaluation, "ordinal")
    answer = of.answers[0]
    probability = answer.calibrated[f"probability_{answer.class_name}"]
    assert case_words(of, 0) == (
        f"grade low; answer: grade {answer.class_name} with probability {probability:.2f}; expected grade "
        f"{answer.prediction:.2f}, score {answer.score:.2f}"
    )


def test_the_oracle_of_classes_answers_with_probabilities(evaluation: Evaluation, tmp_path: Path) -> None:
    of = replace(of_classes(evaluation, "multiclass"), name="tumour-pattern")
    names = [f"P{number}" for number in range(30)]
    patients = tuple(replace(of.labelled.patients[0], patient_id=name) for name in names)
    of = replace(of, labelled=replace(of.labelled, patients=patients))
    probability = np.random.default_rng(1).dirichlet(np.ones(3), 30)
    table = pd.DataFrame(probability, columns=[f"oracle_tumour_pattern_{name}" for name in of.spec.classes])
    table.assign(patient=names).to_csv(tmp_path / "truth.csv", index=False)
    study = Study.model_construct(truth=tmp_path / "truth.csv")
    expected = roc_auc_score(of.labelled.targets.index, probability, multi_class="ovr")
    assert oracle_of(study, of, seed=0).startswith(f"{expected:.3f} [")


def test_a_model_without_calibration_has_no_picture_of_it(evaluation: Evaluation) -> None:
    assert calibration_picture(replace(evaluation, spec=replace(SPEC, calibration=None))) is None
    picture = calibration_picture(evaluation)
    assert picture is not None
    assert picture.png.startswith(b"\x89PNG")


def test_lineage_says_what_is_not_recorded(evaluation: Evaluation) -> None:
    entries = lineage(evaluation, "run7")
    assert entries["Model"] == "models:/nic-score/7"
    assert entries["Training cohort, digest"] == "c0ffee"
    assert entries["Encoder"] == "not recorded"
    assert (entries["Training sites in this table"], entries["Sites measured"]) == ("a", "a+b, b")
    assert evaluation.cohort.digest in entries["Measured cohort"]


def test_question_and_misuses_depend_on_the_kind() -> None:
    classes = replace(SPEC, kind="classification", classes=("mild", "severe"))
    assert "the probability of severe rather than mild" in question(classes)
    assert any("mix of classes" in sentence for sentence in misuses(classes))
    assert any("no life expectancy" in sentence for sentence in misuses(replace(SPEC, kind="survival")))


@pytest.mark.parametrize(("patients", "shown"), [(1, 0), (2, 1), (5, 2), (20, 3)])
def test_nobody_is_both_best_and_worst(patients: int, shown: int) -> None:
    goodness = np.random.default_rng(0).permutation(patients).astype(float)
    best, worst = best_and_worst(goodness, 3)
    assert len(best) == len(worst) == shown
    assert not set(best) & set(worst)
    assert goodness[best].tolist() == sorted(goodness, reverse=True)[:shown]
    assert goodness[worst].tolist() == sorted(goodness)[:shown]


def test_the_probability_of_the_true_class_is_the_goodness_of_a_class(evaluation: Evaluation) -> None:
    labels = Classes(np.array([True, False]), ("mild", "severe"))
    answers = [PatientPrediction(0.0, probability, 0.1, (), 4, {}) for probability in (0.9, 0.8)]
    classes = replace(evaluation, labelled=replace(evaluation.labelled, targets=labels), answers=answers)
    np.testing.assert_allclose(goodness(classes), [0.9, 0.2])
