"""Ensembles of patient networks, one a fold. The only importer of Lightning in this room."""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from nic.errors import EndpointError
from nic.patients.attention_mil import AttentionMIL
from nic.patients.choices import NetworkName, Ties
from nic.patients.crop_cnn import CropCNN, halvings_for
from nic.patients.crops import Batch, PatientCells, make_batch, runs_of, some_codes
from nic.patients.grid_cnn import GridCNN
from nic.patients.losses import TIES, balanced_cross_entropy, squared_error
from nic.patients.networks import PatientNetwork, patient_scores
from nic.patients.out_of_fold import OutOfFold
from nic.patients.pooled_linear import PooledLinear, fit_pooled_linear
from nic.patients.splits import Folds, stratified_folds
from nic.patients.targets import Classes, Survival, Targets, Values, check_teachable
from nic.threads import done_ahead

BATCH_PATIENTS = 16
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""loss(scores [B], patients [B] int64, whose they are among the training patients) -> scalar."""
Score = Callable[[slice], torch.Tensor]
"""score(chunk) -> scores of the patients of a chunk of a batch."""
LossOf = Callable[[torch.Tensor, slice], torch.Tensor]
"""loss(scores, whose they are within the batch) -> scalar."""


@dataclass(frozen=True)
class Ensemble:
    """One network a fold; their scores are in the endpoint's unit, logits, or log hazards (mean 0 in training).

    out_of_fold: [N] float64, each patient's score by the network that never saw him. fold: [N], which network that was;
    metrics are taken by fold. scores: [K, N], of all training patients by each network, also of those it saw; None
    where it is not kept. repeats: the ensembles that this one joins, one a partition; empty of one partition.
    """

    networks: tuple[PatientNetwork, ...]
    out_of_fold: NDArray[np.float64]
    fold: NDArray[np.intp]
    scores: NDArray[np.float64] | None = None
    repeats: tuple["Ensemble", ...] = ()

    @property
    def partitions(self) -> tuple["Ensemble", ...]:
        """One ensemble a partition of the patients into folds."""
        return self.repeats or (self,)

    @property
    def comparable(self) -> OutOfFold:
        """The scores out of fold of every partition, as calibrations are fitted on them."""
        score, fold = (np.stack([getattr(p, name) for p in self.partitions]) for name in ("out_of_fold", "fold"))
        return OutOfFold(score, fold, tuple(p.scores for p in self.partitions if p.scores is not None))


def fit_folds(
    cells: Sequence[PatientCells],
    targets: Targets,
    *,
    network: NetworkName = "grid-cnn",
    folds: int = 5,
    fold: Folds | None = None,
    epochs: int = 40,
    learning_rate: float = 1e-2,
    ties: Ties = "efron",
    seed: int = 0,
    log: Callable[[str, float, int], None] | None = None,
) -> Ensemble:
    """For each fold, train a network on all other patients; the same for the same seed.

    cells, targets: of the same patients in the same order. folds: how many, balanced by label; or fold: [N], those of
    nic.patients.splits. ties: how Cox takes deaths at one time. log: receives (name, value, step).
    Raises EndpointError when a label is too rare for the folds, OneClass, NoEvents.
    """
    check_teachable(targets, "training patients")
    fold = stratified_folds(targets, folds, seed) if fold is None else fold
    scores, networks = [], []
    with tqdm(total=(int(fold.max()) + 1) * epochs, desc=network, unit="epoch") as bar:
        for number in range(int(fold.max()) + 1):

            def on_epoch(epoch: int, loss: float, name: str = f"fold{number}.loss") -> None:
                bar.update()
                if log:
                    log(name, loss, epoch)

            train = np.flatnonzero(fold != number)
            seen = _take(cells, train), targets.take(train)
            fitted = fit_network(*seen, network, epochs, learning_rate, seed + number, on_epoch, ties)
            networks.append(fitted)
            scores.append(scores_of(fitted, cells))
    of_each = np.stack(scores)  # [K, N]
    return Ensemble(tuple(networks), of_each[fold, np.arange(len(cells))], fold, of_each)


def fit_network(
    cells: Sequence[PatientCells],
    targets: Targets,
    name: NetworkName,
    epochs: int,
    learning_rate: float,
    seed: int,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
    ties: Ties = "efron",
) -> PatientNetwork:
    """One network trained on all patients given; a pooled-linear one is fitted in one go, without epochs.

    Nothing is chosen by looking at labels outside: a fixed number of epochs with a one-cycle rate and no early
    stopping, so no validation part is taken from the few patients there are, and none can leak.
    """
    check_teachable(targets, "patients of the other folds")
    lightning.seed_everything(seed, verbose=False)
    if name == "pooled-linear":
        network: PatientNetwork = fit_pooled_linear(cells, targets, seed)
        on_epoch(0, float("nan"))
    else:
        network = untrained(name, cells)
        # Cox compares each patient with all who live longer: its batch is the whole cohort.
        whole = isinstance(targets, Survival)
        steps = _Epochs(network, cells, len(cells) if whole else BATCH_PATIENTS, 2 if whole else 1, seed)
        _trainer(epochs).fit(_Fitting(network, loss_of(targets, ties), whole, learning_rate, on_epoch), steps)
        network.eval().cpu()
    to_reported_scale(network, cells, targets)
    return network


def untrained(name: NetworkName, cells: Sequence[PatientCells]) -> PatientNetwork:
    """A network with first weights, standardised by the codes of the patients it is to be trained on."""
    _, code_size = cells[0].slides[0].codes_shape
    network: PatientNetwork
    match name:
        case "crop-cnn":
            network = CropCNN(code_size, halvings_for(cells))
        case "attention-mil":
            network = AttentionMIL(code_size)
        case "pooled-linear":
            network = PooledLinear(code_size)
        case "grid-cnn":
            network = GridCNN(code_size)
    network.start_from(some_codes(cells))
    return network


def loss_of(targets: Targets, ties: Ties = "efron") -> Loss:
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
            cox = TIES[ties]
            return lambda score, patient: cox(score, months[patient], seen[patient])


def scores_of(network: PatientNetwork, cells: Sequence[PatientCells]) -> NDArray[np.float64]:
    """Each patient's score, [N]: a value, log odds of the positive class, or a log hazard."""
    runs = runs_of([sum(rows * cols for rows, cols in (s.shape for s in patient.slides)) for patient in cells])
    with torch.no_grad():
        scores = torch.cat([score_patients(network, cells[run]) for run in runs])
    numbers: NDArray[np.float64] = scores.double().numpy()
    return numbers


