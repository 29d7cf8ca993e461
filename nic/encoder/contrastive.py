"""The contrastive objective: two augmented views of a tile are to find each other among all tiles."""

import torch
from torch import Tensor, nn

from nic.encoder.network import CODE_SIZE
from nic.encoder.objective import Unsupervised
from nic.encoder.tile_stream import TrainingBatch

TEMPERATURE = 0.1


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross-entropy of pairs of views, [B, D] each; a scalar. Source: Chen et al. 2020.

    Each of the 2B vectors is to find its partner among the other 2B - 1 by cosine / temperature.
    """
    with torch.autocast(first.device.type, enabled=False):  # a cosine of 0.99 in bfloat16 has an error of 0.004
        vectors = nn.functional.normalize(torch.cat([first, second]).float())
        similarity = vectors @ vectors.T / temperature
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    partner = torch.arange(len(vectors), device=vectors.device).roll(len(first))
    return nn.functional.cross_entropy(similarity.masked_fill(itself, -torch.inf), partner)


class Contrastive(Unsupervised):
    """NT-Xent on two views, behind a projection that is dropped when the encoder is exported.

    temperature: the published one is not known. The views are augmented as in any training, so the strength of
    augmentation decides which differences codes ignore.
    """

    name = "contrastive"
    views = 2

    def __init__(self, temperature: float = TEMPERATURE) -> None:
        super().__init__()
        self.temperature = temperature
        self.projection = nn.Sequential(nn.ReLU(), nn.Linear(CODE_SIZE, CODE_SIZE), nn.ReLU(), nn.Linear(CODE_SIZE, 64))

    def loss(self, batch: TrainingBatch, player: int, random: torch.Generator) -> Tensor:
        first, second = self.projection(self.encoder(torch.cat(batch.views))).chunk(2)
        return nt_xent(first, second, self.temperature)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}"
