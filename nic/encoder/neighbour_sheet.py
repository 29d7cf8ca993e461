"""What an encoder holds to be alike: tiles beside their nearest neighbours from other slides, as a picture."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nic.encoder.certificate import Codes, Tiles, neighbours
from nic.tasks.contact_sheet import BAD, GOOD, Caption, Row, contact_sheet

MOST_ROWS, COLUMNS = 20, 8


@dataclass(frozen=True)
class NamedTiles:
    """Tiles of several tasks. tiles: uint8 [N, px, px, 3]. task, name, groups: str [N]; name: of the tile's class."""

    tiles: Tiles
    task: NDArray[np.str_]
    name: NDArray[np.str_]
    groups: NDArray[np.str_]


def neighbour_sheet(found: NamedTiles, codes: Codes, seed: int) -> Figure:
    """One tile of each class of each task, and the tiles of which the codes [N, D] lie nearest, among all tasks.

    Captions are green where the neighbour is of the same class.
    """
    full = np.char.add(np.char.add(found.task, "\n"), found.name)
    rng = np.random.default_rng(seed)
    queries = np.array([rng.choice(np.flatnonzero(full == name)) for name in dict.fromkeys(full)][:MOST_ROWS])
    rows = []
    for query, near in zip(queries, neighbours(codes, found.groups, queries, COLUMNS), strict=True):
        captions = [Caption("asked")]
        captions += [Caption(found.name[i], GOOD if full[i] == full[query] else BAD) for i in near]
        rows.append(Row(full[query], found.tiles[[query, *near]], tuple(captions)))
    return contact_sheet(rows, "Nearest codes from other slides, of held-out tiles of all tasks")
