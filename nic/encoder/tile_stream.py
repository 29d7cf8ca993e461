"""The tiles of a training: batches of an epoch, and the tiles that are held out."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nic.encoder.network import scaled
from nic.tasks.augment import augment
from nic.tasks.tile_task import TileSet
from nic.threads import map_ahead
from nic.training_device import pinned, sent

Gathered = tuple[Tensor, tuple[Tensor, ...]]
"""Tiles uint8 [B, K, px, px, 3] of K steps, one task after another, and the labels int64 [share, K] of each task."""
AT_ONCE = 256
AT_ONCE_ON_GPU = 1024
"""Tiles that are gathered and augmented together: with fewer, a GPU waits for the host to launch its kernels."""
RESIDENT_SHARE = 0.25
"""Share of a GPU's free memory that all tiles may take; if they need more, batches are read from the files."""


@dataclass(frozen=True)
class TrainingBatch:
    """views: augmented tiles, each float [B, 3, px, px] in [-1, 1]. labels: int64 of each task, B in all.

    The tiles lie one task after another, in the order of the labels.
    """

    views: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]


class Generators(NamedTuple):
    """host: for draws on the CPU. device: for draws of the losses; on a CPU it is the same."""

    host: torch.Generator
    device: torch.Generator

    @classmethod
    def of(cls, seed: int, device: torch.device) -> "Generators":
        host = torch.Generator().manual_seed(seed)
        return cls(host, host if device.type == "cpu" else torch.Generator(device).manual_seed(seed))


