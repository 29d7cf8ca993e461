"""What every layout of labelled tiles offers: its classes and groups, and parts that are read together."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nic.errors import TaskError, UnreadableTile

PART_TILES = 256
"""Tiles of a part: enough to decode an image with many points once, few enough to hold some parts in memory."""
IGNORED = -1
"""Label of a tile that is left out."""

Pixels = NDArray[np.uint8]
Cut = Pixels | UnreadableTile | None
"""A tile, or the reason why it cannot be decoded, or None where its field leaves the image and the task says `drop`."""


@dataclass(frozen=True)
class TileField:
    """The field that a tile shows: tile_px x tile_px pixels of tile_mpp um.

    read_mpp: um/px that slides are read at before averaging to tile_mpp; 0 for half of tile_mpp.
    """

    tile_px: int
    tile_mpp: float
    read_mpp: float = 0

    def side_px(self, mpp: float) -> float:
        """Side in pixels of an image at `mpp` um/px; rarely a whole number."""
        return self.tile_px * self.tile_mpp / mpp


@dataclass(frozen=True, eq=False)
class TilePart:
    """Tiles that are read together. names: for messages. cut: reads them, in the order of names, labels and groups."""

    names: Sequence[str]
    labels: NDArray[np.int64]
    groups: NDArray[np.str_]
    cut: Callable[[], Iterator[Cut]]


class TileSource(Protocol):
    """Labelled tiles as they lie on disk, in one of the layouts."""

    @property
    def digest(self) -> str:
        """Of pixels, labels, groups and rules; the same for a copy in another folder."""

    @property
    def origins(self) -> frozenset[str]:
        """Slides or patients of the tiles, by name or fingerprint."""

    def parts(self, field: TileField) -> Iterator[TilePart]:
        """All tiles, always in the same order."""


def class_labels(
    where: str,
    values: Sequence[str] | NDArray[np.str_],
    classes: Mapping[str, Sequence[str]] | None = None,
    ignore: Sequence[str] = (),
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Names of the classes, and each tile's label int64 [N], IGNORED where its value is ignored.

    values: [N], the label of each tile in the source. classes: the values of each class; None makes each value a class.
    Raises TaskError: a value of no class, a class without a tile, fewer than two classes.
    """
    distinct, place = np.unique(np.asarray(values, dtype=np.str_), return_inverse=True)
    names, label_of = class_map(where, distinct.tolist(), classes, ignore)
    labels = np.array([label_of[value] for value in distinct], np.int64)[place]
    check_classes(where, names, labels)
    return names, labels


def class_map(
    where: str, values: Sequence[str], classes: Mapping[str, Sequence[str]] | None, ignore: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Names of the classes, and the label of each value. Raises TaskError for a value of no class, or of two."""
    gathered = classes or {value: (value,) for value in sorted(set(values) - set(ignore))}
    labels = dict.fromkeys(ignore, IGNORED)
    for label, (name, members) in enumerate(gathered.items()):
        for value in members:
            if value in labels:
                raise TaskError(f"{where}: label {value!r} is named twice, in class {name!r} and in an earlier one")
            labels[value] = label
    if beyond := sorted(set(values) - set(labels)):
        raise TaskError(
            f"{where}: label {beyond[0]!r} belongs to no class, wanted {', '.join(map(repr, labels))}; "
            "name it under a class, or under ignore"
        )
    return tuple(gathered), labels


def check_classes(where: str, names: Sequence[str], labels: NDArray[np.int64]) -> None:
    """Raises TaskError for fewer than two classes, and for a class without a tile."""
    if len(names) < 2:
        raise TaskError(f"{where}: {len(names)} class ({', '.join(names)}), wanted at least two")
    counts = np.bincount(labels[labels >= 0], minlength=len(names))
    if empty := [name for name, count in zip(names, counts, strict=True) if not count]:
        raise TaskError(f"{where}: class {empty[0]!r} has no tile")


def pattern_groups(where: str, names: Sequence[str], pattern: re.Pattern[str]) -> NDArray[np.str_]:
    """The group [N] in each name: the pattern's first bracket, or the whole match. Raises TaskError."""
    first = 1 if pattern.groups else 0
    groups = [match and match[first] for match in map(pattern.search, names)]
    if None in groups:
        name = names[groups.index(None)]
        raise TaskError(f"{where}: {name}: group_pattern {pattern.pattern!r} does not match this name")
    return np.array(groups, np.str_)
