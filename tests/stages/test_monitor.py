"""The log that the monitor reads: what a full disk or a running server leaves at its end."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nic.patients.calibration import logistic
from nic.stages.monitor import answers_table, scores_to_compare

ROWS = [{"score": 0.5, "status": "ok"}, {"score": 0.7, "status": "ok"}]


def test_lines_that_were_cut_short_are_skipped_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text(f'{json.dumps(ROWS[0])}\n{{"score": 0.\n{json.dumps(ROWS[1])}\n{{"score": 0.9')
    assert answers_table(file).to_dict("records") == ROWS
    assert "1 lines are cut short" in capsys.readouterr().out


LOG_ODDS = np.array([-1.0, 0.0, 2.0])
OLDEST = pd.DataFrame({"prediction": logistic(LOG_ODDS)})
"""The table of a training from before there were scores, and a log of that time: probabilities, not calibrated."""
TODAY = pd.DataFrame({"score": LOG_ODDS, "prediction": [0.2, 0.4, 0.7]})


@pytest.mark.parametrize(
    ("answers", "training"),
    [
        (OLDEST, OLDEST),
        (TODAY, OLDEST),
        (TODAY, TODAY),
        (TODAY, TODAY.assign(score_as_ensemble=LOG_ODDS)),
        (pd.concat([OLDEST, TODAY]), TODAY.assign(score_as_ensemble=LOG_ODDS)),
    ],
)
def test_answers_and_training_of_any_time_are_compared_on_one_scale(
    answers: pd.DataFrame, training: pd.DataFrame
) -> None:
    served, expected = scores_to_compare(answers, training, "classification")
    np.testing.assert_allclose(served, expected)


def test_a_value_of_the_oldest_training_is_its_score() -> None:
    values = pd.DataFrame({"prediction": LOG_ODDS})
    served, expected = scores_to_compare(
        pd.DataFrame({"score": LOG_ODDS, "prediction": LOG_ODDS}), values, "regression"
    )
    np.testing.assert_array_equal(served, expected)
