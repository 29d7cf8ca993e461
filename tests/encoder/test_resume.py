"""A training that is killed goes on from its checkpoint to where it would have come.

Run as a script, this file is the training that the test kills.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from nic.encoder.bigan import BiGan
from nic.encoder.multitask import FixedWeights, Multitask
from nic.encoder.objective import Objective
from nic.encoder.train import Hooks, Schedule, TrainedEncoder, train
from nic.tasks.entries import FolderEntry
from nic.tasks.read_task import read_task
from nic.tasks.tile_task import load_tiles

ROOT = Path(__file__).resolve().parents[2]
SCHEDULE = Schedule(epochs=4, batch_size=16, learning_rate=3e-4, augmentation="heavy", seed=0)
SHORT = Schedule(epochs=2, batch_size=16, learning_rate=1e-3, augmentation="light", seed=0, tiles_per_epoch=32)


class Killed(Exception):
    """In place of a kill, where what is tested is what the checkpoint holds."""


def supervised() -> Objective:
    return Multitask([2], FixedWeights({"grain": 1.0}))


def trained(
    folder: Path, checkpoints: Path, make: Callable[[], Objective], schedule: Schedule, kill_in: int | None = None
) -> tuple[TrainedEncoder, list[int]]:
    """The encoder, and the epochs that were trained."""
    epochs: list[int] = []

    def on_epoch(epoch: int, score: float) -> None:
        epochs.append(epoch)
        if epoch == kill_in:
            raise Killed

    tile_set = load_tiles(read_task(FolderEntry(name="grain", path=folder, mpp=1.0)), 64, 1.0, folder.parent / "cache")
    return train([tile_set], make, schedule, Hooks(on_epoch=on_epoch, checkpoints=checkpoints)), epochs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of noise that differ a little in how coarse it is: nothing that is learned in one epoch."""
    rng, place = np.random.default_rng(0), tmp_path_factory.mktemp("resume") / "grain"
    for label, sigma in (("fine", 1.0), ("coarse", 1.15)):
        (place / label).mkdir(parents=True)
        for i in range(32):
            noise = cv2.GaussianBlur(rng.normal(0, 1, (64, 64, 3)), (0, 0), sigma)
            tile = (128 + 40 * noise / noise.std()).clip(0, 255).astype(np.uint8)
            cv2.imwrite(str(place / label / f"s{i % 8}__{i}.png"), tile)
    return place


def assert_equal(ours: TrainedEncoder, theirs: TrainedEncoder) -> None:
    """To the last bit, which one machine can give."""
    assert ours.epoch == theirs.epoch
    assert ours.validation == theirs.validation
    for a, b in zip(ours.objective.state_dict().values(), theirs.objective.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_killed_training_resumes_to_the_same_network(folder: Path, tmp_path: Path) -> None:
    undisturbed, all_epochs = trained(folder, tmp_path / "a", supervised, SCHEDULE)
    # Sums depend on the number of threads that add them.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    doomed = subprocess.Popen([sys.executable, __file__, str(folder), str(tmp_path / "b")], env=environment)
    while not list((tmp_path / "b").glob("*.ckpt")):  # the end of the first epoch
        assert doomed.poll() is None, "ended before it could be killed"
        time.sleep(0.01)
    doomed.send_signal(signal.SIGKILL)
    assert doomed.wait() == -signal.SIGKILL
    resumed, epochs = trained(folder, tmp_path / "b", supervised, SCHEDULE)
    assert all_epochs == [0, 1, 2, 3]
    assert epochs == all_epochs[-len(epochs) :] != all_epochs
    assert_equal(resumed, undisturbed)


def test_both_players_resume_and_a_finished_training_is_not_repeated(folder: Path, tmp_path: Path) -> None:
    undisturbed, _ = trained(folder, tmp_path / "a", BiGan, SHORT)
    with pytest.raises(Killed):
        trained(folder, tmp_path / "b", BiGan, SHORT, kill_in=1)
    resumed, epochs = trained(folder, tmp_path / "b", BiGan, SHORT)
    assert epochs == [1]
    assert_equal(resumed, undisturbed)
    again, epochs = trained(folder, tmp_path / "b", BiGan, SHORT)
    assert epochs == []
    assert_equal(again, undisturbed)


def test_another_training_does_not_take_the_checkpoint(folder: Path, tmp_path: Path) -> None:
    trained(folder, tmp_path, supervised, SHORT)
    for other in ({"seed": 1}, {"learning_rate": 2e-3}):
        _, epochs = trained(folder, tmp_path, supervised, replace(SHORT, **other))
        assert epochs == [0, 1]
    assert len(list(tmp_path.glob("*.ckpt"))) == 3


if __name__ == "__main__":
    trained(Path(sys.argv[1]), Path(sys.argv[2]), supervised, SCHEDULE)
