"""The bidirectional GAN: encoder and generator against one discriminator of pairs (tile, code)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nic.encoder.network import CODE_SIZE, TileDecoder, TileEncoder
from nic.encoder.objective import Unsupervised
from nic.encoder.tile_stream import TrainingBatch

DISCRIMINATOR = 0
"""The first of the two players; the other is the encoder with the generator."""


def judged_real(real: Tensor, made: Tensor) -> Tensor:
    """-log D(x, E(x)) - log(1 - D(G(z), z)), mean over tiles: what the discriminator minimises.

    real, made: logits [B] that it gives a tile with its code, and a code with its tile. The other players minimise the
    same with the two exchanged, whose gradient does not vanish while the discriminator is sure of itself.
    """
    return nn.functional.softplus(-real.float()).mean() + nn.functional.softplus(made.float()).mean()


def mistaken(tiles: Tensor, painted: Tensor) -> Tensor:
    """Share of the other tiles that are nearer to a painted tile than its original, mean over tiles.

    Both: [B, 3, px, px]. By chance 0.5, at best 0. It decides when to stop: a player's loss depends on how good the
    other is, and the squared error prefers plain grey to a good copy that is slightly out of place.
    """
    distance = torch.cdist(painted.float().flatten(1), tiles.float().flatten(1))  # [painted, tiles]
    return (distance < distance.diagonal()[:, None]).float().mean() * len(tiles) / max(1, len(tiles) - 1)


class _Discriminator(nn.Module):
    """Logit [B] that a pair is a real tile with its code, not a painted one. Ours: the published one is not known."""

    def __init__(self) -> None:
        super().__init__()
        self.tile = TileEncoder().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        layers = [nn.Linear(2 * CODE_SIZE, 2 * CODE_SIZE), nn.LeakyReLU(0.2), nn.Linear(2 * CODE_SIZE, 1)]
        self.pair = nn.Sequential(nn.LeakyReLU(0.2), *layers)

    def forward(self, tiles: Tensor, codes: Tensor) -> Tensor:
        logits: Tensor = self.pair(torch.cat([self.tile(tiles), codes], 1))
        return logits.squeeze(1)


class BiGan(Unsupervised):
    """min over E and G, max over D of log D(x, E(x)) + log(1 - D(G(z), z)), in turns. Source: Donahue et al. 2017.

    z: from N(0, 1). Half the usual momentum, as GANs want it (Radford et al. 2016).
    """

    name = "bigan"
    momentum = (0.5, 0.5)

    def __init__(self) -> None:
        super().__init__()
        self.generator = TileDecoder()
        self.discriminator = _Discriminator()

    def players(self) -> Sequence[nn.Module]:
        return [self.discriminator, nn.ModuleList([self.encoder, self.generator])]

    def loss(self, batch: TrainingBatch, player: int, random: torch.Generator) -> Tensor:
        (tiles,) = batch.views
        drawn = torch.randn(len(tiles), CODE_SIZE, generator=random, device=random.device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and player != DISCRIMINATOR):
            codes, painted = self.encoder(tiles), self.generator(drawn)
        real, made = self.discriminator(tiles, codes), self.discriminator(painted, drawn)
        return judged_real(real, made) if player == DISCRIMINATOR else judged_real(made, real)

    def held_out_loss(self, batch: TrainingBatch, random: torch.Generator) -> Tensor:
        """How often tiles painted from their codes are mistaken for others; see mistaken."""
        (tiles,) = batch.views
        return mistaken(tiles, self.generator(self.encoder(tiles)))
