"""Five-fold ensembles of grid networks. The only importer of Lightning in this room."""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.warnings import PossibleUserWarning
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold
from torch.utils.data import DataLoader
from tqdm import tqdm

from nic.errors import EndpointError
from nic.patients.crops import TURNS, Batch, PatientCells, make_batch
from nic.patients.losses import balanced_cross_entropy, cox_loss, squared_error
from nic.patients.networks import GridCNN, patient_scores
from nic.patients.targets import Classes, Survival, Targets, Values, check_teachable

CHUNK_CELLS = 1 << 16
"""Cells in one forward and backward pass; bounds memory, whatever the batch: about 2.5 kB a cell."""
BATCH_PATIENTS = 16
QUANTILES = 5
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From scores [B] and the patients they are of ([B] int64 places among the training patients) to a scalar."""


@dataclass(frozen=True)
class Ensemble:
    """One network a fold. Their scores are in the endpoint's unit, logits or log hazards.

    out_of_fold: [N] float64, each training patient's answer by the network that did not see him, as reported (a
    probability for a classification). fold: [N], which network that is; answers of different folds are not comparable
    to the last digit, so metrics are taken by fold.
    """

    networks: tuple[GridCNN, ...]
    out_of_fold: NDArray[np.float64]
    fold: NDArray[np.intp]


def fit_folds(
    cells: Sequence[PatientCells],
    targets: Targets,
    *,
    folds: int = 5,
    epochs: int = 40,
    learning_rate: float = 3e-3,
    seed: int = 0,
    log: Callable[[str, float, int], None] | None = None,
) -> Ensemble:
    """Train a network on all but each fold's patients, stratified by label or event; the same for the same seed.

    cells, targets: of the same patients, in one order. log: receives (name, value, step).
    Raises EndpointError when there are too few patients of a kind for the folds, OneClass, NoEvents.
    """
    check_teachable(targets, "training patients")
    fold = stratified_folds(targets, folds, seed)
    out_of_fold = np.empty(len(cells))
    networks = []
    with tqdm(total=folds * epochs, desc="patient networks", unit="epoch") as bar:
        for number in range(folds):
            train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            network = fit_network(
                [cells[i] for i in train], targets.take(train), epochs, learning_rate, seed + number,
                lambda value, epoch, number=number: (bar.update(), log and log(f"fold{number}.loss", value, epoch)),
            )
            networks.append(network)
            out_of_fold[test] = answers(network, [cells[i] for i in test], targets)
    return Ensemble(tuple(networks), out_of_fold, fold)
