"""The tiles that an encoder sees, whatever it is trained for: batches of an epoch, and the tiles that are held out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nic.encoder.network import scaled
from nic.tasks.augment import augment
from nic.tasks.tile_task import TileSet
from nic.threads import done_ahead

Part = tuple[TileSet, NDArray[np.intp]]
"""A task's tiles and which of them are meant."""
Gathered = tuple[Tensor, tuple[Tensor, ...]]
"""Tiles uint8 [B, px, px, 3], one task after another, and the labels int64 of each task."""
AT_ONCE = 256


@dataclass(frozen=True)
class Batch:
    """views: augmented tiles, each float [B, 3, px, px] in [-1, 1]. labels: int64 of each task, B in all.

    The tiles lie one task after another, in the order of the labels.
    """

    views: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]


def augmented(tiles: Tensor, views: int, strength: str, random: torch.Generator) -> tuple[Tensor, ...]:
    """Tiles uint8 [B, px, px, 3] as the network takes them, `views` times, each time augmented differently."""
    pixels = tiles.permute(0, 3, 1, 2).contiguous().float().div_(255)
    return tuple(augment(pixels, strength, random).mul(2).sub_(1) for _ in range(views))


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed for all that is drawn in an epoch, so that a training can begin at any."""
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])


@dataclass(frozen=True)
class Epoch:
    """The batches of one epoch: every task in equal shares, each class of a task equally often.

    share: tiles of a task in a batch. Tiles are gathered from the mapped files by threads, ahead of the network.
    """

    parts: Sequence[Part]
    share: int
    steps: int
    seed: int

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Gathered]:
        rng = np.random.default_rng(self.seed)
        members = [_Members.of(part) for part in self.parts]
        draws = ([task.draw(self.share, rng) for task in members] for _ in range(self.steps))
        return done_ahead(self._gather, draws)

    def _gather(self, chosen: Sequence[NDArray[np.intp]]) -> Gathered:
        sets = [tile_set for tile_set, _ in self.parts]
        tiles = np.concatenate([t.tiles[which] for t, which in zip(sets, chosen, strict=True)])
        labels = [torch.from_numpy(t.labels[which]) for t, which in zip(sets, chosen, strict=True)]
        return torch.from_numpy(tiles), tuple(labels)


@dataclass(frozen=True)
class _Members:
    """tiles: indices sorted by class. starts, sizes: where a class begins among them, and how many it has."""

    tiles: NDArray[np.intp]
    starts: NDArray[np.intp]
    sizes: NDArray[np.intp]

    @classmethod
    def of(cls, part: Part) -> "_Members":
        tile_set, which = part
        labels = tile_set.labels[which]
        sizes = np.bincount(labels, minlength=len(tile_set.task.classes))
        return cls(which[np.argsort(labels, kind="stable")], sizes.cumsum() - sizes, sizes)

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
        classes = rng.integers(len(self.sizes), size=count)
        places = self.starts[classes] + rng.integers(self.sizes[classes])
        return np.asarray(self.tiles[places])


@dataclass(frozen=True)
class HeldOut:
    """Tiles of every task that training does not see.

    augmentation, seed: those of the training. batch_size: of augmented batches.
    """

    parts: Sequence[Part]
    augmentation: str
    batch_size: int
    seed: int
    device: torch.device

    def __len__(self) -> int:
        return sum(len(which) for _, which in self.parts)

    def generator(self) -> torch.Generator:
        """The same draws every time, so that epochs are compared on equal terms."""
        return torch.Generator(self.device).manual_seed(self.seed)

    def plain(self, part: Part) -> Iterator[Tensor]:
        """Tiles of a task as they are, float [<= 256, 3, px, px] in [-1, 1]."""
        tile_set, which = part
        for first in range(0, len(which), AT_ONCE):
            tiles = torch.from_numpy(tile_set.tiles[which[first : first + AT_ONCE]]).to(self.device)
            yield scaled(tiles).contiguous(memory_format=torch.channels_last)

    def batches(self, views: int, random: torch.Generator) -> Iterator[Batch]:
        """Tiles of all tasks mixed and augmented, in batches that differ in size by one at most; without labels."""
        places = [(part, place) for part, (_, which) in enumerate(self.parts) for place in which]
        order = np.random.default_rng(self.seed).permutation(len(places))
        for chosen in np.array_split(order, max(1, len(order) // self.batch_size)):
            tiles = np.stack([self.parts[part][0].tiles[place] for part, place in (places[i] for i in chosen)])
            views_of = augmented(torch.from_numpy(tiles).to(self.device), views, self.augmentation, random)
            yield Batch(views_of, ())
