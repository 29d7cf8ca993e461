"""The baseline: mean and quantiles of a slide's codes into a penalised linear model of scikit-learn."""

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from sksurv.linear_model import CoxnetSurvivalAnalysis
from sksurv.util import Surv
from torch import nn

from nic.patients.crops import PatientCells, some_codes
from nic.patients.networks import PatientNetwork
from nic.patients.proportional_odds import ProportionalOdds, fit_proportional_odds
from nic.patients.splits import InnerFolds, inner_folds
from nic.patients.targets import Categories, Classes, Grades, Survival, Targets, Values

QUANTILES = (0.1, 0.5, 0.9)
PENALTIES = np.logspace(-5, 0, 11)
"""Inverse strengths that are tried, as scikit-learn's C."""
LARGEST = float(np.finfo(np.float16).max)
Floats = NDArray[np.float64]


class PooledLinear(PatientNetwork):
    """A linear function of the mean and the quantiles of a slide's codes.

    The mean's part of a score stands at each cell; the quantiles belong to no cell alone, and their part is spread
    evenly over the tissue. Slides of one patient weigh as many cells as they have.
    """

    def __init__(self, code_size: int, outputs: int = 1) -> None:
        super().__init__(code_size)
        self.code_size = code_size
        self.head = nn.Linear(code_size * (1 + len(QUANTILES)), outputs)

    def set_linear(self, weight: Floats, bias: Floats) -> None:
        """weight: of the raw features, [C, 4 * D]. bias: [C]."""
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(weight))
            assert self.head.bias is not None
            self.head.bias.copy_(torch.from_numpy(bias))

    def forward(self, codes: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """codes [S, D, H, W] float32, valid [S, 1, H, W] of 0 and 1 -> scores [S, C, H, W], 0 where not valid."""
        assert self.head.bias is not None
        quantiles = _quantiles(codes.flatten(2), valid.flatten(2))  # [S, len(QUANTILES) * D]
        maps = []
        for weight, bias in zip(self.head.weight, self.head.bias, strict=True):
            own, pooled = weight[: self.code_size], weight[self.code_size :]
            spread = quantiles @ pooled + bias  # [S]
            maps.append((codes * own[:, None, None]).sum(dim=1) + spread[:, None, None])
        return torch.stack(maps, dim=1) * valid


def fit_pooled_linear(patients: Sequence[PatientCells], targets: Targets, seed: int) -> PooledLinear:
    """Ridge, logistic, multinomial, proportional-odds or Cox regression, the penalty chosen by folds within these
    patients.

    Its scores are those of a network before `to_reported_scale`: standardised values, logits, or log hazards.
    """
    features = np.stack([pooled_features(patient) for patient in patients])
    scaler = StandardScaler().fit(features)
    coefficients, intercepts = _fitted(scaler.transform(features), targets, seed)
    weight = coefficients / scaler.scale_
    network = PooledLinear(patients[0].slides[0].codes_shape[1], len(weight))
    network.start_from(some_codes(patients))
    network.set_linear(weight, intercepts - weight @ scaler.mean_)
    return network.eval()


def pooled_features(patient: PatientCells) -> Floats:
    """Mean, then each of QUANTILES, of the codes of every slide; averaged over slides by their cells: [4 * D]."""
    codes = [slide.opened().codes.numpy().astype(np.float32) for slide in patient.slides]
    by_slide = [np.concatenate([c.mean(0)[None], np.quantile(c, QUANTILES, axis=0)]).ravel() for c in codes]
    return np.average(by_slide, axis=0, weights=[len(c) for c in codes]).astype(np.float64)


def _fitted(features: Floats, targets: Targets, seed: int) -> tuple[Floats, Floats]:
    """Coefficients of standardised features, [C, 4 * D], and the intercepts, [C]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # at the ends of the path of penalties
        match targets:
            case Values(value):
                ridge = RidgeCV(np.logspace(0, 6, 13)).fit(features, (value - value.mean()) / value.std())
                return ridge.coef_[None], np.array([ridge.intercept_])
            case Classes(label, _) | Categories(label, _):
                logistic = LogisticRegressionCV(
                    Cs=PENALTIES,
                    l1_ratios=(0.0,),
                    cv=inner_folds(targets, seed),
                    class_weight="balanced",
                    scoring="neg_log_loss",
                    max_iter=500,
                    use_legacy_attributes=False,
                ).fit(features, label)
                return logistic.coef_, logistic.intercept_
            case Grades(index, names):
                fit = _proportional_odds(features, index, len(names), inner_folds(targets, seed))
                return fit.coefficients[None], -fit.thresholds.mean(keepdims=True)  # as where a network learns them
            case Survival(months, event):
                return _coxnet(features, months, event, inner_folds(targets, seed))[None], np.zeros(1)


def _proportional_odds(features: Floats, grade: NDArray[np.intp], grades: int, folds: InnerFolds) -> ProportionalOdds:
    """With the penalty under which patients who are held out are most likely; all grades at equal weight."""
    weight = compute_sample_weight("balanced", grade)

    def held_out_loss(penalty: float) -> float:
        losses = []
        for train, test in folds:
            fit = fit_proportional_odds(features[train], grade[train], grades, penalty, weight[train])
            losses.append(fit.loss(features[test], grade[test], weight[test]))
        return float(np.mean(losses))

    best = min(1 / PENALTIES, key=held_out_loss)
    return fit_proportional_odds(features, grade, grades, best, weight)


def _coxnet(features: Floats, months: Floats, event: NDArray[np.bool_], folds: InnerFolds) -> Floats:
    outcome = Surv.from_arrays(event, months)
    path = CoxnetSurvivalAnalysis(l1_ratio=0.5, n_alphas=12, alpha_min_ratio=0.05).fit(features, outcome)
    grid = {"alphas": [[alpha] for alpha in path.alphas_]}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="all coefficients are zero")
        search = GridSearchCV(CoxnetSurvivalAnalysis(l1_ratio=0.5), grid, cv=folds, error_score=0.5)
        coefficients: Floats = search.fit(features, outcome).best_estimator_.coef_[:, 0]
    return coefficients


def _quantiles(codes: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """QUANTILES of the valid codes, as numpy takes them. [S, D, N], [S, 1, N] -> [S, 3 * D]."""
    ordered = torch.where(valid > 0, codes, LARGEST).sort(dim=2).values
    last = valid.sum(dim=2, keepdim=True) - 1  # [S, 1, 1]
    quantiles = []
    for quantile in QUANTILES:
        place = (quantile * last).clamp(min=0).expand(-1, codes.shape[1], -1)  # [S, D, 1]
        below = ordered.gather(2, place.floor().long())
        above = ordered.gather(2, place.ceil().long())
        quantiles.append((below + (above - below) * (place - place.floor()))[:, :, 0])
    return torch.cat(quantiles, dim=1)
