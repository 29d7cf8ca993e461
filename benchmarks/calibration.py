"""Is the ensemble calibrated, and are figures right in other patients? Simulated, for docs/results/calibration.md.

    OMP_NUM_THREADS=1 python -m benchmarks.calibration

About ten minutes on one core. Two networks take the place of nic's: `linear` is a ridge regression, which differs
between folds only by its patients; `drawn` has 40 hidden units with random weights, new for each network, like networks
that are trained from random first weights.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import StratifiedKFold
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv
from tqdm import tqdm

from nic.evaluation import survival
from nic.evaluation.drift import ALPHA, LEAST_KS
from nic.evaluation.endpoint_figures import classification_figures
from nic.evaluation.figure import differences
from nic.patients.calibration import PlattProbability, Prognosis
from nic.patients.calibration_fit import fit_calibration
from nic.patients.out_of_fold import OutOfFold
from nic.patients.targets import Classes, Survival, Targets, Values

COHORTS, PATIENTS, NEW, FOLDS, INPUTS, HIDDEN = 50, 100, 1000, 5, 20, 40
SERVED, MONITORED = 150, 10
REPORT = Path(__file__).parents[1] / "docs" / "results" / "calibration.md"
Floats = NDArray[np.float64]
Score = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Drawn:
    """A cohort whose risk is linear in its codes [n, INPUTS]."""

    codes: Floats
    risk: Floats
    targets: Targets

    @classmethod
    def of(cls, kind: str, n: int, rng: np.random.Generator) -> "Drawn":
        codes = rng.normal(size=(n, INPUTS))
        risk = codes @ (np.r_[np.ones(5), np.zeros(INPUTS - 5)] / np.sqrt(5))
        match kind:
            case "regression":
                return cls(codes, risk, Values(1.5 * risk + rng.standard_t(4, n)))
            case "classification":
                return cls(codes, risk, Classes(rng.random(n) < 1 / (1 + np.exp(1 - 1.5 * risk)), ("a", "b")))
        death, censored = rng.exponential(40 * np.exp(-risk)), rng.uniform(10, 120, n)
        return cls(codes, risk, Survival(np.minimum(death, censored) + 0.01, death <= censored))


@dataclass(frozen=True)
class Fitted:
    """What came of one cohort: scores out of fold, and of new patients by all networks, [networks, NEW]."""

    train: Drawn
    new: Drawn
    out_of_fold: OutOfFold
    of_new: Floats

    @property
    def ensemble(self) -> Floats:
        return np.asarray(self.of_new.mean(0))


def fitted(kind: str, network: str, partitions: int, seed: int) -> Fitted:
    rng = np.random.default_rng(seed)
    train, new = Drawn.of(kind, PATIENTS, rng), Drawn.of(kind, NEW, rng)
    score, fold, of_each, of_new = np.empty((partitions, PATIENTS)), np.empty((partitions, PATIENTS), int), [], []
    for number in range(partitions):
        strata = train.targets.positive if isinstance(train.targets, Classes) else np.zeros(PATIENTS, bool)
        splits = StratifiedKFold(FOLDS, shuffle=True, random_state=number).split(train.codes, strata)
        scores = []
        for k, (seen, left) in enumerate(splits):
            network_score = trained(network, train.codes[seen], train.targets.take(seen), rng)
            scores.append(network_score(train.codes))
            score[number, left], fold[number, left] = scores[-1][left], k
            of_new.append(network_score(new.codes))
        of_each.append(np.stack(scores))
    return Fitted(train, new, OutOfFold(score, fold, tuple(of_each)), np.stack(of_new))


def trained(network: str, codes: Floats, targets: Targets, rng: np.random.Generator) -> Score:
    weights, bias = rng.normal(size=(INPUTS, HIDDEN)) / np.sqrt(INPUTS), rng.normal(size=HIDDEN) / 2

    def seen(x: Floats) -> Floats:
        return x if network == "linear" else np.maximum(x @ weights + bias, 0)

    match targets:
        case Values(value):
            ridge = Ridge(5.0).fit(seen(codes), value)
            return lambda x: ridge.predict(seen(x))
        case Classes(positive, _):
            logistic = LogisticRegression(C=0.2, class_weight="balanced").fit(seen(codes), positive)
            return lambda x: logistic.decision_function(seen(x))
        case Survival(time_months, event):
            cox = CoxPHSurvivalAnalysis(alpha=5.0).fit(seen(codes), Surv.from_arrays(event, time_months))
            level = cox.predict(seen(codes)).mean()
            return lambda x: cox.predict(seen(x)) - level


def plain(of: OutOfFold) -> OutOfFold:
    """Scores as they were taken before: of all folds in one list, as if one network had given them."""
    return OutOfFold(of.mean_score[None], np.zeros((1, PATIENTS), np.intp))


def steepness(of: Fitted, out_of_fold: OutOfFold) -> tuple[float, float, float]:
    """Slope of new patients' outcomes on the predictions; mean prediction minus truth; middle half of percentiles."""
    calibration = fit_calibration(of.train.targets, out_of_fold)
    match calibration, of.new.targets:
        case PlattProbability(), Classes(positive, _):
            probability = calibration.probability(of.ensemble).clip(1e-6, 1 - 1e-6)
            logit = np.log(probability / (1 - probability))
            slope = LogisticRegression(C=np.inf).fit(logit[:, None], positive).coef_[0, 0] if np.ptp(logit) else np.nan
            return slope, float(probability.mean() - positive.mean()), np.nan
        case Prognosis(), Survival(time_months, event):
            predicted = calibration.slope * of.ensemble
            outcome = Surv.from_arrays(event, time_months)
            slope = CoxPHSurvivalAnalysis().fit(predicted[:, None], outcome).coef_[0] if np.ptp(predicted) else np.nan
            alive = calibration.survival(of.ensemble, np.array([36.0]))[:, 0]
            off = survival.calibration_at(time_months, event, alive, np.ones((1, NEW)), month=36)[0]
            percentile = np.interp(of.ensemble, calibration.quantiles, np.linspace(0, 100, len(calibration.quantiles)))
            return slope, float(off), float(((percentile > 25) & (percentile < 75)).mean())
    raise AssertionError(calibration)


