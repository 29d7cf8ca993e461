"""From a trained encoder to a registered version: exported, certified, with a model card and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import nn

from nic.encoder.certificate import (
    Certificate,
    CodeStatistics,
    Comparison,
    Robustness,
    TaskFigure,
    code_statistics,
    encoded,
    robustness,
)
from nic.encoder.encoder_graph import export_encoder, export_heads
from nic.encoder.encoder_pictures import NamedTiles, neighbour_sheet, search_history, search_importance
from nic.encoder.loading import LoadedEncoder, load_encoder
from nic.encoder.model_card import model_card
from nic.encoder.multitask import Multitask
from nic.encoder.network import MeanRgb, TileEncoder
from nic.encoder.train import VALIDATION, TrainedEncoder
from nic.encoder.tuning import Tuning
from nic.graphs.files import HEADS_FILE
from nic.stages.examples import tile_request
from nic.tasks.augment import examples
from nic.tasks.contact_sheet import augmentation_sheet
from nic.tasks.tile_auc import TileScores, mean_auc, resampled_auc
from nic.tasks.tile_task import TileSet, split
from nic.tracking.descriptions import describe_model, describe_version
from nic.tracking.recorded_estimates import CERTIFIED, record_estimates
from nic.tracking.registry import RegisteredVersion, register_encoder
from nic.tracking.runs import StageRun, lineage
from nic.tracking.source_digest import PROJECT

PARITY_A_TASK, TILES_A_TASK, CHANGED_A_TASK = 16, 400, 64
"""Tiles of each task that are measured: for parity; held-out ones for statistics and neighbours; fewer of those for
robustness, which costs more."""
COLUMNS, COPIES = 10, 3
ABOUT = """\
Each version turns a tile of a slide into a short vector, its code. `compress` turns whole slides into codes, and
patient models predict from codes. Each version has a model card. The alias `champion` marks the version in use. This
command gives it to a version that passes its gate:

    mlflow run . --env-manager local -e promote -P model=models:/nic-encoder/<version>
"""
"""Description of the registered model."""


def held_out_tiles(tile_sets: Sequence[TileSet], at_most: int, seed: int) -> NamedTiles:
    """Some tiles of each task that a training with this seed holds out."""
    parts = []
    for tile_set in tile_sets:
        _, held_out = split(tile_set, VALIDATION, seed)
        chosen = np.sort(np.random.default_rng(seed).permutation(held_out)[:at_most])
        names = np.array(tile_set.task.classes)[tile_set.labels[chosen]]
        tasks = np.full(len(chosen), tile_set.task.name)
        parts.append((tile_set.tiles[chosen], tasks, names, tile_set.groups[chosen]))
    return NamedTiles(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@dataclass(frozen=True)
class EncoderCandidate:
    """An encoder that is to be registered.

    trained_with: in words. validation: figures on held-out tiles. scores: of those tiles by the heads, if it has any.
    heads: a linear layer for each task, in the order of the tile sets; None where no task was taught.
    """

    encoder: TileEncoder | MeanRgb
    objective: str
    trained_with: str
    validation: Mapping[str, float] = field(default_factory=dict)
    scores: Sequence[TileScores] = ()
    comparison: Comparison | None = None
    heads: nn.ModuleList | None = None

    @classmethod
    def of(cls, trained: TrainedEncoder, trained_with: str, comparison: Comparison | None = None) -> "EncoderCandidate":
        words = f"{trained_with}; as it was after epoch {trained.epoch + 1}"
        objective = trained.objective
        heads = objective.heads if isinstance(objective, Multitask) else None
        return cls(trained.encoder, objective.name, words, trained.validation, trained.scores, comparison, heads)


def register_trained(
    candidate: EncoderCandidate,
    tile_sets: Sequence[TileSet],
    graph: Path,
    stage: StageRun,
    inputs: Mapping[str, str],
    seed: int,
) -> RegisteredVersion:
    """Export to `graph`, measure the graph on held-out tiles, and register it with its figures and its model card.

    Where tasks were taught, their heads are exported beside the graph, and registered with it.
    """
    names = [tile_set.task.name for tile_set in tile_sets]
    sample = np.concatenate([tile_set.tiles[:PARITY_A_TASK] for tile_set in tile_sets])
    _, difference = export_encoder(candidate.encoder, candidate.objective, names, graph, sample)
    encoder = load_encoder(graph, threads=None)
    heads, heads_parity = None, None
    if candidate.heads is not None:
        heads, tasks = graph.with_name(HEADS_FILE), {t.task.name: t.task.classes for t in tile_sets}
        heads_parity = export_heads(candidate.heads, tasks, encoder.spec.sha256, heads, encoded(encoder, sample))
    certificate = Certificate(
        encoder.spec,
        difference,
        2 * len(sample),
        task_figures(candidate.scores, tile_sets, seed),
        *measured(encoder, tile_sets, stage, seed),
        candidate.trained_with,
        candidate.comparison,
        heads_parity,
    )
    tags = lineage("train_encoder", encoder_sha256=encoder.spec.sha256, **inputs)
    version = register_encoder(graph, tags, tile_request(graph), heads)
    if candidate.scores:
        auc = mean_auc(candidate.scores, seed)
        stage.log_estimate("validation.auc", auc, version.model_id)
        record_estimates(version, {CERTIFIED: auc}, data=inputs["tasks"])
    publish(certificate, version, stage)
    return version


def register_imported(
    graph: Path,
    source: str,
    parity: tuple[float, int],
    tile_sets: Sequence[TileSet],
    stage: StageRun,
    inputs: Mapping[str, str],
) -> RegisteredVersion:
    """Register the graph of an imported encoder. parity: with its source, and on how many tiles.

    tile_sets: of the encoder's tile size, to measure its codes on; may be empty.
    """
    encoder = load_encoder(graph, threads=None)
    codes, robust = measured(encoder, tile_sets, stage, seed=0) if tile_sets else (None, None)
    difference, tiles = parity
    words = f"Imported from {source}; what it was trained on is not known."
    certificate = Certificate(encoder.spec, difference, tiles, (), codes, robust, words)
    tags = lineage("import_encoder", encoder_sha256=encoder.spec.sha256, **inputs)
    version = register_encoder(graph, tags, tile_request(graph))
    publish(certificate, version, stage)
    return version


def measured(
    encoder: LoadedEncoder, tile_sets: Sequence[TileSet], stage: StageRun, seed: int
) -> tuple[CodeStatistics, Robustness]:
    """Measure the graph's codes of held-out tiles, and log the sheet of nearest neighbours."""
    held_out = held_out_tiles(tile_sets, TILES_A_TASK, seed)
    codes = encoded(encoder, held_out.tiles)
    statistics = code_statistics(codes)
    stage.log_plot(neighbour_sheet(held_out, codes, seed), "neighbours.png")
    return statistics, robustness(encoder, held_out_tiles(tile_sets, CHANGED_A_TASK, seed).tiles, seed)


