"""Tile and context under one attention: what a score sees, by the formula, and what only arrangement tells."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from sklearn.metrics import roc_auc_score

from nic.compression.compressed_slide import CompressedSlide
from nic.patients.choices import Recipe
from nic.patients.context_mil import ContextMIL
from nic.patients.crops import PatientCells, SlideCells
from nic.patients.targets import Classes
from nic.patients.training import fit_network, scores_of

REACH = 1 + 2 + 2


@pytest.fixture(scope="module")
def network() -> ContextMIL:
    torch.manual_seed(0)
    network = ContextMIL(12, width=10, context=3, outputs=2).eval()
    network.start_from(torch.randn(500, 12) * torch.arange(1.0, 13) + 3)
    return network


def test_the_map_is_that_of_the_formula_in_numpy(network: ContextMIL) -> None:
    rng = np.random.default_rng(0)
    valid, codes = rng.random((7, 6)) < 0.7, rng.normal(size=(12, 7, 6)) + 3
    weights = {name: value.double().numpy() for name, value in network.state_dict().items()}

    def layer(name: str, features: np.ndarray) -> np.ndarray:
        return (
            np.einsum("oi,irc->orc", weights[f"{name}.weight"][:, :, 0, 0], features)
            + weights[f"{name}.bias"][:, None, None]
        )

    def leaky(x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, x, 0.1 * x)

    standard = (codes - weights["mean"][:, None, None]) / weights["deviation"][:, None, None]
    tile = leaky(layer("bottleneck", standard))
    context = tile[-3:] * valid
    for number, dilation in enumerate((1, 2, 2)):
        kernel = np.zeros((3, 3, 2 * dilation + 1, 2 * dilation + 1))
        kernel[:, :, ::dilation, ::dilation] = weights[f"convolutions.{number}.weight"]
        around = [sum(correlate2d(c, k, "same") for c, k in zip(context, of, strict=True)) for of in kernel]
        context = (context + leaky(np.stack(around) + weights[f"convolutions.{number}.bias"][:, None, None])) * valid
    both = np.concatenate([tile, context])
    gate = 1 / (1 + np.exp(-layer("attention.gate", both)))
    odds = np.exp(layer("attention.logit", np.tanh(layer("attention.content", both)) * gate)) * valid
    expected = layer("head", both) * odds / odds.sum() * valid.sum()
    with torch.no_grad():
        scores = network(
            torch.tensor(codes * valid, dtype=torch.float32)[None], torch.tensor(valid)[None, None].float()
        )
    np.testing.assert_allclose(scores[0].numpy(), expected, rtol=1e-4, atol=1e-4)


def test_a_score_sees_five_cells_to_each_side_and_attention_sees_the_slide(network: ContextMIL) -> None:
    codes = torch.randn(1, 12, 31, 31, requires_grad=True)
    valid = torch.ones(1, 1, 31, 31)
    x = network.bottleneck.of_raw(codes, network.mean, network.deviation)
    maps = network.scores(x, valid)
    share = maps[0, 0, 15, 15] / maps[0, 1, 15, 15]  # the attention cancels: what is left are two linear scores
    share.backward()
    assert codes.grad is not None
    size = codes.grad.abs().sum(dim=(0, 1, 3))
    rows = torch.nonzero(size > 1e-5 * size.max())
    assert (rows.min().item(), rows.max().item()) == (15 - REACH, 15 + REACH)


@pytest.mark.parametrize(("code_size", "leading"), [(12, slice(9, 12)), (5, slice(2, 5)), (2, slice(0, 3))])
def test_the_context_sees_the_leading_components(code_size: int, leading: slice) -> None:
    """Those with the largest variance; a code of two numbers has two."""
    network = ContextMIL(code_size, width=12, context=3)
    assert network.leading == leading
    codes = torch.randn(800, code_size) @ torch.randn(code_size, code_size)
    network.start_from(codes)
    standard = (codes - network.mean) / network.deviation
    variance = (standard @ network.bottleneck.weight[:code_size, :, 0, 0].T).var(0)
    assert set(variance.argsort()[-min(3, code_size) :].tolist()) <= set(range(leading.start, leading.stop))


def test_arrangement_is_learned_where_single_tiles_tell_nothing(slide_of: Callable[..., CompressedSlide]) -> None:
    """Sixteen cells of kind 2 in every slide: in one class as a square, in the other apart from each other."""
    rng = np.random.default_rng(0)
    together = np.arange(64) % 2 == 0
    cells = []
    for number, square in enumerate(together):
        kinds = np.ones((12, 12), int)
        if square:
            top, left = rng.integers(0, 9, 2)
            kinds[top : top + 4, left : left + 4] = 2
        else:
            rows, cols = np.divmod(rng.permutation(16), 4)
            kinds[3 * rows + rng.integers(0, 2, 16), 3 * cols + rng.integers(0, 2, 16)] = 2
        assert (kinds == 2).sum() == 16
        cells.append(PatientCells(str(number), (SlideCells.of(slide_of(kinds, rng)),)))
    targets = Classes(together, ("apart", "together"))
    trained = fit_network(cells[:48], targets.take(np.arange(48)), Recipe("context-mil", epochs=16), seed=0)
    assert roc_auc_score(together[48:], scores_of(trained, cells[48:])) > 0.95
