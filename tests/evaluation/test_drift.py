"""A monitor that is silent on patients like those of training, and not on others."""

import numpy as np
import pandas as pd
import pytest

from nic.evaluation.drift import drift_checks, drift_page, drift_plot, drift_verdict
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
