"""What a new encoder brings with it: its certificate, the model card that the registry shows, and pictures."""

from collections.abc import Sequence

import numpy as np

from nic.encoder.certificate import (
    Certificate,
    Comparison,
    TaskFigure,
    code_statistics,
    encoded,
    robustness,
)
from nic.encoder.model_card import model_card
from nic.encoder.neighbour_sheet import NamedTiles, neighbour_sheet
from nic.encoder.onnx import OnnxEncoder
from nic.encoder.training import VALIDATION
from nic.encoder.tuning import Tuning
from nic.encoder.tuning_figures import history, importance
from nic.tasks.augment import examples
from nic.tasks.contact_sheet import augmentation_sheet
from nic.tasks.tile_auc import TileScores, resampled_auc
from nic.tasks.tile_task import TileSet, split
from nic.tracking.digests import PROJECT
from nic.tracking.registry import RegisteredVersion, describe_version
from nic.tracking.runs import StageRun

TILES_A_TASK, CHANGED_A_TASK = 400, 64
"""Held-out tiles of a task: for statistics and neighbours, and for the costlier robustness."""
COLUMNS, COPIES = 10, 3


def held_out_tiles(tile_sets: Sequence[TileSet], at_most: int, seed: int) -> NamedTiles:
    """Some tiles of each task that training with this seed does not see."""
    parts = []
    for tile_set in tile_sets:
        _, held_out = split(tile_set, VALIDATION, seed)
        chosen = np.sort(np.random.default_rng(seed).permutation(held_out)[:at_most])
        names = np.array(tile_set.task.classes)[tile_set.labels[chosen]]
        tasks = np.full(len(chosen), tile_set.task.name)
        parts.append((tile_set.tiles[chosen], tasks, names, tile_set.groups[chosen]))
    return NamedTiles(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def certify(
    encoder: OnnxEncoder,
    tile_sets: Sequence[TileSet],
    scores: Sequence[TileScores],
    parity: tuple[float, int],
    trained_with: str,
    comparison: Comparison | None,
    stage: StageRun,
    seed: int,
) -> Certificate:
    """Measure the graph that is registered, on held-out tiles, and log what was found and a sheet of neighbours.

    scores: of the heads, where there are labels. parity: largest difference, and on how many tiles.
    """
    classes = {tile_set.task.name: tile_set.task.classes for tile_set in tile_sets}
    figures = [TaskFigure.of(s.task, classes[s.task], resampled_auc(s, seed + place)) for place, s in enumerate(scores)]
    held_out = held_out_tiles(tile_sets, TILES_A_TASK, seed)
    codes = encoded(encoder, held_out.tiles)
    changed = robustness(encoder, held_out_tiles(tile_sets, CHANGED_A_TASK, seed).tiles, seed)
    statistics = code_statistics(codes)
    found = Certificate(encoder.spec, *parity, tuple(figures), statistics, changed, trained_with, comparison)
    stage.log("codes.dead", statistics.dead)
    stage.log("codes.effective_rank", statistics.effective_rank)
    for name in ("colour", "dihedral", "strangers"):
        stage.log(f"cosine.{name}", getattr(changed, name))
    stage.log_text(found.to_json(), "certificate.json")
    stage.log_figure(neighbour_sheet(held_out, codes, seed), "neighbours.png")
    return found


def publish(certificate: Certificate, version: RegisteredVersion, stage: StageRun) -> None:
    """The certificate as a model card: on the version's page, and among the run's artifacts."""
    card = model_card(certificate, (PROJECT / "registry" / "encoder_card.md").read_text())
    stage.log_text(card, "model_card.md")
    describe_version(version, card)


def log_augmentation(tile_sets: Sequence[TileSet], strength: str, stage: StageRun, seed: int) -> None:
    """A contact sheet of what training sees."""
    rng = np.random.default_rng(seed)
    originals = {t.task.name: t.tiles[rng.permutation(len(t.tiles))[:COLUMNS]] for t in tile_sets}
    augmented = {name: examples(tiles, strength, COPIES, seed) for name, tiles in originals.items()}
    stage.log_figure(augmentation_sheet(originals, augmented, strength), "augmentation.png")


def log_tuning(tuning: Tuning, stage: StageRun) -> None:
    """History and importance of the search, and its gain with the interval."""
    stage.log_figure(history(tuning), "tuning/history.png")
    stage.log_figure(importance(tuning), "tuning/importance.png")
    if tuning.gain:
        for name in ("value", "low", "high"):
            stage.log(f"tuning.gain.{name}", getattr(tuning.gain, name))
