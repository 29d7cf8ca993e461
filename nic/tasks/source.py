"""What every layout of labelled tiles offers: parts that are read together."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nic.errors import UnreadableTile

PART_TILES = 256
"""Tiles of a part: enough to decode an image of many points once, little enough to hold a few parts in memory."""

Pixels = NDArray[np.uint8]
Cut = Pixels | UnreadableTile | None
"""A tile; why it cannot be decoded; or None where its field leaves the image and the task says `drop`."""


@dataclass(frozen=True)
class Field:
    """What a tile shows, whatever it is cut from: tile_px x tile_px pixels of tile_mpp um.

    read_mpp: um/px that slides are read at before averaging to tile_mpp; 0 for half of tile_mpp.
    """

    tile_px: int
    tile_mpp: float
    read_mpp: float = 0

    def side_px(self, mpp: float) -> float:
        """Side in pixels of an image at `mpp` um/px: exact, rarely whole."""
        return self.tile_px * self.tile_mpp / mpp


@dataclass(frozen=True, eq=False)
class Part:
    """Tiles that are read together. names: for messages. cut: reads them, in the order of names, labels and groups."""

    names: Sequence[str]
    labels: NDArray[np.int64]
    groups: NDArray[np.str_]
    cut: Callable[[], Iterator[Cut]]


class TileSource(Protocol):
    """Labelled tiles as they lie on disk, in one of the layouts."""

    @property
    def digest(self) -> str:
        """Of pixels, labels, groups and what is done with them; the same for a copy at another place."""

    @property
    def origins(self) -> frozenset[str]:
        """Slides or patients that the tiles are from, by name or fingerprint."""

    def parts(self, field: Field) -> Iterator[Part]:
        """All tiles, in an order that is always the same."""
