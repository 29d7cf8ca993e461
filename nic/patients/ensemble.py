"""Ensembles: a patient network for each fold of each partition of the patients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nic.patients.choices import Recipe
from nic.patients.crops import PatientCells
from nic.patients.fold_training import CrossValidation, train_folds
from nic.patients.networks import PatientNetwork
from nic.patients.out_of_fold import OutOfFold
from nic.patients.splits import Folds, stratified_folds
from nic.patients.targets import Targets, check_teachable
from nic.patients.training import scores_of

DEFAULT_RECIPE = Recipe()
SEEDS_APART = 1000
"""Distance between the first seeds of two partitions; no partition has as many folds."""


@dataclass(frozen=True)
class Ensemble:
    """The networks of one or more partitions of the training patients, one network for each fold.

    Scores are values in the endpoint's unit, log odds, or log hazards (mean 0 in training); of several classes C of
    them, as a last axis of these arrays. out_of_fold: [N] float64, the score of each patient by the network that was
    not trained on that patient. fold: [N], the number of that network; figures are taken by fold. scores:
    [K, N], of all training patients by each network; None where it is not
    kept. repeats: the ensembles of the partitions; empty where there is one partition.
    """

    networks: tuple[PatientNetwork, ...]
    out_of_fold: NDArray[np.float64]
    fold: NDArray[np.intp]
    scores: NDArray[np.float64] | None = None
    repeats: tuple["Ensemble", ...] = ()

    @property
    def partitions(self) -> tuple["Ensemble", ...]:
        """The ensemble of each partition."""
        return self.repeats or (self,)

    @property
    def comparable(self) -> OutOfFold:
        """The out-of-fold scores of every partition; calibrations are fitted on them."""
        score, fold = (np.stack([getattr(p, name) for p in self.partitions]) for name in ("out_of_fold", "fold"))
        return OutOfFold(score, fold, tuple(p.scores for p in self.partitions if p.scores is not None))


def fit_folds(
    cells: Sequence[PatientCells],
    targets: Targets,
    recipe: Recipe = DEFAULT_RECIPE,
    *,
    folds: int = 5,
    fold: Folds | None = None,
    seed: int = 0,
    log: Callable[[str, float, int], None] | None = None,
) -> Ensemble:
    """Train one network for each fold, on the patients of the other folds. The same seed gives the same networks.

    cells, targets: of the same patients in the same order. folds: number of folds, balanced by label. fold: [N], the
    fold of each patient, in place of `folds`; see nic.patients.splits. log: receives (name, value, step).
    Folds of a large training run in processes side by side. Raises EndpointError when a label is too rare for the
    folds, OneClass, NoEvents, TrainingEnded.
    """
    check_teachable(targets, "training patients")
    fold = stratified_folds(targets, folds, seed) if fold is None else fold
    training = CrossValidation(cells, targets, recipe, fold, seed)
    with tqdm(total=training.epochs, desc=recipe.network, unit="epoch") as bar:

        def on_epoch(number: int, epoch: int, loss: float) -> None:
            bar.update()
            if log:
                log(f"fold{number}.loss", loss, epoch)

        trained = train_folds(training, on_epoch)
    by_network = np.stack([scores for _, scores in trained])  # [K, N]
    networks = tuple(network for network, _ in trained)
    return Ensemble(networks, by_network[fold, np.arange(len(cells))], fold, by_network)


def fit_partitions(
    cells: Sequence[PatientCells],
    targets: Targets,
    partitions: Sequence[Folds],
    recipe: Recipe,
    seed: int,
    log: Callable[[str, float, int], None],
) -> tuple[Ensemble, ...]:
    """One ensemble for each partition of the patients into folds.

    The other arguments are those of `fit_folds`. Names that are logged of the second partition begin with "repeat1.".
    """
    seeds = [seed + SEEDS_APART * number for number in range(len(partitions))]
    logs = [_prefixed(log, f"repeat{number}." if number else "") for number in range(len(partitions))]
    return tuple(
        fit_folds(cells, targets, recipe, fold=fold, seed=seed, log=log)
        for fold, seed, log in zip(partitions, seeds, logs, strict=True)
    )


def joined(ensembles: Sequence[Ensemble]) -> Ensemble:
    """All networks as one ensemble. A patient's out-of-fold score is the mean over the partitions.

    `fold` is that of the first partition; figures are taken of each partition by itself.
    """
    if len(ensembles) == 1:
        return ensembles[0]
    networks = tuple(network for ensemble in ensembles for network in ensemble.networks)
    mean = np.mean([ensemble.out_of_fold for ensemble in ensembles], axis=0)
    return Ensemble(networks, mean, ensembles[0].fold, repeats=tuple(ensembles))


def ensemble_scores(ensemble: Ensemble, cells: Sequence[PatientCells]) -> NDArray[np.float64]:
    """Mean score of all networks, [N] or [N, C], for patients that none was trained on. The served model answers so."""
    return np.asarray(np.mean([scores_of(network, cells) for network in ensemble.networks], axis=0))


def _prefixed(log: Callable[[str, float, int], None], prefix: str) -> Callable[[str, float, int], None]:
    return lambda name, value, step: log(prefix + name, value, step)
