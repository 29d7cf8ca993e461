"""Training an encoder on labelled tiles. Lightning runs the loop."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from nic.encoder.multitask import multitask_loss, normalised
from nic.encoder.network import TileEncoder, scaled, task_heads
from nic.errors import EncoderError
from nic.tasks.augment import augment
from nic.tasks.tile_auc import TileScores
from nic.tasks.tile_task import TileSet, split

VALIDATION = 0.2
Log = Callable[[str, float, int], None]


@dataclass(frozen=True)
class FittedEncoder:
    """validation: AUC by task on groups that training never saw; macro one-vs-rest where there are more classes.

    held_out: tiles in them. scores: what the heads said of those tiles, a task each.
    """

    encoder: TileEncoder
    validation: dict[str, float]
    held_out: int
    scores: tuple[TileScores, ...]

    @property
    def score(self) -> float:
        """Mean validation AUC over tasks."""
        return float(np.mean(list(self.validation.values())))


def fit_multitask(
    tile_sets: Sequence[TileSet],
    weights: Mapping[str, float],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    augmentation: str,
    seed: int,
    log: Log,
    tiles_per_epoch: int | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> FittedEncoder:
    """Train one encoder with a head a task; the loss is the weighted sum of the tasks' cross-entropies.

    batch_size: tiles a step, in equal shares of the tasks. tiles_per_epoch: all training tiles when None.
    on_epoch: called with (epoch, mean validation AUC); what it raises ends the training.
    Raises TaskError when a task's tiles cannot be split, EncoderError when a batch cannot hold every task.
    """
    lightning.seed_everything(seed, verbose=False)
    if batch_size < len(tile_sets):
        raise EncoderError(f"batch_size {batch_size}: wanted at least a tile of each of the {len(tile_sets)} tasks")
    parts = [(t, *split(t, VALIDATION, seed)) for t in tile_sets]
    total = tiles_per_epoch or sum(len(train) for _, train, _ in parts)
    training = [(t, train) for t, train, _ in parts]
    stream = _TileStream(training, batch_size // len(parts), max(1, total // batch_size), seed)
    module = _Multitask(
        [(t, held_out) for t, _, held_out in parts],
        normalised(weights),
        learning_rate,
        stream.steps * epochs,
        augmentation,
        seed,
        log,
        on_epoch,
    )
    _quiet_trainer(epochs).fit(module, DataLoader(stream, batch_size=None))
    held_out = sum(len(found.labels) for found in module.scores)
    return FittedEncoder(module.encoder.eval(), module.found, held_out, module.scores)


class _TileStream(IterableDataset[dict[str, tuple[Tensor, Tensor]]]):
    """Batches with tiles of every task in equal shares, each class of a task equally often."""

    def __init__(self, parts: Sequence[tuple[TileSet, NDArray[np.intp]]], share: int, steps: int, seed: int) -> None:
        self.share, self.steps = share, steps
        self.members = [(t, [train[t.labels[train] == c] for c in range(len(t.task.classes))]) for t, train in parts]
        self.rng = np.random.default_rng(seed)

    def __iter__(self) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
        for _ in range(self.steps):
            yield {tile_set.task.name: self._draw(tile_set, members) for tile_set, members in self.members}

    def _draw(self, tile_set: TileSet, members: Sequence[NDArray[np.intp]]) -> tuple[Tensor, Tensor]:
        labels = self.rng.integers(len(members), size=self.share)
        chosen = [self.rng.choice(members[label]) for label in labels]
        return torch.from_numpy(tile_set.tiles[chosen]), torch.from_numpy(labels)


class _Multitask(lightning.LightningModule):
    def __init__(
        self,
        validation: Sequence[tuple[TileSet, NDArray[np.intp]]],
        weights: dict[str, float],
        learning_rate: float,
        steps: int,
        augmentation: str,
        seed: int,
        log: Log,
        on_epoch: Callable[[int, float], None] | None,
    ) -> None:
        super().__init__()
        self.encoder = TileEncoder().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.heads = task_heads(len(tile_set.task.classes) for tile_set, _ in validation)
        self.weights, self.validation, self.learning_rate, self.steps = weights, validation, learning_rate, steps
        self.augmentation, self.seed, self.record, self.on_epoch = augmentation, seed, log, on_epoch
        self.found: dict[str, float] = {}  # validation AUC by task after the last epoch
        self.scores: tuple[TileScores, ...] = ()

    def on_fit_start(self) -> None:
        self.random = torch.Generator(self.device).manual_seed(self.seed)

    def training_step(self, batch: dict[str, tuple[Tensor, Tensor]], index: int) -> Tensor:
        tiles = torch.cat([tiles for tiles, _ in batch.values()]).permute(0, 3, 1, 2).float() / 255
        tiles = augment(tiles, self.augmentation, self.random) * 2 - 1
        codes = self.encoder(tiles.contiguous(memory_format=torch.channels_last))
        parts = codes.split([len(labels) for _, labels in batch.values()])
        logits = {name: head(part) for name, head, part in zip(batch, self.heads, parts, strict=True)}
        return multitask_loss(logits, {name: labels for name, (_, labels) in batch.items()}, self.weights)

    def on_train_epoch_end(self) -> None:
        self.scores = self.validate()
        self.found = {scores.task: _auc(scores) for scores in self.scores}
        for name, auc in self.found.items():
            self.record(f"validation.auc.{name}", auc, self.current_epoch)
        if self.on_epoch:
            self.on_epoch(self.current_epoch, float(np.mean(list(self.found.values()))))

    @torch.no_grad()
    def validate(self) -> tuple[TileScores, ...]:
        """What each head says of the tiles of its task that are held out."""
        self.eval()
        parts = zip(self.heads, self.validation, strict=True)
        found = tuple(self._scores(head, tile_set, held_out) for head, (tile_set, held_out) in parts)
        self.train()
        return found

    def _scores(self, head: torch.nn.Module, tile_set: TileSet, held_out: NDArray[np.intp]) -> TileScores:
        logits = []
        for first in range(0, len(held_out), 256):
            tiles = torch.from_numpy(tile_set.tiles[held_out[first : first + 256]]).to(self.device)
            with torch.autocast(self.device.type, torch.bfloat16):
                logits.append(head(self.encoder(scaled(tiles).contiguous(memory_format=torch.channels_last))))
        probabilities = torch.cat(logits).float().softmax(1).cpu().numpy()
        return TileScores(tile_set.task.name, tile_set.labels[held_out], probabilities, tile_set.groups[held_out])

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = torch.optim.AdamW(self.parameters(), self.learning_rate, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _auc(found: TileScores) -> float:
    scores = found.scores[:, 1] if found.scores.shape[1] == 2 else found.scores
    return float(roc_auc_score(found.labels, scores, multi_class="ovr"))


def _quiet_trainer(epochs: int) -> lightning.Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    return lightning.Trainer(
        max_epochs=epochs,
        accelerator="auto",
        precision="bf16-mixed",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=True,
    )
