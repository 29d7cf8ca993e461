"""How close the training loop comes to the speed of the network: tiles/s of the whole loop over those of the bare step.

    python -m benchmarks.encoder_training [study] [--work work] [--batch 64] [--steps 10] [--rounds 5] [--times 3]

The loop is nic.encoder.train.train: tiles gathered from the mapped cache or from the device, augmented heavily,
forward, backward, optimizer, Lightning. The bare step is forward, backward and optimizer of the same network on one
batch. Both have the batch size, optimizer and precision of real trainings. They take turns, so that a busy machine
slows both; the first round warms up. Processor time is shown beside wall time: other processes disturb it less; on a
GPU it says little. Without a study the tiles are synthetic. The last lines are the ratios.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from nic.encoder.multitask import FixedWeights, Multitask, uniform_weights
from nic.encoder.network import TILE_PX
from nic.encoder.tile_stream import Epoch, TileStore, TrainingBatch, augmented
from nic.encoder.train import Hooks, Schedule, optimizer_of, train
from nic.study import read_study
from nic.tasks.read_task import read_task
from nic.tasks.tile_task import TileSet, TileTask, load_tiles
from nic.training_device import mixed, precision_of, training_device

DEVICE = training_device()


def made_tiles(folder: Path, tasks: int = 4, tiles: int = 1000) -> list[TileSet]:
    """Noise, mapped from files like decoded tiles."""
    rng = np.random.default_rng(0)
    sets = []
    for number in range(tasks):
        path = folder / f"{number}.npy"
        np.save(path, rng.integers(0, 256, (tiles, TILE_PX, TILE_PX, 3), np.uint8))
        labels, groups = np.arange(tiles) % 2, (np.arange(tiles) % 50).astype(str)
        task = TileTask(f"task {number}", ("a", "b"), 1.0, folder)
        sets.append(TileSet(task, np.load(path, mmap_mode="r"), labels, groups))
    return sets


def now() -> np.ndarray:
    """Seconds on the clock, and of this process on all cores."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return np.array([time.perf_counter(), time.process_time()])


class Timed(Multitask):
    """Notes when the first and the last step of each epoch reach the loss."""

    def __init__(self, tile_sets: list[TileSet], steps: int) -> None:
        weights = uniform_weights([t.task.name for t in tile_sets])
        super().__init__([len(t.task.classes) for t in tile_sets], FixedWeights(weights))
        self.steps, self.calls = steps, 0
        self.marks: list[np.ndarray] = []

    def loss(self, batch: TrainingBatch, player: int, random: torch.Generator) -> torch.Tensor:
        if self.calls % self.steps in (0, self.steps - 1):
            self.marks.append(now())
        self.calls += 1
        return super().loss(batch, player, random)

    def seconds_a_step(self) -> np.ndarray:
        """In the last epoch."""
        return (self.marks[-1] - self.marks[-2]) / (self.steps - 1)


class Bare:
    """The step alone, on the first batch of the stream."""

    def __init__(self, tile_sets: list[TileSet], schedule: Schedule) -> None:
        everything = [np.arange(len(t.labels)) for t in tile_sets]
        share = schedule.batch_size // len(tile_sets)
        tiles, labels = next(iter(Epoch(TileStore(tile_sets, DEVICE), everything, share, 1, schedule.seed)))
        self.random = torch.Generator(DEVICE)
        views = augmented(tiles[:, 0], 1, schedule.augmentation, torch.Generator())
        self.batch = TrainingBatch(views, tuple(of_task[:, 0] for of_task in labels))
        self.objective = Timed(tile_sets, schedule.batch_size).to(DEVICE).train()
        self.optimizer = optimizer_of(self.objective, schedule.learning_rate, DEVICE)

    def step(self) -> None:
        self.optimizer.zero_grad()
        with mixed(DEVICE, precision_of(DEVICE)):
            Multitask.loss(self.objective, self.batch, 0, self.random).backward()
        self.optimizer.step()

    def seconds_a_step(self, steps: int) -> np.ndarray:
        self.step()
        start = now()
        for _ in range(steps - 1):
            self.step()
        return (now() - start) / (steps - 1)


def compare(tile_sets: list[TileSet], batch: int, steps: int, rounds: int) -> float:
    """Print the times of both; returns bare / loop."""
    schedule = Schedule(rounds + 1, batch, 2e-3, "heavy", 0, tiles_per_epoch=steps * batch)
    loop, bare = Timed(tile_sets, steps), Bare(tile_sets, schedule)
    timings: list[tuple[np.ndarray, np.ndarray]] = []
    hooks = Hooks(on_epoch=lambda epoch, score: timings.append((loop.seconds_a_step(), bare.seconds_a_step(steps))))
    train(tile_sets, lambda: loop, schedule, hooks)
    whole, alone = np.array(timings[1:]).transpose(1, 0, 2)  # [rounds, wall and processor] each
    tiles = batch // len(tile_sets) * len(tile_sets)
    where = torch.cuda.get_device_name() if DEVICE.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{where}, {precision_of(DEVICE)}, batches of {tiles} tiles, {rounds} rounds of {steps} steps")
    for name, seconds in (("bare step", alone), ("whole loop", whole)):
        wall, processor = np.median(seconds, axis=0)
        print(f"{name:12} {wall * 1e3:8.2f} ms  {tiles / wall:8.0f} tiles/s  {processor * 1e3:8.2f} ms of processors")
    ratio, of_processors = np.median(alone / whole, axis=0)
    print(f"bare step / whole loop: {ratio:.2f}; of processor time {of_processors:.2f}")
    return float(ratio)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("study", type=Path, nargs="?", help="a study file, for its tile tasks")
    arguments.add_argument("--work", type=Path, default=Path("work"), help="folder of the decoded tiles")
    arguments.add_argument("--batch", type=int, default=64, help="as train_encoder's by default")
    arguments.add_argument("--steps", type=int, default=10 if DEVICE.type == "cpu" else 200)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--times", type=int, default=3, help="how often the whole is measured")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        entries = read_study(options.study).tile_tasks if options.study else []
        real = [load_tiles(read_task(entry), TILE_PX, 1.0, options.work / "tiles") for entry in entries]
        tile_sets = real or made_tiles(Path(folder))
        ratios = [compare(tile_sets, options.batch, options.steps, options.rounds) for _ in range(options.times)]
    print("bare step / whole loop:", ", ".join(f"{ratio:.2f}" for ratio in ratios))


if __name__ == "__main__":
    main()