def calibration_rows() -> Iterator[str]:
    for kind in ("classification", "survival"):
        for network, partitions in (("linear", 1), ("drawn", 1), ("drawn", 3)):
            name = f"{kind} {network} {partitions}"
            cohorts = [fitted(kind, network, partitions, seed) for seed in tqdm(range(COHORTS), desc=name)]
            before, after = (
                np.array([steepness(of, way(of.out_of_fold)) for of in cohorts]) for way in (plain, lambda of: of)
            )
            shrunk = np.median([of.out_of_fold.shrinkage for of in cohorts])
            slope = f"{np.nanmedian(before[:, 0]):.2f} -> {np.nanmedian(after[:, 0]):.2f}"
            large = f"{np.nanmean(before[:, 1]):+.3f} -> {np.nanmean(after[:, 1]):+.3f}"
            middle = f"{before[:, 2].mean():.2f} -> {after[:, 2].mean():.2f}" if kind == "survival" else ""
            yield f"| {kind} | {network} | {partitions} | {slope} | {shrunk:.2f} | {large} | {middle} |"


def alarm_rows() -> Iterator[str]:
    """How often `monitor` calls patients like those of the training unlike, by its rule and by its p-value alone."""
    for network, partitions in (("linear", 1), ("drawn", 1), ("drawn", 3)):
        rng, alarms = np.random.default_rng(0), []
        for seed in tqdm(range(COHORTS), desc=f"alarms {network} {partitions}"):
            of = fitted("classification", network, partitions, seed)
            references = (of.out_of_fold.mean_score, of.out_of_fold.as_ensemble)
            for _ in range(MONITORED):
                served = rng.choice(of.ensemble, SERVED, replace=False)
                tests = [ks_2samp(served, reference) for reference in references]
                alarms.append([(f.pvalue < ALPHA, f.pvalue < ALPHA and f.statistic >= LEAST_KS) for f in tests])
        rate = np.mean(alarms, axis=0)
        cells = [f"{rate[0, n]:.1%} -> {rate[1, n]:.1%}" for n in (1, 0)]
        yield f"| {network} | {partitions} | {cells[0]} | {cells[1]} |"