def ensemble_scores(ensemble: Ensemble, cells: Sequence[PatientCells]) -> NDArray[np.float64]:
    """Scores, [N], of the networks together of patients that none of them saw, as the served model gives them."""
    return np.asarray(np.mean([scores_of(network, cells) for network in ensemble.networks], axis=0))


def score_patients(network: PatientNetwork, cells: Sequence[PatientCells]) -> torch.Tensor:
    """Scores of patients by their whole slides in one pass: [len(cells)]."""
    batch = make_batch(cells)
    return patient_scores(network(batch.codes, batch.valid), batch.valid, batch.patient, batch.patients)


def to_reported_scale(network: PatientNetwork, cells: Sequence[PatientCells], targets: Targets) -> None:
    """Let scores be in the unit of the values, or log hazards of mean 0 in training; logits are left as they are."""
    match targets:
        case Values(value):
            network.rescale(_deviation(value), float(value.mean()))
        case Survival():
            # Cox does not see a constant; without it the folds' log hazards can be averaged and compared.
            network.rescale(1.0, -float(scores_of(network, cells).mean()))
        case Classes():
            pass


def backward_by_chunks(score: Score, chunks: Sequence[slice], loss: LossOf) -> torch.Tensor:
    """Back-propagate `loss` of all scores at the memory of one chunk; the same gradient as all at once.

    The scores are computed without a graph, the loss gives each its gradient, and every chunk is then computed again
    and back-propagated with its share. score(chunk) must give the same scores both times. Returns the loss.
    """
    everyone = slice(0, chunks[-1].stop)
    if len(chunks) == 1:
        value = loss(score(chunks[0]), everyone)
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()
    with torch.no_grad():
        scores = torch.cat([score(chunk) for chunk in chunks])
    scores.requires_grad_()
    value = loss(scores, everyone)
    (gradient,) = torch.autograd.grad(value, scores)
    for chunk in chunks:
        score(chunk).backward(gradient[chunk])  # type: ignore[no-untyped-call]
    return value.detach()


