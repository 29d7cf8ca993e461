"""A training is counted in steps: as long for few patients as for many, and for survival as for other kinds."""

import numpy as np
import pytest

from nic.errors import EndpointError
from nic.patients.choices import Recipe
from nic.patients.schedule import TrainingSteps, dealt, in_words, schedule_of, schedules_of
from nic.patients.targets import Classes, Survival, Targets, Values


def values(patients: int) -> Targets:
    return Values(np.arange(float(patients)))


def classes(patients: int) -> Targets:
    return Classes(np.arange(patients) % 2 == 0, ("no", "yes"))


def survival(patients: int) -> Targets:
    return Survival(np.arange(patients) + 1.0, np.arange(patients) % 2 == 0)


@pytest.mark.parametrize(
    ("patients", "epochs", "steps"), [(64, 60, 4), (80, 48, 5), (96, 40, 6), (320, 40, 20), (16, 240, 1), (10, 240, 1)]
)
def test_epochs_are_as_many_as_the_steps_take_and_at_least_forty(patients: int, epochs: int, steps: int) -> None:
    assert schedule_of(Recipe(), classes(patients)) == TrainingSteps(epochs, steps)


@pytest.mark.parametrize(("patients", "epochs", "steps"), [(64, 40, 4), (40, 54, 3), (320, 40, 20), (16, 160, 1)])
def test_values_take_two_thirds_of_the_steps_of_classes(patients: int, epochs: int, steps: int) -> None:
    assert schedule_of(Recipe(), values(patients)) == TrainingSteps(epochs, steps)


@pytest.mark.parametrize(
    ("patients", "epochs", "steps"), [(10, 160, 1), (50, 160, 1), (80, 80, 2), (200, 40, 4), (1000, 40, 20)]
)
def test_a_step_of_survival_takes_at_most_fifty_patients(patients: int, epochs: int, steps: int) -> None:
    assert schedule_of(Recipe(), survival(patients)) == TrainingSteps(epochs, steps)
    assert schedule_of(Recipe(epochs=7), survival(patients)) == TrainingSteps(7, steps)


def test_a_step_of_survival_has_five_events_where_the_cohort_has_as_many() -> None:
    for events, steps in ((1, 1), (9, 1), (14, 2), (25, 5), (60, 6)):
        targets = Survival(np.arange(300) + 1.0, np.arange(300) < events)
        assert schedule_of(Recipe(epochs=1), targets).steps == steps
        parts = dealt(targets, steps, np.random.default_rng(events))
        assert sorted(np.concatenate(parts)) == list(range(300))
        counts = [int(targets.event[part].sum()) for part in parts]
        assert max(counts) - min(counts) <= 1
        assert min(counts) >= min(5, events)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_each_epoch_deals_patients_anew() -> None:
    for targets in (values(40), survival(40)):
        rng = np.random.default_rng(0)
        first, second = (dealt(targets, 2, rng) for _ in range(2))
        assert not np.array_equal(first[0], second[0])


def test_a_number_of_epochs_is_taken_as_it_is() -> None:
    assert schedule_of(Recipe(epochs=7), values(65)) == TrainingSteps(7, 5)
    assert schedule_of(Recipe("pooled-linear"), values(65)) == TrainingSteps(1, 1)
    with pytest.raises(
        EndpointError, match="epochs=-1; wanted 1 or more, or 0 for as many as 160 steps take, 240 of classes"
    ):
        schedule_of(Recipe(epochs=-1), values(65))


def test_folds_of_unequal_sizes_have_schedules_of_their_own() -> None:
    schedules = schedules_of(Recipe(), classes(129), np.arange(129) % 2)  # 65 and 64 patients in the folds
    assert schedules == (TrainingSteps(60, 4), TrainingSteps(48, 5))
    assert in_words(schedules) == "48 epochs, 240 steps or 60 epochs, 240 steps"
    assert in_words(schedules_of(Recipe(), values(160), np.arange(160) % 5)) == "40 epochs, 320 steps"
