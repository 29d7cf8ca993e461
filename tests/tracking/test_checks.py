"""Each question of a promotion, on figures and tables of answers whose truth is known."""

from collections.abc import Sequence

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from nic.errors import RegistryError
from nic.evaluation.metrics import Estimate
from nic.tracking.checks import (
    Check,
    answers_check,
    figure_checks,
    measured,
    other_checks,
    rival_check,
    subgroup_checks,
)
from nic.tracking.figures import Figure, answers_behind, figure_on, patients_digest, record_figures
from nic.tracking.gates import Bound, Gate, Subgroups
from nic.tracking.registry import RegisteredVersion, find_version

NAME, FIGURE = "nic-score", "external.spearman"
GATE = Gate(figure=FIGURE, margin=0.1)


def answers(noise: float, seed: int = 0, n: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    label = np.random.default_rng(99).normal(size=n)
    sites = np.where(np.arange(n) < n - 5, np.where(np.arange(n) % 2, "elm", "oak"), "fir")
    patients = [f"{number:03d}" for number in range(n)]
    prediction = label + noise * rng.normal(size=n)
    return pd.DataFrame({"patient": patients, "site": sites, "label": label, "prediction": prediction})


def evaluated(client: MlflowClient, table: pd.DataFrame, cohort: str = "c0") -> RegisteredVersion:
    """A version whose figure was measured on this table, in a run of its own."""
    if not client.search_registered_models(f"name = '{NAME}'"):
        client.create_registered_model(NAME)
    made = client.create_model_version(NAME, source="file:///nowhere/model")
    version = find_version(f"models:/{NAME}/{made.version}")
    with mlflow.start_run(tags={"nic.input.cohort": cohort}):
        mlflow.log_text(table.to_csv(index=False), "external.csv")
        value = float(spearmanr(table["label"], table["prediction"]).statistic)
        estimate = Estimate("spearman", value, value - 0.1, value + 0.1, 0.95, len(table), 0.0)
        record_figures(version, {FIGURE: estimate}, patients_digest(cohort, list(table["patient"])))
    return find_version(version.uri)


def figure_of(version: RegisteredVersion) -> Figure:
    found = figure_on(version, FIGURE)
    assert found is not None
    return found


def failed(checks: Sequence[Check]) -> list[str]:
    return [check.name for check in checks if not check.passed]


@pytest.mark.parametrize(
    ("figure", "refused"),
    [
        (Figure(0.7, 60, "d0", 0.2, 0.9), []),
        (Figure(0.4, 60, "d0", 0.2, 0.9), ["external.spearman"]),
        (Figure(0.7, 60, "d0", -0.1, 0.9), ["interval of external.spearman"]),
        (Figure(float("nan"), 60, "d0", float("nan"), 0.9), ["external.spearman", "interval of external.spearman"]),
        (Figure(0.7, 60, "d1", 0.2, 0.9), ["patients"]),
        (None, ["external.spearman"]),
    ],
)
def test_a_figure_must_reach_its_bounds_on_the_patients_that_decide(figure: Figure | None, refused: list[str]) -> None:
    gate = Gate(figure=FIGURE, patients="d0", at_least=0.5, low_above=0.0)
    assert failed(list(figure_checks(figure, gate))) == refused


def test_other_figures_are_bounded_too(client: MlflowClient) -> None:
    version = evaluated(client, answers(0.3))
    others = {FIGURE: Bound(at_most=0.5), "external.coverage": Bound(at_least=0.8)}
    found = list(other_checks(version, others))
    assert failed(found) == [FIGURE, "external.coverage"]
    assert "never measured" in str(found[1])


def test_figures_of_a_table_agree_with_scipy_and_scikit_learn() -> None:
    table = answers(0.5)
    assert measured(table, "spearman") == pytest.approx(spearmanr(table["label"], table["prediction"]).statistic)
    classes = table.assign(label=(table["label"] > 0).astype(int))
    assert measured(classes, "auc") == pytest.approx(roc_auc_score(classes["label"], classes["prediction"]))
    months = table.assign(time_months=np.exp(-table["label"]), event=1)
    assert measured(months, "c_index") > 0.7
    with pytest.raises(RegistryError, match="figure 'brier' cannot decide a promotion"):
        measured(table, "brier")


def test_a_figure_that_its_answers_do_not_give_is_seen(client: MlflowClient) -> None:
    version = evaluated(client, answers(0.5))
    honest = figure_of(version)
    assert answers_check(honest, GATE).passed
    written = Figure(0.99, honest.n, honest.data, 0.9, 1.0, honest.run)
    assert not answers_check(written, GATE).passed


def test_answers_that_are_gone_or_of_other_patients_are_refused(client: MlflowClient) -> None:
    honest = figure_of(evaluated(client, answers(0.5)))
    with pytest.raises(RegistryError, match="is not of the patients"):
        answers_behind(Figure(honest.value, honest.n, "other", run=honest.run), "external")
    with pytest.raises(RegistryError, match="is gone; run `evaluate` again"):
        answers_behind(Figure(honest.value, honest.n, honest.data, run="0" * 32), "external")
    with pytest.raises(RegistryError, match="is not recorded"):
        answers_behind(Figure(honest.value, honest.n, honest.data), "external")


def test_every_group_of_patients_is_judged_but_the_small(client: MlflowClient) -> None:
    table = answers(0.2)
    wrong = table["site"] == "elm"
    table.loc[wrong, "prediction"] *= -1
    version = evaluated(client, table)
    found = list(subgroup_checks(figure_of(version), GATE, Subgroups(at_least=0.3, fewest=10)))
    assert failed(found) == [f"{FIGURE} of site elm"]
    assert "not judged, n = 5" in str(found[1])
    with pytest.raises(RegistryError, match="no column 'scanner'"):
        list(subgroup_checks(figure_of(version), GATE, Subgroups(column="scanner", at_least=0.3)))


def test_one_that_is_worse_by_more_than_the_margin_is_refused(client: MlflowClient) -> None:
    champion = evaluated(client, answers(0.4, seed=1))
    verdicts = {
        noise: rival_check(figure_of(evaluated(client, answers(noise, seed=2))), champion, GATE)
        for noise in (0.2, 0.41, 1.5)
    }
    assert [check.passed for check in verdicts.values()] == [True, True, False]
    assert "external.spearman differs by -0." in verdicts[1.5].found


def test_no_better_is_refused_where_there_is_no_margin(client: MlflowClient) -> None:
    champion, same = evaluated(client, answers(0.4)), evaluated(client, answers(0.4))
    assert not rival_check(figure_of(same), champion, Gate(figure=FIGURE)).passed


def test_figures_on_other_patients_do_not_compare(client: MlflowClient) -> None:
    champion = evaluated(client, answers(0.4))
    other = evaluated(client, answers(0.1), cohort="c1")
    check = rival_check(figure_of(other), champion, GATE)
    assert not check.passed
    assert "run `evaluate` on models:/nic-score/1 first" in check.wanted
