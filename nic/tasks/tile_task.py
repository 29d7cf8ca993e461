"""A tile task: labelled tiles on disk, and as an encoder takes them."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nic.errors import TaskError
from nic.tasks.tile_cache import cached_tiles
from nic.tasks.tile_source import TileField, TileSource

PIXELS = "glass"
"""Version of decoding. Caches without it may be black where an image is transparent."""
COARSER = 1.05
"""Images may be coarser than the tile by this factor, for odd um/px of scanners; beyond it detail is invented."""


Split = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Indices of the tiles for training, and of those for validation."""


@dataclass(frozen=True)
class TileTask:
    """One task of labelled tiles. classes: in the order of the labels. mpp: um/px of the coarsest of its images.

    validation: groups whose tiles are the validation; none where they are drawn.
    """

    name: str
    classes: tuple[str, ...]
    mpp: float
    source: TileSource
    validation: frozenset[str] = frozenset()

    @cached_property
    def digest(self) -> str:
        """Of classes, resolution, and the bytes, labels and groups of the images."""
        content = json.dumps([self.name, self.classes, self.mpp, self.source.digest])
        return hashlib.sha256(content.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class TileSet:
    """A task's tiles, ready to train on.

    tiles: uint8 [N, tile_px, tile_px, 3] RGB, mapped from disk. labels: int64 [N]. groups: str [N], the slide or
    patient of each tile where the source knows it, else each tile is its own group; copies share a group.
    """

    task: TileTask
    tiles: NDArray[np.uint8]
    labels: NDArray[np.int64]
    groups: NDArray[np.str_]
    splits: dict[tuple[float, int], Split] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Results of `split`: for a million tiles of many slides it takes minutes, and each trial needs it again."""


def load_tiles(task: TileTask, tile_px: int, tile_mpp: float, cache: Path, read_mpp: float = 0) -> TileSet:
    """Every tile of the task, decoded once, resampled by area to tile_mpp, and mapped from a file in `cache`.

    read_mpp: um/px that slides are read at, as for the encoder; 0 for half of tile_mpp, as for our encoders.
    Raises TaskError when images are coarser than tile_mpp, when a field is smaller than the tile and the
    task sets no too_small, when more than a hundredth cannot be read, or when a class is left without tiles.
    """
    check_resolution(task, tile_mpp)
    folder = cache / f"{task.name}-{task.digest}-{tile_px}px-{tile_mpp:g}mpp-{PIXELS}"
    if read_mpp not in (0, tile_mpp / 2):  # tiles at half of tile_mpp keep the folder that they always had
        folder = folder.with_name(f"{folder.name}-read{read_mpp:g}mpp")
    cached = cached_tiles(task.name, task.classes, task.source, TileField(tile_px, tile_mpp, read_mpp), folder)
    return TileSet(task, cached.tiles, cached.labels, cached.groups)


def check_resolution(task: TileTask, tile_mpp: float) -> None:
    """Raises TaskError when images are coarser than the tile."""
    if task.mpp > tile_mpp * COARSER:
        raise TaskError(f"{task.name}: images at {task.mpp:g} um/px, wanted {tile_mpp:g} or finer")


def check_sources(task: TileTask, labels: NDArray[np.int64], groups: NDArray[np.str_]) -> None:
    """Raises TaskError when a class comes from one slide or patient. labels, groups: [N], of all tiles."""
    name, sources = _scarcest(task.classes, labels, groups)
    if sources < 2:
        raise _too_few(task.name, name, sources)


def _scarcest(classes: Sequence[str], labels: NDArray[np.int64], groups: NDArray[np.str_]) -> tuple[str, int]:
    """The class from the fewest slides or patients, and how many these are."""
    sources = {name: len(np.unique(groups[labels == label])) for label, name in enumerate(classes)}
    name = min(sources, key=sources.__getitem__)
    return name, sources[name]


def _too_few(task: str, name: str, sources: int) -> TaskError:
    return TaskError(
        f"{task}: class {name!r} comes from {sources} slides or patients, too few for both training and validation; "
        "add tiles of others"
    )


def split(tile_set: TileSet, fraction: float, seed: int) -> Split:
    """Indices for training and for validation; no group is in both, and every class is in each.

    The validation is that of the task, where it has one, and drawn among its tiles where it has none. Made once for
    each fraction and seed, and kept with the tile set. Raises TaskError when a class comes from too few groups for
    that.
    """
    if (fraction, seed) not in tile_set.splits:
        tile_set.splits[fraction, seed] = _split(tile_set, fraction, seed)
    return tile_set.splits[fraction, seed]


def _split(tile_set: TileSet, fraction: float, seed: int) -> Split:
    labels, groups = tile_set.labels, tile_set.groups
    held_out = np.isin(groups, sorted(tile_set.task.validation))
    if held_out.any() and not held_out.all():
        return _stated_split(tile_set.task, labels, held_out)
    distinct = len(np.unique(groups))
    count = min(round(1 / fraction), distinct, int(np.bincount(labels).max()))
    if count > 1:
        for train, validation in _folds(labels, groups, distinct, count, seed):
            if set(labels[train]) == set(labels[validation]) == set(labels):
                return np.asarray(train), np.asarray(validation)
    raise _too_few(tile_set.task.name, *_scarcest(tile_set.task.classes, labels, groups))


def _stated_split(task: TileTask, labels: NDArray[np.int64], held_out: NDArray[np.bool_]) -> Split:
    """Raises TaskError where a class is missing on a side: copies of training tiles are on the side of the first."""
    for side in (~held_out, held_out):
        if lacking := set(labels.tolist()) - set(labels[side].tolist()):
            raise TaskError(f"{task.name}: class {task.classes[min(lacking)]!r} is in training or in validation alone")
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _folds(
    labels: NDArray[np.int64], groups: NDArray[np.str_], distinct: int, count: int, seed: int
) -> Iterator[Split]:
    # Here: it takes a second to import, and a stage that only digests its tasks splits none.
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if distinct < len(groups):
        by_group = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        yield from by_group.split(labels, labels, groups)
    else:  # the same guarantee, in seconds instead of minutes for a million tiles
        by_tile = StratifiedKFold(count, shuffle=True, random_state=seed)
        yield from by_tile.split(labels, labels)
