"""Training with what a search found where that helped, else without; and one trial of such a search."""

from collections.abc import Callable
from typing import Any

from nic.encoder.certificate import Comparison
from nic.encoder.training import FittedEncoder, Log
from nic.encoder.tuning import Report, Setting, TrainTrial, Tuning
from nic.tasks.tile_auc import Resampled, mean_auc

Fit = Callable[..., FittedEncoder]
"""fit_multitask with its tile sets, batch size and seed given."""


def short_trial(fit: Fit, epochs: int, tiles_per_epoch: int, seed: int) -> TrainTrial:
    """A training just long enough to rank settings by: mean AUC of held-out tiles, on the seed's draws of groups."""

    def train(setting: Setting, report: Report) -> Resampled:
        short = {"epochs": epochs, "tiles_per_epoch": tiles_per_epoch, "on_epoch": report}
        return mean_auc(_trained(fit, setting, log=_quiet, **short).scores, seed)

    return train


def fit_tuned(
    fit: Fit, tuning: Tuning, *, epochs: int, seed: int, in_full: bool, log: Log
) -> tuple[Setting, FittedEncoder, Comparison | None]:
    """Train with the setting that the search decided for: what it was, the encoder, how the best and the first compare.

    in_full: train with both where the best was above the first, and let held-out tiles decide by the paired interval
    alone. What is logged of the first setting then begins with "start.".
    """

    def train(setting: Setting, log: Log) -> FittedEncoder:
        return _trained(fit, setting, epochs=epochs, log=log)

    if tuning.best is None or tuning.gain is None:
        return tuning.start, train(tuning.start, log), None
    best = tuning.best.setting
    if not in_full or tuning.gain.value <= 0:
        found = _comparison(best, tuning.start, tuning.gain, "trial", tuning.helped)
        return tuning.setting, train(tuning.setting, log), found
    tuned = train(best, log)
    start = train(tuning.start, lambda name, value, step: log(f"start.{name}", value, step))
    gain = mean_auc(tuned.scores, seed) - mean_auc(start.scores, seed)
    found = _comparison(best, tuning.start, gain, "full", gain.low > 0)
    return (best, tuned, found) if found.taken else (tuning.start, start, found)


def _trained(fit: Fit, setting: Setting, **how: Any) -> FittedEncoder:
    return fit(setting.weights, learning_rate=setting.learning_rate, augmentation=setting.augmentation, **how)


def _comparison(tuned: Setting, start: Setting, gain: Resampled, scale: str, taken: bool) -> Comparison:
    return Comparison(str(tuned), str(start), gain.value, gain.low, gain.high, scale, taken)


def _quiet(name: str, value: float, step: int) -> None:
    """Trials log their score alone, as runs of their own."""
