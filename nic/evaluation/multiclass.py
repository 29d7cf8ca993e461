"""Statistics of an endpoint of K classes, for many draws at once.

All take labels `index` [n], the class of each patient from 0 to K - 1; answers (logits [n, K], probabilities [n, K], or
the `called` class [n]); and `counts` [R, n], how often a draw holds each patient. They return [R]. A draw in which one
of the classes is absent does not define a mean over classes: it gives NaN and is left out of the interval. A mean over
the other classes would be another figure.
"""

import numpy as np
from numpy.typing import NDArray

from nic.evaluation import classification
from nic.evaluation.bootstrap import mean, ratio

Floats = NDArray[np.float64]
Index = NDArray[np.intp]
DECIMALS = 9
"""Of log odds."""
SMALLEST = 1e-15
"""A probability of 0 for the true class counts as this much; its logarithm would be infinite."""


def macro_auc(index: Index, logits: Floats, counts: Floats) -> Floats:
    """Mean over the classes of the AUC of a class against the rest."""
    odds = log_odds(logits)
    each = [classification.auc(index == label, odds[:, label], counts) for label in range(logits.shape[1])]
    return np.asarray(np.mean(each, axis=0))


def auc_of(index: Index, logits: Floats, counts: Floats, *, label: int) -> Floats:
    """Probability that a patient of the class has higher log odds for it than a patient of another class."""
    return classification.auc(index == label, log_odds(logits)[:, label], counts)


def log_odds(logits: Floats) -> Floats:
    """Log odds of each class against all others, [n, K].

    A class's own logit does not rank patients: the same number added to all logits of a patient changes no probability.
    Odds that differ by rounding errors alone are made equal, so that they count as a tie.
    """
    others = [np.logaddexp.reduce(np.delete(logits, label, axis=1), axis=1) for label in range(logits.shape[1])]
    return np.asarray((logits - np.stack(others, axis=1)).round(DECIMALS))


def balanced_accuracy(index: Index, called: Index, counts: Floats, *, classes: int) -> Floats:
    """Mean over the classes of the share of a class's patients who are called that class."""
    return np.asarray(np.mean([recall_of(index, called, counts, label=label) for label in range(classes)], axis=0))


def recall_of(index: Index, called: Index, counts: Floats, *, label: int) -> Floats:
    """Share of the class's patients who are called that class."""
    ours = index == label
    return ratio(counts @ (ours & (called == label)), counts @ ours)


def brier(index: Index, probability: Floats, counts: Floats) -> Floats:
    """Squared distance of the probabilities from the class, summed over the classes: 0 is perfect, 2 the worst."""
    return mean(((probability - one_hot(index, probability.shape[1])) ** 2).sum(1), counts)


def log_loss(index: Index, probability: Floats, counts: Floats) -> Floats:
    """Minus the logarithm of the probability of the true class."""
    return mean(-np.log(probability[np.arange(len(index)), index].clip(SMALLEST)), counts)


def confusion(index: Index, called: Index, classes: int) -> NDArray[np.intp]:
    """Patients by true class (row) and called class (column), [K, K]."""
    table = np.zeros((classes, classes), np.intp)
    np.add.at(table, (index, called), 1)
    return table


def one_hot(index: Index, classes: int) -> Floats:
    """1 at the class of each patient, else 0, [n, K]."""
    return np.asarray(index[:, None] == np.arange(classes), np.float64)
