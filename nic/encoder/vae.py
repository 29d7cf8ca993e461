"""The variational autoencoder: a code from which the tile can be reconstructed."""

import torch
from torch import Tensor, nn

from nic.encoder.network import CODE_SIZE, TileDecoder
from nic.encoder.objective import Unsupervised
from nic.encoder.tile_stream import TrainingBatch


def squared_error(tiles: Tensor, painted: Tensor) -> Tensor:
    """Squared difference summed over pixels and channels, mean over tiles. Both: [B, 3, px, px] in [-1, 1]."""
    return (tiles.float() - painted.float()).square().flatten(1).sum(1).mean()


def kl_from_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL of N(mean, variance) from N(0, 1), summed over dimensions, mean over tiles. Both: [B, D]."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2


class Vae(Unsupervised):
    """Squared reconstruction error + gamma x KL; the code is the mean. Source: Kingma & Welling 2014.

    gamma: with 1, a pixel's error counts as with a deviation of 0.7 in [-1, 1]; larger makes smoother, poorer codes.
    The published value is not known. The log variance is a second linear layer beside the code.
    """

    name = "vae"

    def __init__(self, gamma: float = 1.0) -> None:
        super().__init__()
        self.gamma = gamma
        self.log_variance = nn.Linear(self.encoder.code.in_features, CODE_SIZE)
        self.decoder = TileDecoder()

    def loss(self, batch: TrainingBatch, player: int, random: torch.Generator) -> Tensor:
        (tiles,) = batch.views
        features = self.encoder.features(tiles).flatten(1)
        mean = self.encoder.code(features).float()
        log_variance = self.log_variance(features).float().clamp(-10, 10)  # else exp() may not be finite at the start
        noise = torch.randn(mean.shape, generator=random, device=random.device)
        painted = self.decoder(mean + noise * (log_variance / 2).exp())
        return squared_error(tiles, painted) + self.gamma * kl_from_normal(mean, log_variance)

    def extra_repr(self) -> str:
        return f"gamma={self.gamma}"