def augmented(tiles: Tensor, views: int, strength: str, random: torch.Generator) -> tuple[Tensor, ...]:
    """Tiles uint8 [B, px, px, 3] as the network takes them, `views` times, each time augmented differently.

    random: on the CPU.
    """
    pixels = tiles.permute(0, 3, 1, 2).contiguous().float().div_(255)
    return tuple(augment(pixels, strength, random).mul(2).sub_(1) for _ in range(views))


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed for all draws of an epoch, so that a training can resume at any."""
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])


class TileStore:
    """The tiles of all tasks, and the device that they are sent to.

    A place is an index into the tiles of all tasks, one task after another. tiles: all of them, uint8 [N, px, px, 3],
    on the device, where it is a GPU with room for them.
    """

    def __init__(self, tile_sets: Sequence[TileSet], device: torch.device) -> None:
        self.tile_sets, self.device = tile_sets, device
        counts = [len(tile_set.labels) for tile_set in tile_sets]
        self.starts = np.cumsum([0, *counts[:-1]])
        self.labels = np.concatenate([tile_set.labels for tile_set in tile_sets])
        self.tiles: Tensor | None = None
        if device.type == "cuda":
            free_bytes, _ = torch.cuda.mem_get_info(device)
            if sum(tile_set.tiles.nbytes for tile_set in tile_sets) <= RESIDENT_SHARE * free_bytes:
                self.tiles = self._all()

    def gathered(self, batches: Iterable[NDArray[np.intp]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Tiles uint8 [n, px, px, 3] and labels int64 [n] on the device, for each array of places [n].

        Threads read tiles from the files ahead of the network.
        """
        if self.tiles is not None:
            for places in batches:
                labels = torch.from_numpy(self.labels[places])
                where = sent(torch.from_numpy(places), self.device)
                yield self.tiles.index_select(0, where), sent(labels, self.device)
            return
        with closing(map_ahead(self._read, batches)) as ahead:
            for tiles, labels in ahead:
                yield tiles.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)

    def _read(self, places: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        task = np.searchsorted(self.starts, places, side="right") - 1
        tiles = np.empty((len(places), *self.tile_sets[0].tiles.shape[1:]), np.uint8)
        for number in np.unique(task):
            its = task == number
            tiles[its] = self.tile_sets[number].tiles[places[its] - self.starts[number]]
        labels = torch.from_numpy(self.labels[places])
        return pinned(torch.from_numpy(tiles), self.device), pinned(labels, self.device)

    def _all(self) -> Tensor:
        """Copied in pieces, so that the files are never in memory whole."""
        tiles = torch.empty(
            (len(self.labels), *self.tile_sets[0].tiles.shape[1:]), dtype=torch.uint8, device=self.device
        )
        for start, tile_set in zip(self.starts, self.tile_sets, strict=True):
            for first in range(0, len(tile_set.tiles), AT_ONCE_ON_GPU):
                piece = torch.from_numpy(np.array(tile_set.tiles[first : first + AT_ONCE_ON_GPU]))
                tiles[start + first :][: len(piece)] = sent(piece, self.device)
        return tiles


@dataclass(frozen=True)
class Epoch:
    """The batches of one epoch: every task in equal shares, each class of a task equally often.

    chosen: of each task of the store, the tiles to draw from. share: tiles of a task in a batch.
    """

    store: TileStore
    chosen: Sequence[NDArray[np.intp]]
    share: int
    steps: int
    seed: int

    @property
    def steps_at_once(self) -> int:
        """Steps whose tiles are gathered and augmented together: one on a CPU, which does not wait for launches."""
        return max(1, AT_ONCE_ON_GPU // self.batch) if self.store.device.type == "cuda" else 1

    @property
    def batch(self) -> int:
        return self.share * len(self.chosen)

    def __len__(self) -> int:
        return -(-self.steps // self.steps_at_once)

    def __iter__(self) -> Iterator[Gathered]:
        rng = np.random.default_rng(self.seed)
        members = [_Members.of(*task) for task in zip(self.store.tile_sets, self.chosen, strict=True)]
        steps = (self._step(members, rng) for _ in range(self.steps))
        # Tiles of one place in several steps are neighbours: augmentation makes each eighth of its input another D4
        # variant, so that each step has all eight.
        groups = iter(lambda: list(islice(steps, self.steps_at_once)), [])
        together = (np.stack(places, axis=1).ravel() for places in groups)
        for tiles, labels in self.store.gathered(together):
            by_step = labels.view(self.batch, -1)
            yield tiles.view(*by_step.shape, *tiles.shape[1:]), torch.split(by_step, self.share)

    def _step(self, members: Sequence["_Members"], rng: np.random.Generator) -> NDArray[np.intp]:
        drawn = [start + task.draw(self.share, rng) for start, task in zip(self.store.starts, members, strict=True)]
        return np.concatenate(drawn)


@dataclass(frozen=True)
class _Members:
    """tiles: indices sorted by class. starts, sizes: where a class begins among them, and how many it has."""

    tiles: NDArray[np.intp]
    starts: NDArray[np.intp]
    sizes: NDArray[np.intp]

    @classmethod
    def of(cls, tile_set: TileSet, which: NDArray[np.intp]) -> "_Members":
        labels = tile_set.labels[which]
        sizes = np.bincount(labels, minlength=len(tile_set.task.classes))
        return cls(which[np.argsort(labels, kind="stable")], sizes.cumsum() - sizes, sizes)

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
        classes = rng.integers(len(self.sizes), size=count)
        places = self.starts[classes] + rng.integers(self.sizes[classes])
        return np.asarray(self.tiles[places])


@dataclass(frozen=True)
class HeldOut:
    """The tiles of every task that are held out of the training.

    chosen: of each task of the store. augmentation, seed: those of the training. batch_size: of augmented batches.
    """

    store: TileStore
    chosen: Sequence[NDArray[np.intp]]
    augmentation: str
    batch_size: int
    seed: int

    @property
    def parts(self) -> list[tuple[TileSet, NDArray[np.intp]]]:
        """The tiles of each task, and which of them are held out."""
        return list(zip(self.store.tile_sets, self.chosen, strict=True))

    def __len__(self) -> int:
        return sum(len(which) for which in self.chosen)

    def generators(self) -> Generators:
        """The same draws at each call, so that epochs are comparable."""
        return Generators.of(self.seed, self.store.device)

    def plain(self, task: int) -> Iterator[Tensor]:
        """Tiles of a task, by its number, not augmented: float [<= 256, 3, px, px] in [-1, 1]."""
        places = self.store.starts[task] + self.chosen[task]
        for tiles, _ in self.store.gathered(
            places[first : first + AT_ONCE] for first in range(0, len(places), AT_ONCE)
        ):
            yield scaled(tiles).contiguous(memory_format=torch.channels_last)

    def batches(self, views: int, random: torch.Generator) -> Iterator[TrainingBatch]:
        """Tiles of all tasks mixed and augmented, in batches that differ in size by one at most; without labels.

        random: on the CPU.
        """
        places = np.concatenate([start + which for start, which in zip(self.store.starts, self.chosen, strict=True)])
        order = np.random.default_rng(self.seed).permutation(len(places))
        batches = np.array_split(places[order], max(1, len(order) // self.batch_size))
        for tiles, _ in self.store.gathered(batches):
            yield TrainingBatch(augmented(tiles, views, self.augmentation, random), ())
