"""The network scores a patient's own cells, and nothing else moves the scores."""

import numpy as np
import pytest
import torch

from nic.patients.grid_cnn import GridCNN
from nic.patients.networks import patient_scores

REACH = 1 + 2 * (1 + 2 + 2)


@pytest.fixture
def network() -> GridCNN:
    torch.manual_seed(0)
    network = GridCNN(8).eval()
    network.start_from(torch.randn(500, 8) * torch.arange(1.0, 9) + 3)
    return network


def grid(rows: int, cols: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    valid = (torch.rand(1, 1, rows, cols, generator=generator) < 0.7).float()
    return torch.randn(1, 8, rows, cols, generator=generator) * valid, valid


def test_scores_stand_at_valid_cells_alone(network: GridCNN) -> None:
    codes, valid = grid(9, 13)
    scores = network(codes, valid)
    assert scores.shape == (1, 1, 9, 13)
    assert not scores[valid == 0].any()
    assert scores[valid == 1].all()


def test_padding_place_and_neighbours_in_the_batch_change_nothing(network: GridCNN) -> None:
    codes, valid = grid(9, 13)
    wide_codes, wide_valid = torch.zeros(2, 8, 20, 30), torch.zeros(2, 1, 20, 30)
    wide_codes[0, :, 4:13, 6:19], wide_valid[0, :, 4:13, 6:19] = codes[0], valid[0]
    wide_codes[1], wide_valid[1] = grid(20, 30, seed=1)[0][0], 1
    found = network(wide_codes, wide_valid)[0, :, 4:13, 6:19]
    torch.testing.assert_close(found, network(codes, valid)[0], rtol=0, atol=1e-5)


def test_what_stands_in_a_cell_without_code_changes_nothing(network: GridCNN) -> None:
    codes, valid = grid(9, 13)
    torch.testing.assert_close(network(codes + 100 * (1 - valid), valid), network(codes, valid))


def test_a_score_sees_eleven_cells_across(network: GridCNN) -> None:
    codes = torch.randn(1, 8, 31, 31, requires_grad=True)
    network(codes, torch.ones(1, 1, 31, 31))[0, 0, 15, 15].backward()
    assert codes.grad is not None
    rows = torch.nonzero(codes.grad.abs().sum(dim=(0, 1, 3)))
    assert (rows.min().item(), rows.max().item()) == (15 - REACH // 2, 15 + REACH // 2)


def test_a_patients_score_is_the_mean_over_the_cells_of_all_slides() -> None:
    scores = torch.tensor([[[[1.0, 2.0]]], [[[6.0, 0.0]]], [[[5.0, 7.0]]]])
    valid = torch.tensor([[[[1.0, 1.0]]], [[[1.0, 0.0]]], [[[1.0, 1.0]]]])
    found = patient_scores(scores, valid, torch.tensor([0, 0, 1]), 2)
    torch.testing.assert_close(found, torch.tensor([[3.0], [6.0]]))


def test_the_bottleneck_begins_at_the_leading_components() -> None:
    """Against numpy's own decomposition: first layer outputs are uncorrelated, the strongest with variance 4."""
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(4000, 3)) @ rng.normal(size=(3, 24)) + 0.05 * rng.normal(size=(4000, 24)) + 7
    network = GridCNN(24)
    network.start_from(torch.tensor(codes))
    standard = (torch.tensor(codes, dtype=torch.float32) - network.mean) / network.deviation
    out = (standard @ network.bottleneck.weight[:, :, 0, 0].T).detach().numpy()
    covariance = np.cov(out.T)
    variance = np.linalg.svd((codes - codes.mean(0)) / codes.std(0), compute_uv=False) ** 2
    np.testing.assert_allclose(np.diag(covariance)[::-1], 4 * (variance / variance[0])[:16], rtol=2e-3, atol=1e-5)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-3


def test_a_dimension_that_never_varies_does_no_harm(network: GridCNN) -> None:
    codes = torch.randn(50, 8)
    codes[:, 3] = 5
    network.start_from(codes)
    assert torch.isfinite(network(*grid(4, 4))).all()


def test_rescaling_moves_every_score_alike(network: GridCNN) -> None:
    codes, valid = grid(6, 6)
    before = network(codes, valid)
    network.rescale(3, -2)
    torch.testing.assert_close(network(codes, valid), (3 * before - 2) * valid)
