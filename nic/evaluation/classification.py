"""Statistics of a classification, for many draws at once.

All take labels `positive` [n] bool, predictions [n], and `counts` [R, n], how often a draw holds each patient. They
return [R], NaN where a draw does not define the statistic.
"""

import numpy as np
from numpy.typing import NDArray

from nic.evaluation.bootstrap import mean, ratio
from nic.evaluation.regression import tie_groups

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
NEWTON_STEPS = 12
LARGEST_LOGIT = 30.0


def auc(positive: Bools, score: Floats, counts: Floats) -> Floats:
    """Probability that a positive scores above a negative, ties counting half."""
    return ratio(*pairs(positive, score, counts))


def pairs(positive: Bools, score: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Pairs of a positive and a negative, [R] each: those in which the positive scores higher, a tie half, and all."""
    ours, others = _by_score(positive, score, counts)
    above = ours * (others.cumsum(1) - others / 2)
    return above.sum(1), ours.sum(1) * others.sum(1)


def average_precision(positive: Bools, score: Floats, counts: Floats) -> Floats:
    """Precision at each score that a positive has, averaged over the positives."""
    ours, others = (side[:, ::-1] for side in _by_score(positive, score, counts))
    called = (ours + others).cumsum(1)
    precision = ours.cumsum(1) / np.maximum(called, 1e-12)
    return np.where(others.sum(1) > 0, ratio((ours * precision).sum(1), ours.sum(1)), np.nan)


def balanced_accuracy(positive: Bools, score: Floats, counts: Floats, *, threshold: float) -> Floats:
    """Mean of sensitivity and specificity, where scores from `threshold` on are called positive."""
    called = score >= threshold
    sensitivity = ratio(counts @ (positive & called), counts @ positive)
    return (sensitivity + ratio(counts @ (~positive & ~called), counts @ ~positive)) / 2


def brier(positive: Bools, probability: Floats, counts: Floats) -> Floats:
    """Mean squared distance of probability and class."""
    return mean((probability - positive) ** 2, counts)


def calibration_in_the_large(positive: Bools, probability: Floats, counts: Floats) -> Floats:
    """Mean probability minus the share of positives: above 0 where the probabilities are too high."""
    return mean(probability - positive, counts)


def calibration_slope(positive: Bools, probability: Floats, counts: Floats) -> Floats:
    """Slope of a logistic regression of the class on the logit; 1 is right, below 1 the probabilities are too extreme.

    Newton's steps, all draws together. Not defined where a draw holds one class, where the probabilities separate the
    classes, or where they are all the same. Source: Cox 1958.
    """
    smallest = 1 / (1 + np.exp(LARGEST_LOGIT))
    clipped = probability.clip(smallest, 1 - smallest)
    logit = np.log(clipped / (1 - clipped))
    design = np.stack([np.ones_like(logit), logit])  # [2, n]
    beta = np.zeros((len(counts), 2))
    for _ in range(NEWTON_STEPS):
        fitted = 1 / (1 + np.exp(-(beta @ design).clip(-LARGEST_LOGIT, LARGEST_LOGIT)))
        gradient = (counts * (positive - fitted)) @ design.T
        information = np.einsum("rn,in,jn->rij", counts * fitted * (1 - fitted), design, design, optimize=True)
        lone = np.linalg.det(information) < 1e-9
        information[lone] = np.eye(2)
        step = np.linalg.solve(information, gradient[..., None])[..., 0].clip(-2, 2)
        beta += step
    return np.where(lone | (np.abs(step) > 1e-3).any(1), np.nan, beta[:, 1])


def _by_score(positive: Bools, score: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Positives and negatives at each distinct score, ascending: [R, G] each."""
    _, order, starts = tie_groups(score)
    ours, others = counts * positive, counts * ~positive
    return np.add.reduceat(ours[:, order], starts, axis=1), np.add.reduceat(others[:, order], starts, axis=1)
