"""Ensembles of grid networks, one a fold. The only importer of Lightning in this room."""

import logging
import warnings
from collections.abc import Callable, Sequence
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
from nic.patients.crops import TURNS, PatientCells, make_batch
from nic.patients.losses import balanced_cross_entropy, cox_loss, squared_error
from nic.patients.networks import GridCNN, patient_scores
from nic.patients.targets import Classes, Survival, Targets, Values, check_teachable

CHUNK_CELLS = 1 << 15
"""Cells in one forward and backward pass: it bounds the memory, whatever the batch."""
BATCH_PATIENTS = 16
QUANTILES = 5
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""loss(scores [B], patients [B] int64, whose they are among the training patients) -> scalar."""


@dataclass(frozen=True)
class Ensemble:
    """One network a fold; their scores are in the endpoint's unit, logits, or log hazards (mean 0 in training).

    out_of_fold: [N] float64, each patient's answer by the network that never saw him, as it is reported (a probability
    for a classification). fold: [N], which network that was; metrics are taken by fold.
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
    """For each fold, train a network on all other patients; the same for the same seed.

    cells, targets: of the same patients in the same order. log: receives (name, value, step).
    Raises EndpointError when a label is too rare for the folds, OneClass, NoEvents.
    """
    check_teachable(targets, "training patients")
    fold = stratified_folds(targets, folds, seed)
    out_of_fold = np.empty(len(cells))
    networks = []
    with tqdm(total=folds * epochs, desc="patient networks", unit="epoch") as bar:
        for number in range(folds):

            def on_epoch(epoch: int, loss: float, name: str = f"fold{number}.loss") -> None:
                bar.update()
                if log:
                    log(name, loss, epoch)

            train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            network = fit_network(
                [cells[i] for i in train],
                targets.take(train),
                epochs=epochs,
                learning_rate=learning_rate,
                seed=seed + number,
                on_epoch=on_epoch,
            )
            networks.append(network)
            out_of_fold[test] = answers(network, [cells[i] for i in test], targets)
    return Ensemble(tuple(networks), out_of_fold, fold)


def stratified_folds(targets: Targets, folds: int, seed: int) -> NDArray[np.intp]:
    """Fold of each patient, [N], balanced by class, event, or fifth of the value."""
    match targets:
        case Values(value):
            edges = np.quantile(value, np.linspace(0, 1, QUANTILES + 1)[1:-1])
            strata = np.searchsorted(edges, value)
        case Classes(positive, _):
            strata = positive.astype(int)
        case Survival(_, event):
            strata = event.astype(int)
    rarest = int(np.bincount(strata)[np.unique(strata)].min())
    if rarest < folds and not isinstance(targets, Values):
        raise EndpointError(
            f"{folds} folds want at least {folds} patients of each label, found {rarest} of one; use fewer folds"
        )
    fold = np.empty(len(targets), np.intp)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for number, (_, test) in enumerate(splitter.split(strata, strata)):
        fold[test] = number
    return fold


def fit_network(
    cells: Sequence[PatientCells],
    targets: Targets,
    *,
    epochs: int,
    learning_rate: float,
    seed: int,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> GridCNN:
    """One network trained on all patients given, for a fixed number of epochs with a one-cycle rate.

    Nothing is chosen by looking at labels outside: no early stopping, so no validation part is taken from the few.
    """
    lightning.seed_everything(seed, verbose=False)
    codes = torch.cat([slide.codes for patient in cells for slide in patient.slides])
    network = GridCNN(codes.shape[1])
    network.standardise_by(codes)
    # Cox compares each patient with all who live longer: its batch is the whole cohort.
    batch = len(cells) if isinstance(targets, Survival) else BATCH_PATIENTS
    fitting = _Fitting(network, cells, loss_of(targets), learning_rate, seed, on_epoch)
    batches = DataLoader(range(len(cells)), batch_size=batch, shuffle=True)  # type: ignore[arg-type]
    _trainer(epochs).fit(fitting, batches)
    network.eval().cpu()
    to_reported_scale(network, cells, targets)
    return network


def loss_of(targets: Targets) -> Loss:
    """What scores of some of the training patients are to minimise."""
    match targets:
        case Values(value):
            standard = torch.tensor((value - value.mean()) / _deviation(value), dtype=torch.float32)
            return lambda score, patient: squared_error(score, standard[patient])
        case Classes(positive, _):
            label, share = torch.tensor(positive, dtype=torch.float32), float(positive.mean())
            return lambda score, patient: balanced_cross_entropy(score, label[patient], share)
        case Survival(time_months, event):
            months, seen = torch.tensor(time_months), torch.tensor(event)
            return lambda score, patient: cox_loss(score, months[patient], seen[patient])


def answers(network: GridCNN, cells: Sequence[PatientCells], targets: Targets) -> NDArray[np.float64]:
    """Each patient's answer as it is reported, [N]: a value, a probability or a log hazard."""
    with torch.no_grad():
        scores = torch.cat([score_patients(network, cells[i]) for i in chunks_of(cells)])
    return (scores.sigmoid() if isinstance(targets, Classes) else scores).double().numpy()


def score_patients(
    network: GridCNN, cells: Sequence[PatientCells], turns: Sequence[int] | None = None
) -> torch.Tensor:
    """Scores of patients in one pass: [len(cells)]."""
    batch = make_batch(cells, turns)
    return patient_scores(network(batch.codes, batch.valid), batch.valid, batch.patient, batch.patients)
