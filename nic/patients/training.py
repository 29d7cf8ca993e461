"""Training of one patient network: its epochs, its steps, and the gradient of its loss."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from nic.errors import EndpointError
from nic.patients.choices import Recipe, Ties
from nic.patients.crops import Batch, PatientCells, make_batch, runs_of
from nic.patients.losses import TIES, CumulativeLink, balanced_cross_entropy, balanced_softmax, squared_error
from nic.patients.networks import PatientNetwork, patient_scores
from nic.patients.pooled_linear import fit_pooled_linear
from nic.patients.targets import (
    Categories,
    Classes,
    Grades,
    Survival,
    Targets,
    Values,
    check_teachable,
    scores_for,
    shares_of,
)
from nic.patients.untrained import untrained
from nic.threads import map_ahead
from nic.training_device import mixed, precision_of, sent, training_device

BATCH_PATIENTS = 16
KEPT_BYTES = 1 << 29
"""Most bytes of codes that a first pass keeps for the second. What is beyond is drawn a second time."""
Scored = tuple[torch.Tensor, torch.Tensor]
"""Scores [n, C] with their autograd graph, and the patients [n] int64 that have them."""


@dataclass(frozen=True)
class Loss:
    """of: (scores [B, C], patients [B] int64) -> scalar. patients: their numbers among the training patients.

    link: what is learned beside the network.
    """

    of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    link: CumulativeLink | None = None

    def __call__(self, scores: torch.Tensor, patients: torch.Tensor) -> torch.Tensor:
        return self.of(scores, patients)

    def parameters(self) -> list[nn.Parameter]:
        return list(self.link.parameters()) if self.link else []


def fit_network(
    cells: Sequence[PatientCells],
    targets: Targets,
    recipe: Recipe,
    seed: int,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> PatientNetwork:
    """One network trained on all of these patients. A pooled-linear network is fitted in one step, without epochs.

    The number of epochs is fixed, the learning rate follows one cycle, and nothing stops early: no patient is held back
    for validation, so that no label of a validation patient can leak.
    """
    check_teachable(targets, "patients of the other folds")
    torch.manual_seed(seed)
    if recipe.network == "pooled-linear":
        network: PatientNetwork = fit_pooled_linear(cells, targets, seed)
        on_epoch(0, float("nan"))
    else:
        network = untrained(recipe.network, cells, scores_for(targets))
        train(network, cells, targets, recipe, seed, on_epoch)
    to_reported_scale(network, cells, targets)
    return network


def train(
    network: PatientNetwork,
    cells: Sequence[PatientCells],
    targets: Targets,
    recipe: Recipe,
    seed: int,
    on_epoch: Callable[[int, float], None],
) -> None:
    """Minimise the loss of the targets, on a GPU where there is one. The network is on the CPU afterwards.

    An epoch shows every patient once, in a new order, with new crops and D4 variants. A step of AdamW takes
    BATCH_PATIENTS patients. A step of survival takes all of them: Cox compares each patient with all who live longer.
    """
    device, loss = training_device(), loss_of(targets, recipe.ties)
    precision = precision_of(device) if device.type == "cuda" else torch.float32
    whole = isinstance(targets, Survival)
    steps = 1 if whole else -(-len(cells) // BATCH_PATIENTS)
    network.to(device).train()
    if loss.link:
        loss.link.to(device)
    learned = [*network.parameters(), *loss.parameters()]
    optimizer = optimizer_of(learned, device, recipe.learning_rate)
    rate = OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.epochs * steps)
    rng = np.random.default_rng(seed)
    for epoch in range(recipe.epochs):
        parts = np.array_split(rng.permutation(len(cells)), steps)
        plan = [chunks_of(network, cells, part, rng) for part in parts]
        again = drawn_again(plan[0], cells) if whole else []
        in_order = [chunk for step in [*plan, again] for chunk in step]
        losses = []
        with closing(map_ahead(partial(drawn, network, cells, device), in_order)) as ahead:
            for part, step in zip(parts, plan, strict=True):
                # Each pass takes the next batches of `ahead`, which come in the order of `in_order`.
                count = len(step)
                passes = two_passes(ahead, count, len(again)) if whole and count > 1 else [islice(ahead, count)]
                scored = [scores_in_turn(network, batches, precision) for batches in passes]
                optimizer.zero_grad()
                value = backward_of_all(loss, scored) if whole else backward_of_mean(loss, scored[0], len(part))
                losses.append(value)
                clip_grad_norm_(learned, 1.0)
                optimizer.step()
                rate.step()
        on_epoch(epoch, float(np.mean(torch.stack(losses).tolist())))  # read from the device once an epoch
    network.eval().cpu()


@dataclass(frozen=True)
class Chunk:
    """Patients that go through the network together. patients: [n]. seeds: [n], of their crops and D4 variants."""

    patients: NDArray[np.intp]
    seeds: NDArray[np.int64]


def chunks_of(
    network: PatientNetwork, cells: Sequence[PatientCells], patients: NDArray[np.intp], rng: np.random.Generator
) -> list[Chunk]:
    """The patients of a step, in chunks that fit the memory."""
    runs = network.chunks([cells[i] for i in patients])
    seeds = rng.integers(2**31, size=len(patients))
    return [Chunk(patients[run], seeds[run]) for run in runs]


def drawn_again(chunks: Sequence[Chunk], cells: Sequence[PatientCells]) -> list[Chunk]:
    """The chunks that a second pass draws a second time: those after the first KEPT_BYTES of codes."""
    if len(chunks) == 1:
        return []
    sizes = [sum(cells[i].code_bytes for i in chunk.patients) for chunk in chunks]
    kept = int((np.cumsum(sizes) <= KEPT_BYTES).sum())
    return list(chunks[kept:])


def two_passes(ahead: Iterator[tuple[Chunk, Batch]], count: int, again: int) -> list[Iterable[tuple[Chunk, Batch]]]:
    """The batches of a first pass over `count` chunks, and of a second. The first is taken whole before the second.

    ahead: the batches of all chunks, and then again those of the last `again` chunks. The first pass keeps the others.
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
    """The crops and D4 variants of a chunk, the same for the same seeds. Threads draw them ahead of the network."""
    pairs = zip(chunk.patients, chunk.seeds, strict=True)
    batch = make_batch([network.drawn(cells[i], np.random.default_rng(seed)) for i, seed in pairs])
    return chunk, batch.pinned(device)


