"""Ensembles of patient networks, one a fold: what a fold is, an epoch, a step, and the gradient of its loss."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
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
from nic.threads import map_ahead
from nic.training_device import mixed, precision_of, sent, training_device

BATCH_PATIENTS = 16
KEPT_BYTES = 1 << 29
"""Codes of a first pass that are kept for the second; of larger cohorts the rest is drawn again."""
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""loss(scores [B], patients [B] int64, whose they are among the training patients) -> scalar."""
Scored = tuple[torch.Tensor, torch.Tensor]
"""Scores [n], with their graph, and the patients [n] int64 that they are of."""


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
    torch.manual_seed(seed)
    if name == "pooled-linear":
        network: PatientNetwork = fit_pooled_linear(cells, targets, seed)
        on_epoch(0, float("nan"))
    else:
        network = untrained(name, cells)
        train(network, cells, targets, epochs, learning_rate, seed, on_epoch, ties)
    to_reported_scale(network, cells, targets)
    return network


def train(
    network: PatientNetwork,
    cells: Sequence[PatientCells],
    targets: Targets,
    epochs: int,
    learning_rate: float,
    seed: int,
    on_epoch: Callable[[int, float], None],
    ties: Ties = "efron",
) -> None:
    """Let the network's scores minimise the loss of the targets, on a GPU where there is one; it ends on the CPU.

    An epoch shows every patient once, in a new order and drawn anew. A step is AdamW on the loss of BATCH_PATIENTS of
    them. Of survival it is that of all: Cox compares each patient with all who live longer.
    """
    device, loss = training_device(), loss_of(targets, ties)
    precision = precision_of(device) if device.type == "cuda" else torch.float32
    whole = isinstance(targets, Survival)
    steps = 1 if whole else -(-len(cells) // BATCH_PATIENTS)
    network.to(device).train()
    optimizer = optimizer_of(network, learning_rate)
    rate = OneCycleLR(optimizer, learning_rate, total_steps=epochs * steps)
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        parts = np.array_split(rng.permutation(len(cells)), steps)
        plan = [chunks_of(network, cells, part, rng) for part in parts]
        again = second_pass(plan[0], cells) if whole else []
        in_order = [chunk for step in [*plan, again] for chunk in step]
        losses = []
        with closing(map_ahead(partial(drawn, network, cells, device), in_order)) as ahead:
            for part, step in zip(parts, plan, strict=True):
                # Each pass takes the next chunks of those drawn ahead: they come in the order of `in_order`.
                passes = (
                    two_passes(ahead, len(step), len(again)) if len(step) > 1 and whole else [islice(ahead, len(step))]
                )
                scored = [scores_in_turn(network, batches, precision) for batches in passes]
                optimizer.zero_grad()
                value = backward_of_all(loss, scored) if whole else backward_of_mean(loss, scored[0], len(part))
                losses.append(value)
                clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                rate.step()
        on_epoch(epoch, float(np.mean(torch.stack(losses).tolist())))  # read from the device once an epoch
    network.eval().cpu()


@dataclass(frozen=True)
class Chunk:
    """Patients that go through the network together. patients: [n]. seeds: [n], of what is drawn of each this time."""

    patients: NDArray[np.intp]
    seeds: NDArray[np.int64]


def chunks_of(
    network: PatientNetwork, cells: Sequence[PatientCells], patients: NDArray[np.intp], rng: np.random.Generator
) -> list[Chunk]:
    """The patients of a step in chunks that bound the memory."""
    runs = network.chunks([cells[i] for i in patients])
    seeds = rng.integers(2**31, size=len(patients))
    return [Chunk(patients[run], seeds[run]) for run in runs]


def second_pass(chunks: Sequence[Chunk], cells: Sequence[PatientCells]) -> list[Chunk]:
    """The chunks that a second pass over all of them draws again: those after the first KEPT_BYTES of codes."""
    if len(chunks) == 1:
        return []
    sizes = [sum(cells[i].code_bytes for i in chunk.patients) for chunk in chunks]
    kept = int((np.cumsum(sizes) <= KEPT_BYTES).sum())
    return list(chunks[kept:])


def two_passes(ahead: Iterator[tuple[Chunk, Batch]], count: int, again: int) -> list[Iterable[tuple[Chunk, Batch]]]:
    """Batches of a first pass over `count` chunks and of a second, to be taken one after the other.

    ahead: the batches of all chunks, then those of the last `again` once more. The others are kept in between.
    """
    kept: list[tuple[Chunk, Batch]] = []

    def first() -> Iterator[tuple[Chunk, Batch]]:
        for batch in islice(ahead, count):
            if len(kept) < count - again:
                kept.append(batch)
            yield batch

    return [first(), chain(kept, islice(ahead, again))]


def drawn(
    network: PatientNetwork, cells: Sequence[PatientCells], device: torch.device, chunk: Chunk
) -> tuple[Chunk, Batch]:
    """The codes of a chunk, turned and cropped, the same each time; threads draw them, ahead of the network."""
    pairs = zip(chunk.patients, chunk.seeds, strict=True)
    batch = make_batch([network.drawn(cells[i], np.random.default_rng(seed)) for i, seed in pairs])
    return chunk, batch.pinned(device)


def scores_in_turn(
    network: PatientNetwork, batches: Iterable[tuple[Chunk, Batch]], precision: torch.dtype
) -> Iterator[Scored]:
    """One pass: scores of the patients of each chunk."""
    device = network.mean.device
    for chunk, batch in batches:
        torch.manual_seed(int(chunk.seeds[0]))  # a second pass drops the channels that the first did
        with mixed(device, precision):
            scores = network.training_scores(batch.to(device))
        yield scores.float(), torch.from_numpy(chunk.patients)


def backward_of_mean(loss: Loss, scored: Iterable[Scored], patients: int) -> torch.Tensor:
    """Back-propagate a loss that is the mean over all patients of a step of what each has alone. Returns the loss."""
    losses = []
    for scores, of in scored:
        value = loss(scores, of) * len(of) / patients
        value.backward()  # type: ignore[no-untyped-call]
        losses.append(value.detach())
    return sum(losses, start=torch.zeros(()))


def backward_of_all(loss: Loss, passes: Sequence[Iterable[Scored]]) -> torch.Tensor:
    """Back-propagate a loss that compares patients, at the memory of one chunk. Returns the loss.

    passes: one where there is one chunk, else two. In the first the scores are computed without a graph, and the loss
    gives each its gradient. In the second every chunk is computed again, to the same scores, and back-propagated with
    its share: the gradient of all at once.
    """
    if len(passes) == 1:
        ((scores, patients),) = passes[0]
        value = loss(scores, patients)
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()
    first, again = passes
    with torch.no_grad():
        scores, patients = map(torch.cat, zip(*first, strict=True))
    scores.requires_grad_()
    value = loss(scores, patients)
    (gradient,) = torch.autograd.grad(value, scores)
    start = 0
    for part, _ in again:
        part.backward(gradient[start : start + len(part)])  # type: ignore[no-untyped-call]
        start += len(part)
    return value.detach()


def optimizer_of(network: PatientNetwork, learning_rate: float) -> AdamW:
    """AdamW, on a GPU in one kernel."""
    on_gpu = network.mean.device.type == "cuda"
    return AdamW(network.parameters(), learning_rate, weight_decay=1e-2, fused=on_gpu)


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
    """What scores of some of the training patients are to minimise. Scores may be on a GPU, patients are on the CPU."""
    match targets:
        case Values(value):
            standard = torch.tensor((value - value.mean()) / _deviation(value), dtype=torch.float32)
            return lambda score, patient: squared_error(score, sent(standard[patient], score.device))
        case Classes(positive, _):
            label, share = torch.tensor(positive, dtype=torch.float32), float(positive.mean())
            return lambda score, patient: balanced_cross_entropy(score, sent(label[patient], score.device), share)
        case Survival(time_months, event):
            months, seen = torch.tensor(time_months), torch.tensor(event)
            cox = TIES[ties]
            # It sorts and counts, which GPUs do slowly: some hundred scores, once an epoch.
            return lambda score, patient: cox(score.cpu(), months[patient], seen[patient])


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


def _deviation(value: NDArray[np.float64]) -> float:
    deviation = float(value.std())
    if deviation == 0:
        raise EndpointError(f"all {len(value)} training patients have the value {value[0]}; nothing can be learned")
    return deviation


def _take(cells: Sequence[PatientCells], index: NDArray[np.intp]) -> list[PatientCells]:
    return [cells[int(i)] for i in index]
