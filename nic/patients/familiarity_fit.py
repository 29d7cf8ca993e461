"""The distribution of the training patients' mean codes."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.model_selection import KFold

from nic.patients.familiarity import Familiarity

FOLDS, RARE = 10, 0.01


def mean_code(slides: Iterable[NDArray[np.float16]]) -> NDArray[np.float64]:
    """Mean over all tiles of a patient. slides: codes [N, D] each."""
    sums = [(codes.sum(0, dtype=np.float64), len(codes)) for codes in slides]
    return np.asarray(sum(total for total, _ in sums) / sum(count for _, count in sums))


def fit_familiarity(means: NDArray[np.float64]) -> Familiarity:
    """means: [patients, D]. Covariance is shrunk (Ledoit and Wolf 2004): there are often fewer patients than D."""
    distances = np.empty(len(means))
    for seen, held_out in KFold(min(FOLDS, len(means)), shuffle=True, random_state=0).split(means):
        distances[held_out] = np.sqrt(LedoitWolf().fit(means[seen]).mahalanobis(means[held_out]))
    whole = LedoitWolf().fit(means)
    return Familiarity(whole.location_, whole.precision_, float(np.quantile(distances, 1 - RARE)))
