"""Every network is chosen by name, learns what was planted, and is served by the same graph interface."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from nic.compression.compressed_slide import CompressedSlide
from nic.patients.attention_mil import AttentionMIL
from nic.patients.choices import NetworkName, Recipe
from nic.patients.cohort import Endpoint
from nic.patients.context_mil import ContextMIL
from nic.patients.crop_cnn import CropCNN, field_of, halvings_for
from nic.patients.crops import PatientCells, SlideCells, make_batch
from nic.patients.ensemble import Ensemble, ensemble_scores, fit_folds
from nic.patients.ensemble_graph import export_ensemble
from nic.patients.glimpses import Glimpses
from nic.patients.grid_cnn import GridCNN
from nic.patients.networks import PatientNetwork, patient_scores
from nic.patients.pooled_linear import PooledLinear, pooled_features
from nic.patients.pooling_mil import MaxMIL, MeanMIL
from nic.patients.predictor import PatientModel
from nic.patients.targets import Classes, Survival, Targets, Values

RIVALS = [pytest.param("crop-cnn", marks=pytest.mark.slow), "attention-mil", "context-mil", "pooled-linear"]
ENDPOINTS = {
    "regression": Endpoint("score", "regression", ("score",)),
    "classification": Endpoint("pattern", "classification", ("pattern",), positive="b"),
    "survival": Endpoint("survival", "survival", ("months", "event")),
}
SLOW_KINDS = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("regression", "survival")]
Burden = tuple[list[CompressedSlide], np.ndarray]


@pytest.fixture(scope="module")
def burden(slide_of: Callable[..., CompressedSlide]) -> Burden:
    """48 slides; of each the share of cells of kind 2."""
    rng = np.random.default_rng(0)
    share = rng.random(48)
    shapes = [(int(rng.integers(5, 9)), int(rng.integers(5, 9))) for _ in share]
    slides = [
        slide_of(1 + (rng.random(shape) < s), rng, f"s{n}")
        for n, (s, shape) in enumerate(zip(share, shapes, strict=True))
    ]
    return slides, share


def targets_of(kind: str, share: np.ndarray) -> Targets:
    rng = np.random.default_rng(1)
    if kind == "regression":
        return Values(100 + 20 * share)
    if kind == "classification":
        return Classes(share > 0.5, ("a", "b"))
    death, end = rng.exponential(20 * np.exp(-6 * (share - 0.5))), rng.uniform(5, 80, len(share))
    return Survival(np.minimum(death, end) + 0.1, death < end)


@pytest.mark.parametrize("kind", ["classification", *SLOW_KINDS])
@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_finds_what_was_planted_and_is_served_as_it_was_trained(
    burden: Burden, name: NetworkName, kind: str, tmp_path: Path
) -> None:
    slides, share = burden
    targets = targets_of(kind, share)
    cells = [PatientCells(s.slide_id, (SlideCells.of(s),)) for s in slides]
    ensemble = fit_folds(cells, targets, Recipe(name, epochs=12), folds=2, seed=0)
    by_fold = [spearmanr(share[ensemble.fold == k], ensemble.out_of_fold[ensemble.fold == k])[0] for k in range(2)]
    assert np.mean(by_fold) > 0.7
    path = tmp_path / "model.onnx"
    endpoint, encoder = ENDPOINTS[kind], slides[0].encoder
    export_ensemble(
        ensemble, endpoint, targets, cohort_digest="c", encoder=encoder, encoder_version="nic-encoder/1", path=path
    )
    two = PatientCells("two", (cells[0].slides[0], cells[1].slides[0]))
    wanted = ensemble_scores(ensemble, [two])[0]
    model = PatientModel(path)
    found = model.predict(slides[:2])
    assert found.score == pytest.approx(wanted, abs=2e-4)
    mean = np.concatenate([m[np.isfinite(m)] for m in found.score_maps]).mean(dtype=float)
    assert mean == pytest.approx(found.score, abs=1e-4)


def rivals() -> list[PatientNetwork]:
    torch.manual_seed(0)
    networks: list[PatientNetwork] = [
        CropCNN(8, 2, width=16),
        AttentionMIL(8),
        PooledLinear(8),
        ContextMIL(8),
        MeanMIL(8),
        MaxMIL(8),
        Glimpses(8),
    ]
    for network in networks:
        network.eval().start_from(torch.randn(500, 8) * torch.arange(1.0, 9) + 3)
    return networks


def grid(rows: int, cols: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    valid = (torch.rand(1, 1, rows, cols, generator=generator) < 0.7).float()
    return 3 + torch.randn(1, 8, rows, cols, generator=generator) * valid, valid


@pytest.mark.parametrize("network", rivals(), ids=lambda n: type(n).__name__)
def test_what_is_not_tissue_changes_nothing(network: PatientNetwork) -> None:
    """Garbage under the glass, padding to the right and below, and a second slide beside it."""
    codes, valid = grid(9, 13)
    wide_codes, wide_valid = torch.full((2, 8, 20, 30), 50.0), torch.zeros(2, 1, 20, 30)
    wide_codes[0, :, :9, :13], wide_valid[0, :, :9, :13] = codes[0] + 100 * (1 - valid[0]), valid[0]
    wide_valid[1, :, 3:9, 5:8] = 1
    with torch.no_grad():
        alone, padded = network(codes, valid), network(wide_codes, wide_valid)
        network.rescale(3, -2)
        rescaled = network(codes, valid)
    torch.testing.assert_close(padded[0, :, :9, :13], alone[0], rtol=1e-4, atol=1e-4)
    assert not padded[0][wide_valid[0] == 0].any()
    mean, moved = (s.sum() / valid.sum() for s in (alone, rescaled))
    torch.testing.assert_close(moved, 3 * mean - 2, rtol=1e-4, atol=1e-4)


THROUGH_BOTTLENECK = [GridCNN(8), AttentionMIL(8), ContextMIL(8), MeanMIL(8), MaxMIL(8)]


@pytest.mark.parametrize("network", THROUGH_BOTTLENECK, ids=lambda n: type(n).__name__)
def test_training_without_dense_codes_gives_the_scores_and_gradients_of_the_dense_forward(
    slide_of: Callable[..., CompressedSlide], network: PatientNetwork
) -> None:
    rng = np.random.default_rng(0)
    network.eval().start_from(torch.randn(500, 8) + 3)
    slides = [SlideCells.of(slide_of(rng.integers(0, 3, shape), rng)) for shape in ((6, 9), (4, 4), (8, 5))]
    batch = make_batch([PatientCells("two", tuple(slides[:2])), PatientCells("one", (slides[2],))])
    found = network.training_scores(batch)
    wanted = patient_scores(network(batch.codes, batch.valid), batch.valid, batch.patient, batch.patients)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    parameters = [p for p in network.parameters() if p.requires_grad]
    for one, other in zip(*(torch.autograd.grad(s.square().sum(), parameters) for s in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_attention_knows_no_geometry_and_weighs_as_the_formula_says() -> None:
    network = rivals()[1]
    assert isinstance(network, AttentionMIL)
    attention = network.attention
    codes, valid = grid(6, 5)
    bag = codes[0][:, valid[0, 0] > 0].T  # [N, 8]
    with torch.no_grad():
        standard = (bag - network.mean) / network.deviation
        h = torch.nn.functional.leaky_relu(standard @ network.bottleneck.weight[:, :, 0, 0].T, 0.1)
        v = torch.tanh(h @ attention.content.weight[:, :, 0, 0].T + attention.content.bias)
        u = torch.sigmoid(h @ attention.gate.weight[:, :, 0, 0].T + attention.gate.bias)
        share = torch.softmax((u * v) @ attention.logit.weight[0, :, 0, 0], dim=0)
        wanted = (share @ h) @ network.head.weight[0, :, 0, 0] + network.head.bias
        order = torch.randperm(len(bag), generator=torch.Generator().manual_seed(0))
        shuffled = codes.clone()
        shuffled[0][:, valid[0, 0] > 0] = bag[order].T
        for found in (network(codes, valid), network(shuffled, valid)):
            torch.testing.assert_close(found.sum() / valid.sum(), wanted[0], rtol=1e-4, atol=1e-5)


def test_pooling_is_that_of_numpy() -> None:
    network = rivals()[2]
    codes, valid = grid(6, 5)
    inside = valid[0, 0] > 0
    rows, cols = torch.nonzero(inside, as_tuple=True)
    patient = PatientCells("p", (SlideCells(codes[0][:, inside].T.half(), rows, cols),))
    weight = network.head.weight.detach().numpy()[0]
    wanted = pooled_features(patient) @ weight + network.head.bias.item()
    with torch.no_grad():
        found = network(codes.half().float(), valid).sum() / valid.sum()
    assert found.item() == pytest.approx(wanted, abs=1e-3)


def test_a_block_of_the_map_has_the_score_of_the_crop_around_it() -> None:
    network = rivals()[0]
    assert isinstance(network, CropCNN)
    side, block = network.crop_cells, network.block_cells
    assert (side, block) == (23, 4)
    codes, valid = grid(16, 40)
    with torch.no_grad():
        found = network(codes, torch.ones_like(valid))
        standard = (codes - network.mean[:, None, None]) / network.deviation[:, None, None]
        around = torch.nn.functional.pad(standard, (side, side, side, side))
        for row, col in ((0, 0), (1, 3), (3, 9)):
            top, left = (side + block * place + block // 2 - side // 2 for place in (row, col))
            crop = around[:, :, top : top + side, left : left + side]
            wanted = network.head(network.trunk(crop)).item()
            shown = found[0, 0, block * row : block * (row + 1), block * col : block * (col + 1)]
            torch.testing.assert_close(shown, torch.full_like(shown, wanted), rtol=1e-4, atol=1e-5)


def test_the_published_crop_sees_383_cells_and_smaller_slides_take_smaller_ones(slide_of) -> None:
    assert field_of(6) == 383
    rng = np.random.default_rng(0)
    small, large = (
        [PatientCells("p", (SlideCells.of(slide_of(np.ones(shape, int), rng)),))] for shape in ((20, 9), (1, 900))
    )
    assert (halvings_for(small), halvings_for(large)) == (2, 6)


@pytest.mark.slow
def test_the_published_crop_network_is_exported_for_slides_of_any_size(slide_of, tmp_path: Path) -> None:
    """Six halvings: one score for each block of 64 x 64 cells, more than the smaller of these slides has."""
    torch.manual_seed(0)
    network = CropCNN(8, 6, width=8).eval()
    slides = [slide_of(np.ones(shape, int), np.random.default_rng(0)) for shape in ((5, 7), (70, 130))]
    ensemble = Ensemble((network,), np.arange(4.0), np.array([0, 1, 0, 1]))
    targets, encoder, path = Values(np.arange(4.0)), slides[0].encoder, tmp_path / "model.onnx"
    export_ensemble(
        ensemble, ENDPOINTS["regression"], targets, cohort_digest="c", encoder=encoder, encoder_version="e/1", path=path
    )
    model = PatientModel(path)
    for slide in slides:
        wanted = ensemble_scores(ensemble, [PatientCells("p", (SlideCells.of(slide),))])[0]
        assert model.predict([slide]).score == pytest.approx(wanted, abs=1e-4)


def test_crops_hold_the_right_codes_at_the_right_places_and_their_centres_lie_deep(slide_of) -> None:
    rng = np.random.default_rng(0)
    kinds = np.zeros((30, 40), int)
    kinds[2:28, 3:37] = 1
    slide = slide_of(kinds, rng)
    cells = SlideCells.of(slide)
    dense = np.pad(slide.dense(), ((0, 0), (9, 9), (9, 9)))
    for centre in (0, 77, len(cells.row) - 1):
        row, col = int(slide.row[centre]) + 9, int(slide.col[centre]) + 9
        found = make_batch([PatientCells("p", (cells.crop(centre, 9),))]).codes[0].numpy()
        wanted = dense[:, row - 4 : row + 5, col - 4 : col + 5]
        np.testing.assert_array_equal(found, wanted[:, : found.shape[1], : found.shape[2]])
        assert not wanted[:, found.shape[1] :].any()
        assert not wanted[:, :, found.shape[2] :].any()
    depth = np.minimum.reduce([cells.row + 1, 26 - cells.row, cells.col + 1, 34 - cells.col])
    np.testing.assert_allclose(cells.centre_odds, depth**2 / (depth**2).sum(), rtol=1e-6)
