"""One loop that trains an encoder for any objective, stops early, and resumes after a kill. Lightning runs it."""

import hashlib
import logging
import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from nic.encoder.network import TileEncoder
from nic.encoder.objective import Judgement, Objective
from nic.encoder.tile_stream import (
    Epoch,
    Gathered,
    Generators,
    HeldOut,
    TileStore,
    TrainingBatch,
    augmented,
    epoch_seed,
)
from nic.errors import EncoderError
from nic.tasks.tile_auc import TileScores
from nic.tasks.tile_task import TileSet, split
from nic.training_device import keep_freed_memory, mixed, precision_of, training_device

VALIDATION = 0.2
RISING = 0.3
"""Share of the training in which the one-cycle rate rises; patience does not count these epochs."""
Log = Callable[[str, float, int], None]
OnEpoch = Callable[[int, float], None]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast an encoder is trained, for any objective.

    epochs: at most. batch_size: tiles a step, in equal shares of the tasks. learning_rate: peak of the one-cycle
    schedule. augmentation: none, light or heavy. tiles_per_epoch: all training tiles when None. patience: epochs
    without a better score on held-out tiles after which training ends; None goes on to the end.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    augmentation: str
    seed: int
    tiles_per_epoch: int | None = None
    patience: int | None = None


def _nothing(*_: object) -> None:
    """A hook that does nothing."""


@dataclass(frozen=True)
class Hooks:
    """What a training calls on its way, and where it keeps its state.

    log: called with (name, value, epoch) for each figure. on_epoch: called with (epoch, score) after each epoch, higher
    is better; an error that it raises ends the training. checkpoints: a folder for the state after each epoch. The same
    training, killed and begun again, goes on from there and ends as if it had never stopped; the caller removes it.
    """

    log: Log = _nothing
    on_epoch: OnEpoch = _nothing
    checkpoints: Path | None = None


NO_HOOKS = Hooks()


@dataclass(frozen=True)
class TrainedEncoder:
    """A network as it was in its best epoch, and its figures there on groups that training never saw.

    held_out: tiles of those groups. epoch: the best, from 0.
    """

    objective: Objective
    judgement: Judgement
    held_out: int
    epoch: int

    @property
    def encoder(self) -> TileEncoder:
        encoder: TileEncoder = self.objective.encoder
        return encoder

    @property
    def validation(self) -> dict[str, float]:
        """Figures on the held-out tiles: AUC by task, or the loss of an objective without labels."""
        return {name.removeprefix("auc."): value for name, value in self.judgement.figures.items()}

    @property
    def scores(self) -> tuple[TileScores, ...]:
        """Scores of the held-out tiles by the heads, one for each task; empty where there are none."""
        return self.judgement.scores

    @property
    def score(self) -> float:
        """Higher is better: mean AUC over tasks, or minus the loss of an objective without labels."""
        return self.judgement.score


def train(
    tile_sets: Sequence[TileSet], objective: Callable[[], Objective], schedule: Schedule, hooks: Hooks = NO_HOOKS
) -> TrainedEncoder:
    """Train an encoder for an objective; the same for the same seed.

    objective: makes it, once the seed of its first weights is set.
    Raises TaskError when a task's tiles cannot be split, EncoderError when a batch cannot hold every task, or when
    the training diverges.
    """
    if schedule.batch_size < len(tile_sets):
        tasks = f"wanted at least a tile of each of the {len(tile_sets)} tasks"
        raise EncoderError(f"batch_size {schedule.batch_size}: {tasks}")
    keep_freed_memory()
    lightning.seed_everything(schedule.seed, verbose=False)
    device = training_device()
    fitting = _Fitting(objective(), TileStore(tile_sets, device), schedule, hooks)
    folder = hooks.checkpoints
    path = folder / f"{_key(fitting.objective, tile_sets, schedule)}.ckpt" if folder else None
    begun = path if path and path.is_file() else None
    _trainer(device, schedule.epochs, path).fit(fitting, ckpt_path=begun, weights_only=False)
    best = fitting.best
    assert best is not None
    fitting.objective.load_state_dict(best.weights)
    return TrainedEncoder(fitting.objective.cpu().eval(), best.judgement, fitting.held_out_tiles, best.epoch)


