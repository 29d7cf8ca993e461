"""Statistics of an endpoint of K ordered grades, for many draws at once.

All take labels `index` [n], the grade of each patient from 0 to K - 1; answers (`score` [n], higher = higher grade, the
`called` grade [n], or probabilities [n, K]); and `counts` [R, n], how often a draw holds each patient. They return [R],
NaN where a draw does not define the statistic.
"""

import numpy as np
from numpy.typing import NDArray

from nic.evaluation import classification
from nic.evaluation.bootstrap import mean, ratio

Floats = NDArray[np.float64]
Index = NDArray[np.intp]


def concordance(index: Index, score: Floats, counts: Floats) -> Floats:
    """C-index: of the pairs of patients of different grades, the share in which the higher grade scores higher.

    Ties of the score count half. With two grades it is the AUC; Somers' D is twice it less 1. A draw without two
    different grades does not define it; one without one of several grades does.
    """
    concordant, pairs = np.zeros(len(counts)), np.zeros(len(counts))
    for grade in np.unique(index)[1:]:
        of_grade = classification.pairs(index == grade, score, counts * (index <= grade))
        concordant, pairs = concordant + of_grade[0], pairs + of_grade[1]
    return ratio(concordant, pairs)


def quadratic_kappa(index: Index, called: Index, counts: Floats) -> Floats:
    """Cohen's kappa with quadratic weights: 1 is full agreement, 0 what two raters of these shares agree by chance.

    One less the mean squared distance of the grades, over that of all pairs of a true and a called grade. Not defined
    where all true and all called grades are one and the same. Source: Cohen 1968.
    """
    true, answer = index.astype(np.float64), called.astype(np.float64)
    by_chance = mean(true**2, counts) + mean(answer**2, counts) - 2 * mean(true, counts) * mean(answer, counts)
    return 1 - ratio(mean((true - answer) ** 2, counts), by_chance)


def grade_error(index: Index, called: Index, counts: Floats) -> Floats:
    """Mean distance of called and true grade, in grades."""
    return mean(np.abs(called - index).astype(np.float64), counts)


def ranked_probability_score(index: Index, probability: Floats, counts: Floats) -> Floats:
    """Brier score of `at least this grade`, mean over the grades but the lowest: 0 is perfect, 1 the worst.

    A grade that is missed by two costs more than one missed by one. Source: Epstein 1969.
    """
    grades = np.arange(1, probability.shape[1])
    reached = index[:, None] >= grades  # [n, K - 1]
    return mean(((at_least(probability) - reached) ** 2).mean(1), counts)


def at_least(probability: Floats) -> Floats:
    """Probability of each grade or a higher one, but the lowest, [n, K - 1]."""
    return np.asarray(probability[:, ::-1].cumsum(1)[:, -2::-1])
