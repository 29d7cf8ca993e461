"""Each loss against a slow derivation in numpy, and what each objective takes, trains and keeps."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit, logsumexp, softmax
from torch import nn

from nic.encoder.bigan import DISCRIMINATOR, BiGan, judged_real, mistaken
from nic.encoder.contrastive import Contrastive, nt_xent
from nic.encoder.multitask import (
    FixedWeights,
    LearnedWeights,
    Multitask,
    normalised,
    task_losses,
    uniform_weights,
)
from nic.encoder.network import TileDecoder, TileEncoder
from nic.encoder.objective import Objective
from nic.encoder.tile_stream import HeldOut, TileStore, TrainingBatch
from nic.encoder.vae import Vae, kl_from_normal, squared_error
from nic.tasks.tile_task import TileSet, TileTask

rng = np.random.default_rng(0)


def tensor(*shape: int) -> torch.Tensor:
    return torch.from_numpy(rng.normal(size=shape).astype(np.float32))


def test_weights_are_normalised_to_mean_one() -> None:
    assert normalised({"a": 1, "b": 3}) == {"a": 0.5, "b": 1.5}
    assert uniform_weights(["a", "b"]) == normalised({"a": 7, "b": 7})


def test_the_multitask_loss_is_the_weighted_mean_of_cross_entropies() -> None:
    logits = [tensor(5, 2), tensor(7, 9)]
    labels = [torch.tensor([0, 1, 1, 0, 1]), torch.tensor([8, 0, 3, 3, 1, 0, 8])]
    by_hand = [
        np.mean([-math.log(softmax(row)[label]) for row, label in zip(x.double().numpy(), y.tolist(), strict=True)])
        for x, y in zip(logits, labels, strict=True)
    ]
    losses = task_losses(logits, labels)
    assert losses.numpy() == pytest.approx(np.array(by_hand), rel=1e-5)
    expected = (0.5 * by_hand[0] + 1.5 * by_hand[1]) / 2
    assert float(FixedWeights({"a": 0.5, "b": 1.5})(losses)) == pytest.approx(expected, rel=1e-5)


def test_learned_weights_are_kendalls_and_settle_where_the_loss_is_least() -> None:
    """d/ds [exp(-s) L + s / 2] = 0 at exp(s) = 2 L: a task's weight ends at 1 / (2 L)."""
    weighting, losses = LearnedWeights(["easy", "hard"]), torch.tensor([0.1, 0.8])
    with torch.no_grad():
        weighting.log_variance.copy_(torch.tensor([0.3, -0.7]))
    by_hand = np.mean([math.exp(-s) * loss + s / 2 for s, loss in [(0.3, 0.1), (-0.7, 0.8)]])
    assert weighting(losses).item() == pytest.approx(by_hand, rel=1e-5)
    optimizer = torch.optim.Adam(weighting.parameters(), 0.1)
    for _ in range(150):
        optimizer.zero_grad()
        weighting(losses).backward()
        optimizer.step()
    assert (-weighting.log_variance).exp().tolist() == pytest.approx([5.0, 0.625], rel=1e-2)
    assert weighting.weights == pytest.approx(normalised({"easy": 5.0, "hard": 0.625}), rel=1e-2)


def test_kl_from_normal_is_the_integral_it_stands_for() -> None:
    mean, log_variance = tensor(3, 4), tensor(3, 4)
    x = np.linspace(-30, 30, 60_001)

    def one(mean: float, variance: float) -> float:
        log_p = -((x - mean) ** 2) / (2 * variance) - np.log(2 * np.pi * variance) / 2
        log_q = -(x**2) / 2 - np.log(2 * np.pi) / 2
        return float(np.trapezoid(np.exp(log_p) * (log_p - log_q), x))

    pairs = np.stack([mean.numpy(), np.exp(log_variance.numpy())], -1).reshape(-1, 2)
    by_hand = sum(one(m, v) for m, v in pairs) / 3
    assert float(kl_from_normal(mean, log_variance)) == pytest.approx(by_hand, rel=1e-4)


def test_squared_error_is_summed_over_a_tile() -> None:
    tiles, painted = tensor(4, 3, 8, 8), tensor(4, 3, 8, 8)
    by_hand = sum(float((a - b) ** 2) for a, b in zip(tiles.flatten(), painted.flatten(), strict=True)) / 4
    assert float(squared_error(tiles, painted)) == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_pair_by_pair(temperature: float) -> None:
    first, second = tensor(5, 7), tensor(5, 7)
    vectors = [v / np.linalg.norm(v) for v in np.concatenate([first.numpy(), second.numpy()]).astype(float)]
    losses = []
    for i, one in enumerate(vectors):
        similarity = {j: one @ other / temperature for j, other in enumerate(vectors) if j != i}
        losses.append(logsumexp(list(similarity.values())) - similarity[(i + 5) % 10])
    assert float(nt_xent(first, second, temperature)) == pytest.approx(np.mean(losses), rel=1e-5)


def test_nt_xent_has_full_precision_under_autocast() -> None:
    first, second = tensor(8, 16), tensor(8, 16)
    with torch.autocast("cpu", torch.bfloat16):
        under = float(nt_xent(first, second, 0.1))
    assert under == pytest.approx(float(nt_xent(first, second, 0.1)), rel=1e-6)


