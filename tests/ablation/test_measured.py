"""Figures of an ablation equal independent ones, and their differences are paired over patients."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from nic.ablation.ablation_cells import Cell, CellAnswers
from nic.ablation.measured import Measurable, Measurements, interval
from nic.errors import EmptyCohort
from nic.patients.targets import Classes, Values

PATIENTS = tuple(f"P{number:02}" for number in range(40))
RNG = np.random.default_rng(3)
VALUE, POSITIVE = RNG.normal(size=40), RNG.random(40) < 0.5
ORACLE = VALUE + 0.3 * RNG.normal(size=40)
SCORES = {
    ("a", 0, "score", 0): VALUE + RNG.normal(size=40),
    ("a", 0, "score", 1): VALUE + RNG.normal(size=40),
    ("a", 1, "score", 0): VALUE + 2 * RNG.normal(size=40),
    ("b", 0, "score", 0): RNG.normal(size=40),
    ("a", 0, "class", 0): POSITIVE + RNG.normal(size=40),
    ("b", 0, "class", 0): POSITIVE + 3 * RNG.normal(size=40),
}
ENDPOINTS = [
    Measurable("score", "regression", "breast", PATIENTS, Values(VALUE), ORACLE),
    Measurable("class", "classification", "breast", PATIENTS, Classes(POSITIVE, ("no", "yes")), None),
]


def cell(encoder: str, encoder_seed: int, endpoint: str, seed: int) -> Cell:
    return Cell(encoder, encoder_seed, endpoint, "grid-cnn", seed)


def answers(scores: np.ndarray, patients: tuple[str, ...] = PATIENTS) -> CellAnswers:
    return CellAnswers(patients, scores, None, 60.0)


@pytest.fixture
def measured() -> Measurements:
    return Measurements(ENDPOINTS, {cell(*name): answers(scores) for name, scores in SCORES.items()}, draws=400)


def spearman(scores: np.ndarray) -> float:
    return float(stats.spearmanr(VALUE, scores).statistic)


def test_a_figure_is_the_mean_over_both_kinds_of_seeds(measured: Measurements) -> None:
    of_each = [spearman(SCORES["a", 0, "score", 0]), spearman(SCORES["a", 0, "score", 1])]
    expected = np.mean([np.mean(of_each), spearman(SCORES["a", 1, "score", 0])])
    assert measured.figure("a", "grid-cnn", "score")[0] == pytest.approx(expected)
    assert measured.seconds("a", "grid-cnn") == 4 * 60


def test_a_fraction_is_of_what_the_oracle_is_above_chance(measured: Measurements) -> None:
    auc = roc_auc_score(POSITIVE, SCORES["b", 0, "class", 0])
    of_score = spearman(SCORES["b", 0, "score", 0]) / spearman(ORACLE)
    assert measured.fraction("b", "grid-cnn", "score")[0] == pytest.approx(of_score)
    assert measured.fraction("b", "grid-cnn", "class")[0] == pytest.approx((auc - 0.5) / 0.5)  # no oracle: perfect
    expected = np.mean([of_score, (auc - 0.5) / 0.5])
    assert measured.mean_fraction("b", "grid-cnn")[0] == pytest.approx(expected)


def test_the_oracle_and_the_networks_are_measured_on_the_same_draws(measured: Measurements) -> None:
    same = {cell("oracle", 0, "score", 0): answers(ORACLE)}
    alike = Measurements(ENDPOINTS[:1], same, draws=50)
    assert alike.fraction("oracle", "grid-cnn", "score") == pytest.approx(np.ones(51))


def test_draws_are_those_of_patients_drawn_again(measured: Measurements) -> None:
    """A draw's value is the figure of a list in which patients stand as often as they were drawn."""
    counts = measured._counts["score"]
    draws = measured.figure("b", "grid-cnn", "score")
    for number in (1, 17, 400):
        listed = np.repeat(np.arange(40), counts[number].astype(int))
        expected = stats.spearmanr(VALUE[listed], SCORES["b", 0, "score", 0][listed]).statistic
        assert draws[number] == pytest.approx(expected)
    assert np.array_equal(counts, measured._counts["class"])  # of one cohort


def test_seeds_that_differ_widen_an_interval() -> None:
    noise, base = (0.1, 1, 5), VALUE + RNG.normal(size=40)

    def draws_of(*scores: np.ndarray) -> np.ndarray:
        cells = {cell("a", 0, "score", seed): answers(of_seed) for seed, of_seed in enumerate(scores)}
        return Measurements(ENDPOINTS[:1], cells, draws=300).figure("a", "grid-cnn", "score")

    apart = draws_of(*(VALUE + n * RNG.normal(size=40) for n in noise))
    alike, once = draws_of(*[base] * 3), draws_of(base)
    assert alike == pytest.approx(once)
    widths = [(e := interval("x", draws, 40)).high - e.low for draws in (apart, alike)]
    assert widths[0] > widths[1]


def test_patients_count_who_are_answered_everywhere() -> None:
    some = PATIENTS[5:]
    cells = {
        cell("a", 0, "score", 0): answers(SCORES["a", 0, "score", 0]),
        cell("b", 0, "score", 0): answers(SCORES["b", 0, "score", 0][5:], some),
    }
    measured = Measurements(ENDPOINTS[:1], cells, draws=20)
    assert measured.patients == {"score": some}
    expected = stats.spearmanr(VALUE[5:], SCORES["a", 0, "score", 0][5:]).statistic
    assert measured.figure("a", "grid-cnn", "score")[0] == pytest.approx(expected)
    cells[cell("c", 0, "score", 0)] = answers(SCORES["b", 0, "score", 0][:5], PATIENTS[:5])
    with pytest.raises(EmptyCohort, match="endpoint score: no patient"):
        _ = Measurements(ENDPOINTS[:1], cells, draws=20).patients


def test_answers_of_folds_are_compared_within_their_fold() -> None:
    fold = np.arange(40) % 2
    shifted = VALUE + 100 * fold  # each network has a level of its own
    cells = {cell("a", 0, "score", 0): CellAnswers(PATIENTS, shifted, fold, 1.0)}
    assert Measurements(ENDPOINTS[:1], cells, draws=20).figure("a", "grid-cnn", "score")[0] == pytest.approx(1.0)
