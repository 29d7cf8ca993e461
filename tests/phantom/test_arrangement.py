"""The yardstick's own check: on true tissue maps only the arrangement shows the growth pattern.

A small CNN with an additive head must find it; gated attention MIL and a linear model of pooled cells, which see every
cell but not where it lies, must stay at chance. If they did not, a tile or an average would leak the label.
"""

from itertools import pairwise

import numpy as np
import pytest
import torch
from liver_truth import truth_map
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import nn

from nic.phantom.liver import liver_layout
from nic.phantom.synthetic_patients import liver_patients

Maps = tuple[torch.Tensor, torch.Tensor, NDArray[np.int64]]

pytestmark = pytest.mark.slow

SIDE, CLASSES, TRAIN, TEST = 32, 5, 64, 128


class GridNet(nn.Module):
    """Cells scored by what lies around them; the prediction is the mean over tissue."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        sizes = [CLASSES, width, width, width, width]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Conv2d(width, 1, 1))

    def forward(self, maps: torch.Tensor, tissue: torch.Tensor) -> torch.Tensor:
        scores = self.body(maps)[:, 0] * tissue
        return 10 * scores.sum(dim=(1, 2)) / tissue.sum(dim=(1, 2))


class AttentionMIL(nn.Module):
    """Ilse et al. 2018, gated: cells as a bag."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(CLASSES, width), nn.ReLU())
        self.tanh, self.gate, self.score = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, 1)
        self.head = nn.Linear(width, 1)

    def forward(self, maps: torch.Tensor, tissue: torch.Tensor) -> torch.Tensor:
        cells = self.embed(maps.flatten(2).transpose(1, 2))
        score = self.score(torch.tanh(self.tanh(cells)) * torch.sigmoid(self.gate(cells)))[..., 0]
        weight = score.masked_fill(tissue.flatten(1) == 0, -torch.inf).softmax(dim=1)
        return self.head((weight[..., None] * cells).sum(dim=1))[:, 0]


@pytest.fixture(scope="module")
def maps() -> Maps:
    """Noisy one-hot maps [N, CLASSES, SIDE, SIDE], tissue [N, SIDE, SIDE] and true patterns [N]."""
    patients, slides = liver_patients(11, TRAIN, TEST)
    first = {slide.slide_id.split("-")[0]: slide for slide in reversed(slides)}
    rng = np.random.default_rng(0)
    found = np.zeros((len(first), SIDE, SIDE), np.int64)
    for i, patient in enumerate(patients.truth.patient):
        cells = truth_map(liver_layout(first[patient], rng))
        found[i, : cells.shape[0], : cells.shape[1]] = cells
    hot = np.eye(CLASSES, dtype=np.float32)[found]
    hot += 0.3 * rng.standard_normal(hot.shape, dtype=np.float32)
    tissue = torch.from_numpy((found > 0).astype(np.float32))
    planes = torch.from_numpy(hot).permute(0, 3, 1, 2) * tissue[:, None]
    return planes, tissue, patients.truth.desmoplastic.to_numpy(copy=True)


def interval(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> tuple[float, float, float]:
    """AUC with its 95% patient bootstrap."""
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(labels), len(labels)) for _ in range(1000)]
    values = [roc_auc_score(labels[draw], scores[draw]) for draw in draws]
    low, high = stats.mstats.mquantiles(values, [0.025, 0.975])
    return float(roc_auc_score(labels, scores)), float(low), float(high)


def trained(model: nn.Module, maps: Maps, epochs: int) -> NDArray[np.float64]:
    planes, tissue, labels = maps
    wanted = torch.from_numpy(labels).float()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=epochs * (TRAIN // 16))
    for _ in range(epochs):
        for batch in torch.randperm(TRAIN).split(16):
            turn, flip = int(torch.randint(4, ())), bool(torch.randint(2, ()))
            views = [torch.rot90(t[batch], turn, (-2, -1)) for t in (planes, tissue)]
            views = [view.flip(-1) if flip else view for view in views]
            loss = nn.functional.binary_cross_entropy_with_logits(model(*views), wanted[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        return np.asarray(model(planes[TRAIN:], tissue[TRAIN:]).double())


def test_a_small_cnn_finds_the_arrangement(maps: Maps) -> None:
    torch.manual_seed(0)
    auc, low, high = interval(maps[2][TRAIN:], trained(GridNet(), maps, epochs=80))
    print(f"CNN {auc:.3f} [{low:.3f}, {high:.3f}]")
    assert auc > 0.9


def test_attention_over_a_bag_of_cells_stays_at_chance(maps: Maps) -> None:
    torch.manual_seed(0)
    auc, low, high = interval(maps[2][TRAIN:], trained(AttentionMIL(), maps, epochs=80))
    print(f"MIL {auc:.3f} [{low:.3f}, {high:.3f}]")
    assert low < 0.5 < high


def test_pooled_cells_stay_at_chance(maps: Maps) -> None:
    planes, tissue, labels = maps
    mean = (planes.sum(dim=(2, 3)) / tissue.sum(dim=(1, 2))[:, None]).numpy()
    model = LogisticRegression().fit(mean[:TRAIN] / mean[:TRAIN].std(axis=0), labels[:TRAIN])
    scores = model.decision_function(mean[TRAIN:] / mean[:TRAIN].std(axis=0))
    auc, low, high = interval(labels[TRAIN:], scores)
    print(f"pooled {auc:.3f} [{low:.3f}, {high:.3f}]")
    assert low < 0.5 < high
