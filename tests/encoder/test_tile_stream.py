"""What an epoch draws, and what is held out."""

from pathlib import Path

import numpy as np
import torch

from nic.encoder.tile_stream import Epoch, HeldOut, augmented, epoch_seed
from nic.tasks.tile_task import TileSet, TileTask


def numbered(name: str, labels: np.ndarray) -> TileSet:
    """Tiles that say in their pixels which they are."""
    tiles = np.zeros((len(labels), 64, 64, 3), np.uint8) + np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    classes = tuple(map(str, range(labels.max() + 1)))
    return TileSet(TileTask(name, classes, 1.0, Path()), tiles, labels, labels.astype(str))  # type: ignore[arg-type]


RARE = numbered("rare", np.repeat([2, 0, 1], [3, 100, 97]))
OTHER = numbered("other", np.repeat([0, 1], 50))


def test_rare_classes_are_drawn_as_often_as_common_ones() -> None:
    train = np.arange(2, 150)  # one tile of the rare class, its number 2
    tiles, (labels,) = next(iter(Epoch([(RARE, train)], 3000, 1, 0)))
    assert np.bincount(labels).min() > 900
    numbers = tiles[:, 0, 0, 0].numpy()
    assert set(numbers) == set(train)
    assert (RARE.labels[numbers] == labels.numpy()).all()
    assert (numbers[labels == 2] == 2).all()


def test_tasks_share_a_batch_equally_one_after_another() -> None:
    epoch = Epoch([(RARE, np.arange(200)), (OTHER, np.arange(60))], 5, 7, 0)
    batches = list(epoch)
    assert len(batches) == len(epoch) == 7
    for tiles, labels in batches:
        assert tiles.shape == (10, 64, 64, 3)
        numbers = tiles[:, 0, 0, 0].numpy()
        assert (RARE.labels[numbers[:5]] == labels[0].numpy()).all()
        assert (OTHER.labels[numbers[5:]] == labels[1].numpy()).all()


def test_an_epoch_is_the_same_for_its_seed_and_no_other() -> None:
    def drawn(seed: int) -> list[int]:
        return [int(n) for tiles, _ in Epoch([(RARE, np.arange(200))], 8, 3, seed) for n in tiles[:, 0, 0, 0]]

    assert drawn(epoch_seed(0, 1)) == drawn(epoch_seed(0, 1))
    assert len({tuple(drawn(epoch_seed(*which))) for which in [(0, 0), (0, 1), (1, 0), (1, 1)]}) == 4


def test_views_of_a_batch_differ_and_are_scaled() -> None:
    tiles = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8))
    first, second = augmented(tiles, 2, "heavy", torch.Generator().manual_seed(0))
    assert not torch.equal(first, second)
    assert -1 <= first.min() < 0 < first.max() <= 1
    (plain,) = augmented(tiles, 1, "none", torch.Generator())
    assert torch.allclose(plain, tiles.permute(0, 3, 1, 2) / 127.5 - 1, atol=1e-6)


def test_every_tile_that_is_held_out_is_judged_once_in_equal_batches() -> None:
    parts = [(RARE, np.arange(0, 200, 3)), (OTHER, np.arange(10))]
    held_out = HeldOut(parts, "none", 16, 0, torch.device("cpu"))
    batches = list(held_out.batches(1, held_out.generator()))
    sizes = [len(batch.views[0]) for batch in batches]
    assert sum(sizes) == len(held_out) == 77
    assert max(sizes) - min(sizes) <= 1
    numbers = torch.cat([batch.views[0][:, 0, 0, 0] for batch in batches]).add(1).mul(127.5).round().long()
    assert sorted(numbers.tolist()) == sorted([*range(0, 200, 3), *range(10)])
    plain = torch.cat(list(held_out.plain(parts[0])))[:, 0, 0, 0].add(1).mul(127.5).round().long()
    assert plain.tolist() == list(range(0, 200, 3))
