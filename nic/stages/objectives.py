"""What `train_encoder` does with the labelled tiles of a study, objective by objective."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nic.encoder.bigan import BiGan
from nic.encoder.contrastive import Contrastive
from nic.encoder.model_card import comparison_text
from nic.encoder.multitask import uniform_weights
from nic.encoder.objective import Objective
from nic.encoder.references import MeanRgb, random_encoder
from nic.encoder.training import Schedule, fit, fit_multitask
from nic.encoder.tuned_fit import fit_tuned, short_trial
from nic.encoder.tuning import Setting, tune
from nic.encoder.vae import Vae
from nic.stages.registration import Trained, log_tuning
from nic.tasks.tile_task import TileSet
from nic.tracking.digests import digest
from nic.tracking.runs import StageRun, log_trial
from nic.tracking.source_digest import source_digest

if TYPE_CHECKING:
    from entrypoints.train_encoder import Config


@dataclass(frozen=True)
class Training:
    """One call of `train_encoder`. folder: keeps what a training needs to go on after a kill."""

    config: "Config"
    tile_sets: Sequence[TileSet]
    inputs: Mapping[str, str]
    stage: StageRun
    folder: Path

    def run(self) -> Trained:
        """An encoder for the objective that is asked for."""
        config = self.config
        match config.objective:
            case "multitask":
                return self.searched() if config.weighting == "tuned" else self.weighted()
            case "vae":
                return self.unsupervised(partial(Vae, config.gamma))
            case "contrastive":
                return self.unsupervised(Contrastive)
            case "bigan":
                return self.unsupervised(BiGan)
            case "random":
                words = f"Nothing: its weights are as drawn with seed {config.seed}."
                return Trained(random_encoder(config.seed), "random", words)
            case "mean-rgb":
                return Trained(MeanRgb(), "mean-rgb", "Nothing: a code is the mean colour of its tile.")

    def searched(self) -> Trained:
        """All tasks, weighted as a search decides."""
        config, seed = self.config, self.config.seed
        short = partial(fit_multitask, self.tile_sets, batch_size=config.batch_size, seed=seed)
        tuning = tune(
            short_trial(short, config.trial_epochs, config.trial_tiles, seed),
            Setting(uniform_weights(self.tasks), config.learning_rate, config.augmentation),
            config.tune.split("+"),
            trials=config.trials,
            epochs=config.trial_epochs,
            seed=seed,
            name=self.search_name,
            storage=config.tuning_storage or config.work / "tuning.log",
            workers=config.workers,
            on_trial=lambda trial: log_trial(trial.number, trial.parameters, trial.value, trial.state),
        )
        log_tuning(tuning, self.stage)
        full = partial(short, patience=config.patience, checkpoints=self.folder)
        setting, fitted, comparison = fit_tuned(
            full, tuning, epochs=config.epochs, seed=seed, in_full=config.compare_in_full, log=self.stage.log
        )
        outcome = comparison_text(comparison) if comparison else str(tuning)
        print(outcome)
        self.stage.result.update(weights=setting.weights, tuning=outcome)
        return Trained.of(fitted, str(setting), comparison)

    def weighted(self) -> Trained:
        """All tasks, weighted alike or as their uncertainties are learned."""
        weights = uniform_weights(self.tasks) if self.config.weighting == "uniform" else None
        fitted = fit_multitask(self.tile_sets, weights, **self.how, **asdict(self.schedule))
        found = fitted.objective.weighting.weights
        self.stage.result.update(weights=found)
        return Trained.of(fitted, str(Setting(found, self.config.learning_rate, self.config.augmentation)))

    def unsupervised(self, make: Callable[[], Objective]) -> Trained:
        """The same stream of tiles without their labels."""
        fitted = fit(make, self.tile_sets, self.schedule, **self.how)
        rest = f"learning rate {self.config.learning_rate:.2g}; augmentation {self.config.augmentation}"
        return Trained.of(fitted, f"tiles of {', '.join(self.tasks)} without their labels; {rest}")

    @property
    def tasks(self) -> list[str]:
        return [tile_set.task.name for tile_set in self.tile_sets]

    @property
    def schedule(self) -> Schedule:
        c = self.config
        return Schedule(c.epochs, c.batch_size, c.learning_rate, c.augmentation, c.seed, patience=c.patience)

    @property
    def how(self) -> dict[str, object]:
        return {"log": self.stage.log, "checkpoints": self.folder}

    @property
    def search_name(self) -> str:
        """Trials of one name are of one search: same data, code and kind of training, whatever is done with it."""
        unlike = {"study": Path(), "work": Path(), "trials": 0, "epochs": 0, "patience": 0, "tuning_storage": ""}
        alike = replace(self.config, **unlike, workers=1, compare_in_full=False)
        content = {"config": asdict(alike), "inputs": self.inputs, "code": source_digest("train_encoder")}
        return digest(content)
