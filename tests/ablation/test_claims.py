"""Claims are decided by the interval of a paired difference; the page states each with its verdict."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure as Plot

from nic.ablation.ablation_cells import Cell, CellAnswers
from nic.ablation.arms import Arm, arms_of
from nic.ablation.claims import Claim, claims_of, means_by_tasks, trend
from nic.ablation.measured import Measurable, Measurements, interval
from nic.ablation.page import AblationPage
from nic.patients.targets import Survival, Values

PICTURES = ("leaderboard", "tasks", "glimpses")
N = 120
PATIENTS = tuple(f"P{number:03}" for number in range(N))
RNG = np.random.default_rng(8)
VALUE = RNG.normal(size=N)
MONTHS, EVENT = RNG.exponential(np.exp(-VALUE) * 20) + 0.1, RNG.random(N) < 0.7
ENDPOINTS = [
    Measurable("score", "regression", "breast", PATIENTS, Values(VALUE), VALUE + 0.2 * RNG.normal(size=N)),
    Measurable("death", "survival", "breast", PATIENTS, Survival(MONTHS, EVENT), VALUE),
]
ARMS = arms_of(["m", "n", "o"], None)
NOISE = {"all-uniform": 0.3, "all-tuned": 0.3, "all-no-colour": 0.9, "vae": 3.0, "bigan": 3.0, "contrastive": 1.5}


def noise_of(arm: Arm) -> float:
    """The more tasks, the less; known exactly, so that verdicts are."""
    return NOISE.get(arm.name, {1: 1.6, 2: 0.8}.get(len(arm.tasks), 4.0))


@pytest.fixture(scope="module")
def measured() -> Measurements:
    answers = {}
    for arm in ARMS:
        for network in ("grid-cnn", "attention-mil"):
            for endpoint in ("score", "death"):
                for seed in range(2):
                    noise = noise_of(arm) * (1 if network == "grid-cnn" or endpoint == "death" else 8)
                    scores = VALUE + noise * RNG.normal(size=N)
                    answers[Cell(arm.name, 0, endpoint, network, seed)] = CellAnswers(PATIENTS, scores, None, 30.0)
    return Measurements(ENDPOINTS, answers, draws=300)


def test_each_claim_has_the_verdict_of_what_was_planted(measured: Measurements) -> None:
    verdicts = {claim.claim: claim.verdict for claim in claims_of(measured, ARMS, "grid-cnn", "attention-mil")}
    assert verdicts == {
        "An encoder taught by several tasks is better than an unsupervised one.": "supported",
        "An encoder taught by several tasks is better than one taught by a single task.": "supported",
        "Heavy colour augmentation helps on slides of other laboratories.": "supported",
        "Tuned task weights are better than equal ones.": "undecided",
        "The more tasks an encoder is taught, the better it is.": "supported",
        "A CNN uses relations among tiles that MIL cannot: score.": "supported",
        "A CNN uses relations among tiles that MIL cannot: death.": "undecided",
        "Risk is learned from outcomes alone: death.": "supported",
    }


def test_a_claim_that_is_turned_round_is_not_supported(measured: Measurements) -> None:
    turned = claims_of(measured, ARMS, "attention-mil", "grid-cnn")
    of_score = next(claim for claim in turned if claim.claim.endswith("MIL cannot: score."))
    assert of_score.verdict == "not supported"


def test_a_difference_takes_the_seeds_of_the_encoder_that_both_sides_have(measured: Measurements) -> None:
    """Further seeds of an encoder are measured by one network alone. Here they are useless."""
    further = {
        Cell("all-tuned", encoder_seed, endpoint, "grid-cnn", seed): CellAnswers(
            PATIENTS, RNG.normal(size=N), None, 30.0
        )
        for encoder_seed in (1, 2)
        for endpoint in ("score", "death")
        for seed in range(2)
    }
    more = Measurements(ENDPOINTS, {**measured.answers, **further}, draws=300)
    assert more.mean_fraction("all-tuned", "grid-cnn")[0] < measured.mean_fraction("all-tuned", "grid-cnn")[0] / 2
    before, after = (
        {claim.measure: str(claim.difference) for claim in claims_of(of, ARMS, "grid-cnn", "attention-mil")}
        for of in (measured, more)
    )
    outcomes = "C-index of death above 0.5, grid-cnn, codes of all-tuned"  # no difference of two sides: all seeds count
    assert before.pop(outcomes) != after.pop(outcomes)
    assert before == after
    pairs = [("all-tuned", network) for network in ("grid-cnn", "attention-mil")]
    pages = (
        AblationPage("made", of, ARMS, "grid-cnn", pairs, [], {}, [])
        .text("page")
        .split("## Networks")[1]
        .split("The best")
        for of in (measured, more)
    )
    assert len({page[0] for page in pages}) == 1


def test_arms_that_are_left_out_leave_out_their_claims(measured: Measurements) -> None:
    few = [arm for arm in ARMS if arm.name in ("all-uniform", "vae")]
    claims = [claim.claim for claim in claims_of(measured, few, "grid-cnn", "attention-mil")]
    assert not any("colour" in claim or "single" in claim or "more tasks" in claim for claim in claims)
    assert any("unsupervised" in claim for claim in claims)


def test_the_trend_is_the_slope_of_least_squares(measured: Measurements) -> None:
    by_count = means_by_tasks(measured, ARMS, "grid-cnn")
    assert list(by_count) == [1, 2, 3]
    slopes = trend(by_count)
    for draw in (0, 5, 300):
        values = [by_count[number][draw] for number in by_count]
        assert slopes[draw] == pytest.approx(np.polyfit([1, 2, 3], values, 1)[0])


def test_a_verdict_follows_from_the_interval_alone() -> None:
    def verdict(draws: np.ndarray) -> str:
        return Claim("It is.", "x", interval("difference", draws, 9, 0.0)).verdict

    spread = np.linspace(-1, 1, 401)
    assert [verdict(spread + shift) for shift in (2, -2, 0.5)] == ["supported", "not supported", "undecided"]


def test_the_page_states_every_claim_and_encoder(measured: Measurements, tmp_path: Path) -> None:
    claims = claims_of(measured, ARMS, "grid-cnn", "attention-mil")
    others = [("all-tuned", "grid-cnn"), ("all-tuned", "attention-mil")]
    glimpses = Plot(figsize=(3, 3))
    glimpses.subplots().plot([1, 2])
    page = AblationPage("made", measured, ARMS, "grid-cnn", others, claims, {}, ["One note."], glimpses)
    written = page.write(tmp_path / "made.md")
    text = (tmp_path / "made.md").read_text()
    assert [path.name for path in written] == ["made.md", *(f"made_{name}.png" for name in PICTURES)]
    assert all(path.stat().st_size > 5_000 and f"({path.name})" in text for path in written[1:])
    assert all(claim.claim in text and f"**{claim.verdict}**" in text for claim in claims)
    encoders = text.split("## Encoders")[1].split("## Number of tasks")[0]
    order = [arm.name for arm in ARMS if f"| {arm.name} |" in encoders]
    assert set(order) == {arm.name for arm in ARMS}
    assert encoders.index("| all-uniform |") < encoders.index("| contrastive |") < encoders.index("| vae |")
    assert all(line.count("|") == encoders.splitlines()[6].count("|") for line in encoders.splitlines() if "|" in line)
    assert "One note." in text
    best = text.split("chosen by the measured patients:")[1].split("!")[0].strip().splitlines()[2:]
    for line, endpoint in zip(best, measured.endpoints, strict=True):
        name, codes, network, figure, _ = (word.strip() for word in line.strip("|").split("|"))
        every = [*((arm.name, "grid-cnn") for arm in ARMS), *others]
        highest = max(every, key=lambda pair: measured.figure(*pair, endpoint)[0])
        assert (name, codes, network) == (endpoint, *highest)
        assert figure.startswith(f"{measured.figure(*highest, endpoint)[0]:.3f}")
    page.write(tmp_path / "again" / "made.md")
    assert all((tmp_path / "again" / path.name).read_bytes() == path.read_bytes() for path in written)
