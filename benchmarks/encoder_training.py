"""How near training comes to the network's own speed: tiles/s of the whole loop over tiles/s of the bare step.

    python -m benchmarks.encoder_training [study] [--work work] [--batch 64] [--steps 40] [--rounds 6]

The loop is `fit`: tiles gathered from the mapped cache, augmented heavily, forward, backward, optimizer, Lightning.
The bare step is the same network's forward, backward and optimizer on one batch that never changes. Both run in
bfloat16, in turns, so that they suffer alike when the machine is busy. Without a study the tiles are made. The last
line is the ratio.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from nic.encoder.multitask import FixedWeights, Multitask, uniform_weights
from nic.encoder.network import TILE_PX
from nic.encoder.tile_stream import Batch, Epoch, augmented
from nic.encoder.training import Schedule, fit
from nic.study import read_study
from nic.tasks.reading import read_task
from nic.tasks.tile_task import TileSet, TileTask, load_tiles

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def made_tiles(folder: Path, tasks: int = 4, tiles: int = 4000) -> list[TileSet]:
    """Noise, mapped from files as decoded tiles are."""
    rng = np.random.default_rng(0)
    sets = []
    for number in range(tasks):
        path = folder / f"{number}.npy"
        np.save(path, rng.integers(0, 256, (tiles, TILE_PX, TILE_PX, 3), np.uint8))
        labels, groups = np.arange(tiles) % 2, (np.arange(tiles) % 50).astype(str)
        task = TileTask(f"task {number}", ("a", "b"), 1.0, folder)
        sets.append(TileSet(task, np.load(path, mmap_mode="r"), labels, groups))
    return sets


def now() -> float:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


class Timed(Multitask):
    """Notes when the first and the last step of each epoch reach the loss."""

    def __init__(self, tile_sets: list[TileSet], steps: int) -> None:
        weights = uniform_weights([t.task.name for t in tile_sets])
        super().__init__([len(t.task.classes) for t in tile_sets], FixedWeights(weights))
        self.steps, self.calls = steps, 0
        self.marks: list[float] = []

    def loss(self, batch: Batch, player: int, random: torch.Generator) -> torch.Tensor:
        if self.calls % self.steps in (0, self.steps - 1):
            self.marks.append(now())
        self.calls += 1
        return super().loss(batch, player, random)

    def seconds_a_step(self) -> float:
        """In the last epoch."""
        return (self.marks[-1] - self.marks[-2]) / (self.steps - 1)


class Bare:
    """The step alone, on the first batch of the stream."""

    def __init__(self, tile_sets: list[TileSet], schedule: Schedule) -> None:
        parts = [(t, np.arange(len(t.labels))) for t in tile_sets]
        tiles, labels = next(iter(Epoch(parts, schedule.batch_size // len(parts), 1, schedule.seed)))
        self.random = torch.Generator(DEVICE)
        views = augmented(tiles.to(DEVICE), 1, schedule.augmentation, self.random)
        self.batch = Batch(views, tuple(label.to(DEVICE) for label in labels))
        self.objective = Timed(tile_sets, schedule.batch_size).to(DEVICE).train()
        self.optimizer = torch.optim.AdamW(self.objective.parameters(), schedule.learning_rate, weight_decay=1e-4)

    def step(self) -> None:
        with torch.autocast(DEVICE.type, torch.bfloat16):
            loss = Multitask.loss(self.objective, self.batch, 0, self.random)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def seconds_a_step(self, steps: int) -> float:
        self.step()
        start = now()
        for _ in range(steps - 1):
            self.step()
        return (now() - start) / (steps - 1)


def compare(tile_sets: list[TileSet], batch: int, steps: int, rounds: int) -> None:
    schedule = Schedule(rounds + 1, batch, 2e-3, "heavy", 0, tiles_per_epoch=steps * batch)
    loop, bare = Timed(tile_sets, steps), Bare(tile_sets, schedule)
    taken: list[tuple[float, float]] = []
    fit(
        lambda: loop,
        tile_sets,
        schedule,
        log=lambda name, value, step: None,
        on_epoch=lambda epoch, score: taken.append((loop.seconds_a_step(), bare.seconds_a_step(steps))),
    )
    whole, alone = np.array(taken[1:]).T  # the first round warms up
    tiles = batch // len(tile_sets) * len(tile_sets)
    where = torch.cuda.get_device_name() if DEVICE.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{where}, bfloat16, batches of {tiles} tiles, {rounds} rounds of {steps} steps")
    print(f"bare step    {np.median(alone) * 1e3:8.2f} ms  {tiles / np.median(alone):8.0f} tiles/s")
    print(f"whole loop   {np.median(whole) * 1e3:8.2f} ms  {tiles / np.median(whole):8.0f} tiles/s")
    print(f"loop / bare step: {np.median(alone / whole):.2f}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("study", type=Path, nargs="?", help="a study file, for its tile tasks")
    arguments.add_argument("--work", type=Path, default=Path("work"), help="folder of the decoded tiles")
    arguments.add_argument("--batch", type=int, default=64 if DEVICE.type == "cpu" else 1024)
    arguments.add_argument("--steps", type=int, default=40)
    arguments.add_argument("--rounds", type=int, default=6)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        entries = read_study(given.study).tile_tasks if given.study else []
        real = [load_tiles(read_task(entry), TILE_PX, 1.0, given.work / "tiles") for entry in entries]
        compare(real or made_tiles(Path(folder)), given.batch, given.steps, given.rounds)


if __name__ == "__main__":
    main()