def interval_rows() -> Iterator[str]:
    for network, partitions in (("linear", 1), ("drawn", 1), ("drawn", 3)):
        coverages = []
        for seed in tqdm(range(COHORTS), desc=f"intervals {network} {partitions}"):
            of = fitted("regression", network, partitions, seed)
            assert isinstance(of.new.targets, Values)
            half_width = fit_calibration(of.train.targets, of.out_of_fold).half_width  # type: ignore[union-attr]
            coverages.append((np.abs(of.ensemble - of.new.targets.value) <= half_width).mean())
        yield f"| {network} | {partitions} | {np.mean(coverages):.1%} |"


def training_weights(time_months: Floats, event: NDArray[np.bool_], train: tuple[Floats, NDArray[np.bool_]]) -> Mapping:
    """What was done before, kept for comparison: censoring of the training patients, 1 / P(not censored by a month)."""
    table = survival.LifeTable.of(*train, np.ones((1, len(train[0]))))
    known = time_months < train[0].max()
    return {
        "own": known * survival.inverse(table.uncensored(time_months))[0],
        "at": lambda month: survival.inverse(table.uncensored(np.array([month])))[0, 0],
    }


def follow_up_rows() -> Iterator[str]:
    """A model that knows the true survival, of a training that was followed for 120 months."""
    rng, n = np.random.default_rng(0), 400
    for followed in (120, 60, 30):
        errors: dict[str, list[float]] = {}
        for _ in range(COHORTS):
            death, censored = rng.exponential(60, n), rng.uniform(0, followed, n)
            time, event = np.minimum(death, censored), death <= censored
            old_death, old_censored = rng.exponential(60, n), rng.uniform(60, 120, n)
            weights = training_weights(time, event, (np.minimum(old_death, old_censored), old_death <= old_censored))
            months = np.linspace(1, min(48, 0.8 * followed), 20)
            alive, everybody = np.exp(-months / 60), np.ones((1, n))
            states = (event[:, None] & (time[:, None] <= months)) * weights["own"][:, None] * alive**2
            states = states + (time[:, None] > months) * (1 - alive) ** 2 * [weights["at"](m) for m in months]
            brier = np.trapezoid(states.mean(0), months) / (months[-1] - months[0])
            true = np.trapezoid(alive * (1 - alive), months) / (months[-1] - months[0])
            ours = survival.integrated_brier(time, event, np.tile(alive, (n, 1)), everybody, months=months)[0]
            for name, value in (("Brier before", brier - true), ("Brier", ours - true)):
                errors.setdefault(name, []).append(value)
            for month in (24, 48):
                predicted = np.full(n, np.exp(-month / 60))
                now = survival.calibration_at(time, event, predicted, everybody, month=month)[0]
                died = ((event & (time <= month)) * weights["own"]).mean()
                living = ((time > month) * weights["at"](month)).mean()
                errors.setdefault(f"{month} before", []).append(predicted[0] - living / (living + died))
                errors.setdefault(f"{month}", []).append(now)
        mean = {name: float(np.mean(values)) for name, values in errors.items()}
        cells = [f"{_signed(mean[f'{name} before'])} -> {_signed(mean[name])}" for name in ("24", "48", "Brier")]
        yield f"| {followed} | {cells[0]} | {cells[1]} | {cells[2]} |"


def _signed(value: float) -> str:
    return f"{value:+.3f}" if np.isfinite(value) else "n. d."


