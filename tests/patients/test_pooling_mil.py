"""Mean and maximum of the scores of tiles: what the map holds, and that a maximum learns what one tile shows."""

from collections.abc import Callable

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from nic.compression.compressed_slide import CompressedSlide
from nic.patients.choices import Recipe
from nic.patients.crops import PatientCells, SlideCells
from nic.patients.pooling_mil import MaxMIL, MeanMIL
from nic.patients.targets import Classes, Survival, Targets
from nic.patients.training import fit_network, score_patients, scores_of


def pooled(network: MeanMIL) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a random slide: the maps, the tiles' scores by numpy, and which cells are valid."""
    rng = np.random.default_rng(0)
    valid, codes = rng.random((6, 5)) < 0.7, rng.normal(size=(8, 6, 5))
    network.eval().start_from(torch.randn(500, 8, generator=torch.Generator().manual_seed(0)) * 2 + 1)
    weights = {name: value.double().numpy() for name, value in network.state_dict().items()}
    standard = (codes - weights["mean"][:, None, None]) / weights["deviation"][:, None, None]
    features = np.einsum("oi,irc->orc", weights["bottleneck.weight"][:, :, 0, 0], standard)
    features = np.where(features > 0, features, 0.1 * features)
    tiles = np.einsum("oi,irc->orc", weights["head.weight"][:, :, 0, 0], features) + weights["head.bias"][:, None, None]
    with torch.no_grad():
        maps = network(torch.tensor(codes, dtype=torch.float32)[None], torch.tensor(valid)[None, None].float())
    return maps[0].double().numpy(), tiles, valid


def test_the_mean_stands_in_the_map_tile_by_tile() -> None:
    torch.manual_seed(0)
    maps, tiles, valid = pooled(MeanMIL(8, outputs=3))
    np.testing.assert_allclose(maps, tiles * valid, rtol=1e-4, atol=1e-5)


def test_the_maximum_stands_at_its_tile_alone() -> None:
    torch.manual_seed(0)
    maps, tiles, valid = pooled(MaxMIL(8))
    tiles = np.where(valid, tiles, -np.inf)[0]
    assert np.count_nonzero(maps) == 1
    assert maps[0].argmax() == tiles.argmax()
    np.testing.assert_allclose(maps[0].sum() / valid.sum(), tiles.max(), rtol=1e-4)


def test_each_class_has_its_own_maximum_and_classes_are_counted_from_their_mean() -> None:
    torch.manual_seed(0)
    network = MaxMIL(8, outputs=3)
    network.centre()
    maps, tiles, valid = pooled(network)
    top = np.where(valid, tiles, -np.inf).max((1, 2))
    np.testing.assert_allclose(maps.sum((1, 2)) / valid.sum(), top - top.mean(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(maps.sum(0), 0, atol=1e-4)


def test_tiles_of_equal_scores_share_the_maximum_and_slides_weigh_as_their_cells() -> None:
    network = MaxMIL(8).eval()
    alike, other = torch.randn(8).half(), torch.randn(8).half()
    row = torch.arange(5)
    three_of_five = SlideCells(torch.stack([alike, other, alike, alike, other]), row, row * 0)
    with torch.no_grad():
        scores = network(three_of_five.codes.float().T[None, :, :, None], torch.ones(1, 1, 5, 1))[0, 0, :, 0]
        if scores[1] != 0:
            alike, other = other, alike
        top = SlideCells(alike[None], row[:1], row[:1])
        one = score_patients(network, [PatientCells("one", (top,))])
        two = SlideCells(torch.stack([other] * 3), row[:3], row[:3])
        both = score_patients(network, [PatientCells("both", (top, two))])
        low = score_patients(network, [PatientCells("low", (two,))])
    shared = scores[scores != 0]
    torch.testing.assert_close(shared, torch.full_like(shared, 5 * float(one) / len(shared)))
    torch.testing.assert_close(both, (one + 3 * low) / 4)


def test_a_maximum_learns_what_one_tile_shows(slide_of: Callable[..., CompressedSlide]) -> None:
    """One tile of kind 3 among a hundred; who has one dies early."""
    rng = np.random.default_rng(0)
    marked = np.arange(60) % 2 == 0
    cells = []
    for number, mark in enumerate(marked):
        kinds = rng.integers(1, 3, (10, 10))
        if mark:
            kinds[tuple(rng.integers(0, 10, 2))] = 3
        cells.append(PatientCells(str(number), (SlideCells.of(slide_of(kinds, rng)),)))
    death = rng.exponential(np.where(marked, 5, 50))
    both: tuple[Targets, Targets] = (Classes(marked, ("no", "yes")), Survival(death + 0.1, rng.random(60) < 0.8))
    for targets, epochs in zip(both, (30, 60), strict=True):
        network = fit_network(cells[:40], targets.take(np.arange(40)), Recipe("max-mil", epochs=epochs), seed=0)
        assert roc_auc_score(marked[40:], scores_of(network, cells[40:])) > 0.9
