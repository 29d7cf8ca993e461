"""What counts as equal: rounding grows with the numbers, a fault stays one."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nic.errors import ParityFailed
from nic.graphs.parity import parity
from nic.graphs.write import export_graph
from nic.tracking.serving_checks import largest_difference

LARGE, SMALL = np.array([500.0, -0.25], np.float32), np.array([0.5, -0.25], np.float32)


def test_a_difference_is_a_share_of_the_largest_number_above_one() -> None:
    assert parity([(LARGE, LARGE + np.float32(0.05))]) == pytest.approx(1e-4, rel=1e-2)
    assert parity([(SMALL, SMALL + np.float32(0.05))]) == pytest.approx(0.05, rel=1e-4)


def test_each_output_is_compared_with_its_own_numbers() -> None:
    assert parity([(LARGE, LARGE), (SMALL, SMALL + np.float32(0.05))]) == pytest.approx(0.05, rel=1e-4)


@pytest.mark.parametrize("place", [0, 1])
def test_a_number_that_is_not_finite_is_not_hidden_by_another_output(place: int) -> None:
    pairs = [(SMALL, SMALL.copy()), (SMALL, SMALL.copy())]
    pairs[place][1][0] = np.nan
    assert math.isnan(parity(pairs))


class Scores(nn.Module):
    """Scores of about `size`. fault: share of them by which the graph differs."""

    def __init__(self, size: float, fault: float = 0.0) -> None:
        super().__init__()
        self.layer, self.size, self.fault = nn.Linear(64, 8), size, fault

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.layer(codes) * self.size
        return scores * (1 + self.fault) if torch.compiler.is_exporting() else scores


def exported(network: nn.Module, file: Path) -> float:
    generator = torch.Generator().manual_seed(0)
    return export_graph(network, {"codes": torch.randn(400, 64, generator=generator)}, ["scores"], {}, {}, file)


def test_large_scores_may_be_rounded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    assert exported(Scores(3e4), tmp_path / "large.onnx") < 1e-5
    assert (tmp_path / "large.onnx").is_file()


@pytest.mark.parametrize("size", [1.0, 3e4])
def test_a_fault_is_seen_at_any_size(tmp_path: Path, size: float) -> None:
    with pytest.raises(ParityFailed, match="graph and torch differ by"):
        exported(Scores(size, 1e-3), tmp_path / "wrong.onnx")
    assert not (tmp_path / "wrong.onnx").exists()


def test_served_answers_are_compared_as_shares_of_large_numbers() -> None:
    registered = [{"prediction": 1500.0, "low": 0.2}]
    assert largest_difference(registered, [{"prediction": 1500.003, "low": 0.2}]) == pytest.approx(2e-6)
    assert largest_difference(registered, [{"prediction": 1500.0, "low": 0.3}]) == pytest.approx(0.1)
    assert math.isnan(largest_difference(registered, [{"prediction": 1500.0, "low": math.nan}]))
    assert largest_difference(registered, [{"prediction": 1500.0}]) == math.inf
