"""How long a patient network is trained: counted in steps of the optimizer, not in epochs.

A step takes BATCH_PATIENTS patients, and of survival RISK_PATIENTS: Cox compares each of them with those among them who
live longer. A number of epochs that is right for one kind and one cohort is too few for another; a number of steps is
not, but for large cohorts, each of whose patients must be seen often enough, in other D4 variants.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nic.errors import EndpointError
from nic.patients.choices import Recipe
from nic.patients.splits import Folds
from nic.patients.targets import Survival, Targets, Values

BATCH_PATIENTS = 16
STEPS = 160
"""Of a training: 40 epochs of 64 patients; of survival 80 epochs of 80 patients. With 240 values and survival were
predicted no better, see docs/results/notes.md."""
CLASS_STEPS = 240
"""Of classes and grades: 60 epochs of 64 patients, 48 of 80. After 160 some networks had hardly learned."""
LEAST_EPOCHS = 40
"""From 96 patients on. With 320, so many were as good as more."""
RISK_PATIENTS = 50
"""Of a step of survival, at most. The partial likelihood of a part of the patients is one of its own right: its mean
gradient is 0 at the true hazards. With all 200 patients of a phantom in each of 150 steps, training took three times as
long; the C-index was 0.75 in place of 0.79, of grid-cnn 0.79 in place of 0.78. See docs/results/notes.md."""
LEAST_EVENTS = 5
"""Of a step of survival, where the cohort has as many."""


@dataclass(frozen=True)
class TrainingSteps:
    """epochs: each shows every patient once. steps: of the optimizer, in each epoch."""

    epochs: int
    steps: int

    @property
    def all_steps(self) -> int:
        return self.epochs * self.steps

    def __str__(self) -> str:
        return f"{self.epochs} epochs, {self.all_steps} steps"


def schedule_of(recipe: Recipe, targets: Targets) -> TrainingSteps:
    """The training of one network. targets: of its training patients.

    Raises EndpointError for fewer than 0 epochs.
    """
    if recipe.epochs < 0:
        enough = f"{STEPS} steps take, {CLASS_STEPS} of classes"
        raise EndpointError(f"epochs={recipe.epochs}; wanted 1 or more, or 0 for as many as {enough}")
    if recipe.network == "pooled-linear":
        return TrainingSteps(1, 1)  # it is fitted, not trained
    if isinstance(targets, Survival):
        enough_events = max(1, int(targets.event.sum()) // LEAST_EVENTS)
        steps = min(-(-len(targets) // RISK_PATIENTS), enough_events)
    else:
        steps = -(-len(targets) // BATCH_PATIENTS)
    all_steps = STEPS if isinstance(targets, Values | Survival) else CLASS_STEPS
    return TrainingSteps(recipe.epochs or max(-(-all_steps // steps), LEAST_EPOCHS), steps)


def schedules_of(recipe: Recipe, targets: Targets, fold: Folds) -> tuple[TrainingSteps, ...]:
    """The training of the network of each fold, on the patients of the other folds. fold: [N]."""
    others = (np.flatnonzero(fold != number) for number in range(int(fold.max()) + 1))
    return tuple(schedule_of(recipe, targets.take(patients)) for patients in others)


def dealt(targets: Targets, steps: int, rng: np.random.Generator) -> list[NDArray[np.intp]]:
    """All patients in a new order, parted into the steps of an epoch; of survival each step has its share of events."""
    order = rng.permutation(len(targets))
    if not isinstance(targets, Survival):
        return list(np.array_split(order, steps))
    events_first = order[np.argsort(~targets.event[order], kind="stable")]
    return [events_first[step::steps] for step in range(steps)]


def in_words(schedules: Sequence[TrainingSteps]) -> str:
    """The trainings that differ, from the shortest on: "48 epochs, 240 steps or 60 epochs, 240 steps"."""
    ordered = sorted(set(schedules), key=lambda schedule: schedule.epochs)
    return " or ".join(map(str, ordered))
