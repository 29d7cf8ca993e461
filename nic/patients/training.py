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

from nic.patients.choices import Recipe
from nic.patients.crops import Batch, PatientCells, make_batch, runs_of
from nic.patients.networks import ExtraLoss, PatientNetwork, patient_scores
from nic.patients.pooled_linear import fit_pooled_linear
from nic.patients.schedule import dealt, schedule_of
from nic.patients.targets import Categories, Classes, Grades, Survival, Targets, Values, check_teachable, scores_for
from nic.patients.training_loss import Loss, deviation_of, loss_of
from nic.patients.untrained import untrained
from nic.threads import map_ahead
from nic.training_device import mixed, precision_of, training_device

KEPT_BYTES = 1 << 29
"""Most bytes of codes that a first pass keeps for the second. What is beyond is drawn a second time."""


@dataclass(frozen=True)
class Scored:
    """What a chunk of patients got. scores: [n, C] with their autograd graph. patients: [n] int64.

    extra: what the network adds to the loss, see `PatientNetwork.training_pass`.
    """

    scores: torch.Tensor
    patients: torch.Tensor
    extra: ExtraLoss | None = None


def fit_network(
    cells: Sequence[PatientCells],
    targets: Targets,
    recipe: Recipe,
    seed: int,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> PatientNetwork:
    """One network trained on all of these patients. A pooled-linear network is fitted in one step, without epochs.

    The number of epochs is fixed, see `nic.patients.schedule`, the learning rate follows one cycle, and nothing stops
    early: no patient is held back for validation, so that no label of a validation patient can leak.
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

    An epoch shows every patient once, in a new order, with new crops and D4 variants. How many patients a step of AdamW
    takes, see `nic.patients.schedule`.
    """
    device, loss = training_device(), loss_of(targets, recipe.ties)
    precision = precision_of(device) if device.type == "cuda" else torch.float32
    compares, schedule = isinstance(targets, Survival), schedule_of(recipe, targets)
    network.to(device).train()
    if loss.link:
        loss.link.to(device)
    learned = [*network.parameters(), *loss.parameters()]
    optimizer = optimizer_of(learned, device, recipe.learning_rate)
    rate = OneCycleLR(optimizer, recipe.learning_rate, total_steps=schedule.all_steps)
    rng = np.random.default_rng(seed)
    for epoch in range(schedule.epochs):
        parts = dealt(targets, schedule.steps, rng)
        plan = [chunks_of(network, cells, part, rng) for part in parts]
        again = [drawn_again(step, cells) if compares else [] for step in plan]
        in_order = [chunk for step, more in zip(plan, again, strict=True) for chunk in (*step, *more)]
        losses = []
        with closing(map_ahead(partial(drawn, network, cells, device), in_order)) as ahead:
            for part, step, more in zip(parts, plan, again, strict=True):
                # Each pass takes the next batches of `ahead`, which come in the order of `in_order`.
                count = len(step)
                passes = two_passes(ahead, count, len(more)) if compares and count > 1 else [islice(ahead, count)]
                scored = [scores_in_turn(network, batches, precision) for batches in passes]
                optimizer.zero_grad()
                value = backward_of_all(loss, scored) if compares else backward_of_mean(loss, scored[0], len(part))
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
            scores, extra = network.training_pass(batch.to(device))
        yield Scored(scores.float(), torch.from_numpy(chunk.patients), extra)


def backward_of_mean(loss: Loss, scored: Iterable[Scored], patients: int) -> torch.Tensor:
    """Back-propagate a loss that is a mean over the patients of a step, chunk by chunk. Returns the loss."""
    losses = []
    for part in scored:
        value = loss(part.scores, part.patients) * len(part.patients) / patients
        with_extra(value, part, loss, patients).backward()  # type: ignore[no-untyped-call]
        losses.append(value.detach())
    return sum(losses, start=torch.zeros(()))


def backward_of_all(loss: Loss, passes: Sequence[Iterable[Scored]]) -> torch.Tensor:
    """Back-propagate a loss that compares the patients of a step, in the memory of one chunk. Returns the loss.

    passes: one pass of a single chunk, or two passes of several. The first pass computes all scores without a graph;
    the loss then has a gradient for each score. The second pass computes the same scores again, chunk by chunk, and
    back-propagates those gradients. The sum is the gradient of all patients at once.
    """
    if len(passes) == 1:
        (everyone,) = passes[0]
        value = loss(everyone.scores, everyone.patients)
        with_extra(value, everyone, loss, len(everyone.patients)).backward()  # type: ignore[no-untyped-call]
        return value.detach()
    first, again = passes
    with torch.no_grad():
        parts = [(part.scores, part.patients) for part in first]
    scores, patients = map(torch.cat, zip(*parts, strict=True))
    scores.requires_grad_()
    value = loss(scores, patients)
    (gradient,) = torch.autograd.grad(value, scores)
    start = 0
    for part in again:
        these = slice(start, start + len(part.patients))
        total = (part.scores * gradient[these]).sum()
        if part.extra:
            total = total + part.extra(loss.of_each(scores, patients)[these]) / len(patients)
        total.backward()  # type: ignore[no-untyped-call]
        start = these.stop
    return value.detach()


def with_extra(value: torch.Tensor, part: Scored, loss: Loss, patients: int) -> torch.Tensor:
    """The loss, and what the network adds to it for its part of the `patients` of a step."""
    return value + part.extra(loss.of_each(part.scores, part.patients)) / patients if part.extra else value


def optimizer_of(learned: Sequence[nn.Parameter], device: torch.device, learning_rate: float) -> AdamW:
    """AdamW; on a GPU it is fused into one kernel."""
    return AdamW(learned, learning_rate, weight_decay=1e-2, fused=device.type == "cuda")


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
            return deviation_of(value), float(value.mean())
        case Survival():
            # Cox leaves a constant open. Without it log hazards of several folds can be averaged and compared.
            return 1.0, -float(scores().mean())
    return 1.0, 0.0