def test_the_discriminator_minimises_what_the_slides_say_it_maximises() -> None:
    real, made = tensor(6), tensor(6)
    d_real, d_made = expit(real.double().numpy()), expit(made.double().numpy())
    by_hand = -(np.log(d_real) + np.log(1 - d_made)).mean()
    assert float(judged_real(real, made)) == pytest.approx(by_hand, rel=1e-5)


def test_the_decoder_is_as_large_as_the_encoder_and_paints_tiles() -> None:
    painted = TileDecoder()(tensor(2, 128))
    assert painted.shape == (2, 3, 64, 64)
    assert painted.abs().max() <= 1
    by_layer = [[p.numel() for p in net.parameters() if p.dim() == 4] for net in (TileEncoder(), TileDecoder())]
    assert by_layer[0] == by_layer[1][::-1]


def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def batch(views: int, tiles: int = 8) -> TrainingBatch:
    half = torch.arange(tiles // 2) % 2
    return TrainingBatch(tuple(tensor(tiles, 3, 64, 64).clamp(-1, 1) for _ in range(views)), (half, half))


OBJECTIVES = [lambda: Multitask([2, 2], FixedWeights({"a": 1.0, "b": 1.0})), Vae, Contrastive, BiGan]


@pytest.mark.parametrize("make", OBJECTIVES, ids=["multitask", "vae", "contrastive", "bigan"])
def test_each_parameter_belongs_to_one_player_and_the_encoder_learns(make: type[Objective]) -> None:
    objective = make()
    trained = [p for player in objective.players() for p in player.parameters()]
    assert len({id(p) for p in trained}) == len(trained) == len(list(objective.parameters()))
    for player, parameters in enumerate(objective.players()):
        objective.zero_grad()
        objective.loss(batch(objective.views), player, random()).backward()
        assert all(p.grad is not None for p in parameters.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in objective.encoder.code.parameters())


@pytest.mark.parametrize("make", OBJECTIVES, ids=["multitask", "vae", "contrastive", "bigan"])
def test_the_same_draws_give_the_same_loss(make: type[Objective]) -> None:
    objective = make().eval()
    sample = batch(objective.views)
    first, second = (float(objective.loss(sample, 0, random())) for _ in range(2))
    assert first == second
    assert math.isfinite(first)


def test_the_discriminator_does_not_train_the_encoder_and_the_players_oppose_each_other() -> None:
    objective, sample = BiGan().eval(), batch(1)
    objective.loss(sample, DISCRIMINATOR, random()).backward()
    assert all(p.grad is None for p in [*objective.encoder.parameters(), *objective.generator.parameters()])
    objective.discriminator.pair = nn.Sequential(nn.Linear(256, 1))
    nn.init.zeros_(objective.discriminator.pair[0].weight)
    nn.init.constant_(objective.discriminator.pair[0].bias, 2.0)  # says of all pairs that they are real
    losses = [float(objective.loss(sample, player, random())) for player in range(2)]
    assert losses == pytest.approx([-math.log(expit(2)) - math.log(1 - expit(2))] * 2, rel=1e-5)


def test_the_code_of_a_vae_is_the_mean_and_gamma_weighs_the_kl() -> None:
    weak, strong = Vae(0.0).eval(), Vae(2.0).eval()
    strong.load_state_dict(weak.state_dict())
    sample = batch(1)
    features = weak.encoder.features(sample.views[0]).flatten(1)
    kl = kl_from_normal(weak.encoder(sample.views[0]), weak.log_variance(features))
    difference = strong.loss(sample, 0, random()) - weak.loss(sample, 0, random())
    assert float(difference) == pytest.approx(2 * float(kl), rel=1e-2)


def held_out() -> HeldOut:
    tiles = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3)).astype(np.uint8)
    labels = np.repeat([0, 1], 15)
    tile_set = TileSet(TileTask("a", ("x", "y"), 1.0, Path()), tiles, labels, labels.astype(str))  # type: ignore[arg-type]
    store = TileStore([tile_set, tile_set], torch.device("cpu"))
    return HeldOut(store, [np.arange(30), np.arange(10, 20)], "light", 8, 0)


@pytest.mark.parametrize("make", OBJECTIVES, ids=["multitask", "vae", "contrastive", "bigan"])
@torch.no_grad()
def test_a_judgement_is_the_same_every_time(make: type[Objective]) -> None:
    objective = make().eval()
    first, second = objective.judge(held_out()), objective.judge(held_out())
    assert first.score == second.score
    assert first.figures == second.figures


@torch.no_grad()
def test_a_lower_loss_is_a_higher_score() -> None:
    judgement = Vae().eval().judge(held_out())
    assert judgement.score == -judgement.figures["loss"] < 0
    assert judgement.scores == ()


def test_painted_tiles_are_recognised_or_mistaken() -> None:
    tiles, painted = tensor(7, 3, 8, 8), tensor(7, 3, 8, 8)
    by_hand = np.mean(
        [
            [np.linalg.norm(painted[i] - tiles[j]) < np.linalg.norm(painted[i] - tiles[i]) for j in range(7) if j != i]
            for i in range(7)
        ]
    )
    assert float(mistaken(tiles, painted)) == pytest.approx(by_hand)
    assert float(mistaken(tiles, tiles + 0.1)) == 0
