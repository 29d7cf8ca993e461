"""How well a model did by each patient, [n], higher = better: who is looked at first when it is to be understood."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def nearness(value: Floats, prediction: Floats) -> Floats:
    """Minus the distance of prediction and label."""
    return -np.abs(prediction - value)


def own_class_probability(positive: Bools, probability: Floats) -> Floats:
    """The probability that was given to the patient's own class."""
    return np.where(positive, probability, 1 - probability)


def pairs_in_order(time_months: Floats, event: Bools, log_hazard: Floats) -> Floats:
    """Pairs of a patient and another whose order is known and was told, less those told the wrong way, of all patients.

    It is the patient's share in Harrell's C. Whoever is in few pairs is neither best nor worst.
    """
    later = (time_months > time_months[:, None]) | ((time_months == time_months[:, None]) & ~event)
    known = event[:, None] & later  # [i, j]: i is known to die before j
    told = known * np.sign(log_hazard[:, None] - log_hazard)
    return np.asarray((told.sum(1) + told.sum(0)) / len(event))


def best_and_worst(goodness: Floats, at_most: int) -> tuple[list[int], list[int]]:
    """Places of the best, from the best on, and of the worst, from the worst on; nobody is in both."""
    order = np.argsort(-goodness, kind="stable").tolist()
    count = min(at_most, len(order) // 2)
    return order[:count], order[::-1][:count]
