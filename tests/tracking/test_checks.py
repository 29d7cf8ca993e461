"""Each check of a promotion, on figures and records of answers whose truth is known."""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import somersd, spearmanr
from sklearn.metrics import roc_auc_score

from nic.errors import EndpointError, RegistryError
from nic.patients.cohort import Endpoint
from nic.patients.model_spec import PatientModelSpec
from nic.patients.targets import Categories, Classes, Grades, Survival, Targets, Values
from nic.tracking.answers import Answers, check_endpoint, digest_of, unlike_models
from nic.tracking.checks import Check, bound_checks, paired_difference, subgroup_checks
from nic.tracking.gates import Gate, Subgroups
from nic.tracking.recorded_estimates import RecordedEstimate as Recorded

FIGURE = "external.spearman"
GATE = Gate(figure=FIGURE, at_least=0)
ENDPOINT = Endpoint("growth", "classification", ("pattern",), "", "yes")
SPEC = PatientModelSpec(
    "growth", "classification", "", ("no", "yes"), "a" * 64, "nic-encoder/3", 64.0, 5, "c0ffee", 80, 0.0
)


def answers(noise: float = 0.5, seed: int = 0, n: int = 120) -> Answers:
    """Of a regression; five patients are of no known site."""
    label = np.random.default_rng(99).normal(size=n)
    score = label + noise * np.random.default_rng(seed).normal(size=n)
    sites = tuple("" if place >= n - 5 else ("oak", "elm")[place % 2] for place in range(n))
    return Answers(
        definition=Endpoint("score", "regression", ("score",)).definition,
        model="nic-score/1",
        graph="a" * 64,
        part="external",
        cohort="c0",
        seed=3,
        patients=tuple(f"{number:03d}" for number in range(n)),
        slides=tuple(f"s{number}" for number in range(n)),
        labels=Values(label),
        score=score,
        prediction=np.zeros(n),  # whatever a ward reads: figures of rank are not taken from it
        columns={"site": sites, "age": tuple(str(40 + place % 30) for place in range(n))},
    )


def failed(checks: Sequence[Check]) -> list[str]:
    return [check.name for check in checks if not check.passed]


@pytest.mark.parametrize(
    ("estimate", "refused"),
    [
        (Recorded(0.7, 60, "d0", 0.2, 0.9), []),
        (Recorded(0.4, 60, "d0", 0.2, 0.9), ["external.spearman"]),
        (Recorded(0.7, 60, "d0", -0.1, 0.9), ["interval of external.spearman"]),
        (
            Recorded(float("nan"), 60, "d0", float("nan"), 0.9),
            ["external.spearman", "interval of external.spearman"],
        ),
        (Recorded(0.7, 60, "d1", 0.2, 0.9), ["patients"]),
    ],
)
def test_a_figure_must_reach_its_bounds_on_the_patients_that_decide(estimate: Recorded, refused: list[str]) -> None:
    gate = Gate(figure=FIGURE, patients="d0", at_least=0.5, low_above=0.0)
    assert failed(list(bound_checks(estimate, gate))) == refused


def test_the_deciding_figure_agrees_with_scipy_and_scikit_learn() -> None:
    record = answers()
    label = record.labels.arrays[0]
    assert record.deciding("spearman").value == pytest.approx(spearmanr(label, record.score).statistic)
    classes = replace(record, labels=Classes(label > 0, ("no", "yes")))
    assert classes.deciding("auc").value == pytest.approx(roc_auc_score(label > 0, record.score))
    index = np.digitize(label, (-0.5, 0.5))
    grades = replace(record, labels=Grades(index, ("1", "2", "3")))
    assert 2 * grades.deciding("grade_c_index").value - 1 == pytest.approx(somersd(index, record.score).statistic)
    probability = softmax(np.stack([-record.score, 0 * record.score, record.score], axis=1), axis=1)
    several = replace(record, labels=Categories(index, ("a", "b", "c")), score=np.log(probability))
    assert several.deciding("macro_auc").value == pytest.approx(roc_auc_score(index, probability, multi_class="ovr"))
    months = replace(record, labels=Survival(np.exp(-label), np.ones(len(label), bool)))
    assert months.deciding("c_index").value > 0.7
    assert record.deciding("spearman") == record.deciding("spearman")  # the seed is the record's
    with pytest.raises(RegistryError, match=r"figure 'brier' cannot decide .*; for this endpoint spearman decides"):
        record.deciding("brier")
    one_class = replace(classes, labels=Classes(np.ones(len(label), bool), ("no", "yes")))
    with pytest.raises(RegistryError, match="auc of 120 patients is not defined"):
        one_class.deciding("auc")


