"""A monitor that is silent on patients like those of training, and not on others."""

import numpy as np
import pandas as pd
import pytest

from nic.evaluation.drift import CalledClasses, DriftCheck, drift_checks, drift_page, drift_plot, drift_verdict
from nic.patients.out_of_fold import OutOfFold

NAMES = ["predictions", "unlike training", "without a full answer", "tiles that could not be decoded"]


def answers(count: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "prediction": rng.normal(shift, 1, count),
            "ood_score": rng.uniform(0.3, 0.9, count),
            "ood": False,
            "tiles": 1000,
            "failed_tiles": 0,
            "status": "ok",
        }
    )


def served(table: pd.DataFrame) -> np.ndarray:
    return table["prediction"].dropna().to_numpy(float)


def alarms(table: pd.DataFrame, training: np.ndarray) -> list[str]:
    checks = drift_checks(table, served(table), training)
    assert [check.name for check in checks] == NAMES
    return [check.name for check in checks if check.alarm]


@pytest.fixture
def training() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, 200)


def test_it_is_silent_on_the_same_patients(training: np.ndarray) -> None:
    cries = sum(bool(alarms(answers(150, seed), training)) for seed in range(1, 201))
    assert cries <= 6  # 1 of 100, and by chance a few more of 200


def test_the_mean_of_networks_is_no_alarm_by_itself() -> None:
    """Served is the mean of five networks, which disagree; training has the score of one network a patient.

    Against those scores as they are, patients like those of training would be called unlike them.
    """
    cries = {"as they are": 0, "as the ensemble's": 0}
    for seed in range(100):
        rng = np.random.default_rng(seed)
        levels = 1.5 * rng.normal(size=(5, 1))
        train, new = (rng.normal(size=n) + levels + 1.5 * rng.normal(size=(5, n)) for n in (200, 150))
        fold = rng.permutation(200) % 5
        of = OutOfFold(train[fold, np.arange(200)][None], fold[None], (train,))
        table = answers(150, seed).assign(prediction=new.mean(0))
        cries["as they are"] += bool(alarms(table, of.mean_score))
        cries["as the ensemble's"] += bool(alarms(table, of.as_ensemble))
    assert cries["as the ensemble's"] <= 4 < 20 < cries["as they are"]


def test_another_distribution_of_answers_is_found(training: np.ndarray) -> None:
    assert alarms(answers(150, 1, shift=0.8), training) == ["predictions"]
    assert alarms(answers(150, 1, shift=0.8), training * 1 + 0.8) == []


def test_strangers_refusals_and_broken_tiles_are_found(training: np.ndarray) -> None:
    table = answers(150, 2)
    table.loc[:6, "ood"] = True
    assert alarms(table, training) == ["unlike training"]
    table = answers(150, 2).astype({"ood": object})
    table.loc[:11, "status"] = "refused"
    table.loc[:11, ["prediction", "ood", "ood_score"]] = None
    assert alarms(table, training) == ["without a full answer"]
    assert alarms(answers(150, 2).assign(failed_tiles=30), training) == ["tiles that could not be decoded"]


def test_codes_of_another_runtime_are_counted_and_no_alarm(training: np.ndarray) -> None:
    differ = ["runtime=openvino"] * 3 + ["", None] * 73 + ["pixel_version=1"]
    table = answers(150, 2).assign(codes_differ=differ)
    checks = {check.name: check for check in drift_checks(table, served(table), training)}
    shown = checks["codes unlike those of training"]
    assert shown.observed == "4 of 150 patients (3 by runtime=openvino; 1 by pixel_version=1)"
    assert not shown.alarm
    assert "codes unlike those of training" not in [
        c.name for c in drift_checks(answers(150, 2), served(table), training)
    ]


def test_nobody_answered_is_an_alarm(training: np.ndarray) -> None:
    table = answers(20, 3).assign(status="refused", prediction=None, ood=None, ood_score=None, tiles=0)
    assert alarms(table, training) == ["predictions", "without a full answer"]
    assert "no patient was answered" in drift_page(
        "t", "m", drift_checks(table, served(table), training), drift_plot(table, served(table), training)
    )


def test_the_page_says_what_to_look_at_and_escapes(training: np.ndarray) -> None:
    table = answers(150, 1, shift=0.8)
    checks = drift_checks(table, served(table), training)
    text = drift_page("<nic-score>", "now", checks, drift_plot(table, served(table), training))
    assert drift_verdict(checks) == "Please look at: predictions."
    assert drift_verdict(checks) in text
    assert "&lt;nic-score&gt;" in text
    assert "data:image/png;base64," in text


def called(count: int, seed: int, shares: tuple[float, float, float]) -> list[str]:
    return np.random.default_rng(seed).choice(["high", "low", "mid"], count, p=shares).tolist()


def class_check(served: list[str], training: list[str]) -> DriftCheck:
    checks = drift_checks(answers(30, 0), np.zeros(30), np.zeros(30), CalledClasses(served, training))
    [check] = [check for check in checks if check.name == "classes"]
    return check


def test_it_is_silent_on_the_same_classes() -> None:
    usual = (0.2, 0.5, 0.3)
    cries = sum(class_check(called(80, seed, usual), called(150, 1000 + seed, usual)).alarm for seed in range(40))
    assert cries <= 2


def test_other_shares_of_classes_are_an_alarm_and_are_named() -> None:
    check = class_check(["high"] * 20 + ["low"] * 20, ["high"] * 20 + ["low"] * 60 + ["mid"] * 20)
    assert check.alarm
    assert check.observed.startswith("high 50% (training 20%), low 50% (training 60%), mid 0% (training 20%)")
    assert "difference 30%" in check.observed


def test_a_rare_class_is_an_alarm_only_when_it_is_more_than_chance() -> None:
    """One patient of a class that five of a hundred had is no alarm, although chi-square would call it one."""
    training = ["low"] * 95 + ["rare"] * 5
    assert not class_check(["low", "rare"], training).alarm
    assert class_check(["rare"] * 4, training).alarm


def test_a_small_difference_of_many_patients_is_no_alarm() -> None:
    assert not class_check(["high"] * 6000 + ["low"] * 4000, ["high"] * 5000 + ["low"] * 5000).alarm


def test_one_class_alone_is_as_in_training() -> None:
    assert not class_check(["high"] * 20, ["high"] * 50).alarm


def test_the_shares_are_a_panel_of_the_picture() -> None:
    classes = CalledClasses(["high"] * 10 + ["low"] * 30, ["high"] * 50 + ["low"] * 50)
    plot = drift_plot(answers(40, 0), np.zeros(40), np.zeros(100), classes)
    heights = [bar.get_height() for bar in plot.axes[1].patches]
    assert heights == pytest.approx([0.5, 0.5, 0.25, 0.75])
