"""Training finds what was planted, the same for the same seed, and its gradient is that of all patients at once."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from nic.errors import EndpointError, NoEvents, OneClass
from nic.patients import crops, training
from nic.patients.choices import Recipe
from nic.patients.crops import PatientCells, SlideCells, runs_of
from nic.patients.ensemble import fit_folds
from nic.patients.grid_cnn import GridCNN
from nic.patients.losses import cox_loss
from nic.patients.splits import stratified_folds
from nic.patients.targets import Classes, Survival, Targets, Values
from nic.patients.training import (
    Scored,
    backward_of_all,
    backward_of_mean,
    chunks_of,
    drawn_again,
    fit_network,
    score_patients,
    scores_of,
)
from nic.patients.training_loss import loss_of

Cells = list[PatientCells]


@pytest.fixture(scope="module")
def burden(slide_of: Callable[..., object]) -> tuple[Cells, np.ndarray]:
    """40 patients of unequal grids, some with two slides; of each the share of cells of kind 2."""
    rng = np.random.default_rng(0)
    cells, shares = [], []
    for number in range(40):
        share = rng.random()
        shapes = [(int(rng.integers(4, 9)), int(rng.integers(4, 9))) for _ in range(1 + number % 3 // 2)]
        slides = tuple(SlideCells.of(slide_of(1 + (rng.random(shape) < share), rng)) for shape in shapes)
        cells.append(PatientCells(str(number), slides))
        shares.append(share)
    return cells, np.array(shares)


def targets_of(kind: str, share: np.ndarray) -> Targets:
    rng = np.random.default_rng(1)
    if kind == "regression":
        return Values(100 + 20 * share)
    if kind == "classification":
        return Classes(share > np.quantile(share, 0.6), ("low", "high"))
    death, end = rng.exponential(20 * np.exp(-6 * (share - 0.5))), rng.uniform(5, 80, len(share))
    return Survival(np.minimum(death, end) + 0.1, death < end)


@pytest.mark.parametrize("kind", ["regression", "classification", "survival"])
def test_a_planted_signal_is_found_in_the_right_direction(burden, kind: str) -> None:
    """More of kind 2 is a larger value, the positive class, an earlier death: so is a higher answer."""
    cells, share = burden
    ensemble = fit_folds(cells, targets_of(kind, share), Recipe(epochs=12), folds=3, seed=0)
    by_fold = [spearmanr(share[ensemble.fold == k], ensemble.out_of_fold[ensemble.fold == k])[0] for k in range(3)]
    assert np.mean(by_fold) > 0.8
    if kind == "regression":
        assert np.abs(ensemble.out_of_fold - (100 + 20 * share)).mean() < 3
    if kind == "classification":
        assert ensemble.out_of_fold.min() < 0 < ensemble.out_of_fold.max()  # log odds, both classes at equal weight


def test_the_same_seed_trains_the_same_networks(burden) -> None:
    cells, share = burden
    targets = targets_of("classification", share)
    one, same, other = (fit_folds(cells, targets, Recipe(epochs=2), folds=2, seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(one.out_of_fold, same.out_of_fold)
    np.testing.assert_array_equal(one.fold, same.fold)
    assert not np.array_equal(one.out_of_fold, other.out_of_fold)


def test_out_of_fold_answers_come_from_the_network_that_never_saw_the_patient(burden) -> None:
    cells, share = burden
    targets = targets_of("regression", share)
    ensemble = fit_folds(cells, targets, Recipe(epochs=2), folds=2, seed=0)
    for number, network in enumerate(ensemble.networks):
        index = np.flatnonzero(ensemble.fold == number)
        again = scores_of(network, [cells[i] for i in index])
        np.testing.assert_allclose(ensemble.out_of_fold[index], again, rtol=1e-6)
        # Its standardising too was learned without them.
        others = [s.codes.float() for i, p in enumerate(cells) if ensemble.fold[i] != number for s in p.slides]
        torch.testing.assert_close(network.mean, torch.cat(others).mean(dim=0))


def test_log_hazards_of_a_fold_have_mean_zero_in_training(burden) -> None:
    cells, share = burden
    targets = targets_of("survival", share)
    ensemble = fit_folds(cells, targets, Recipe(epochs=1), folds=2, seed=0)
    seen = [cells[i] for i in np.flatnonzero(ensemble.fold != 0)]
    assert scores_of(ensemble.networks[0], seen).mean() == pytest.approx(0, abs=1e-5)


def test_losses_are_logged_by_fold_and_epoch(burden) -> None:
    cells, share = burden
    seen: list[tuple[str, float, int]] = []
    fit_folds(cells, targets_of("survival", share), Recipe(epochs=3), folds=2, log=lambda *entry: seen.append(entry))
    assert [(name, step) for name, _, step in seen] == [(f"fold{k}.loss", e) for k in range(2) for e in range(3)]
    assert all(np.isfinite(value) for _, value, _ in seen)


def test_the_gradient_by_chunks_is_that_of_the_whole_cohort(burden) -> None:
    """With dropout on, as in training, and with ties and censoring."""
    cells, share = burden
    torch.manual_seed(0)
    network = GridCNN(8).double().train()
    months, event = torch.tensor(np.ceil(10 * (1 - share)) + 1), torch.tensor(share > 0.3)

    def scored(chunks: list[slice]) -> Iterator[Scored]:
        for chunk in chunks:
            scores = []
            for number in range(chunk.start, chunk.stop):  # one patient a pass, so that both ways drop alike
                torch.manual_seed(number)
                batch = training.make_batch([cells[number]])
                maps = network(batch.codes.double(), batch.valid.double())
                scores.append(training.patient_scores(maps, batch.valid.double(), batch.patient, 1))
            yield Scored(torch.cat(scores), torch.arange(chunk.start, chunk.stop))

    def gradients(backward: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
        network.zero_grad()
        value = backward()
        return float(value), torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])

    def cox(scores: torch.Tensor, patients: torch.Tensor) -> torch.Tensor:
        return cox_loss(scores[:, 0], months[patients], event[patients])

    everyone, single = [slice(0, len(cells))], [slice(i, i + 1) for i in range(len(cells))]
    whole = gradients(lambda: backward_of_all(cox, [scored(everyone)]))
    twice = gradients(lambda: backward_of_all(cox, [scored(single), scored(single)]))
    assert twice[0] == pytest.approx(whole[0], abs=1e-9)
    torch.testing.assert_close(twice[1], whole[1], rtol=0, atol=1e-9)
    mean = loss_of(Values(share))
    whole = gradients(lambda: backward_of_all(mean, [scored(everyone)]))
    once = gradients(lambda: backward_of_mean(mean, scored(single), len(cells)))
    assert once[0] == pytest.approx(whole[0], abs=1e-9)
    torch.testing.assert_close(once[1], whole[1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("kept_bytes", [0, 4000])
def test_a_second_pass_takes_the_same_codes_kept_or_drawn_again(burden, monkeypatch, kept_bytes: int) -> None:
    cells, share = burden
    monkeypatch.setattr(crops, "RUN_CELLS", 150)
    targets = targets_of("survival", share)
    all_kept = fit_network(cells, targets, Recipe(epochs=2), seed=0)
    chunks = chunks_of(all_kept, cells, np.arange(len(cells)), np.random.default_rng(0))
    monkeypatch.setattr(training, "KEPT_BYTES", kept_bytes)
    assert 0 < len(drawn_again(chunks, cells)) < len(chunks) + (kept_bytes == 0)
    again = fit_network(cells, targets, Recipe(epochs=2), seed=0)
    for kept, drawn in zip(all_kept.parameters(), again.parameters(), strict=True):
        assert torch.equal(kept, drawn)


def test_runs_hold_every_patient_once_within_the_limit(burden, monkeypatch) -> None:
    cells, _ = burden
    monkeypatch.setattr(crops, "RUN_CELLS", 150)
    sizes = [patient.cells_within(400) for patient in cells]
    runs = runs_of(sizes)
    assert [i for run in runs for i in range(run.start, run.stop)] == list(range(len(cells)))
    assert all(sum(sizes[run]) <= 150 or run.stop - run.start == 1 for run in runs)
    assert len(runs) > 3


def test_a_patient_of_two_slides_is_the_mean_over_their_cells(burden) -> None:
    cells, _ = burden
    network = GridCNN(8).eval()
    two = next(p for p in cells if len(p.slides) == 2)
    parts = [PatientCells("part", (slide,)) for slide in two.slides]
    sizes = torch.tensor([float(len(s.codes)) for s in two.slides])
    apart = score_patients(network, parts)
    torch.testing.assert_close(score_patients(network, [two])[0, 0], (apart[:, 0] * sizes).sum() / sizes.sum())


@pytest.mark.parametrize("kind", ["regression", "classification", "survival"])
def test_folds_are_balanced_and_hold_each_patient_once(kind: str) -> None:
    targets = targets_of(kind, np.random.default_rng(0).random(53))
    fold = stratified_folds(targets, 5, seed=0)
    assert np.bincount(fold).tolist() in ([11, 11, 11, 10, 10], sorted(np.bincount(fold), reverse=True))
    labels = targets.arrays[-1].astype(float)
    assert max(abs(labels[fold == k].mean() - labels.mean()) for k in range(5)) < 0.25 * max(labels.std(), 1e-9) + 0.08


def test_labels_too_rare_for_the_folds_are_refused(burden) -> None:
    cells, share = burden
    rare = Classes(share >= np.sort(share)[-2], ("low", "high"))
    with pytest.raises(EndpointError, match="5 folds need 5 training patients of each label, found 2 of class 'high'"):
        fit_folds(cells, rare)
    with pytest.raises(EndpointError, match="41 folds need 41 training patients"):
        fit_folds(cells, Values(share), folds=41)
    with pytest.raises(EndpointError, match="have the value 3"):
        fit_folds(cells, Values(np.full(len(cells), 3.0)))
    with pytest.raises(OneClass):
        fit_folds(cells, Classes(np.ones(len(cells), bool), ("low", "high")))
    with pytest.raises(NoEvents):
        fit_folds(cells, Survival(1 + share, np.zeros(len(cells), bool)))