def scores_in_turn(
    network: PatientNetwork, batches: Iterable[tuple[Chunk, Batch]], precision: torch.dtype
) -> Iterator[Scored]:
    """One pass: the scores of each chunk of patients."""
    device = network.mean.device
    for chunk, batch in batches:
        torch.manual_seed(int(chunk.seeds[0]))  # dropout drops the same channels in both passes
        with mixed(device, precision):
            scores = network.training_scores(batch.to(device))
        yield scores.float(), torch.from_numpy(chunk.patients)


def backward_of_mean(loss: Loss, scored: Iterable[Scored], patients: int) -> torch.Tensor:
    """Back-propagate a loss that is a mean over the patients of a step, chunk by chunk. Returns the loss."""
    losses = []
    for scores, of in scored:
        value = loss(scores, of) * len(of) / patients
        value.backward()  # type: ignore[no-untyped-call]
        losses.append(value.detach())
    return sum(losses, start=torch.zeros(()))


def backward_of_all(loss: Loss, passes: Sequence[Iterable[Scored]]) -> torch.Tensor:
    """Back-propagate a loss that compares patients, in the memory of one chunk. Returns the loss.

    passes: one pass of a single chunk, or two passes of several. The first pass computes all scores without a graph;
    the loss then has a gradient for each score. The second pass computes the same scores again, chunk by chunk, and
    back-propagates those gradients. The sum is the gradient of all patients at once.
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


def optimizer_of(learned: Sequence[nn.Parameter], device: torch.device, learning_rate: float) -> AdamW:
    """AdamW; on a GPU it is fused into one kernel."""
    return AdamW(learned, learning_rate, weight_decay=1e-2, fused=device.type == "cuda")


def loss_of(targets: Targets, ties: Ties = "efron") -> Loss:
    """The loss for a kind of targets. Scores may be on a GPU; patients are on the CPU."""
    match targets:
        case Values(value):
            standard = torch.tensor((value - value.mean()) / _deviation(value), dtype=torch.float32)
            return Loss(lambda scores, patient: squared_error(scores[:, 0], sent(standard[patient], scores.device)))
        case Classes(positive, _):
            label, share = torch.tensor(positive, dtype=torch.float32), float(positive.mean())
            return Loss(
                lambda scores, patient: balanced_cross_entropy(scores[:, 0], sent(label[patient], scores.device), share)
            )
        case Categories(index, _):
            place, shares = torch.tensor(index), torch.tensor(shares_of(targets))
            return Loss(
                lambda scores, patient: balanced_softmax(
                    scores, sent(place[patient], scores.device), sent(shares, scores.device)
                )
            )
        case Grades(index, _):
            grade, link = torch.tensor(index), CumulativeLink(torch.tensor(shares_of(targets)))
            return Loss(lambda scores, patient: link(scores[:, 0], sent(grade[patient], scores.device)), link)
        case Survival(time_months, event):
            months, seen = torch.tensor(time_months), torch.tensor(event)
            cox = TIES[ties]
            # On the CPU: it sorts and counts some hundred scores once an epoch, which a GPU does slowly.
            return Loss(lambda scores, patient: cox(scores[:, 0].cpu(), months[patient], seen[patient]))


def scores_of(network: PatientNetwork, cells: Sequence[PatientCells]) -> NDArray[np.float64]:
    """Each patient's score, [N]: a value, log odds of the positive class or of a higher grade, or a log hazard.

    Of several classes, the scores of all: [N, C].
    """
    runs = runs_of([sum(rows * cols for rows, cols in (s.shape for s in patient.slides)) for patient in cells])
    with torch.no_grad():
        scores = torch.cat([score_patients(network, cells[run]) for run in runs])
    numbers: NDArray[np.float64] = scores.double().numpy()
    return numbers[:, 0] if numbers.shape[1] == 1 else numbers


def score_patients(network: PatientNetwork, cells: Sequence[PatientCells]) -> torch.Tensor:
    """Scores of patients by their whole slides in one pass: [len(cells), C]."""
    batch = make_batch(cells)
    return patient_scores(network(batch.codes, batch.valid), batch.valid, batch.patient, batch.patients)


def to_reported_scale(network: PatientNetwork, cells: Sequence[PatientCells], targets: Targets) -> None:
    """Rescale scores to the unit of the values, or to log hazards of mean 0 in training. Log odds stay as they are; the
    scores of several classes are counted from their mean."""
    match targets:
        case Values() | Survival():
            network.rescale(*reported_scale(targets, lambda: scores_of(network, cells)))
        case Categories():
            # A softmax leaves a constant open, as Cox does.
            network.centre()
        case Classes() | Grades():
            pass


def reported_scale(targets: Targets, scores: Callable[[], NDArray[np.float64]]) -> tuple[float, float]:
    """Factor and offset from scores as the loss takes them to scores as they are reported.

    scores: of the training patients, [N]; called for survival alone.
    """
    match targets:
        case Values(value):
            return _deviation(value), float(value.mean())
        case Survival():
            # Cox leaves a constant open. Without it log hazards of several folds can be averaged and compared.
            return 1.0, -float(scores().mean())
    return 1.0, 0.0


def _deviation(value: NDArray[np.float64]) -> float:
    deviation = float(value.std())
    if deviation == 0:
        raise EndpointError(f"all {len(value)} training patients have the value {value[0]}; nothing can be learned")
    return deviation
