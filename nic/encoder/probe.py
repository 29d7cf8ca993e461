"""How much a linear model can read from codes: the way to compare encoders before slides are touched."""

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
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
"""Values of C to choose from: standardised codes of some thousand tiles want little."""
BATCH = 128


@dataclass(frozen=True)
class Probe:
    """auc: on held-out tiles. strength: the C that was chosen on the others. factor: of enlarged tiles, else 1."""

    encoder: str
    task: str
    auc: Resampled
    strength: float
    factor: int


def enlargement(task: TileTask, spec: EncoderSpec) -> int:
    """How many pixels of an encoder's tile show one of the task's, on a side: 1 where the images are fine enough.

    Raises TaskError when no whole number fits.
    """
    factors = [k for k in range(1, spec.tile_px + 1) if spec.tile_px % k == 0]
    found = next((k for k in factors if task.mpp <= k * spec.tile_mpp * COARSER), None)
    if found is None:
        raise TaskError(f"{task.name}: images at {task.mpp:g} um/px, the encoder takes tiles of {spec.tile_um:g} um")
    return found


def enlarged_tiles(task: TileTask, spec: EncoderSpec, factor: int, cache: Path) -> TileSet:
    """The encoder's field in pixels `factor` times as wide as it takes; `codes_of` repeats them.

    Raises TaskError as load_tiles does.
    """
    return load_tiles(task, spec.tile_px // factor, spec.tile_mpp * factor, cache, spec.read_mpp)


def codes_of(encoder: Encoder, tile_set: TileSet, folder: Path) -> NDArray[np.float32]:
    """Codes [N, D] of a task's tiles, kept in a file of `folder` for the next time.

    Tiles that are k times smaller than the encoder takes have each pixel repeated k x k: nothing is made up, and a
    graph that averages inside sees just them.
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

    C is chosen on the training tiles alone, on splits that do not part groups either. Probes of one task with one seed
    are on the same tiles and draws, so that the difference of their AUCs is a paired one.
    Raises TaskError when the task's tiles cannot be split.
    """
    train, held_out = split(tile_set, HELD_OUT, seed)
    taught = replace(tile_set, labels=tile_set.labels[train], groups=tile_set.groups[train])
    inner = [split(taught, INNER_HELD_OUT, seed + number) for number in range(INNER_SPLITS)]
    search = GridSearchCV(_model(seed), {"logisticregression__C": STRENGTHS}, scoring="roc_auc_ovr", cv=inner)
    search.fit(codes[train], tile_set.labels[train])
    scores = _log_probabilities(search.decision_function(codes[held_out])).astype(np.float32)
    found = TileScores(tile_set.task.name, tile_set.labels[held_out], scores, tile_set.groups[held_out])
    return Probe(name, found.task, resampled_auc(found, seed), search.best_params_["logisticregression__C"], factor)


def _log_probabilities(margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N, classes], finite also for a probability of 0 to the last bit. margins: [N, classes], or [N] of the second."""
    logits = margins if margins.ndim == 2 else np.stack([np.zeros_like(margins), margins], axis=1)
    return np.asarray(log_softmax(logits, axis=1))


def _model(seed: int) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, random_state=seed))