def threshold_rows() -> Iterator[str]:
    """Two models of equal scores whose thresholds differ: the difference is that of the columns."""
    rng = np.random.default_rng(0)
    positive = rng.random(300) < 0.3
    score = rng.normal(1.2 * positive, 1)
    first, second = (classification_figures(positive, score, threshold) for threshold in (0.6, -1.0))
    columns = [{f.name: f.value for f in figures}["balanced_accuracy"] for figures in (first, second)]
    [now] = [d for d in differences(first, second, seed=0) if d.name == "balanced_accuracy"]
    yield f"| {columns[0]:.3f} | {columns[1]:.3f} | +0.000 -> {now.value:+.3f} [{now.low:.3f}, {now.high:.3f}] |"


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    parts = [list(rows()) for rows in (calibration_rows, interval_rows, alarm_rows, follow_up_rows, threshold_rows)]
    slopes, intervals, alarms, followed, thresholds = ("\n".join(lines) for lines in parts)
    REPORT.write_text(
        f"""# Is the ensemble calibrated, and are figures right in patients unlike the training patients?
`OMP_NUM_THREADS=1 python -m benchmarks.calibration`: {COHORTS} simulated cohorts per line, {PATIENTS} training patients
in {FOLDS} folds, {NEW:,} new patients. `a -> b`: before and after the correction that the section describes. `linear`
networks differ only by their patients, `drawn` networks also by random hidden weights. Networks of nic differ by an
amount between the two, or by more.

## Slopes and percentiles
A served patient gets the mean score of all networks. A score out of fold comes from one network and varies more.
A calibration that is fitted on scores out of fold, all folds in one list, predicts too little difference between
patients: its slope is above 1. The correction subtracts each network's own level, and multiplies the slope by the ratio
of variances in the column *shrinkage*. This ratio is estimated from the disagreement of the networks
(`nic/patients/out_of_fold.py`). With one partition (`repeats=1`) the networks that are compared have all seen the
patient. They agree more about a patient they have seen, so that a part stays uncorrected. With `repeats=3`, networks
that have not seen the patient are compared.

Two things keep the slope above 1 with 100 patients: one partition underestimates the disagreement, and small cohorts
are regularised on purpose. Platt's targets lie a little inside 0 and 1; without that, the 1.20 of the first line is
1.13. The slope of a Cox regression has a ridge penalty. More partitions and more patients remove both.

Slope: should be 1; median over cohorts. In the large: predicted minus observed, of a probability or of survival at
month 36. Middle half: share of new patients with a percentile from 25 to 75; should be 0.50.

| endpoint | networks | partitions | slope | shrinkage | in the large | middle half |
|---|---|---|---|---|---|---|
{slopes}

## Intervals of values
The interval lies around the mean of all networks and is as wide as 90% of the residuals out of fold. No theorem says
that it holds 90% of new patients: the theorem for split conformal intervals is about a single model, and that for CV+
guarantees 80% (Barber et al. 2021). Measured:

| networks | partitions | new labels in the interval |
|---|---|---|
{intervals}

## False alarms of `monitor`
The served scores are the ensemble's scores of {SERVED} patients like the training patients, {MONITORED} times per
cohort. The reference are the scores out of fold: unchanged -> with the spread of the ensemble, which `monitor` uses.
There should be 1% of alarms or fewer. There are more if the networks differ much and there is one partition, because
their disagreement is then underestimated.

| networks | partitions | alarms (p < {ALPHA} and KS of {LEAST_KS} or more) | p < {ALPHA} alone |
|---|---|---|---|
{alarms}

## Patients with a shorter follow-up than the training patients
The model knows the true survival. The training patients were censored between months 60 and 120. The measured patients
were censored evenly up to the month in the first column. Before the correction, the censoring of the training patients
was used. The values should be 0, or not defined (n. d.) beyond the follow-up. Brier: integrated score minus its true
value, up to month 48 or 0.8 of the follow-up.

| followed up to month | calibration at month 24 | at month 48 | Brier |
|---|---|---|---|
{followed}

## Two models with different thresholds
Balanced accuracy of two models that give the same scores to 300 patients. One calls scores from 0.6 on positive, the
other scores from -1 on. Before the correction, the threshold of the first was used for both.

| model | other | difference |
|---|---|---|
{thresholds}
"""
    )
    print(REPORT.read_text())


if __name__ == "__main__":
    main()
