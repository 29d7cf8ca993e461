"""Ensembles of grid networks, one a fold. The only importer of Lightning in this room."""

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from nic.errors import EndpointError
from nic.patients.crops import PatientCells, make_batch
from nic.patients.losses import balanced_cross_entropy, cox_loss, squared_error
from nic.patients.networks import GridCNN, patient_scores
from nic.patients.targets import Classes, Survival, Targets, Values, check_teachable
from nic.slides.turns import TURNS

CHUNK_CELLS = 1 << 17
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
    learning_rate: float = 1e-2,
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
                _take(cells, train), targets.take(train), epochs, learning_rate, seed + number, on_epoch
            )
            networks.append(network)
            out_of_fold[test] = answers(network, _take(cells, test), targets)
    return Ensemble(tuple(networks), out_of_fold, fold)


def stratified_folds(targets: Targets, folds: int, seed: int) -> NDArray[np.intp]:
    """Fold of each patient, [N], balanced by class, by event, or by rank of the value.

    Raises EndpointError when a label has fewer patients than there are folds.
    """
    match targets:
        case Values(value):
            bins = max(1, min(QUANTILES, len(value) // folds))
            strata = value.argsort(kind="stable").argsort() * bins // len(value)
        case Classes(positive, _):
            strata = positive.astype(int)
        case Survival(_, event):
            strata = event.astype(int)
    rarest = np.bincount(strata).min()
    if rarest < folds:
        raise EndpointError(
            f"{folds} folds want {folds} patients of each label, found {rarest} of one; take fewer folds"
        )
    fold = np.empty(len(targets), np.intp)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for number, (_, test) in enumerate(splitter.split(strata, strata)):
        fold[test] = number
    return fold


def fit_network(
    cells: Sequence[PatientCells],
    targets: Targets,
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
    network.start_from(codes)
    # Cox compares each patient with all who live longer: its batch is the whole cohort.
    batch = len(cells) if isinstance(targets, Survival) else BATCH_PATIENTS
    fitting = _Fitting(network, cells, loss_of(targets), learning_rate, seed, on_epoch)
    batches = DataLoader(TensorDataset(torch.arange(len(cells))), batch_size=batch, shuffle=True)
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


def score_patients(network: GridCNN, cells: Sequence[PatientCells], turns: Sequence[int] | None = None) -> torch.Tensor:
    """Scores of patients in one pass: [len(cells)]."""
    batch = make_batch(cells, turns)
    return patient_scores(network(batch.codes, batch.valid), batch.valid, batch.patient, batch.patients)


def to_reported_scale(network: GridCNN, cells: Sequence[PatientCells], targets: Targets) -> None:
    """Let scores be in the unit of the values, or log hazards of mean 0 in training; logits are left as they are."""
    match targets:
        case Values(value):
            network.rescale(_deviation(value), float(value.mean()))
        case Survival():
            # Cox does not see a constant; without it the folds' log hazards can be averaged and compared.
            network.rescale(1.0, -float(answers(network, cells, targets).mean()))
        case Classes():
            pass


def chunks_of(cells: Sequence[PatientCells]) -> list[slice]:
    """Runs of patients of at most CHUNK_CELLS dense cells together; a larger patient is alone."""
    chunks, start, size = [], 0, 0
    for place, patient in enumerate(cells):
        if place > start and size + patient.dense_cells > CHUNK_CELLS:
            chunks.append(slice(start, place))
            start, size = place, 0
        size += patient.dense_cells
    return [*chunks, slice(start, len(cells))]


def backward_by_chunks(
    score: Callable[[slice], torch.Tensor], chunks: Sequence[slice], loss: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Back-propagate `loss` of all scores at the memory of one chunk; the same gradient as all at once.

    The scores are computed without a graph, the loss gives each its gradient, and every chunk is then computed again
    and back-propagated with its share. score(chunk) must give the same scores both times. Returns the loss.
    """
    if len(chunks) == 1:
        value = loss(score(chunks[0]))
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()
    with torch.no_grad():
        scores = torch.cat([score(chunk) for chunk in chunks])
    scores.requires_grad_()
    value = loss(scores)
    (gradient,) = torch.autograd.grad(value, scores)
    for chunk in chunks:
        score(chunk).backward(gradient[chunk])  # type: ignore[no-untyped-call]
    return value.detach()


class _Fitting(lightning.LightningModule):
    """A network, its patients, and the loss of their scores."""

    def __init__(
        self,
        network: GridCNN,
        cells: Sequence[PatientCells],
        loss: Loss,
        learning_rate: float,
        seed: int,
        on_epoch: Callable[[int, float], None],
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network, self.cells, self.loss = network, cells, loss
        self.learning_rate, self.on_epoch = learning_rate, on_epoch
        self.rng = np.random.default_rng(seed)
        self.losses: list[float] = []

    def training_step(self, batch: list[torch.Tensor], _: int) -> None:
        (patients,) = batch
        cells = [self.cells[int(i)] for i in patients]
        turns = [int(turn) for turn in self.rng.integers(TURNS, size=len(cells))]
        dropout_seed = int(self.rng.integers(2**31))

        def score(chunk: slice) -> torch.Tensor:
            torch.manual_seed(dropout_seed + chunk.start)  # the second pass drops what the first dropped
            return score_patients(self.network, cells[chunk], turns[chunk])

        optimizer, schedule = self.optimizers(use_pl_optimizer=False), self.lr_schedulers()
        assert isinstance(optimizer, torch.optim.Optimizer)
        assert isinstance(schedule, torch.optim.lr_scheduler.LRScheduler)
        optimizer.zero_grad()
        value = backward_by_chunks(score, chunks_of(cells), lambda scores: self.loss(scores, patients))
        self.clip_gradients(optimizer, 1.0, "norm")
        optimizer.step()
        schedule.step()
        self.losses.append(float(value))

    def on_train_epoch_end(self) -> None:
        self.on_epoch(self.current_epoch, float(np.mean(self.losses)))
        self.losses.clear()

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[torch.optim.lr_scheduler.LRScheduler]]:
        optimizer = torch.optim.AdamW(self.network.parameters(), self.learning_rate, weight_decay=1e-2)
        steps = int(self.trainer.estimated_stepping_batches)
        return [optimizer], [torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, total_steps=steps)]


def _trainer(epochs: int) -> lightning.Trainer:
    """A trainer that trains and says nothing."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"lightning\.pytorch")
    return lightning.Trainer(
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _deviation(value: NDArray[np.float64]) -> float:
    deviation = float(value.std())
    if deviation == 0:
        raise EndpointError(f"all {len(value)} training patients have the value {value[0]}; nothing can be learned")
    return deviation


def _take(cells: Sequence[PatientCells], index: NDArray[np.intp]) -> list[PatientCells]:
    return [cells[int(i)] for i in index]
