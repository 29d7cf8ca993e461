"""The certificate of an encoder: what was measured of it on tiles that training never saw."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nic.encoder.spec import Encoder, EncoderSpec
from nic.errors import EncoderError
from nic.tasks.augment import HEAVY, recoloured
from nic.tasks.tile_auc import Resampled

Codes = NDArray[np.float32]
Tiles = NDArray[np.uint8]
BATCH = 128
DEAD = 1e-3
"""A dimension is dead when its deviation is below this share of the mean deviation."""


@dataclass(frozen=True)
class TaskFigure:
    """AUC of a task on held-out tiles, macro one-vs-rest, with its 95% interval over slides or patients."""

    task: str
    classes: tuple[str, ...]
    value: float
    low: float
    high: float
    tiles: int
    groups: int

    @classmethod
    def of(cls, task: str, classes: Sequence[str], auc: Resampled) -> "TaskFigure":
        return cls(task, tuple(classes), auc.value, auc.low, auc.high, auc.n, auc.groups)


@dataclass(frozen=True)
class Comparison:
    """Tuned against first hyperparameters, on the same held-out tiles. gain: of the mean AUC, with its paired interval.

    scale: "trial" (both as short trials) or "full" (both trained in full). taken: whether the tuned ones were used.
    """

    tuned: str
    start: str
    gain: float
    low: float
    high: float
    scale: str
    taken: bool


@dataclass(frozen=True)
class CodeStatistics:
    """dead: dimensions that hardly vary. effective_rank: over how many dimensions the codes spread."""

    tiles: int
    size: int
    dead: int
    effective_rank: float


@dataclass(frozen=True)
class Robustness:
    """Mean cosine between the code of a tile and that of the same tile changed.

    colour: stains and tones changed as heavily as in training. dihedral: the seven other D4 variants. strangers:
    between two tiles drawn at random, as the floor of the others.
    """

    tiles: int
    colour: float
    dihedral: float
    strangers: float


@dataclass(frozen=True)
class Certificate:
    """parity: of the ONNX graph's codes with those of its source, see nic.graphs.parity, on parity_tiles tiles. Half of
    them are real and half noise; for an imported encoder all are noise. codes, robustness: None without tiles to
    measure them on. trained_with: in words. heads_parity: of the probabilities of the task
    heads' graph with those of its source; None for an encoder without heads.
    """

    spec: EncoderSpec
    parity: float
    parity_tiles: int
    tasks: tuple[TaskFigure, ...]
    codes: CodeStatistics | None
    robustness: Robustness | None
    trained_with: str
    comparison: Comparison | None = None
    heads_parity: float | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True)


def encoded(encoder: Encoder, tiles: Tiles) -> Codes:
    """Codes [N, D] of any number of tiles [N, px, px, 3], batch by batch."""
    return np.concatenate([encoder.encode(tiles[i : i + BATCH]) for i in range(0, len(tiles), BATCH)])


def code_statistics(codes: Codes) -> CodeStatistics:
    """Of codes [N, D]. Effective rank: exp of the entropy of the normalised singular values (Roy & Vetterli 2007).

    Raises EncoderError when a code is not finite.
    """
    if not np.isfinite(codes).all():
        broken = int((~np.isfinite(codes)).any(1).sum())
        raise EncoderError(f"{broken} of {len(codes)} codes are not finite; the training diverged: lower learning_rate")
    spread = codes.std(0)
    values = np.linalg.svd(codes - codes.mean(0), compute_uv=False).astype(np.float64)
    share = values[values > 0] / values.sum()
    rank = float(np.exp(-(share * np.log(share)).sum()))
    dead = int((spread <= DEAD * spread.mean()).sum())
    return CodeStatistics(len(codes), codes.shape[1], dead, rank)


def robustness(encoder: Encoder, tiles: Tiles, seed: int) -> Robustness:
    """How stable codes are when tiles [N, px, px, 3] change in colour, or into their D4 variants."""
    codes = encoded(encoder, tiles)
    order = np.random.default_rng(seed).permutation(len(codes))
    symmetries = [np.rot90(t, k, (1, 2)) for t in (tiles, tiles[:, :, ::-1]) for k in range(4)][1:]
    d4 = [_cosine(codes, encoded(encoder, np.ascontiguousarray(t))) for t in symmetries]
    coloured = _cosine(codes, encoded(encoder, _recoloured(tiles, seed)))
    return Robustness(len(tiles), coloured, float(np.mean(d4)), _cosine(codes[order], codes[np.roll(order, 1)]))


def _recoloured(tiles: Tiles, seed: int) -> Tiles:
    pixels = torch.from_numpy(np.ascontiguousarray(tiles)).permute(0, 3, 1, 2).float() / 255
    changed = recoloured(pixels, HEAVY, torch.Generator().manual_seed(seed)).clamp(0, 1)
    return (changed * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def _cosine(a: Codes, b: Codes) -> float:
    return float((_unit(a) * _unit(b)).sum(1).mean())


def _unit(codes: Codes) -> Codes:
    return np.asarray(codes / np.maximum(np.linalg.norm(codes, axis=1, keepdims=True), 1e-12))


def neighbours(codes: Codes, groups: NDArray[np.str_], queries: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Indices [queries, count] of the codes nearest by cosine, nearest first, none from the query's own group.

    Tiles of one slide resemble one another for any encoder; only tiles of others show what it has learned.
    """
    unit = _unit(codes)
    similarity = unit[queries] @ unit.T
    similarity[groups[queries][:, None] == groups] = -np.inf
    others = int(np.isfinite(similarity).sum(1).min())
    return np.argsort(-similarity, axis=1, kind="stable")[:, : min(count, others)]
