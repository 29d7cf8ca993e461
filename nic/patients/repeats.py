"""Several partitions of the same patients into folds: their networks answer together, their figures are averaged."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nic.patients.crops import PatientCells
from nic.patients.splits import Folds
from nic.patients.targets import Targets
from nic.patients.training import Ensemble, fit_folds

SEEDS_APART = 1000
"""Seeds of a partition's networks are counted from there on; no partition has as many folds."""


def fit_repeats(
    cells: Sequence[PatientCells],
    targets: Targets,
    folds: Sequence[Folds],
    *,
    seed: int,
    log: Callable[[str, float, int], None],
    **how: Any,
) -> tuple[Ensemble, ...]:
    """One ensemble a partition. how: what else `fit_folds` takes. What is logged of the second begins "repeat1."."""
    return tuple(
        fit_folds(cells, targets, fold=fold, seed=seed + SEEDS_APART * number, log=_under(log, number), **how)
        for number, fold in enumerate(folds)
    )


def together(ensembles: Sequence[Ensemble]) -> Ensemble:
    """All networks as one ensemble; a patient's score out of fold is the mean over partitions.

    Its folds are the first partition's: figures are taken of each partition by itself.
    """
    if len(ensembles) == 1:
        return ensembles[0]
    networks = tuple(network for ensemble in ensembles for network in ensemble.networks)
    mean = np.mean([e.out_of_fold for e in ensembles], axis=0)
    return Ensemble(networks, mean, ensembles[0].fold, repeats=tuple(ensembles))


def _under(log: Callable[[str, float, int], None], number: int) -> Callable[[str, float, int], None]:
    prefix = f"repeat{number}." if number else ""
    return lambda name, value, step: log(prefix + name, value, step)
