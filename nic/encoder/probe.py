"""Linear probes: how much a linear model can read from codes, to compare encoders before slides are compressed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Plot
from numpy.typing import NDArray
from rich.table import Table
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from nic.encoder.spec import Encoder, EncoderSpec
from nic.errors import TaskError
from nic.tasks.tile_auc import Resampled, TileScores, resampled_auc
from nic.tasks.tile_task import COARSER, TileSet, TileTask, load_tiles, split

HELD_OUT = 0.2
"""As in training: with the same seed an encoder is probed on tiles that its own training held out."""
INNER_SPLITS, INNER_HELD_OUT = 3, 0.25
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Values of C to choose from; standardised codes of some thousand tiles need small ones."""
BATCH = 128
MARK_HEIGHT = 0.28
"""In inches, of one encoder in one task."""
TITLE = "AUC of a linear probe on held-out tiles [95% over slides or patients]"


@dataclass(frozen=True)
class Probe:
    """auc: on held-out tiles. strength: C of the logistic regression. factor: of enlarged tiles, else 1."""

    encoder: str
    task: str
    auc: Resampled
    strength: float
    factor: int


def enlargement(task: TileTask, spec: EncoderSpec) -> int:
    """How many pixels of an encoder's tile, on a side, show one pixel of the task: 1 where the images are fine enough.

    Raises TaskError when no whole number fits.
    """
    factors = [k for k in range(1, spec.tile_px + 1) if spec.tile_px % k == 0]
    factor = next((k for k in factors if task.mpp <= k * spec.tile_mpp * COARSER), None)
    if factor is None:
        raise TaskError(f"{task.name}: images at {task.mpp:g} um/px, the encoder takes tiles of {spec.tile_um:g} um")
    return factor


def enlarged_tiles(task: TileTask, spec: EncoderSpec, factor: int, cache: Path) -> TileSet:
    """The encoder's field in pixels `factor` times as wide as it takes; `codes_of` repeats them.

    Raises TaskError as load_tiles does.
    """
    return load_tiles(task, spec.tile_px // factor, spec.tile_mpp * factor, cache, spec.read_mpp)


def codes_of(encoder: Encoder, tile_set: TileSet, folder: Path) -> NDArray[np.float32]:
    """Codes [N, D] of a task's tiles, kept in a file of `folder` for the next time.

    Each pixel of tiles that are k times smaller than the encoder's is repeated k x k: no detail is invented, and a
    graph that averages inside sees the original pixels.
    """
    side = tile_set.tiles.shape[1]
    path = folder / f"{tile_set.task.name}-{tile_set.task.digest}-{side}px-{encoder.spec.sha256[:16]}.npy"
    if not path.is_file():
        factor = encoder.spec.tile_px // side
        starts = tqdm(range(0, len(tile_set.tiles), BATCH), desc=f"codes of {tile_set.task.name}", delay=2)
        codes = [encoder.encode(_repeated(tile_set.tiles[start : start + BATCH], factor)) for start in starts]
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder) as place:
            np.save(draft := Path(place) / path.name, np.concatenate(codes))
            draft.replace(path)
    kept: NDArray[np.float32] = np.load(path)
    return kept


def _repeated(tiles: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(tiles.repeat(factor, 1).repeat(factor, 2))


def probe(name: str, tile_set: TileSet, codes: NDArray[np.float32], factor: int, seed: int) -> Probe:
    """Fit a standardised logistic regression to codes [N, D] of training tiles; its AUC on tiles of other groups.

    C is chosen on the training tiles alone, by splits that also keep groups together. Probes of one task with one seed
    use the same tiles and draws, so the difference of their AUCs is a paired one.
    Raises TaskError when the task's tiles cannot be split.
    """
    train, held_out = split(tile_set, HELD_OUT, seed)
    taught = replace(tile_set, labels=tile_set.labels[train], groups=tile_set.groups[train])
    inner = [split(taught, INNER_HELD_OUT, seed + number) for number in range(INNER_SPLITS)]
    search = GridSearchCV(_model(seed), {"logisticregression__C": STRENGTHS}, scoring="roc_auc_ovr", cv=inner)
    search.fit(codes[train], tile_set.labels[train])
    scores = _log_probabilities(search.decision_function(codes[held_out])).astype(np.float32)
    tiles = TileScores(tile_set.task.name, tile_set.labels[held_out], scores, tile_set.groups[held_out])
    return Probe(name, tiles.task, resampled_auc(tiles, seed), search.best_params_["logisticregression__C"], factor)


def _log_probabilities(margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N, classes], finite also where a probability underflows. margins: [N, classes], or [N] of the second class."""
    logits = margins if margins.ndim == 2 else np.stack([np.zeros_like(margins), margins], axis=1)
    return np.asarray(log_softmax(logits, axis=1))


def _model(seed: int) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, random_state=seed))


def probe_frame(probes: Sequence[Probe]) -> pd.DataFrame:
    """One row for each probe. groups: slides or patients of the held-out tiles. enlarged: factor on a side, else 1."""
    return pd.DataFrame(
        {
            "encoder": p.encoder,
            "task": p.task,
            "auc": p.auc.value,
            "low": p.auc.low,
            "high": p.auc.high,
            "tiles": p.auc.n,
            "groups": p.auc.groups,
            "strength": p.strength,
            "enlarged": p.factor,
        }
        for p in probes
    )


def probe_table(probes: Sequence[Probe]) -> Table:
    """Encoders down, tasks across; a cell says where its tiles were enlarged."""
    tasks = {p.task: f"{p.task}\n{p.auc.n} tiles, {p.auc.groups} groups" for p in probes}
    cells = {(p.encoder, p.task): f"{p.auc}{f', enlarged {p.factor}x' if p.factor > 1 else ''}" for p in probes}
    table = Table("encoder", *tasks.values(), title=TITLE)
    for encoder in dict.fromkeys(p.encoder for p in probes):
        table.add_row(encoder, *(cells.get((encoder, task), "") for task in tasks))
    return table


def probe_plot(probes: Sequence[Probe]) -> Plot:
    """AUC with its interval: a panel for each task, a line for each encoder; the dotted line is guessing."""
    tasks = list(dict.fromkeys(p.task for p in probes))
    encoders = list(dict.fromkeys(p.encoder for p in probes))
    plot = Plot(figsize=(8, 1 + MARK_HEIGHT * len(tasks) * (len(encoders) + 1)), layout="constrained")
    panels = plot.subplots(len(tasks), 1, sharex=True, squeeze=False)[:, 0]
    for axes, task in zip(panels, tasks, strict=True):
        shown = [p for p in probes if p.task == task]
        places = [encoders.index(p.encoder) for p in shown]
        values = [p.auc.value for p in shown]
        below, above = [p.auc.value - p.auc.low for p in shown], [p.auc.high - p.auc.value for p in shown]
        axes.errorbar(values, places, xerr=[below, above], fmt="o", color="#2a7f9e", capsize=3)
        axes.axvline(0.5, color="0.7", linestyle=":")
        axes.set(title=task, yticks=range(len(encoders)), yticklabels=encoders, ylim=(len(encoders) - 0.5, -0.5))
    panels[-1].set_xlabel("AUC of a linear probe on held-out tiles, 95% interval over slides or patients")
    return plot
