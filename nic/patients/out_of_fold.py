"""Training patients' scores by networks that never saw them, made comparable with the ensemble's. Needs numpy alone.

A patient is served the mean score of all networks; out of fold he has the score of one. Two things part them. Each
network has a level of its own, so that scores of different folds do not compare. And one network's score varies more
than the mean of many: a slope that is fitted on it is too flat for the mean. Simulated in docs/results/calibration.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEAST_COMMON = 0.25
"""Least share of the variance of scores common to all networks. From few patients the estimate may be lower."""


@dataclass(frozen=True)
class OutOfFold:
    """Scores of N training patients out of fold, of R partitions of them into folds.

    score, fold: [R, N], the score by the network that never saw the patient, and which of its partition's networks that
    was. of_each: for each partition what all its K networks say, [K, N], also of the patients they were trained on;
    empty where only scores out of fold are kept. Where patients have a score for each of several classes, the arrays of
    scores have these as a last axis; variances are summed over it.
    """

    score: Floats
    fold: NDArray[np.intp]
    of_each: Sequence[Floats] = ()

    @property
    def networks(self) -> int:
        """Of a partition, K."""
        return int(self.fold.max()) + 1

    @property
    def mean_score(self) -> Floats:
        """Mean over the partitions, as the networks gave it: [N], or of several classes [N, C]."""
        return np.asarray(self.score.mean(0))

    @cached_property
    def centred(self) -> Floats:
        """Each score less the level of its network, [R, N], and less the mean of what is left.

        A network's level is its mean score of all patients; where that is not kept, of those of its fold.
        """
        levels = [s.mean(1) for s in self.of_each] or list(map(_fold_means, self.score, self.fold))
        centred = np.stack([s - level[f] for s, level, f in zip(self.score, levels, self.fold, strict=True)])
        return np.asarray(centred - centred.mean((0, 1)))

    @cached_property
    def variance(self) -> float:
        """Of the centred scores' means over the partitions."""
        return float(self.centred.mean(0).var(0).sum())

    @cached_property
    def between(self) -> float:
        """Variance of the networks' scores of one patient, their levels apart.

        Of several partitions, between their scores out of fold. Of one, between the networks that all saw the patient:
        what sets those apart are the patients of the other folds. It is too small where networks learn patients by
        heart, so that what is corrected by it is never too much. 0 where nothing is known of it.
        """
        if len(self.score) > 1:
            return float(self.centred.var(0, ddof=1).mean(0).sum())
        if not self.of_each or self.networks < 3:
            return 0.0
        (scores,), (fold,) = self.of_each, self.fold
        saw = (fold != np.arange(self.networks)[:, None]).reshape(scores.shape[:2] + (1,) * (scores.ndim - 2))
        among = np.where(saw, scores - scores.mean(1, keepdims=True), np.nan)
        return float(np.nanvar(among, axis=0, ddof=1).mean(0).sum())

    @cached_property
    def ensemble_variance(self) -> float:
        """Of the scores of all networks together, of patients like these: less than that of one network's scores."""
        common = max(self.variance - self.between / len(self.score), LEAST_COMMON * self.variance)
        return common + (self.variance - common) / self.networks

    @property
    def shrinkage(self) -> float:
        """How many times as steep an outcome follows the ensemble's score as the score out of fold, 1 or more."""
        return self.variance / self.ensemble_variance if self.variance > 0 else 1.0

    @property
    def expected(self) -> Floats:
        """What the ensemble is expected to score each patient, given his score out of fold: [N] or [N, C].

        What is fitted on it is right for the ensemble. Source: regression calibration, Prentice 1982.
        """
        return np.asarray(self.score.mean((0, 1)) + self.centred.mean(0) / self.shrinkage)

    @property
    def as_ensemble(self) -> Floats:
        """Scores with the spread that the ensemble's have in patients like these, [N] or [N, C]: for percentiles."""
        return np.asarray(self.score.mean((0, 1)) + self.centred.mean(0) / np.sqrt(self.shrinkage))


def _fold_means(score: Floats, fold: NDArray[np.intp]) -> Floats:
    """[K], or of several classes [K, C]; 0 of a fold without patients."""
    if score.ndim == 2:
        return np.stack([_fold_means(of_class, fold) for of_class in score.T], axis=1)
    return np.asarray(np.bincount(fold, score) / np.maximum(np.bincount(fold), 1))
