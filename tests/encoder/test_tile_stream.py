"""What an epoch draws, and what is held out."""

from pathlib import Path

import numpy as np
import torch

from nic.encoder.tile_stream import Epoch, Generators, HeldOut, TileStore, augmented, epoch_seed
from nic.tasks.tile_task import TileSet, TileTask


def numbered(name: str, labels: np.ndarray) -> TileSet:
    """Tiles that say in their pixels which they are."""
    tiles = np.zeros((len(labels), 64, 64, 3), np.uint8) + np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    classes = tuple(map(str, range(labels.max() + 1)))
    return TileSet(TileTask(name, classes, 1.0, Path()), tiles, labels, labels.astype(str))  # type: ignore[arg-type]


RARE = numbered("rare", np.repeat([2, 0, 1], [3, 100, 97]))
OTHER = numbered("other", np.repeat([0, 1], 50))
CPU = torch.device("cpu")


def test_rare_classes_are_drawn_as_often_as_common_ones() -> None:
    train = np.arange(2, 150)  # one tile of the rare class, its number 2
    tiles, (labels,) = next(iter(Epoch(TileStore([RARE], CPU), [train], 3000, 1, 0)))
    labels = labels[:, 0]
    assert np.bincount(labels).min() > 900
    numbers = tiles[:, 0, 0, 0, 0].numpy()
    assert set(numbers) == set(train)
    assert (RARE.labels[numbers] == labels.numpy()).all()
    assert (numbers[labels == 2] == 2).all()


def test_tasks_share_a_batch_equally_one_after_another() -> None:
    epoch = Epoch(TileStore([RARE, OTHER], CPU), [np.arange(200), np.arange(60)], 5, 7, 0)
    batches = list(epoch)
    assert len(batches) == len(epoch) == 7
    for tiles, labels in batches:
        assert tiles.shape == (10, 1, 64, 64, 3)
        numbers = tiles[:, :, 0, 0, 0].numpy()
        assert (RARE.labels[numbers[:5]] == labels[0].numpy()).all()
        assert (OTHER.labels[numbers[5:]] == labels[1].numpy()).all()


class InSteps(Epoch):
    """With several steps at once, as on a GPU."""

    steps_at_once = 3


def test_steps_gathered_together_equal_steps_gathered_one_by_one() -> None:
    arguments = TileStore([RARE, OTHER], CPU), [np.arange(200), np.arange(60)], 5, 7, 0
    one_by_one, together = list(Epoch(*arguments)), list(InSteps(*arguments))
    assert len(together) == len(InSteps(*arguments)) == 3
    assert [tiles.shape[1] for tiles, _ in together] == [3, 3, 1]
    for which in range(2):
        labels = torch.cat([of_tasks[which] for _, of_tasks in together], 1)
        assert torch.equal(labels, torch.cat([of_tasks[which] for _, of_tasks in one_by_one], 1))
    tiles = torch.cat([tiles for tiles, _ in together], 1)
    assert torch.equal(tiles, torch.cat([tiles for tiles, _ in one_by_one], 1))


def test_tiles_on_a_device_are_those_of_the_files() -> None:
    store, resident = TileStore([RARE, OTHER], CPU), TileStore([RARE, OTHER], CPU)
    resident.tiles = resident._all()
    wanted = [np.array([299, 0, 203, 7, 7]), np.array([199, 200])]
    for (tiles, labels), (theirs, also) in zip(store.gathered(wanted), resident.gathered(wanted), strict=True):
        assert torch.equal(tiles, theirs)
        assert torch.equal(labels, also)
    ((tiles, labels),) = store.gathered([np.array([202, 5])])
    assert tiles[:, 0, 0, 0].tolist() == [2, 5]
    assert labels.tolist() == [OTHER.labels[2], RARE.labels[5]]


def test_on_a_cpu_all_is_drawn_from_one_generator() -> None:
    random = Generators.of(3, CPU)
    assert random.host is random.device


def test_an_epoch_is_the_same_for_its_seed_and_no_other() -> None:
    def drawn(seed: int) -> list[int]:
        epoch = Epoch(TileStore([RARE], CPU), [np.arange(200)], 8, 3, seed)
        return [int(n) for tiles, _ in epoch for n in tiles[:, 0, 0, 0, 0]]

    assert drawn(epoch_seed(0, 1)) == drawn(epoch_seed(0, 1))
    assert len({tuple(drawn(epoch_seed(*which))) for which in [(0, 0), (0, 1), (1, 0), (1, 1)]}) == 4


def test_views_of_a_batch_differ_and_are_scaled() -> None:
    tiles = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8))
    first, second = augmented(tiles, 2, "heavy", torch.Generator().manual_seed(0))
    assert not torch.equal(first, second)
    assert -1 <= first.min() < 0 < first.max() <= 1
    (plain,) = augmented(tiles, 1, "none", torch.Generator())
    assert torch.allclose(plain, tiles.permute(0, 3, 1, 2) / 127.5 - 1, atol=1e-6)


def test_each_held_out_tile_is_judged_once_in_equal_batches() -> None:
    held_out = HeldOut(TileStore([RARE, OTHER], CPU), [np.arange(0, 200, 3), np.arange(10)], "none", 16, 0)
    batches = list(held_out.batches(1, held_out.generators().host))
    sizes = [len(batch.views[0]) for batch in batches]
    assert sum(sizes) == len(held_out) == 77
    assert max(sizes) - min(sizes) <= 1
    numbers = torch.cat([batch.views[0][:, 0, 0, 0] for batch in batches]).add(1).mul(127.5).round().long()
    assert sorted(numbers.tolist()) == sorted([*range(0, 200, 3), *range(10)])
    plain = torch.cat(list(held_out.plain(0)))[:, 0, 0, 0].add(1).mul(127.5).round().long()
    assert plain.tolist() == list(range(0, 200, 3))