def publish(certificate: Certificate, version: RegisteredVersion, stage: StageRun) -> None:
    """Log the certificate as a file, as metrics, and as the model card that the registry shows."""
    log_certificate(certificate, stage)
    card = model_card(certificate, (PROJECT / "registry" / "encoder_card.md").read_text())
    stage.log_text(card, "model_card.md")
    describe_version(version, card)
    describe_model(version.name, ABOUT)


def task_figures(scores: Sequence[TileScores], tile_sets: Sequence[TileSet], seed: int) -> tuple[TaskFigure, ...]:
    """The AUC of each head on held-out tiles; empty for an encoder without heads."""
    classes = {tile_set.task.name: tile_set.task.classes for tile_set in tile_sets}
    aucs = [resampled_auc(of_task, seed + number) for number, of_task in enumerate(scores)]
    return tuple(TaskFigure.of(s.task, classes[s.task], auc) for s, auc in zip(scores, aucs, strict=True))


def log_certificate(certificate: Certificate, stage: StageRun) -> None:
    """Log the certificate as a file, and its numbers as metrics, by which runs can be sorted."""
    stage.log_text(certificate.to_json(), "certificate.json")
    for figure in certificate.tasks:
        stage.log(f"validation.auc.{figure.task}.low", figure.low)
        stage.log(f"validation.auc.{figure.task}.high", figure.high)
    stage.log("parity", certificate.parity)
    if certificate.heads_parity is not None:
        stage.log("heads.parity", certificate.heads_parity)
    if certificate.codes:
        stage.log("codes.dead", certificate.codes.dead)
        stage.log("codes.effective_rank", certificate.codes.effective_rank)
    if certificate.robustness:
        for name in ("colour", "dihedral", "strangers"):
            stage.log(f"cosine.{name}", getattr(certificate.robustness, name))
    if certificate.comparison:
        stage.log("tuning.gain", certificate.comparison.gain)
        stage.log("tuning.gain.low", certificate.comparison.low)
        stage.log("tuning.gain.high", certificate.comparison.high)


def log_augmentation(tile_sets: Sequence[TileSet], strength: str, stage: StageRun, seed: int) -> None:
    """Log a contact sheet of augmented tiles, as training sees them."""
    rng = np.random.default_rng(seed)
    originals = {t.task.name: t.tiles[rng.permutation(len(t.tiles))[:COLUMNS]] for t in tile_sets}
    augmented = {name: examples(tiles, strength, COPIES, seed) for name, tiles in originals.items()}
    stage.log_plot(augmentation_sheet(originals, augmented, strength), "augmentation.png")


def log_tuning(tuning: Tuning, stage: StageRun) -> None:
    """Log the history of the search, and the importance of each hyperparameter."""
    stage.log_plot(search_history(tuning), "tuning/history.png")
    stage.log_plot(search_importance(tuning), "tuning/importance.png")
