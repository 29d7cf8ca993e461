"""Glimpses: places within tissue, a map whose mean is the score, exact policy gradients, and a policy that learns."""

from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from nic.compression.compressed_slide import CompressedSlide
from nic.graphs.run import OnnxGraph
from nic.graphs.write import export_graph
from nic.patients.choices import Recipe
from nic.patients.crops import PatientCells, SlideCells
from nic.patients.glimpses import Glimpses, glimpse_path, middle_of_tissue, most_probable, policy_loss
from nic.patients.networks import patient_scores
from nic.patients.targets import Classes, Survival, Targets
from nic.patients.training import Chunk, drawn, fit_network, scores_in_turn, scores_of

SlideOf = Callable[..., CompressedSlide]


def network_of(glimpses: int = 6, outputs: int = 1) -> Glimpses:
    torch.manual_seed(0)
    network = Glimpses(8, width=8, hidden=12, glimpses=glimpses, outputs=outputs).eval()
    network.start_from(torch.randn(500, 8) * torch.arange(1.0, 9) + 3)
    return network


def grid(rows: int, cols: int, slides: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    valid = (torch.rand(slides, 1, rows, cols, generator=generator) < 0.7).float()
    valid[:, :, 0, 0] = 1
    return 3 + torch.randn(slides, 8, rows, cols, generator=generator) * valid, valid


def test_the_path_begins_in_the_middle_and_goes_to_other_cells_of_tissue(slide_of: SlideOf) -> None:
    kinds = np.zeros((30, 40), int)
    kinds[12:21, 20:33] = np.random.default_rng(0).integers(1, 4, (9, 13))
    kinds[16, 26] = 0  # the middle itself is glass
    slide = slide_of(kinds, np.random.default_rng(1))
    network = network_of()
    path = glimpse_path(network, slide)
    assert path.shape == (6, 2)
    assert slide.valid[tuple(path.T)].all()
    assert len({tuple(place) for place in path.tolist()}) == 6
    assert np.abs(path[0] - (16, 26)).sum() == 1
    np.testing.assert_array_equal(path, glimpse_path(network, slide))


def test_the_first_place_is_the_valid_cell_nearest_to_the_middle() -> None:
    _, valid = grid(9, 12, slides=20)
    for one, place in zip(valid[:, 0].numpy(), middle_of_tissue(valid).tolist(), strict=True):
        cells = np.argwhere(one)
        distance = ((cells - cells.mean(0).astype(int)) ** 2).sum(1)
        assert tuple(cells[distance.argmin()]) == divmod(place, 12)


@pytest.mark.parametrize("shape", [(7, 9), (1, 2)])
def test_the_map_holds_the_score_at_the_glimpses(shape: tuple[int, int]) -> None:
    """Where there are fewer cells than glimpses, each is seen as often, to within one."""
    network, (codes, valid) = network_of(outputs=2), grid(*shape)
    with torch.no_grad():
        walk = network.walk(network.bottleneck.of_raw(codes, network.mean, network.deviation), valid, most_probable)
        score, maps = network.head(walk.state)[0], network(codes, valid)[0]
    visits = np.bincount(walk.places[0].numpy(), minlength=shape[0] * shape[1]).reshape(shape)
    assert visits[valid[0, 0] == 0].sum() == 0
    assert np.ptp(visits[valid[0, 0] == 1]) <= 1
    expected = score[:, None, None].numpy() * visits / 6 * valid.sum().item()
    np.testing.assert_allclose(maps.numpy(), expected, rtol=1e-5)
    torch.testing.assert_close(maps.sum((1, 2)) / valid.sum(), score)


def test_a_glimpse_shows_nine_cells_across() -> None:
    """Where all glimpses are at one place, the score sees no other cells."""
    network = network_of()
    codes, valid = torch.randn(1, 8, 21, 21, requires_grad=True), torch.ones(1, 1, 21, 21)
    x = network.bottleneck.of_raw(codes, network.mean, network.deviation)
    network.head(network.walk(x, valid, lambda logit: torch.tensor([220])).state).sum().backward()
    assert codes.grad is not None
    size = codes.grad.abs().sum((0, 1))
    rows, cols = torch.nonzero(size, as_tuple=True)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (6, 14, 6, 14)


def test_the_policys_gradient_has_the_mean_of_the_gradient_of_the_expected_loss() -> None:
    """All walks over two slides of one patient, three glimpses each, against the expectation as a sum of products."""
    network = network_of(glimpses=3).double()
    codes, valid = torch.randn(2, 8, 2, 2).double() + 3, torch.ones(2, 1, 2, 2).double()
    patient = torch.zeros(2, dtype=torch.int64)
    first = middle_of_tissue(valid)
    learned = [parameter for name, parameter in network.named_parameters() if not name.startswith("baseline")]

    def gradient(value: torch.Tensor) -> torch.Tensor:
        parts = torch.autograd.grad(value, learned, allow_unused=True)
        return torch.cat(
            [torch.zeros(p.numel()) if g is None else g.flatten() for p, g in zip(learned, parts, strict=True)]
        )

    def walked(steps: tuple[tuple[int, ...], ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The patient's loss, what is added to it, and the walk's probability."""
        places = iter(torch.tensor(steps).T)
        x = network.bottleneck.of_raw(codes, network.mean, network.deviation)
        walk = network.walk(x, valid, lambda logit: next(places))
        loss = (patient_scores(network.maps(walk, valid), valid, patient, 1)[:, 0] - 1.3).square()
        return loss.sum(), policy_loss(walk, patient, loss.detach()), walk.log_probability.sum().exp()

    others = [list(permutations([cell for cell in range(4) if cell != int(middle)], 2)) for middle in first]
    walks = list(product(*others))
    exact = torch.zeros(())
    estimate = torch.zeros(sum(parameter.numel() for parameter in learned)).double()
    for steps in walks:
        loss, extra, probability = walked(steps)
        estimate += probability.item() * gradient(loss + extra)
        exact = exact + walked(steps)[2] * walked(steps)[0]
    assert sum(walked(steps)[2].item() for steps in walks) == pytest.approx(1)
    torch.testing.assert_close(estimate, gradient(exact).double(), rtol=1e-9, atol=1e-12)
    assert estimate.abs().max() > 0.01


def test_the_second_pass_of_survival_draws_the_same_places(marked) -> None:
    slides, _, _ = marked
    cells = [PatientCells(str(n), (SlideCells.of(slide),)) for n, slide in enumerate(slides[:12])]
    network, cpu = network_of().train(), torch.device("cpu")
    chunks = [Chunk(part, part) for part in np.array_split(np.arange(12), 3)]
    batches = [drawn(network, cells, cpu, chunk) for chunk in chunks]
    first, again = (list(scores_in_turn(network, batches, torch.float32)) for _ in range(2))
    assert all(torch.equal(one.scores, other.scores) for one, other in zip(first, again, strict=True))
    others = [Chunk(part, part + 100) for part in np.array_split(np.arange(12), 3)]
    third = scores_in_turn(network, [(c, batch) for c, (_, batch) in zip(others, batches, strict=True)], torch.float32)
    assert not torch.equal(next(third).scores, first[0].scores)


@pytest.fixture(scope="module")
def marked(slide_of: SlideOf) -> tuple[list[CompressedSlide], list[tuple[int, int]], np.ndarray]:
    """72 slides, the corner of the one 3x3 mark in each, and of which of two kinds it is."""
    rng = np.random.default_rng(0)
    positive = np.arange(72) % 2 == 0
    corners = [(int(rng.integers(0, 12)), int(rng.integers(0, 12))) for _ in positive]
    slides = []
    for (row, col), of_second in zip(corners, positive, strict=True):
        kinds = np.ones((14, 14), int)
        kinds[row : row + 3, col : col + 3] = 2 + of_second
        slides.append(slide_of(kinds, rng))
    return slides, corners, positive


@pytest.mark.parametrize("kind", ["classification", "survival"])
def test_it_learns_where_to_look_and_what_that_means(marked, kind: str) -> None:
    slides, corners, positive = marked
    cells = [PatientCells(str(n), (SlideCells.of(slide),)) for n, slide in enumerate(slides)]
    death = np.random.default_rng(1).exponential(np.where(positive, 5, 50)) + 0.1
    targets: Targets = Classes(positive, ("a", "b")) if kind == "classification" else Survival(death, death < 60)
    train, epochs = np.arange(72) < 48, 30 if kind == "classification" else 60
    network = fit_network(cells[:48], targets.take(train), Recipe("glimpses", epochs=epochs), seed=0)
    assert isinstance(network, Glimpses)
    assert roc_auc_score(positive[48:], scores_of(network, cells[48:])) > 0.85
    middles = np.add(corners, 1)
    distance = [np.abs(glimpse_path(network, s)[1:] - m).max(1).min() for s, m in zip(slides, middles, strict=True)]
    near = np.array(distance)[48:] <= 1  # of places drawn at random, a fifth
    # To look for one of the two marks is enough.
    assert max(near[positive[48:]].mean(), near[~positive[48:]].mean()) > 0.8


def test_the_graph_answers_as_the_network_for_slides_of_any_size(tmp_path: Path) -> None:
    network, places = network_of(glimpses=3, outputs=3), {2: "rows", 3: "cols"}

    class OneSlide(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, codes: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.network(codes, valid)[0]
            return scores

    codes, valid = grid(23, 19)
    path, axes = tmp_path / "glimpses.onnx", {"codes": places, "valid": places}
    assert export_graph(OneSlide(), {"codes": codes, "valid": valid}, ["maps"], axes, {}, path) < 1e-4
    graph = OnnxGraph(path)
    for shape in ((1, 1), (2, 1), (4, 30), (60, 41)):
        codes, valid = grid(*shape)
        with torch.no_grad():
            expected = network(codes, valid)[0].numpy()
        np.testing.assert_allclose(graph.run(codes=codes.numpy(), valid=valid.numpy())[0], expected, atol=1e-3)
