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
from sksurv.linear_model import CoxnetSurvivalAnalysis
from sksurv.util import Surv
from torch import nn

from nic.patients.crops import PatientCells, some_codes
from nic.patients.networks import PatientNetwork
from nic.patients.splits import InnerFolds, inner_folds
from nic.patients.targets import Classes, Survival, Targets, Values

QUANTILES = (0.1, 0.5, 0.9)
LARGEST = float(np.finfo(np.float16).max)
Floats = NDArray[np.float64]


class PooledLinear(PatientNetwork):
    """A linear function of the mean and the quantiles of a slide's codes.

    The mean's part of a score stands at each cell; the quantiles belong to no cell alone, and their part is spread
    evenly over the tissue. Slides of one patient weigh as many cells as they have.
    """

    def __init__(self, code_size: int) -> None:
        super().__init__(code_size)
        self.code_size = code_size
        self.head = nn.Linear(code_size * (1 + len(QUANTILES)), 1)

    def set_linear(self, weight: Floats, bias: float) -> None:
        """weight: of the raw features, [4 * D]."""
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(weight)[None])
            assert self.head.bias is not None
            self.head.bias.fill_(bias)

    def forward(self, codes: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """codes [S, D, H, W] float32, valid [S, 1, H, W] of 0 and 1 -> scores [S, H, W], 0 where not valid."""
        assert self.head.bias is not None
        own, pooled = self.head.weight[0, : self.code_size], self.head.weight[0, self.code_size :]
        quantiles = _quantiles(codes.flatten(2), valid.flatten(2))  # [S, len(QUANTILES) * D]
        spread = quantiles @ pooled + self.head.bias  # [S]
        at_cell = (codes * own[:, None, None]).sum(dim=1)
        return (at_cell + spread[:, None, None]) * valid[:, 0]


def fit_pooled_linear(patients: Sequence[PatientCells], targets: Targets, seed: int) -> PooledLinear:
    """Ridge, logistic or Cox regression, the penalty chosen by folds within these patients.

    Its scores are those of a network before `to_reported_scale`: standardised values, logits, or log hazards.
    """
    network = PooledLinear(patients[0].slides[0].codes_shape[1])
    network.start_from(some_codes(patients))
    features = np.stack([pooled_features(patient) for patient in patients])
    scaler = StandardScaler().fit(features)
    coefficients, intercept = _fitted(scaler.transform(features), targets, seed)
    weight = coefficients / scaler.scale_
    network.set_linear(weight, intercept - float(weight @ scaler.mean_))
    return network.eval()


def pooled_features(patient: PatientCells) -> Floats:
    """Mean, then each of QUANTILES, of the codes of every slide; averaged over slides by their cells: [4 * D]."""
    codes = [slide.opened().codes.numpy().astype(np.float32) for slide in patient.slides]
    by_slide = [np.concatenate([c.mean(0)[None], np.quantile(c, QUANTILES, axis=0)]).ravel() for c in codes]
    return np.average(by_slide, axis=0, weights=[len(c) for c in codes]).astype(np.float64)


def _fitted(features: Floats, targets: Targets, seed: int) -> tuple[Floats, float]:
    """Coefficients of standardised features, and the intercept."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # at the ends of the path of penalties
        match targets:
            case Values(value):
                ridge = RidgeCV(np.logspace(0, 6, 13)).fit(features, (value - value.mean()) / value.std())
                return ridge.coef_, float(ridge.intercept_)
            case Classes(positive, _):
                logistic = LogisticRegressionCV(
                    Cs=np.logspace(-5, 0, 11),
                    l1_ratios=(0.0,),
                    cv=inner_folds(targets, seed),
                    class_weight="balanced",
                    scoring="neg_log_loss",
                    max_iter=500,
                    use_legacy_attributes=False,
                ).fit(features, positive)
                return logistic.coef_[0], float(logistic.intercept_[0])
            case Survival(months, event):
                return _coxnet(features, months, event, inner_folds(targets, seed)), 0.0


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
