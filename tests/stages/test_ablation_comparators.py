"""Comparators that a study does not allow are left out before anything is trained, and the reason is printed."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from begun_ablation import begun_ablation

from nic.errors import EncoderError, StudyError
from nic.stages.ablation import Ablation
from nic.stages.ablation_comparators import comparators_at_hand
from nic.stages.ablation_hours import Pace, workload_of

BOTH = ["mitosis-counting", "streaming-cnn"]
Begun = Callable[..., Ablation]


@pytest.fixture
def begun(tmp_path: Path) -> Begun:
    return partial(begun_ablation, tmp_path)


TASKS = {"mitosis": ["other", "mitosis"], "tissue": ["a", "b"]}


def test_all_are_at_hand_where_the_study_allows_them(begun: Begun, capsys: pytest.CaptureFixture[str]) -> None:
    assert comparators_at_hand(begun(TASKS, ["all-uniform"]), BOTH, "score") == BOTH
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("tasks", "encoders", "endpoint", "reason"),
    [
        ({"tissue": ["a", "b"], "tumour": ["a", "b"]}, ["all-tuned"], "score", "the study has no tile task 'mitosis'"),
        (
            TASKS,
            ["vae", "mitosis"],
            "score",
            "that of all-tuned or all-uniform, and encoders names neither",
        ),
        (TASKS, ["all-tuned"], "pattern", "a count has an order, the classes of pattern have none"),
    ],
)
def test_mitosis_counting_needs_its_task_its_encoder_and_an_order(
    begun: Begun,
    capsys: pytest.CaptureFixture[str],
    tasks: dict[str, list[str]],
    encoders: list[str],
    endpoint: str,
    reason: str,
) -> None:
    assert comparators_at_hand(begun(tasks, encoders), BOTH, endpoint) == ["streaming-cnn"]
    printed = capsys.readouterr().out
    assert printed.startswith("mitosis-counting is left out: ")
    assert printed.endswith(f"{reason}\n")


def test_without_external_patients_there_are_none(begun: Begun, capsys: pytest.CaptureFixture[str]) -> None:
    assert comparators_at_hand(begun(TASKS, ["all-tuned"], "train,train"), BOTH, "score") == []
    assert capsys.readouterr().out.count("is left out: cohort made has no external patients\n") == 2


def test_what_is_not_known_is_refused(begun: Begun) -> None:
    ablation = begun({"mitosis": ["a", "b", "c"]}, ["all-tuned"])
    with pytest.raises(StudyError, match="no comparator 'stream'; there are mitosis-counting, streaming-cnn"):
        comparators_at_hand(ablation, ["stream"], "score")
    with pytest.raises(StudyError, match="grade"):
        comparators_at_hand(ablation, BOTH, "grade")
    with pytest.raises(EncoderError, match="which class is counted is not known; its classes are a, b, c"):
        comparators_at_hand(ablation, ["mitosis-counting"], "score")


def test_the_printed_hours_count_the_comparators(begun: Begun, tmp_path: Path) -> None:
    ablation, pace = begun(TASKS, ["random", "all-uniform"]), Pace({"made": 100.0}, {"made": 1000.0})

    def expected(comparators: list[str], pace: Pace) -> dict[str, float]:
        cohorts = dict.fromkeys(comparators, "made")
        study, scope = ablation.study, ablation.scope
        return dict(workload_of(study, pace, ablation.arms, scope, 2, 10, cohorts, tmp_path).expected)

    without, both = expected([], pace), expected(BOTH, pace)
    trained = [f"{part} {encoder}" for encoder in ("random", "all-uniform") for part in ("train", "networks on")]
    assert set(without) == {*trained, "compress made"}
    assert {part: both[part] for part in without} == without
    assert both["compare mitosis-counting"] == pytest.approx(300)  # four times as many tiles
    assert both["compare streaming-cnn"] > 0
    assert expected(BOTH, Pace({}, {}))["compare streaming-cnn"] == 0  # no slide of the cohort can be used