LABELS: list[Targets] = [
    Values(np.array([0.1, 1 / 3, -2e-17])),
    Classes(np.array([True, False, True]), ("no", "yes")),
    Survival(np.array([1.5, 60.01, 1 / 7]), np.array([True, False, True])),
    Categories(np.array([2, 0, 1]), ("01", "1", "NA")),
    Grades(np.array([2, 0, 0]), ("low, or none", "2", "3")),
]


@pytest.mark.parametrize("labels", LABELS, ids=lambda labels: type(labels).__name__)
def test_a_record_is_read_as_it_was_written(labels: Targets) -> None:
    """Names of patients and cells that look like numbers, or like nothing, stay what they are."""
    kind, score = ENDPOINT.kind, np.array([0.1, 1 / 3, 1e300])
    called: tuple[str, ...] = ()
    if isinstance(labels, Categories | Grades):
        kind, called = ("multiclass" if isinstance(labels, Categories) else "ordinal"), labels.names
    record = Answers(
        definition=replace(ENDPOINT, kind=kind).definition,
        model="nic-growth/2",
        graph="b" * 64,
        part="external",
        cohort="c0",
        seed=1,
        patients=("007", "NA", 'a "b", c'),
        slides=("s1 | s2", "1e5", "nan"),
        labels=labels,
        score=np.stack([score, -score, score / 7], axis=1) if isinstance(labels, Categories) else score,
        prediction=np.array([0.5, 0.2, float("nan")]),
        called=called,
        calibrated={"low": np.array([0.0, 1.0, 2.0])},
        columns={"site": ("", "NA", "elm"), "score": ("1", "01", ""), "label": ("x", "y", "z")},
    )
    head, rows = record.texts()
    again = Answers.from_texts(head, rows)
    assert again.texts() == (head, rows)
    assert (again.patients, again.columns, again.slides) == (record.patients, record.columns, record.slides)
    assert (again.data, again.called, type(again.labels)) == (record.data, called, type(labels))
    for ours, theirs in zip((*again.labels.arrays, again.score), (*labels.arrays, record.score), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert digest_of(head, rows) != digest_of(head, rows.replace("007", "7"))


@pytest.mark.parametrize(("head", "rows"), [("no JSON", ""), ("{}", ""), (json.dumps({"format": 99}), "patient\n")])
def test_files_that_are_no_record_are_refused(head: str, rows: str) -> None:
    with pytest.raises(RegistryError, match="not a record of answers: "):
        Answers.from_texts(head, rows)


def test_who_was_measured_is_known_in_any_order_but_with_labels_slides_and_definition() -> None:
    record = answers(n=8)
    turned = slice(None, None, -1)
    same = replace(
        record,
        patients=record.patients[turned],
        slides=record.slides[turned],
        labels=record.labels.take(np.arange(7, -1, -1)),
    )
    assert same.data == record.data
    assert replace(record, columns={}, cohort="c1", score=-record.score).data == record.data
    others = (
        replace(record, patients=("x", *record.patients[1:])),
        replace(record, slides=("x", *record.slides[1:])),
        replace(record, labels=Values(record.labels.arrays[0] + 1)),
        replace(record, definition=ENDPOINT.definition),
    )
    assert len({record.data, *(other.data for other in others)}) == 5


def test_of_several_classes_it_counts_which_they_are_and_not_their_places() -> None:
    record = replace(answers(n=3), labels=Categories(np.array([0, 1, 2]), ("a", "b", "c")))
    turned = replace(record, labels=Categories(np.array([2, 1, 0]), ("c", "b", "a")))
    other = replace(record, labels=Categories(np.array([0, 1, 2]), ("a", "b", "d")))
    assert record.data == turned.data != other.data


def test_two_models_of_several_classes_are_compared_on_the_same_patients_in_any_order() -> None:
    rng = np.random.default_rng(0)
    index = rng.integers(0, 3, 90)
    good, poor = (np.eye(3)[index] * signal + rng.normal(size=(90, 3)) for signal in (2.0, 0.3))
    ours = replace(answers(n=90), labels=Categories(index, ("a", "b", "c")), score=good)
    order = rng.permutation(90)
    theirs = replace(
        ours,
        labels=ours.labels.take(order),
        score=poor[order],
        patients=tuple(ours.patients[place] for place in order),
    )
    paired = paired_difference(ours, theirs)
    apart = [roc_auc_score(index, softmax(score, axis=1), multi_class="ovr") for score in (good, poor)]
    assert paired.value == pytest.approx(apart[0] - apart[1])
    assert paired.low > 0


def test_every_group_of_patients_is_judged_but_the_small() -> None:
    record = answers(0.2)
    elm = np.array([site == "elm" for site in record.columns["site"]])
    wrong = replace(record, score=np.where(elm, -record.score, record.score))
    checks = list(subgroup_checks(wrong, GATE, Subgroups(at_least=0.3, fewest=10)))
    assert failed(checks) == [f"{FIGURE} of site elm"]
    assert "not judged, n = 5" in str(checks[-1])
    with pytest.raises(RegistryError, match="no column 'scanner' in the record of answers; it has site, age"):
        list(subgroup_checks(record, GATE, Subgroups(column="scanner", at_least=0.3)))


def test_patients_of_no_known_group_are_a_group() -> None:
    record = answers(0.2)
    unknown = np.array([not site for site in record.columns["site"]])
    wrong = replace(record, score=np.where(unknown, -record.score, record.score))
    assert failed(list(subgroup_checks(wrong, GATE, Subgroups(at_least=0.3, fewest=5)))) == [
        f"{FIGURE} of site not known"
    ]


def test_a_column_of_many_numbers_is_split_at_its_median() -> None:
    names = [check.name for check in subgroup_checks(answers(), GATE, Subgroups(column="age", at_least=0.1))]
    assert names == [f"{FIGURE} of age below 54.5", f"{FIGURE} of age 54.5 and above"]


@pytest.mark.parametrize(
    ("changes", "classes", "why"),
    [
        ({"name": "other"}, ("no", "yes"), "name 'growth' against 'other'"),
        ({"columns": ("easy",)}, ("no", "yes"), r"columns \['pattern'\] against \['easy'\]"),
        ({"positive": "no"}, ("yes", "no"), "positive 'yes' against 'no'"),
        ({"unit": "points"}, ("no", "yes"), "unit '' against 'points'"),
        ({}, ("never", "yes"), r"classes \['no', 'yes'\] against \['never', 'yes'\]"),
    ],
)
def test_a_model_of_another_definition_is_refused(
    changes: dict[str, object], classes: tuple[str, str], why: str
) -> None:
    spec, labels = replace(SPEC, definition=ENDPOINT.definition), Classes(np.array([True]), classes)
    check_endpoint(spec, ENDPOINT, Classes(np.array([True]), ("no", "yes")), "nic-growth/1")
    with pytest.raises(EndpointError, match=f"nic-growth/1 answers another endpoint .*{why}"):
        check_endpoint(spec, replace(ENDPOINT, **changes), labels, "nic-growth/1")


def test_of_an_older_model_name_kind_and_classes_are_compared() -> None:
    labels = Classes(np.array([True]), ("no", "yes"))
    check_endpoint(SPEC, replace(ENDPOINT, columns=("renamed",)), labels, "nic-growth/1")
    with pytest.raises(EndpointError, match="name 'growth' against 'other'"):
        check_endpoint(SPEC, replace(ENDPOINT, name="other"), labels, "nic-growth/1")
    with pytest.raises(EndpointError, match="classes"):
        check_endpoint(SPEC, ENDPOINT, Classes(np.array([True]), ("yes", "no")), "nic-growth/1")
    newer = replace(SPEC, definition=ENDPOINT.definition)
    assert unlike_models(newer, SPEC) == unlike_models(SPEC, newer) == ""
    assert "classes" in unlike_models(newer, replace(SPEC, classes=("yes", "no")))
