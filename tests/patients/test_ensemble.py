"""Repeated partitions: more networks, one answer a patient, and figures that are means over partitions."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from nic.evaluation.endpoint_figures import deciding_figure
from nic.evaluation.figure import estimate, mean_of
from nic.patients.choices import Recipe
from nic.patients.crops import PatientCells, SlideCells
from nic.patients.ensemble import fit_folds, fit_partitions, joined
from nic.patients.splits import stratified_folds
from nic.patients.targets import Categories, Classes, Grades, Survival, Targets, Values, scores_for
from nic.patients.training_loss import loss_of

RNG = np.random.default_rng(0)


def test_networks_answer_together_and_each_partition_keeps_its_own_answers(slide_of) -> None:  # type: ignore[no-untyped-def]
    cells = [PatientCells(str(n), (SlideCells.of(slide_of(RNG.integers(1, 4, (4, 4)), RNG)),)) for n in range(12)]
    targets = Values(RNG.normal(size=12))
    folds = [stratified_folds(targets, 2, seed) for seed in (0, 1)]
    logged: list[str] = []
    first, second = fit_partitions(
        cells, targets, folds, Recipe(epochs=2), seed=3, log=lambda name, value, step: logged.append(name)
    )
    alone = fit_folds(cells, targets, Recipe(epochs=2), fold=folds[0], seed=3)
    np.testing.assert_array_equal(first.out_of_fold, alone.out_of_fold)  # one partition is the same with others beside
    assert not np.array_equal(first.fold, second.fold)
    assert {name.partition(".")[0] for name in logged} == {"fold0", "fold1", "repeat1"}
    both = joined((first, second))
    assert both.networks == first.networks + second.networks
    np.testing.assert_allclose(both.out_of_fold, (first.out_of_fold + second.out_of_fold) / 2)
    assert both.partitions == (first, second)
    assert first.partitions == (first,)


def test_the_figure_is_the_mean_over_partitions_and_draws_are_of_patients() -> None:
    value = RNG.normal(size=80)
    repeats = [(value + RNG.normal(size=80), RNG.permutation(80) % 4) for _ in range(3)]
    figures = [deciding_figure("regression", (value,), score, fold) for score, fold in repeats]
    mean = estimate(mean_of(figures), seed=0)
    each = [np.mean([spearmanr(value[f == k], s[f == k])[0] for k in range(4)]) for s, f in repeats]
    assert mean.value == pytest.approx(np.mean(each))
    assert mean.low < mean.value < mean.high
    alike, once = estimate(mean_of([figures[0]] * 3), seed=0), estimate(figures[0], seed=0)
    assert alike.high - alike.low == pytest.approx(once.high - once.low, rel=0.25)  # repeating makes no patients
    assert estimate(mean_of(figures[:1]), seed=0) == once


@pytest.mark.parametrize(
    "targets",
    [
        Values(np.arange(6.0)),
        Classes(np.arange(6) < 2, ("a", "b")),
        Categories(np.arange(6) % 3, ("a", "b", "c")),
        Grades(np.arange(6) % 3, ("1", "2", "3")),
    ],
    ids=lambda targets: type(targets).__name__,
)
def test_the_loss_is_the_mean_of_each_patients_own(targets: Targets) -> None:
    loss, patients = loss_of(targets), torch.tensor([4, 0, 2, 3])
    scores = torch.randn(4, scores_for(targets), generator=torch.Generator().manual_seed(0))
    own = loss.of_each(scores, patients)
    assert own.shape == (4,)
    torch.testing.assert_close(own.mean(), loss(scores, patients).detach())


def test_ties_are_taken_as_asked() -> None:
    tied = Survival(np.array([3.0, 3, 3, 8, 9]), np.array([True, True, True, False, True]))
    score, everybody = torch.randn(5, 1, generator=torch.Generator().manual_seed(0)), torch.arange(5)
    efron, breslow = (float(loss_of(tied, ties)(score, everybody)) for ties in ("efron", "breslow"))
    assert efron < breslow  # Breslow's risk sets keep those who die at the same time
    apart = Survival(np.arange(1.0, 6), tied.event)
    efron, breslow = (float(loss_of(apart, ties)(score, everybody)) for ties in ("efron", "breslow"))
    assert efron == pytest.approx(breslow)