def backward_of_mean(score: Score, chunks: Sequence[slice], loss: LossOf) -> torch.Tensor:
    """The same in one pass, for a loss that is the mean over patients of what each has alone."""
    total = torch.zeros(())
    for chunk in chunks:
        value = loss(score(chunk), chunk) * (chunk.stop - chunk.start) / chunks[-1].stop
        value.backward()
        total += value.detach()
    return total


@dataclass(frozen=True)
class _Step:
    """One step of the optimizer. patients: [B] int64. batches: made ahead, in the order in which they are taken."""

    patients: torch.Tensor
    chunks: list[slice]
    seeds: NDArray[np.int64]
    batches: Iterator[Batch]


class _Epochs:
    """Steps over all patients in a new order every epoch, in equal parts of at most `largest`.

    passes: how often the chunks of a step are asked for. What is drawn depends on a step's seeds alone, so that both
    passes see the same.
    """

    def __init__(
        self, network: PatientNetwork, cells: Sequence[PatientCells], largest: int, passes: int, seed: int
    ) -> None:
        self.network, self.cells, self.passes = network, cells, passes
        self.parts = -(-len(cells) // largest)
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return self.parts

    def __iter__(self) -> Iterator[_Step]:
        steps = [self._step(part) for part in np.array_split(self.rng.permutation(len(self.cells)), self.parts)]
        wanted = [(part, seeds, c) for part, chunks, seeds in steps for c in chunks * self._passes(chunks)]
        batches = done_ahead(self._made, wanted)
        for part, chunks, seeds in steps:
            taken = islice(batches, len(chunks) * self._passes(chunks))
            yield _Step(torch.from_numpy(part), chunks, seeds, taken)

    def _step(self, part: NDArray[np.intp]) -> tuple[NDArray[np.intp], list[slice], NDArray[np.int64]]:
        chunks = self.network.chunks([self.cells[i] for i in part])
        return part, chunks, self.rng.integers(2**31, size=len(part))

    def _passes(self, chunks: list[slice]) -> int:
        return self.passes if len(chunks) > 1 else 1

    def _made(self, wanted: tuple[NDArray[np.intp], NDArray[np.int64], slice]) -> Batch:
        part, seeds, chunk = wanted
        drawn = zip(part[chunk], seeds[chunk], strict=True)
        return make_batch([self.network.drawn(self.cells[i], np.random.default_rng(seed)) for i, seed in drawn])


class _Fitting(lightning.LightningModule):
    """A network and the loss of its scores. whole: the loss compares patients, so that it wants all scores at once."""

    def __init__(
        self,
        network: PatientNetwork,
        loss: Loss,
        whole: bool,
        learning_rate: float,
        on_epoch: Callable[[int, float], None],
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network, self.loss = network, loss
        self.backward_of = backward_by_chunks if whole else backward_of_mean
        self.learning_rate, self.on_epoch = learning_rate, on_epoch
        self.losses: list[float] = []

    def transfer_batch_to_device(self, batch: _Step, device: torch.device, _: int) -> _Step:
        return batch  # its batches go there one by one

    def training_step(self, step: _Step, _: int) -> None:
        def score(chunk: slice) -> torch.Tensor:
            torch.manual_seed(int(step.seeds[chunk.start]))  # a second pass drops the channels that the first did
            return self.network.training_scores(next(step.batches).to(self.device)).float().cpu()

        optimizer, schedule = self.optimizers(use_pl_optimizer=False), self.lr_schedulers()
        assert isinstance(optimizer, torch.optim.Optimizer)
        assert isinstance(schedule, torch.optim.lr_scheduler.LRScheduler)
        optimizer.zero_grad()
        value = self.backward_of(score, step.chunks, lambda scores, chunk: self.loss(scores, step.patients[chunk]))
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
    """A trainer that trains and says nothing, on one device: a CUDA GPU in half precision, or else the CPU."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"lightning\.pytorch")
    return lightning.Trainer(
        max_epochs=epochs,
        # Of several GPUs Lightning would take all, and start this program again for each.
        accelerator="cuda" if torch.cuda.is_available() else "cpu",
        devices=1,
        precision="bf16-mixed" if torch.cuda.is_available() else "32-true",
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