def _key(objective: Objective, tile_sets: Sequence[TileSet], schedule: Schedule) -> str:
    """Of all that decides the result of a training: networks and weights as they print, schedule, tiles."""
    content = f"{objective} {schedule} {[tile_set.task.digest for tile_set in tile_sets]}"
    return hashlib.sha256(content.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Best:
    epoch: int
    judgement: Judgement
    weights: dict[str, Tensor]


class _Fitting(lightning.LightningModule):
    """An objective in training. All draws of an epoch follow from (seed, epoch), so that it can resume at any."""

    def __init__(self, objective: Objective, store: TileStore, schedule: Schedule, hooks: Hooks) -> None:
        super().__init__()
        self.automatic_optimization = False  # players take turns
        self.objective, self.store, self.schedule, self.hooks = objective, store, schedule, hooks
        splits = [split(tile_set, VALIDATION, schedule.seed) for tile_set in store.tile_sets]
        self.training_tiles, self.held_out = [train for train, _ in splits], [held_out for _, held_out in splits]
        tiles = schedule.tiles_per_epoch or sum(map(len, self.training_tiles))
        self.steps = max(1, tiles // schedule.batch_size)
        self.held_out_tiles = sum(map(len, self.held_out))
        self.precision = precision_of(store.device)
        self.losses: list[Tensor] = []
        self.best: _Best | None = None

    def train_dataloader(self) -> Epoch:
        share = self.schedule.batch_size // len(self.training_tiles)
        seed = epoch_seed(self.schedule.seed, self.current_epoch)
        return Epoch(self.store, self.training_tiles, share, self.steps, seed)

    def on_train_start(self) -> None:
        self.trainer.should_stop = self._out_of_patience(self.current_epoch - 1)

    def on_train_epoch_start(self) -> None:
        self.random = Generators.of(epoch_seed(self.schedule.seed, self.current_epoch), self.store.device)

    def training_step(self, gathered: Gathered, index: int) -> None:
        """One step of the optimizers; on a GPU several, whose tiles are augmented together."""
        tiles, labels = gathered
        batch, steps = tiles.shape[:2]
        views = augmented(tiles.flatten(0, 1), self.objective.views, self.schedule.augmentation, self.random.host)
        by_step = [view.view(batch, steps, *view.shape[1:]) for view in views]
        for step in range(steps):
            self._step(
                TrainingBatch(tuple(view[:, step] for view in by_step), tuple(of_task[:, step] for of_task in labels))
            )

    def _step(self, batch: TrainingBatch) -> None:
        losses, optimizers = [], self._optimizers()
        for player, (optimizer, rate) in enumerate(zip(optimizers, self._rates(), strict=True)):
            with self.toggled_optimizer(optimizer) if len(optimizers) > 1 else nullcontext():
                optimizer.zero_grad()
                with mixed(self.store.device, self.precision):
                    loss = self.objective.loss(batch, player, self.random.device)
                    self.manual_backward(loss)
                optimizer.step()
            rate.step()
            losses.append(loss.detach())
        self.losses.append(torch.stack(losses))

    def on_train_epoch_end(self) -> None:
        epoch, judgement = self.current_epoch, self._judged()
        for name, value in judgement.figures.items():
            self.hooks.log(f"validation.{name}", value, epoch)
        if self.best is None or judgement.score > self.best.judgement.score:
            weights = {name: value.detach().clone() for name, value in self.objective.state_dict().items()}
            self.best = _Best(epoch, judgement, weights)
        self.trainer.should_stop = self._out_of_patience(epoch)
        self.hooks.on_epoch(epoch, judgement.score)

    @torch.no_grad()
    def _judged(self) -> Judgement:
        losses = torch.stack(self.losses).mean(0).tolist()
        self.losses.clear()
        if not all(math.isfinite(loss) for loss in losses):
            remedy = f"lower learning_rate, now {self.schedule.learning_rate:g}"
            raise EncoderError(f"{self.objective.name}: training diverged in epoch {self.current_epoch}; {remedy}")
        schedule = self.schedule
        held_out = HeldOut(self.store, self.held_out, schedule.augmentation, schedule.batch_size, schedule.seed)
        self.objective.eval()
        with mixed(self.store.device, self.precision):
            judgement = self.objective.judge(held_out)
        self.objective.train()
        for player, loss in enumerate(losses):
            self.hooks.log(f"train.loss.{player}" if len(losses) > 1 else "train.loss", loss, self.current_epoch)
        return judgement

    def _out_of_patience(self, epoch: int) -> bool:
        """Epochs are counted from the best, or from the peak of the rate: most is learned as it falls."""
        if self.best is None or self.schedule.patience is None:
            return False
        return epoch - max(self.best.epoch, RISING * self.schedule.epochs) >= self.schedule.patience

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["best"] = self.best

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.best = checkpoint["best"]

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        peak, steps = self.schedule.learning_rate, self.steps * self.schedule.epochs
        low, high = self.objective.momentum
        optimizers = [optimizer_of(player, peak, self.store.device) for player in self.objective.players()]
        rates = [OneCycleLR(o, peak, steps, pct_start=RISING, base_momentum=low, max_momentum=high) for o in optimizers]
        return [*optimizers], [*rates]

    def _optimizers(self) -> list[LightningOptimizer]:
        optimizers = self.optimizers()
        return optimizers if isinstance(optimizers, list) else [optimizers]

    def _rates(self) -> list[LRScheduler]:
        rates = self.lr_schedulers()
        assert rates is not None
        return rates if isinstance(rates, list) else [rates]


def optimizer_of(player: nn.Module, learning_rate: float, device: torch.device) -> AdamW:
    """AdamW for a player's weights; on a GPU in one kernel. On CPUs that gains nothing, and rounds differently."""
    return AdamW(player.parameters(), learning_rate, weight_decay=1e-4, fused=device.type == "cuda")


def _trainer(device: torch.device, epochs: int, checkpoint: Path | None) -> lightning.Trainer:
    """A trainer on one device that writes a checkpoint after each epoch, if it has a path."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    callbacks: list[Callback] = [TQDMProgressBar(refresh_rate=10)]
    if checkpoint:
        callbacks.append(ModelCheckpoint(checkpoint.parent, checkpoint.stem, enable_version_counter=False))
    return lightning.Trainer(
        max_epochs=epochs,
        accelerator=device.type,
        devices=1,
        logger=False,
        callbacks=callbacks,
        enable_checkpointing=checkpoint is not None,
        enable_model_summary=False,
        reload_dataloaders_every_n_epochs=1,
    )
